"""Is a data set sound? Duplicates, near duplicates, leaks, counts."""

"""All runs and reports below a folder, in one table."""

"""A page and an HTTP endpoint to try a run."""

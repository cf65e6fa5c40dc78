"""How much a leaking split inflates a score."""

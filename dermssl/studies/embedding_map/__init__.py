"""The embeddings of a run in the plane."""

"""Score a run on photos from elsewhere, with the thresholds and probabilities it came with."""

"""Transfer learning compared: models, depths, augmentations, seeds."""

"""Augmentations of skin photos, each a function of (seed, epoch, record, view)."""

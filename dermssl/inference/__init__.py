"""A finished run: its settings, photos and model, and what the model gives for photos."""

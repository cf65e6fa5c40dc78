"""Grad-CAM heat maps of chosen photos."""

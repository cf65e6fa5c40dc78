"""Errors, settings, runs and files: what every other module stands on."""

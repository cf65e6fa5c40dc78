"""Drawings of lesions with labels, for the demo and the tests."""

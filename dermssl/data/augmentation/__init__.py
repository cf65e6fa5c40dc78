"""TODO augmentation"""

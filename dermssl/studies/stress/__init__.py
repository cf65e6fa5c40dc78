"""TODO stress"""

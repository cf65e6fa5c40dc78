"""TODO leakage"""

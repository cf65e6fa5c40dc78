"""TODO single_run"""

"""TODO comparison"""

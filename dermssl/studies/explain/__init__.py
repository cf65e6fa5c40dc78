"""TODO explain"""

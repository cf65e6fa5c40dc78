"""TODO grid"""

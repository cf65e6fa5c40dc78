"""TODO experiment"""

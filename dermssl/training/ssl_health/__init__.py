"""TODO ssl_health"""

"""TODO label_efficiency"""

"""TODO data_audit"""

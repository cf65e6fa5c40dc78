"""TODO embedding_map"""

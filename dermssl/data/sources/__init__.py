"""Kinds of files that hold many photos; `data.photo_bytes` has them in one dict."""

"""One file per host object; each imports exactly one host library, and no file imports
another adapter.
"""

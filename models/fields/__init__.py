"""Geometric neural diffusion processes: distributions over functions and fields,
symmetric and conditional (arXiv:2307.05431).
"""

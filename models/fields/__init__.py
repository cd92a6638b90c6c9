"""Geometric neural diffusion processes: distributions over functions and fields, with exact symmetry and conditioning (methods B)."""

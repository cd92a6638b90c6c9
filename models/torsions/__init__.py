"""Diffusion on the torus of rotatable bonds: proposals with a density."""

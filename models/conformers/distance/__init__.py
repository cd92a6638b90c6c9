"""Diffusion in SE(3)-invariant distance space (system A)."""

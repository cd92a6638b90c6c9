"""Diffusion models of trajectories (GeoTDM)."""

"""Poses of rigid bodies: diffusion on SO(3) x R^3, and Monte Carlo moves from it."""

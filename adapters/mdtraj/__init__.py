"""Conformers and trajectories for MDTraj."""

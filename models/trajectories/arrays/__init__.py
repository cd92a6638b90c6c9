"""Trajectories of plain arrays: particles and pedestrians."""

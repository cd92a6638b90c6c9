"""Paths on the sphere."""

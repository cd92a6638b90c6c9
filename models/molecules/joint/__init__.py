"""Atoms, bonds and coordinates drawn together."""

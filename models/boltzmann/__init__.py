"""Boltzmann generator: all Cartesian coordinates of one small molecule, with an exact
density.
"""

"""A diffusion of torsions whose network sees the distances of all heavy atoms."""

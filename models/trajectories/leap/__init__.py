"""Leaps of 1 to 100 ps: a transition density of torsions, learned from long dynamics."""

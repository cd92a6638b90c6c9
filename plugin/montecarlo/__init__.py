"""Exact Monte Carlo: torsions, proposals, heat bath, acceptance."""

"""Equivariant trunks that several families build on."""

"""New molecules in 3D: what the two models share, and their benchmark."""

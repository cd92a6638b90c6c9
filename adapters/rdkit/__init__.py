"""RDKit."""

"""openmm-ml."""

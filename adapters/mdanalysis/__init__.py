"""MDAnalysis."""

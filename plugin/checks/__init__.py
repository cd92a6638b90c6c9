"""What must hold of geometries, valences, trajectories, conditions and targets."""

"""Plain molecular dynamics of a force field as a trajectory model."""

"""openmmtools."""

"""The learned equivariant Langevin integrator."""

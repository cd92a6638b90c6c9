"""An invariant latent vector per molecule and its diffusion (LDM-3DG, methods.md D)."""

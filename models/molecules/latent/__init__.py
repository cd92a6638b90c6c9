"""An invariant latent vector per molecule and its diffusion (LDM-3DG,
openreview.net/forum?id=cXbnGtO0NZ).
"""

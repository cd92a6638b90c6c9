"""A learned energy of conformers whose gradient relaxes them and, at a noise level,
denoises them.
"""

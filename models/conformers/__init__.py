"""Conformer models: system A (se3-distance), the generator from noise and the refiner."""

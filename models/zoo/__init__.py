"""Shipped weights: one card and one safetensors file a model."""

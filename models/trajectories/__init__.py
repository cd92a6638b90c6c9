"""Trajectory models: system C (GeoTDM), the default, and baselines that learn nothing."""

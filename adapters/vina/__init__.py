"""AutoDock Vina, as a judge of poses (PyPI `vina`, the extra `vina`)."""

"""Benchmarks: each prints one table from committed weights."""

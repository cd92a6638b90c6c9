"""What tools/bench_tables.py is made of."""

"""What tools/readme_tables.py is made of."""

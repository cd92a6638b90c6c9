"""Fields on the atoms of molecules."""

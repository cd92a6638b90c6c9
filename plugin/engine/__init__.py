"""Seeds to valid samples: one base, three plans."""

"""Many molecules by many processes: shards, local workers, and what a cluster's driver needs."""

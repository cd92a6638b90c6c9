"""Ray: the shards of a run as tasks on a cluster that is there."""

"""equidrift status: how far the shards of a run are."""

from __future__ import annotations

from equidrift.cli.merge import status as command

__all__ = ["command"]

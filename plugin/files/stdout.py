"""Records that are printed instead of written to a file."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from equidrift.files.journal import Pieces, Position
from equidrift.registry import host_function


class StandardOutput:
    """Takes the place of a `StreamWriter` for OUT "-": SDF records, and nothing that
    could go on.
    """

    finished, position, window = False, (0, 0), None

    def __init__(self) -> None:
        self.summary: dict[str, Any] = {}

    def write(self, pieces: Pieces, position: Position, summary: Mapping[str, Any]) -> None:
        """Print the records."""
        del position, summary
        records = host_function("rdkit", "sdf_records")
        for ensemble, first in pieces:
            for text in records(ensemble, first_sample=first):
                sys.stdout.write(text)
        sys.stdout.flush()

    def hold(self, arrays: Mapping[str, Any]) -> None:
        """Nothing is kept."""

    def held(self) -> None:
        """Nothing was kept."""

    def flush(self) -> None:
        """Everything that is whole has been printed."""

    def finish(self) -> None:
        """Nothing is left to do."""

    def discard(self) -> None:
        """Nothing is left to remove."""

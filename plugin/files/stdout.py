"""Records that are printed instead of written to a file."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from equidrift.files.failures import LISTED, Failures, table_text
from equidrift.files.journal import Pieces, Position, Told
from equidrift.registry import host_function


class StandardOutput:
    """Takes the place of a `StreamWriter` for OUT "-": SDF records, and nothing that
    could go on.
    """

    finished, position, window = False, (0, 0), None

    def __init__(self) -> None:
        self.summary: dict[str, Any] = {}
        self._failed = 0

    def write(
        self, pieces: Pieces, position: Position, summary: Told, failures: Failures = ()
    ) -> None:
        """Print the records."""
        del position, summary
        self.fail(failures)
        records = host_function("rdkit", "sdf_records")
        for ensemble, first in pieces:
            for text in records(ensemble, first_sample=first):
                sys.stdout.write(text)
        sys.stdout.flush()

    def fail(self, failures: Failures) -> None:
        """Print the failures that no summary lists: there is no table of them."""
        first = max(0, LISTED - self._failed)
        self._failed += len(failures)
        sys.stderr.write(table_text(failures[first:], header=False))

    def list_failures(self, always: bool = False) -> None:
        """There is no table of failures."""

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

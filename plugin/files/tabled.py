"""The table of failures beside an output: it grows with the run, and its journal counts it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from equidrift.files.failures import LISTED, Failures, table_text
from equidrift.files.journal import synced_size
from equidrift.outputs import moment


class TabledFailures:
    """What a `StreamWriter` has for failures: rows go to OUT.failures, which becomes
    OUT.failures.csv if there are more than a summary lists.
    """

    path: Path  # OUT
    state: dict[str, Any]  # the journal: "failed" rows in so many bytes, "failures"

    @property
    def failures(self) -> Path:
        """OUT.failures.csv."""
        return self.path.with_name(self.path.name + ".failures.csv")

    @property
    def _failing(self) -> Path:
        return self.path.with_name(self.path.name + ".failures")

    def _closing(self) -> None:
        raise NotImplementedError

    def _fail(self, failures: Failures) -> None:
        """Add to the table of failures."""
        if not failures:
            return
        text = table_text(failures, header=not self.state["failures"])
        with open(self._failing, "a", newline="", encoding="utf-8") as stream:
            stream.write(text)
        self.state["failures"] = synced_size(self._failing)
        self.state["failed"] += len(failures)

    def list_failures(self, always: bool = False) -> Path | None:
        """Move the table of failures into place, if a summary does not list them all.

        Call it before `finish` or `discard`.

        Parameters
        ----------
        always : bool
            Whenever there is a failure.

        Returns
        -------
        Path or None
            OUT.failures.csv, None if there is none.
        """
        if self.state["failed"] <= (0 if always else LISTED):
            if self.state["granted"]:  # one of the run that is replaced
                self.failures.unlink(missing_ok=True)
            return None
        if self._failing.exists():
            self._closing()
            os.replace(self._failing, self.failures)
            moment("failures in place")
        return self.failures

    def _failures_whole(self, state: Mapping[str, Any]) -> bool:
        """As `_whole`, of the table of failures."""
        size = state["failures"]
        if not size:
            self._failing.unlink(missing_ok=True)
            return True
        if not self._failing.is_file():  # it may be in place
            return bool(state["closing"]) and self.failures.is_file()
        if self._failing.stat().st_size < size:
            return False
        os.truncate(self._failing, size)
        return True

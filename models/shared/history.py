"""How the loss went: `losses.csv` beside the checkpoint, which `equidrift report` draws."""

from __future__ import annotations

import csv
from pathlib import Path

LOSSES = "losses.csv"
COLUMNS = ("step", "loss", "learning_rate", "seconds")


class History:
    """The rows of one training, also over several runs of it.

    Parameters
    ----------
    out : Path
        The folder of the training.
    step : int
        Where the training goes on. Rows of later steps, of a run that was cut off after
        its last checkpoint, are dropped; at 0 all are.
    """

    def __init__(self, out: Path, step: int) -> None:
        self.path = out / LOSSES
        kept = [row for row in _rows(self.path) if int(row[0]) <= step]
        self.last = int(kept[-1][0]) if step and kept else 0
        self.path.unlink(missing_ok=True)
        if step and kept:
            self._write([list(COLUMNS), *kept])

    def note(self, step: int, loss: float, learning_rate: float, seconds: float) -> None:
        """Add a row; a step that is noted already is not noted again."""
        if step <= self.last:
            return
        self.last = step
        row = [str(step), f"{loss:.6g}", f"{learning_rate:.6g}", f"{seconds:.1f}"]
        self._write([row] if self.path.exists() else [list(COLUMNS), row])

    def _write(self, rows: list[list[str]]) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with open(self.path, "a", newline="", encoding="utf-8") as stream:
            csv.writer(stream, lineterminator="\n").writerows(rows)


def _rows(path: Path) -> list[list[str]]:
    """The rows without their head; a last one that was cut off is left out."""
    if not path.is_file():
        return []
    with open(path, newline="", encoding="utf-8", errors="replace") as stream:
        rows = list(csv.reader(stream))[1:]
    return [row for row in rows if len(row) == len(COLUMNS) and row[0].isdecimal()]

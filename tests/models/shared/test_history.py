"""The losses of a training in `losses.csv`."""

from __future__ import annotations

from pathlib import Path

from equidrift.models.shared.history import COLUMNS, LOSSES, History
from equidrift.report.training import COLUMNS as READ_COLUMNS
from equidrift.report.training import LOSSES as READ
from equidrift.report.training import read_losses


def test_history_is_what_the_report_reads(tmp_path: Path) -> None:
    assert (LOSSES, COLUMNS) == (READ, READ_COLUMNS)
    history = History(tmp_path / "run", 0)
    history.note(20, 1.5, 1e-3, 2.0)
    history.note(40, 0.5, 1e-4, 4.0)
    history.note(40, 0.5, 1e-4, 4.0)
    rows = read_losses(tmp_path / "run" / LOSSES)
    assert rows.tolist() == [[20, 1.5, 1e-3, 2.0], [40, 0.5, 1e-4, 4.0]]


def test_history_drops_steps_after_the_checkpoint_when_it_goes_on(tmp_path: Path) -> None:
    first = History(tmp_path, 0)
    for step in (20, 40, 60):
        first.note(step, 1.0, 1e-3, step)
    with open(tmp_path / LOSSES, "a") as stream:
        stream.write("80,0.1")  # killed in the middle of a row
    again = History(tmp_path, 40)
    again.note(60, 2.0, 1e-3, 60.0)
    assert read_losses(tmp_path / LOSSES)[:, 0].tolist() == [20, 40, 60]
    assert read_losses(tmp_path / LOSSES)[-1, 1] == 2.0


def test_history_begins_anew_with_a_new_training(tmp_path: Path) -> None:
    History(tmp_path, 0).note(20, 1.0, 1e-3, 1.0)
    assert not (History(tmp_path, 0).path).exists()

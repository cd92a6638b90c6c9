"""The table of workers: every row makes the same molecules."""

from __future__ import annotations

import pytest

from equidrift.bench import scale


@pytest.mark.long
def test_table_has_the_same_molecules_in_each_row(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scale, "QUICK_MOLECULES", 3)
    monkeypatch.setattr(scale, "WORKERS", (None, 1))
    monkeypatch.delenv("EQUIDRIFT_DATA", raising=False)
    rows = {one["row"]: one["values"] for one in scale.run()["rows"]}
    assert set(rows) == {"workers/none", "workers/1"}
    assert all(values["made"] == values["n"] == 3 for values in rows.values())
    assert rows["workers/none"]["over_one_process"] == 1.0
    assert all(values["molecules_per_s"] > 0 for values in rows.values())

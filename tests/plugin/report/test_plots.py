"""`--plot` of md and bench, and what figures are made of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from equidrift import registry
from equidrift.report import plots
from equidrift.report.tables import bench_figure
from tests.commands import caller

PNG = b"\x89PNG\r\n\x1a\n"


def bench_result(full: bool, progress: Any) -> dict[str, Any]:
    """A table as benchmarks return it."""
    rows = [
        {"row": "qm9/$etkdg$", "values": {"amr": 0.2, "amr_se": 0.01, "n": 10}},
        {"row": "qm9/default", "values": {"amr": 0.1, "ms": 11.0, "n": 10}},
    ]
    return {"name": "toy", "machine": {"cpu": "x"}, "commit": "abc", "rows": rows}


def test_bench_figure_has_a_panel_for_each_metric_and_a_bar_for_each_row() -> None:
    figure = bench_figure(bench_result(False, None))
    assert [ax.get_title() for ax in figure.axes] == ["amr", "ms"]
    assert [len(ax.patches) for ax in figure.axes] == [2, 1]


def test_bench_writes_a_figure_when_asked_and_replaces_no_other_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(registry.BENCHMARKS, "toy", f"{__name__}:bench_result")
    cli = caller(monkeypatch, capsys)
    picture = tmp_path / "bench.png"
    assert cli("bench", "toy", "--plot", picture)[0] == 0
    assert picture.read_bytes().startswith(PNG)
    code, _, err = cli("bench", "toy", "--plot", picture)
    assert code == 2 and "--overwrite" in err
    assert cli("bench", "toy", "--plot", picture, "--overwrite")[0] == 0
    code, _, err = cli("bench", "toy", "--plot", tmp_path / "bench.pdf")
    assert code == 2 and "--plot" in err and len(err.splitlines()) == 1


@pytest.mark.long
def test_md_writes_a_figure_when_asked_and_writes_it_anew_when_it_is_extended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cli = caller(monkeypatch, capsys)
    picture, run = tmp_path / "f.png", tmp_path / "run.xtc"
    picture.write_text("mine")
    quick = ["--proposals", "uniform", "--md-steps", 5, "--n-proposals", 2, "--adapt", "0.1ps"]
    command = ["md", "CCCCC", "-o", run, *quick, "--platform", "Reference", "--plot", picture]
    code, _, err = cli(*command, "--time", "0.1ps")
    assert code == 2 and "f.png" in err and not run.exists()
    picture.unlink()
    code, _, err = cli(*command, "--time", "0.1ps")
    assert code == 0, err
    first = picture.read_bytes()
    assert first.startswith(PNG)
    assert cli(*command, "--time", "0.3ps")[0] == 0
    assert picture.read_bytes() != first


def test_svg_of_the_same_figure_is_the_same_text_and_keeps_its_ids_apart() -> None:
    def drawn() -> str:
        figure = plots.canvas()
        figure.add_subplot().plot([0, 1], [1, 0])
        return plots.svg_of(figure)

    assert drawn() == drawn()
    assert drawn().startswith("<svg") and 'id="PLACE-' in drawn()
    assert "<!--" not in drawn() and "<metadata" not in drawn()

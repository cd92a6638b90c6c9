"""The examples of leaps, with weights of a short training."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from typing import Any

import MDAnalysis as mda
import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


def output_of(
    name: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    *arguments: str,
) -> str:
    script = EXAMPLES / name
    assert len(script.read_text().splitlines()) <= 55
    monkeypatch.setattr(sys, "argv", [str(script), *arguments])
    monkeypatch.setenv("MPLBACKEND", "Agg")
    runpy.run_path(str(script), run_name="__main__")
    return capsys.readouterr().out


@pytest.mark.long
def test_picture_holds_the_torsions_of_leaps_beside_dynamics(
    leap_training: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    weights = str(leap_training["weights"])
    out = output_of("18_leaps_beside_md.py", monkeypatch, capsys, weights, "1", "4")
    assert out.startswith("4 ps: ") and (tmp_path / "leaps.png").stat().st_size > 5000
    universe = mda.Universe(str(tmp_path / "leaps.pdb"), str(tmp_path / "leaps.xtc"))
    assert universe.trajectory.n_frames == 4 and universe.trajectory.dt == pytest.approx(1.0)


def test_exact_twin_counts_what_it_accepts(
    leap_training: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    weights = str(leap_training["weights"])
    out = output_of("19_leaps_exact.py", monkeypatch, capsys, weights, "5", "12")
    assert "of 12 leaps accepted" in out and "in 12 frames" in out

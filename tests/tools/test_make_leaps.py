"""tools/make_leaps.py: the same dynamics whether or not it is stopped, and of the part of
the molecules that was asked for.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from equidrift.bench.trajectories_leap_runs import leaping_molecule
from equidrift.models.trajectories.dynamics import load_dynamics
from equidrift.torsions import TorsionTree
from tests.tools.loading import tool

SMILES = ("CCCCO", "c1ccccc1", "CC(C)CN", "CCOCC", "CCCCC=O")


def run(folder: Path, molecules: int, monkeypatch: pytest.MonkeyPatch, part: str = "train") -> None:
    lines = folder.parent / "lines.smi"
    lines.write_text("\n".join(SMILES) + "\n")
    words = ["--molecules", str(molecules), "--ns", "0.003", "--part", part]
    monkeypatch.setattr(sys, "argv", ["make_leaps.py", str(lines), str(folder), *words])
    tool("make_leaps").main()


@pytest.mark.long
def test_leaps_are_the_same_when_their_making_was_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(tmp_path / "whole", 2, monkeypatch)
    run(tmp_path / "parts", 1, monkeypatch)
    run(tmp_path / "parts", 2, monkeypatch)
    names = [sorted(p.name for p in (tmp_path / d).glob("*.npz")) for d in ("whole", "parts")]
    assert names[0] == names[1] and len(names[0]) == 2
    for name in names[0]:
        (whole,), (part,) = (load_dynamics(tmp_path / d / name) for d in ("whole", "parts"))
        np.testing.assert_array_equal(whole.positions_A, part.positions_A)
        assert whole.positions_A.shape[:2] == (1, 3) and whole.spacing_fs == 1000.0
        assert TorsionTree.of(whole.molecule).n_torsions >= 1


def test_parts_share_no_molecule() -> None:
    parts = {
        part: {s for s in SMILES if leaping_molecule(s, part) is not None}
        for part in ("train", "val", "test")
    }
    assert not parts["train"] & parts["test"] and not parts["train"] & parts["val"]
    assert "c1ccccc1" not in set().union(*parts.values())  # nothing turns
    assert parts["train"]

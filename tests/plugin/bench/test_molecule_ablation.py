"""The rows that tell the network's work from the rules': what each leaves out."""

from __future__ import annotations

import numpy as np
import pytest

from equidrift.bench import molecule_ablation as ablation
from equidrift.bench.molecule_ablation import Cell, ablation_rows, cell_model, cells, drawn
from equidrift.models.molecules.joint.walk import Path
from equidrift.seeds import sample_seeds


def test_cells_are_every_combination_of_rules_and_steps() -> None:
    names = [f"{c.system}/{c.method(refined)}" for c in cells() for refined in (True, False)]
    assert len(set(names)) == len(names) == 3 * 4 * 2 + 3 * 2
    assert {"joint-50/raw", "joint-50/refined", "joint-25/raw-no-repair-remask"} <= set(names)
    assert {"bfn-50/raw", "bfn-100/refined"} <= set(names)


def test_a_cell_leaves_out_its_rules_and_no_others() -> None:
    model = cell_model(Cell("diffusion", 50, ("repair",)))
    assert model.path == Path(repair=0.0) and model.hydrogens.refine == 0
    assert cell_model(Cell("bfn", 50)).sampler == "bfn"
    cell_model.cache_clear()


def test_raw_samples_are_not_moved_by_the_refiner(monkeypatch: pytest.MonkeyPatch) -> None:
    cell, seeds = Cell("diffusion", 4), sample_seeds(0, 0, 3)
    plain, moved = drawn((cell, seeds))
    again = cell_model(cell).sample(seeds, steps=4)
    for raw, same, other in zip(plain, again, moved, strict=True):
        assert raw is not None and same is not None and other is not None
        assert (raw[1] == same[1]).all() and raw[0].key() == other[0].key()
        assert np.abs(raw[1] - other[1]).max() > 1e-3
    monkeypatch.setattr(ablation, "cells", lambda: iter([cell]))
    rows = ablation_rows(3, map, str)
    assert [row["row"] for row in rows] == ["joint-4/raw", "joint-4/refined"]
    first, second = (row["values"] for row in rows)
    assert first["molecule_stability"] == second["molecule_stability"] and first["n"] == 3
    assert (first["calls"], second["calls"]) == (4, 7) and "edm_stability_se" in first
    cell_model.cache_clear()

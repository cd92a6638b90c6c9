"""Options of models are measured on the same molecules, paired."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from equidrift.adapters.rdkit.molecule import flat_smiles
from equidrift.bench.machine import references
from equidrift.models.shared.split import held_out
from tests.models.networks import conformer
from tests.tools.loading import tool

SMILES = "CCCCO"


def test_ways_are_measured_on_the_same_molecules_and_paired(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    molecule, x = conformer(SMILES)
    known = tmp_path / "known.npz"
    np.savez(
        known,
        smiles=np.array([SMILES, SMILES]),
        conf_offset=np.array([0, 1, 3]),
        coord_offset=np.arange(4) * molecule.n_atoms,
        R=np.concatenate([x, x, x * [1, 1, -1]]).astype(np.float32),
    )
    ways = ["etkdg", "etkdg-mmff:num_threads=1"]
    options = ["--references", str(known), "--least-atoms", "5", "--json", str(tmp_path / "o.json")]
    tool("measure_chain").main([*ways, *options])
    figures = json.loads((tmp_path / "o.json").read_text())
    assert list(figures) == ways
    for own in figures.values():
        assert len(own["molecules"]) == 2 and own["ms"] > 0
        assert all(0 < row["AMR-R"] < 3 for row in own["molecules"])
    first, second = capsys.readouterr().out.splitlines()[1:]
    assert "+-" not in first and second.count("+-") == 6 and "n 2" in second
    both = [[row["AMR-R"] for row in own["molecules"]] for own in figures.values()]
    assert f"({np.mean(np.subtract(both[1], both[0])):+.3f}" in second


def test_options_are_read_as_those_of_set() -> None:
    read = tool("measure_chain").options_of
    assert read("default") == ("default", {})
    assert read("default:effort=4,select=energy,refiner=null,cross=false") == (
        "default",
        {"effort": 4, "select": "energy", "refiner": None, "cross": False},
    )


def test_references_for_choices_are_of_the_validation_part() -> None:
    known = references(tool("measure_chain").VALIDATION, None)
    assert len(known) == 20 and sum(len(x) for _, x in known) == 409
    assert {held_out(flat_smiles(molecule)) for molecule, _ in known} == {"val"}

"""The drug-size rows of the conformer bench: where their references are, and every stage's
row with counts and standard errors.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from equidrift.adapters.rdkit.etkdg import ETKDGMMFF
from equidrift.bench import conformers
from equidrift.bench.machine import silent
from equidrift.records import Molecule
from equidrift.registry import make_model


@pytest.mark.long
def test_drug_size_rows_have_errors_and_counts_for_every_stage(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    chosen = ("etkdg-mmff", "no-refiner", "selection-alone")
    monkeypatch.setattr(
        conformers, "DRUG_ROWS", {name: conformers.DRUG_ROWS[name] for name in chosen}
    )
    rng = np.random.default_rng(0)
    systems = []
    for smiles in ("CCCCO", "CCOCC"):
        molecule = Molecule.from_smiles(smiles)
        known = ETKDGMMFF().sample(molecule, np.arange(2))
        systems.append((molecule, known + rng.normal(0, 0.01, known.shape)))
    found = {row["row"]: row["values"] for row in conformers.drug_rows(systems, silent)}
    assert set(found) == {f"zinc-val/{name}" for name in chosen}
    for values in found.values():
        assert values["n"] == values["molecules"] == 2 and values["conformers"] == 8
        assert {"AMR-R_se", "COV-R@0.25_se", "COV-R@0.75_se"} <= set(values)


def test_drug_size_references_are_read_where_they_are(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert conformers.drug_file(tmp_path) is None
    for folder in ("runs", "gfn2_conformers"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "zinc_val.npz").touch()
        found = conformers.drug_file(tmp_path)
        assert found is not None and found.parent.name == folder


@pytest.mark.parametrize("label", conformers.DRUG_ROWS)
def test_every_stage_of_the_ablation_can_be_made(label: str) -> None:
    name, options, _ = conformers.DRUG_ROWS[label]
    assert make_model(name, **options).name

"""SMILES that the default model refused or made with wrong bonds once (issue 12, part D)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import equidrift
from equidrift.errors import NoValidSamplesError
from equidrift.records import Molecule

CASES = Path(__file__).parents[1] / "data" / "cases"
# bonds by their elements and order: the lengths that the README of the case asks for, in A
LENGTHS_A = {
    ("P", "O", 1.0): (1.54, 1.72),
    ("P", "S", 1.0): (2.00, 2.20),
    ("P", "S", 2.0): (1.85, 2.02),
    ("P", "N", 1.0): (1.60, 1.75),
    ("P", "C", 1.0): (1.74, 1.93),
    ("C", "I", 1.0): (2.02, 2.25),
    ("B", "C", 1.0): (1.50, 1.68),
    ("B", "F", 1.0): (1.30, 1.46),
}
ENTRIES = [
    pytest.param(*line.split()[:1], id=f"{case}-{line.split()[-1]}")
    for case in ("C01", "C02", "C03", "C05", "C07", "C08", "C11", "C16")
    for folder in CASES.glob(f"{case}-*")
    for line in (folder / "in.smi").read_text().splitlines()
    if line.strip()
]


@pytest.mark.long
@pytest.mark.parametrize("smiles", ENTRIES)
def test_case_is_sampled_with_bonds_of_the_right_length(smiles: str) -> None:
    ensemble = equidrift.sample(smiles, 1, timeout_s=60)
    assert ensemble.valid.all()
    molecule, x = ensemble.molecule, ensemble.positions_A[0]
    for (i, j), order in zip(molecule.bonds.tolist(), molecule.bond_orders.tolist(), strict=True):
        pair = (molecule.symbols[i], molecule.symbols[j])
        window = LENGTHS_A.get((*pair, order)) or LENGTHS_A.get((*pair[::-1], order))
        if window:
            assert window[0] < np.linalg.norm(x[i] - x[j]) < window[1], (pair, order)


def test_case_of_one_atropisomer_keeps_its_hand() -> None:
    (folder,) = CASES.glob("C10-*")
    smiles = (folder / "in.smi").read_text().rsplit(maxsplit=1)[0]
    molecule = Molecule.from_smiles(smiles)
    assert molecule.name == "" and len(molecule.axial) == 1


def test_cage_that_hung_once_is_sampled_within_its_time_limit() -> None:
    ensemble = equidrift.sample("C19=CC2C3C94C1C2N34", 1, timeout_s=60)
    assert ensemble.valid.all()


IMPOSSIBLE = [
    pytest.param(*line.split()[:1], id=line.split()[-1])
    for folder in CASES.glob("C13-*")
    for line in (folder / "in.smi").read_text().splitlines()
]


@pytest.mark.long
@pytest.mark.parametrize("smiles", IMPOSSIBLE)
def test_case_that_cannot_be_embedded_is_given_up_after_one_try_of_each_setting(
    smiles: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from equidrift.adapters.rdkit import rungs

    asked: list[int] = []
    embed = rungs.rdDistGeom.EmbedMultipleConfs

    def counted(mol: Any, count: int, options: Any) -> Any:
        asked.append(count * options.maxIterations)
        return embed(mol, count, options)

    monkeypatch.setattr(rungs.rdDistGeom, "EmbedMultipleConfs", counted)
    with pytest.raises(NoValidSamplesError, match="too strained to exist"):
        equidrift.sample(smiles, 20)
    assert sum(asked) <= 400, "20 conformers, of 8 candidates each, cost what one costs"

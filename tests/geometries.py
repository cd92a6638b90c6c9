"""Geometries that data of trainings is made of, as RDKit 2026.9.1 embedded them.

RDKit embeds the same molecule at the same seed otherwise in another release, and with
the data the losses change that `tests/data/pins.json` holds. Other molecules are embedded
by the RDKit that is there. `tools/make_pins.py` writes down what is missing.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from equidrift.adapters.rdkit.etkdg import ETKDG
from equidrift.records import Molecule

FILE = Path(__file__).parent / "data" / "geometries.json"
ASKED: set[tuple[str, int]] = set()  # what was looked for, so that the tool can write it down


@cache
def _kept() -> dict[str, list[list[float]]]:
    kept: dict[str, list[list[float]]] = json.loads(FILE.read_text()) if FILE.is_file() else {}
    return kept


def geometry_of(smiles: str, seed: int) -> tuple[Molecule, NDArray[np.float64]]:
    """A molecule and its geometry (n_atoms, 3) in A, kept or embedded at the seed."""
    ASKED.add((smiles, seed))
    molecule = Molecule.from_smiles(smiles)
    kept = _kept().get(f"{smiles} {seed}")
    if kept is not None:
        return molecule, np.array(kept, np.float64)
    return molecule, ETKDG().sample(molecule, np.array([seed]))[0]


def write_missing() -> None:
    """Write down the geometries that were asked for."""
    asked = {f"{smiles} {seed}": geometry_of(smiles, seed)[1].tolist() for smiles, seed in ASKED}
    FILE.write_text(json.dumps(dict(sorted((_kept() | asked).items()))) + "\n")

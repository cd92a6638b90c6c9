"""What the frames of a Universe tell of conformers beside their positions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from equidrift.files.fields import shared_and_own
from equidrift.records import TITLE, Ensemble

Frames = Sequence[Mapping[str, Any]]


def with_data(ensemble: Ensemble, data: Frames) -> Ensemble:
    """An ensemble with what each frame's `ts.data` holds of it.

    Parameters
    ----------
    ensemble : Ensemble
        Graph and positions of a Universe.
    data : sequence of mapping
        `ts.data` of each frame. What is missing in one frame is left out of all.
    """
    seeds, valid = _column(data, "seed"), _column(data, "valid")
    energies, log_prob = _column(data, "energy_eV"), _column(data, "log_prob")
    names, smiles = _column(data, "name"), _column(data, "smiles")
    same, own = shared_and_own(_mappings(data, "properties"))
    if names is not None and len(set(names)) > 1:
        own[TITLE] = list(map(str, names))
    molecule = ensemble.molecule.replace(
        properties=same,
        name=str(names[0]) if names is not None and TITLE not in own else "",
        smiles="" if smiles is None else str(smiles[0]),
    )
    scores = _mappings(data, "scores")
    common = [name for name in scores[0] if all(name in row for row in scores)]
    return ensemble.replace(
        molecule=molecule,
        seeds=None if seeds is None else np.array(seeds, np.int64),
        valid=None if valid is None else np.array(valid, bool),
        energies_eV=None if energies is None else np.array(energies, np.float64),
        log_prob=None if log_prob is None else np.array(log_prob, np.float64),
        scores={name: np.array([row[name] for row in scores]) for name in common},
        properties=own,
    )


def _column(data: Frames, name: str) -> list[Any] | None:
    """A value of each frame, None if one has none."""
    return [row[name] for row in data] if all(name in row for row in data) else None


def _mappings(data: Frames, name: str) -> list[dict[str, Any]]:
    """A mapping of each frame, empty if it has none."""
    found = [row.get(name) for row in data]
    return [dict(value) if isinstance(value, Mapping) else {} for value in found]

"""What a Universe knows of conformers beside their positions: numbers in `ts.data`, as
MDAnalysis' writers take them, and words in the reader.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from equidrift.files.fields import properties_of, shared_and_own, titles_of
from equidrift.records import TITLE, Ensemble

FrameData = Sequence[Mapping[str, Any]]  # of each frame


@dataclass(frozen=True)
class Carried:
    """What of an ensemble is no number of a frame.

    Parameters
    ----------
    scores : tuple of str
        Names of the scores, whose values are in `ts.data`.
    names : tuple of str
        Title of each frame.
    smiles : str
        Of the molecule.
    properties : tuple of dict
        Name -> text of each frame, those of the molecule among them.
    """

    scores: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    smiles: str = ""
    properties: tuple[dict[str, str], ...] = ()

    @classmethod
    def of(cls, ensemble: Ensemble) -> Carried:
        """What an ensemble holds of it."""
        return cls(
            tuple(ensemble.scores),
            tuple(titles_of(ensemble)),
            ensemble.molecule.smiles,
            tuple(properties_of(ensemble)),
        )


def with_data(ensemble: Ensemble, data: FrameData, carried: Carried) -> Ensemble:
    """An ensemble with what is known of its frames.

    Parameters
    ----------
    ensemble : Ensemble
        Graph and positions of a Universe.
    data : sequence of mapping
        `ts.data` of each frame. A number that is missing in one frame is left out of
        all.
    carried : Carried
        Of the Universe's reader.
    """
    seeds, valid = _column(data, "seed"), _column(data, "valid")
    energies, log_prob = _column(data, "energy_eV"), _column(data, "log_prob")
    scores = {name: _column(data, name) for name in carried.scores}
    same, own = shared_and_own(carried.properties) if carried.properties else ({}, {})
    names = carried.names
    if len(set(names)) > 1:
        own[TITLE] = list(names)
    molecule = ensemble.molecule.replace(
        properties=same,
        name=names[0] if names and TITLE not in own else "",
        smiles=carried.smiles,
    )
    return ensemble.replace(
        molecule=molecule,
        seeds=None if seeds is None else np.array(seeds, np.int64),
        valid=None if valid is None else np.array(valid, bool),
        energies_eV=None if energies is None else np.array(energies, np.float64),
        log_prob=None if log_prob is None else np.array(log_prob, np.float64),
        scores={name: np.array(row) for name, row in scores.items() if row is not None},
        properties=own,
    )


def _column(data: FrameData, name: str) -> list[Any] | None:
    """A number of each frame, None if one has none."""
    return [row[name] for row in data] if all(name in row for row in data) else None

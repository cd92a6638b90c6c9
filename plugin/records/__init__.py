"""The records that flow between hosts and models: Molecule, Ensemble, Trajectory,
Proposal. Immutable; A, eV, fs, K.
"""

from __future__ import annotations

from equidrift.frozen import Frozen
from equidrift.molecule import (
    LABELS,
    MAX_ATOM_MAP,
    MAX_CHARGE,
    MAX_ISOTOPE,
    MAX_MULTIPLICITY,
    ORDERS,
    SYMBOLS,
    Molecule,
)
from equidrift.records.ensemble import Ensemble
from equidrift.records.geometries import Geometries
from equidrift.records.moves import Chunk, Frames, Proposal
from equidrift.records.trajectory import Trajectory

__all__ = [
    "LABELS",
    "MAX_ATOM_MAP",
    "MAX_CHARGE",
    "MAX_ISOTOPE",
    "MAX_MULTIPLICITY",
    "ORDERS",
    "SYMBOLS",
    "TITLE",
    "Chunk",
    "Ensemble",
    "Frames",
    "Frozen",
    "Geometries",
    "Molecule",
    "Proposal",
    "Trajectory",
]
TITLE = "_Name"  # among the properties of conformers: the titles, if each has its own

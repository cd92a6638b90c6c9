"""Relaxation by name, and pruning of near-duplicates behind it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from equidrift.engine import Relax
from equidrift.errors import InputError, UnknownNameError
from equidrift.records import Ensemble
from equidrift.registry import resolve

# name -> "module:function"; function(molecule, positions_A) -> (positions_A, energies_eV)
RELAXATIONS = {"mmff": "equidrift.adapters.rdkit_etkdg:mmff_relax", "gfn2": "equidrift.adapters.ase_gfn2:gfn2_relax"}


def make_relax(name: Any) -> Relax | None:
    """The relaxation of that name, None for "none".

    Raises
    ------
    UnknownNameError
        with the nearest name. MissingDependencyError for "gfn2" without tblite.
    """
    if name in (None, "none"):
        return None
    if name not in RELAXATIONS:
        raise UnknownNameError("relaxation", str(name), ["none", *RELAXATIONS])
    if name == "gfn2":
        resolve("equidrift.adapters.ase_gfn2:require_tblite")()
    relax: Relax = resolve(RELAXATIONS[name])
    return relax


def check_threshold(rms_A: float | None) -> float | None:
    """Return a pruning threshold, or raise `InputError` where it is not a number above 0."""
    if rms_A is None:
        return None
    if isinstance(rms_A, bool) or not isinstance(rms_A, int | float | np.number) or not (0 < rms_A < math.inf):
        raise InputError(f"prune_rms_A must be a number of A above 0, or None to keep everything; got {rms_A!r}")
    return float(rms_A)


def prune(ensemble: Ensemble, rms_A: float) -> Ensemble:
    """Keep conformers that differ from every kept one by at least `rms_A` in heavy-atom RMSD over all symmetries.

    Those of low energy are kept first where energies are known, else those that come first. The provenance counts what went.

    Parameters
    ----------
    ensemble : conformers, relaxed before this where they are to be relaxed at all.
    rms_A : threshold.
    """
    threshold = check_threshold(rms_A)
    n = len(ensemble)
    order = np.arange(n) if ensemble.energies_eV is None else np.argsort(ensemble.energies_eV, kind="stable")
    keep = resolve("equidrift.adapters.rdkit_rmsd:distinct")(ensemble.molecule, ensemble.positions_A, threshold, order)
    pruned = ensemble[np.flatnonzero(keep)]
    return pruned.replace(provenance={**ensemble.provenance, "prune_rms_A": threshold, "pruned": n - len(pruned)})

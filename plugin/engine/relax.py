"""Relaxation by name, and pruning of near-duplicates after it."""

from __future__ import annotations

import math
from functools import partial
from typing import cast

import numpy as np

from equidrift.engine.diversity import count_repeats
from equidrift.engine.repeats import distinct
from equidrift.errors import InputError, InputTypeError
from equidrift.protocols import Relax
from equidrift.records import Ensemble
from equidrift.registry import (
    RELAXATION_MAKERS,
    RELAXATIONS,
    check_relaxation,
    host_function,
    relaxation_kind,
    resolve,
)
from equidrift.text import counted


def make_relax(name: str | None, solvent: str | None = None) -> Relax | None:
    """The relaxation of that name, None for "none".

    Parameters
    ----------
    name : str or None
        "none", "mmff", "gfn2"; "ase:MODULE:FACTORY", whose FACTORY() is an ASE
        calculator; or "openmmml:NAME", a potential of openmmml.
    solvent : str, optional
        Implicit solvent (ALPB) of "gfn2", say "water".

    Raises
    ------
    UnknownNameError
        For another name, with the nearest one.
    InputError
        For a calculator or potential that cannot be made, or a solvent that the
        relaxation does not take; InputTypeError if the name is no string.
    MissingDependencyError
        For "gfn2" without tblite, "openmmml:" without openmmml.
    """
    relax = _relaxation("none" if name is None else name)
    if solvent is None:
        return relax
    if name != "gfn2":
        raise InputError(
            f"solvent={solvent!r} needs the relaxation 'gfn2', whose energies it changes, not "
            f"{name!r}; give relax='gfn2' as well, or leave solvent out"
        )
    if not isinstance(solvent, str):
        raise InputTypeError(f"solvent must be a name such as 'water', not {solvent!r}")
    host_function("ase", "check_solvent")(solvent)
    return partial(cast(Relax, relax), solvent=solvent)


def _relaxation(name: str) -> Relax | None:
    """The relaxation of a name, in vacuum."""
    if not isinstance(name, str):
        raise InputTypeError(f"relax must be a name such as 'mmff', not {name!r}")
    if check_relaxation(name) == "none":
        return None
    if kind := relaxation_kind(name):
        made: Relax = resolve(RELAXATION_MAKERS[kind])(name.removeprefix(f"{kind}:"))
        return made
    if name == "gfn2":
        host_function("ase", "require_tblite")()
    found: Relax = resolve(RELAXATIONS[name])
    return found


DISTINCT_RMS_A = 0.25  # heavy atoms, over all symmetries: two rotamers are farther apart


def distinct_threshold(distinct: bool, prune_rms_A: float | None) -> float | None:
    """The pruning threshold of a request for distinct conformers, None for none.

    Raises
    ------
    InputError
        For both, a threshold that is no number above 0; InputTypeError if `distinct` is
        no bool.
    """
    threshold = check_threshold(prune_rms_A)
    if not isinstance(distinct, bool):
        raise InputTypeError(f"distinct must be True or False, not {distinct!r}")
    if not distinct:
        return threshold
    if threshold is not None:
        raise InputError(
            f"distinct prunes at {DISTINCT_RMS_A} A, and prune_rms_A={threshold:g} at another "
            "distance; give one of them"
        )
    return DISTINCT_RMS_A


def check_threshold(rms_A: float | None) -> float | None:
    """Return a pruning threshold, or raise `InputError` if it is not a number above
    0.
    """
    if rms_A is None:
        return None
    if (
        isinstance(rms_A, bool)
        or not isinstance(rms_A, int | float | np.number)
        or not (0 < rms_A < math.inf)
    ):
        raise InputError(
            f"prune_rms_A must be a number of A above 0, or None to keep everything; got {rms_A!r}"
        )
    return float(rms_A)


def by_energy(
    ensemble: Ensemble, *, sort: bool = True, window_kcal_mol: float | None = None
) -> Ensemble:
    """The conformers in order of energy, those too far above the lowest left out.

    Parameters
    ----------
    ensemble : Ensemble
        With `scores["relative_energy_kcal_mol"]`.
    sort : bool
        Put the lowest first.
    window_kcal_mol : float or None
        Keep conformers up to this far above the lowest, None for all. One without
        energy is kept last.

    Raises
    ------
    InputError
        If the ensemble has no energies, or the window is no number above 0.
    """
    check_window(window_kcal_mol)
    relative = ensemble.scores.get("relative_energy_kcal_mol")
    if relative is None:
        model = ensemble.provenance.get("model", "?")
        raise InputError(
            f"the model {model!r} gives no energies to sort by; relax with mmff or gfn2, or use "
            "model='default'"
        )
    order = np.argsort(relative, kind="stable") if sort else np.arange(len(ensemble))
    if window_kcal_mol is not None:
        order = order[~(relative[order] > window_kcal_mol)]
    return ensemble[order]


def check_sort(sort: str | None) -> None:
    """Refuse an order of conformers that is none."""
    if sort not in (None, "energy"):
        raise InputError(f"sort must be 'energy', or None for the order of drawing, not {sort!r}")


def arranged(
    ensemble: Ensemble,
    prune_rms_A: float | None = None,
    sort: str | None = None,
    window_kcal_mol: float | None = None,
) -> Ensemble:
    """The conformers that are wanted of those drawn: distinct, low in energy, in order;
    provenance["repeats"] counts those that differ in no torsion from one before them.

    Parameters
    ----------
    ensemble : Ensemble
        As drawn.
    prune_rms_A : float or None
        Remove conformers closer than this to one lower in energy; None for none.
    sort : str or None
        "energy" for the lowest first, None for the order of drawing.
    window_kcal_mol : float or None
        Leave out conformers farther than this above the lowest; None for none.

    Raises
    ------
    InputError
        If it is to be sorted or cut by energies that it does not have.
    """
    kept = ensemble if prune_rms_A is None else prune(ensemble, prune_rms_A)
    if sort is not None or window_kcal_mol is not None:
        kept = by_energy(kept, sort=sort is not None, window_kcal_mol=window_kcal_mol)
    repeats = count_repeats(kept.molecule, kept.positions_A)
    return kept.replace(provenance={**kept.provenance, "repeats": repeats})


def check_window(window_kcal_mol: float | None) -> None:
    """Refuse an energy window that is no number above 0."""
    number = isinstance(window_kcal_mol, int | float | np.number) and not isinstance(
        window_kcal_mol, bool
    )
    if window_kcal_mol is not None and not (number and 0 < window_kcal_mol < math.inf):
        raise InputError(
            f"window must be a number of kcal/mol above 0, or None for all; got {window_kcal_mol!r}"
        )


def prune(ensemble: Ensemble, rms_A: float) -> Ensemble:
    """Keep conformers that differ from every kept one by at least `rms_A` in heavy-atom
    RMSD over all symmetries.

    Those of low energy are kept first if energies are known, else those that come
    first. The provenance counts what went.

    Parameters
    ----------
    ensemble : Ensemble
        Conformers, relaxed before this if they are to be relaxed at all.
    rms_A : float
        Threshold.
    """
    check_threshold(rms_A)
    threshold, n = float(rms_A), len(ensemble)
    keep = distinct(ensemble.molecule, ensemble.positions_A, ensemble.energies_eV, threshold)
    pruned = ensemble[np.flatnonzero(keep)]
    notes = list(ensemble.provenance.get("notes", ()))
    if len(pruned) < n:
        notes.append(
            f"{len(pruned)} of {counted(n, 'conformer')} differ by {threshold:g} A or more"
        )
    return pruned.replace(
        provenance={
            **ensemble.provenance,
            "prune_rms_A": threshold,
            "pruned": n - len(pruned),
            **({"notes": notes} if notes else {}),
        }
    )

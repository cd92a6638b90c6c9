"""How good a set of generated molecules is: stability by bonds and by distances apart,
validity, uniqueness, novelty, distributions.

Shares are of all samples, those that are no molecule included, and nothing is filtered
or matched in size before it is counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from equidrift.adapters.ase.xtb import gfn2_relax
from equidrift.adapters.rdkit.rmsd import rmsd_matrix
from equidrift.adapters.rdkit.validity import kekulised, perceived, posebusters_failures
from equidrift.bench.rows import medians, shares
from equidrift.checks.geometry import NO_COORDINATES, REASONS
from equidrift.checks.molecule import Draw, Raw, judge
from equidrift.checks.valency import atoms_stable, edm_atoms_stable
from equidrift.errors import InputError, MoleculeError
from equidrift.graph import fragments
from equidrift.records import Molecule
from equidrift.units import KCAL_MOL_PER_EV

BINS = 50
Each = Callable[[Callable[[Any], Any], Sequence[Any]], Iterable[Any]]
_EDM_ELEMENTS = {1, 6, 7, 8, 9}


def stability(raws: Sequence[Raw | None]) -> dict[str, float]:
    """Atoms and molecules, in %, that are stable by their explicit bonds and by EDM's
    look-up, and molecules that hang together.

    A sample that is no molecule counts as an unstable one; its atoms are not there to
    be counted.
    """
    counts: Counter[str] = Counter()
    for raw in raws:
        if raw is None or not raw[0].n_atoms:
            continue
        molecule, x = raw
        bonds, distances = (
            atoms_stable(_kekulised(molecule)),
            _edm(molecule, np.asarray(x, np.float64)),
        )
        counts.update(
            {"atoms": molecule.n_atoms, "stable": int(bonds.sum()), "edm": int(distances.sum())}
        )
        counts["molecule_stable"] += bool(bonds.all())
        counts["edm_molecules"] += bool(distances.all())
        counts["connected"] += len(set(fragments(molecule).tolist())) == 1
    atoms, samples = max(1, counts["atoms"]), max(1, len(raws))
    return {
        "atom_stability": 100.0 * counts["stable"] / atoms,
        "molecule_stability": 100.0 * counts["molecule_stable"] / samples,
        "edm_atom_stability": 100.0 * counts["edm"] / atoms,
        "edm_stability": 100.0 * counts["edm_molecules"] / samples,
        "connected": 100.0 * counts["connected"] / samples,
    }


def _kekulised(molecule: Molecule) -> Molecule:
    try:
        made: Molecule = kekulised(molecule)
    except MoleculeError:
        return molecule
    return made


def _edm(molecule: Molecule, x: NDArray[np.float64]) -> NDArray[np.bool_]:
    if (
        x.shape != (molecule.n_atoms, 3)
        or not np.isfinite(x).all()
        or set(molecule.numbers.tolist()) - _EDM_ELEMENTS
    ):
        return np.zeros(molecule.n_atoms, bool)
    return edm_atoms_stable(molecule.numbers, x)


def validity(
    raws: Sequence[Raw | None], known: Collection[str] = ()
) -> tuple[dict[str, float], list[Draw]]:
    """What is valid, unique and new, in % of all samples, and what became of each.

    Parameters
    ----------
    raws : sequence of Raw | None
        Samples as they were made.
    known : sequence of str, optional
        Canonical SMILES with stereo of the training molecules.

    Returns
    -------
    values : dict of str to float
        `valid`: the graph is connected, closed-shell, neutral, of right valences, and
        RDKit sanitises it; `sound`: valid, and its geometry passes the package's check;
        `valid_unique`: different valid molecules; `novel`: those of them, in %, that
        are not known.
    draws : list of Draw
        What became of each sample.
    """
    draws = [judge(raw) for raw in raws]
    graphs = [
        draw.molecule.smiles if draw.molecule is not None else _graph_smiles(raw, draw)
        for raw, draw in zip(raws, draws, strict=True)
    ]
    valid = [smiles for smiles in graphs if smiles]
    unique = set(valid)
    samples = max(1, len(raws))
    values = {
        "valid": 100.0 * len(valid) / samples,
        "sound": 100.0 * sum(not draw.reason for draw in draws) / samples,
        "valid_unique": 100.0 * len(unique) / samples,
    }
    if known:
        values["novel"] = 100.0 * len(unique - set(known)) / max(1, len(unique))
    return values, draws


def _graph_smiles(raw: Raw | None, draw: Draw) -> str:
    """SMILES of a sample that failed for its geometry alone, which validity does not
    ask for; empty for one that failed before.
    """
    if raw is None or draw.reason not in REASONS or draw.reason == NO_COORDINATES:
        return ""
    return str(perceived(_kekulised(raw[0]), np.asarray(raw[1], np.float64)).smiles)


def wasserstein(first: ArrayLike, second: ArrayLike) -> float:
    """Earth mover's distance of two sets of numbers, in their unit.

    Raises `InputError` if one is empty or not finite.
    """
    a, b = _checked(first), _checked(second)
    points = np.sort(np.concatenate([a, b]))
    below = [
        np.searchsorted(np.sort(values), points[:-1], side="right") / len(values)
        for values in (a, b)
    ]
    return float((np.abs(below[0] - below[1]) * np.diff(points)).sum())


def total_variation(first: ArrayLike, second: ArrayLike, bins: int = BINS) -> float:
    """Half the L1 distance of two histograms over their common range, 0 to 1.

    Errors as `wasserstein`.
    """
    a, b = _checked(first), _checked(second)
    limits = (min(a.min(), b.min()), max(a.max(), b.max()))
    if limits[0] == limits[1]:
        return 0.0
    shares = [np.histogram(values, bins, limits)[0] / len(values) for values in (a, b)]
    return float(np.abs(shares[0] - shares[1]).sum() / 2)


def _checked(values: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(values, np.float64).ravel()
    if not len(array) or not np.isfinite(array).all():
        raise InputError(
            "a distance of distributions needs at least one number on each side, and finite ones"
        )
    return array


def distributions(
    made: dict[str, NDArray[np.float64]], reference: dict[str, NDArray[np.float64]]
) -> dict[str, float]:
    """`NAME_W`, the Wasserstein distance, and `NAME_TV`, the total variation, of each
    quantity that both have; NaN entries are left out.
    """
    out: dict[str, float] = {}
    for name, values in made.items():
        a, b = (side[np.isfinite(side)] for side in (values, reference.get(name, np.zeros(0))))
        if len(a) and len(b):
            out |= {f"{name}_W": wasserstein(a, b), f"{name}_TV": total_variation(a, b)}
    return out


def relaxation(systems: Sequence[Raw], each: Each = map) -> dict[str, float]:
    """How far GFN2-xTB moves molecules to its nearest minimum (median heavy-atom RMSD),
    and the energy that it releases (median).

    Parameters
    ----------
    each : Each, optional
        What applies a function to each of several, such as a process pool's `map`.

    Raises
    ------
    MissingDependencyError
        If tblite is not installed.
    """
    done = np.array(list(each(relaxed, systems))).reshape(-1, 2)
    done = done[np.isfinite(done).all(1)]
    if not len(done):
        return {}
    values = medians({"relax_rmsd_A": done[:, 0], "relax_kcal_mol": done[:, 1]})
    return values | {"relaxed": len(done)}


def relaxed(system: Raw) -> tuple[float, float]:
    """(heavy-atom RMSD in A, energy released in kcal/mol) of a relaxation by GFN2-xTB;
    NaN if it failed.
    """
    molecule, x = system
    before = gfn2_relax(molecule, x[None], 0)[1][0]
    positions, after = gfn2_relax(molecule, x[None])
    if not (np.isfinite(before) and np.isfinite(after[0])):
        return np.nan, np.nan
    moved = float(rmsd_matrix(molecule, x[None], positions)[0, 0])
    return moved, float(before - after[0]) * KCAL_MOL_PER_EV


def busted(systems: Sequence[Raw], each: Each = map) -> dict[str, float]:
    """Share of molecules, in %, that pass all of PoseBusters' checks; `each` as in
    `relaxation`.

    Raises
    ------
    MissingDependencyError
        If posebusters is not installed.
    """
    failed = list(each(posebusters_failures, [[system] for system in systems]))
    if not failed:
        return {}
    return shares({"posebusters": [not names for (names,) in failed]}) | {"busted": len(failed)}

"""How long a bond should be: GFN2-xTB reference lengths by environment, from
`bond_lengths.json`.

An environment is the two elements, the number of neighbours each has, and the bond
order. The table is made by `tools/make_bond_table.py` from small molecules. A bond of
an environment that is not in it takes the references of all environments of its
elements and order; a pair of elements that is not in it at all takes a wide window
around the sum of its covalent radii.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import lru_cache
from importlib.resources import files

import numpy as np
from numpy.typing import NDArray

from equidrift.records import Molecule

SHORTEST, LONGEST = 0.90, 1.12  # of the reference length, within which a bond is sound
Environment = tuple[int, int, int, int, float]  # element and neighbours of both ends, order


@lru_cache(maxsize=1)
def _table() -> dict[Environment, tuple[float, float]]:
    """Shortest and longest reference in A of each environment."""
    text = (files("equidrift.checks") / "bond_lengths.json").read_text(encoding="utf-8")
    table = {}
    for key, (shortest, longest) in json.loads(text)["bonds_A"].items():
        first, second, order = key.split("-")
        ends = [int(number) for end in (first, second) for number in end.split(".")]
        table[(ends[0], ends[1], ends[2], ends[3], float(order))] = (shortest, longest)
    return table


@lru_cache(maxsize=1)
def _pairs() -> dict[tuple[int, int, float], tuple[float, float]]:
    """Shortest and longest reference in A of two elements and a bond order, over all
    environments.
    """
    pairs: dict[tuple[int, int, float], tuple[float, float]] = {}
    for (z, _, other, _, order), (shortest, longest) in _table().items():
        low, high = pairs.get((z, other, order), (shortest, longest))
        pairs[z, other, order] = (min(low, shortest), max(high, longest))
    return pairs


def environments(molecule: Molecule) -> list[Environment]:
    """The environment of each bond."""
    neighbours = np.bincount(molecule.bonds.reshape(-1), minlength=molecule.n_atoms)
    found: list[Environment] = []
    for (i, j), order in zip(molecule.bonds.tolist(), molecule.bond_orders.tolist(), strict=True):
        (z, n), (w, m) = sorted((int(molecule.numbers[k]), int(neighbours[k])) for k in (i, j))
        found.append((z, n, w, m, float(order)))
    return found


def _reference(environment: Environment) -> tuple[float, float]:
    z, _, other, _, order = environment
    missing = (np.nan, np.nan)
    return _table().get(environment) or _pairs().get((z, other, order), missing)


def references_A(molecule: Molecule) -> NDArray[np.float64]:
    """(m, 2) shortest and longest GFN2-xTB reference of each bond's environment; NaN
    for elements without one.
    """
    rows: Iterable[tuple[float, float]] = map(_reference, environments(molecule))
    return np.array(list(rows), np.float64).reshape(-1, 2)


def is_known(molecule: Molecule) -> NDArray[np.bool_]:
    """(m,) whether the very environment of each bond has a reference."""
    return np.array([environment in _table() for environment in environments(molecule)], bool)

"""Whether atoms, bonds and charges make a closed-shell molecule, told from the explicit
bonds; and EDM's test, from distances alone.

The two stability metrics are not comparable and are always reported apart. The first
takes the bonds that a model made and asks that each atom's bond orders fit its formal
charge, one octet rule an element and charge, so that a radical or an atom with the
wrong charge never counts as stable (the flaw that PropMolFlow found in tables which
allow, say, a neutral carbon with three bonds). The second is the look-up of Hoogeboom
et al. (ICML 2022): it knows no charges, and calls 95 % of QM9's own molecules stable.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from equidrift.errors import InputError
from equidrift.graph import fragments
from equidrift.records import SYMBOLS, Molecule

# (element, formal charge) -> sums of bond orders of a closed shell
VALENCES: dict[tuple[int, int], tuple[int, ...]] = {
    (1, 0): (1,), (1, 1): (0,), (1, -1): (0,),
    (5, 0): (3,), (5, -1): (4,),
    (6, 0): (4,), (6, 1): (3,), (6, -1): (3,),
    (7, 0): (3,), (7, 1): (4,), (7, -1): (2,), (7, -2): (1,),
    (8, 0): (2,), (8, 1): (3,), (8, -1): (1,), (8, -2): (0,),
    (9, 0): (1,), (9, -1): (0,),
    (14, 0): (4,), (15, 0): (3, 5), (15, 1): (4,), (15, -1): (2,),
    (16, 0): (2, 4, 6), (16, 1): (3, 5), (16, -1): (1,), (16, -2): (0,),
    (17, 0): (1,), (17, -1): (0,), (35, 0): (1,), (35, -1): (0,), (53, 0): (1,), (53, -1): (0,),
}  # fmt: skip

DISCONNECTED = "not connected"
VALENCY = "valency"
OPEN_SHELL = "open shell"
NET_CHARGE = "net charge"
GRAPH_REASONS = (DISCONNECTED, OPEN_SHELL, NET_CHARGE, VALENCY)

# Typical bond lengths in pm of EDM's protocol by order, for H C N O F, and how much longer a bond
# may be. 0 is no such bond.
_EDM_NUMBERS = (1, 6, 7, 8, 9)
_EDM_LENGTHS_PM = np.array(
    [
        [
            [74, 109, 101, 96, 92],
            [109, 154, 147, 143, 135],
            [101, 147, 145, 140, 136],
            [96, 143, 140, 148, 142],
            [92, 135, 136, 142, 142],
        ],
        [
            [0, 0, 0, 0, 0],
            [0, 134, 129, 120, 0],
            [0, 129, 125, 121, 0],
            [0, 120, 121, 121, 0],
            [0, 0, 0, 0, 0],
        ],
        [
            [0, 0, 0, 0, 0],
            [0, 120, 116, 113, 0],
            [0, 116, 110, 0, 0],
            [0, 113, 0, 0, 0],
            [0, 0, 0, 0, 0],
        ],
    ],
    np.float64,
)
_EDM_MARGINS_PM = np.array([10.0, 5.0, 3.0])
_EDM_VALENCES = np.array([1, 4, 3, 2, 1])


def atoms_stable(molecule: Molecule) -> NDArray[np.bool_]:
    """Whether the bond orders of each atom fit its formal charge, (n_atoms,) bool.

    Aromatic bonds (order 1.5) have no sum that tells: such atoms count as unstable, so
    give a Kekulised molecule.
    """
    total = np.zeros(molecule.n_atoms)
    for (i, j), order in zip(molecule.bonds.tolist(), molecule.bond_orders.tolist(), strict=True):
        total[[i, j]] += order if order in (1.0, 2.0, 3.0) else np.nan
    known = zip(
        molecule.numbers.tolist(), molecule.formal_charges.tolist(), total.tolist(), strict=True
    )
    return np.array(
        [valence in VALENCES.get((z, charge), ()) for z, charge, valence in known], bool
    )


def is_stable(molecule: Molecule) -> bool:
    """Whether every atom is."""
    return bool(molecule.n_atoms and atoms_stable(molecule).all())


def open_shell(molecule: Molecule) -> bool:
    """Whether the electrons cannot all be paired: an odd number of them, or a
    multiplicity other than 1.
    """
    return molecule.multiplicity != 1 or (int(molecule.numbers.sum()) - molecule.charge) % 2 == 1


def graph_problem(molecule: Molecule) -> str:
    """The first thing wrong with a graph of explicit bonds: one of `GRAPH_REASONS`, the
    empty string if there is nothing.

    Neutral as a whole: what a model of neutral molecules makes with a net charge has
    lost or gained an electron.
    """
    if molecule.n_atoms == 0 or len(set(fragments(molecule).tolist())) != 1:
        return DISCONNECTED
    if open_shell(molecule):
        return OPEN_SHELL
    if molecule.charge:
        return NET_CHARGE
    return "" if is_stable(molecule) else VALENCY


def edm_orders(numbers: NDArray[np.int64], positions_A: NDArray[np.float64]) -> NDArray[np.int64]:
    """Bond orders (n, n) that EDM's look-up reads from distances, 0 for no bond.

    Raises
    ------
    InputError
        For an element the table does not have: it is H, C, N, O and F.
    """
    if unknown := sorted(set(np.asarray(numbers).tolist()) - set(_EDM_NUMBERS)):
        names = ", ".join(SYMBOLS[z] for z in unknown)
        raise InputError(
            f"EDM's table of bond lengths has H, C, N, O and F, not {names}; judge such molecules "
            "by their explicit bonds"
        )
    kind = np.searchsorted(_EDM_NUMBERS, numbers)
    distance_pm = 100.0 * np.linalg.norm(positions_A[:, None] - positions_A[None], axis=-1)
    typical = _EDM_LENGTHS_PM[:, kind[:, None], kind[None]]
    near = (typical > 0) & (distance_pm < typical + _EDM_MARGINS_PM[:, None, None])
    orders = np.where(near[0], np.where(near[1], np.where(near[2], 3, 2), 1), 0)
    np.fill_diagonal(orders, 0)
    return orders.astype(np.int64)


def edm_atoms_stable(
    numbers: NDArray[np.int64], positions_A: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Whether each atom has its usual valence by `edm_orders`; formal charges do not
    exist here. Raises `InputError` as that does.
    """
    wanted = _EDM_VALENCES[np.searchsorted(_EDM_NUMBERS, numbers)]
    stable: NDArray[np.bool_] = edm_orders(numbers, positions_A).sum(1) == wanted
    return stable

"""Heavy atoms as tokens: a type is (element, formal charge, hydrogens carried), a pair
has a bond or none, positions are the heavy atoms'.

QM9's molecules have at most 9 such tokens but 18 atoms on average: pair tensors are a
quarter of the size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from equidrift.models.molecules.data import QM9
from equidrift.models.molecules.joint.alphabet import QM9_TOKENS, Alphabet
from equidrift.models.shared.batches import Batched

BONDS = 4  # none, single, double, triple: Kekulised
# of QM9, the alphabet where none is named
TYPES, TYPE_OF, MAX_HEAVY = QM9_TOKENS.types, QM9_TOKENS.type_of, QM9_TOKENS.most_heavy
CAPACITY = QM9_TOKENS.most  # bond orders that are left for bonds between heavy atoms


@dataclass
class Heavy(Batched):
    """Molecules as heavy tokens: types (b, n), bonds (b, n, n), x (b, n, 3) in A, mask
    (b, n), props (b, k), conditional (b,).

    `props` are in the order and units of `PROPERTIES`; `conditional` says whose may be
    learnt from.
    """

    types: Tensor
    bonds: Tensor
    x: Tensor
    mask: Tensor
    props: Tensor
    conditional: Tensor

    def take(self, rows: NDArray[np.int64]) -> Heavy:
        """The molecules of those rows, cut to the most tokens that one of them has."""
        index = torch.from_numpy(rows)
        n = int(self.mask[index].sum(1).max())
        return Heavy(
            self.types[index, :n],
            self.bonds[index, :n, :n],
            self.x[index, :n],
            self.mask[index, :n],
            self.props[index],
            self.conditional[index],
        )


def heavy_tokens(qm9: QM9, rows: NDArray[np.int64], *, conditional: NDArray[np.bool_]) -> Heavy:
    """The molecules `rows` of QM9, tokens centred and padded to `MAX_HEAVY`; molecules
    with another type or more tokens are left out.
    """
    return kept_tokens(qm9, rows, conditional=conditional)[0]


def kept_tokens(
    qm9: QM9, rows: NDArray[np.int64], *, conditional: NDArray[np.bool_]
) -> tuple[Heavy, NDArray[np.int64]]:
    """`heavy_tokens`, and which of the rows are in it."""
    types = np.zeros((len(rows), MAX_HEAVY), np.int64)
    bonds = np.zeros((len(rows), MAX_HEAVY, MAX_HEAVY), np.int64)
    x, mask = (
        np.zeros((len(rows), MAX_HEAVY, 3), np.float32),
        np.zeros((len(rows), MAX_HEAVY), bool),
    )
    keep = np.zeros(len(rows), bool)
    for r, k in enumerate(rows):
        atoms, edges = (
            slice(qm9.offset[k], qm9.offset[k + 1]),
            slice(qm9.bond_offset[k], qm9.bond_offset[k + 1]),
        )
        one = tokens_of(
            qm9.numbers[atoms],
            qm9.formal_charges[atoms],
            qm9.bonds[edges].astype(np.int64),
            qm9.bond_orders[edges],
        )
        if one is None or not 1 <= len(one[0]) <= MAX_HEAVY:
            continue
        n, place = len(one[0]), qm9.positions_A[atoms][one[2]]
        types[r, :n], bonds[r, :n, :n], x[r, :n], mask[r, :n] = (
            one[0],
            one[1],
            place - place.mean(0),
            True,
        )
        keep[r] = True
    tensors = [
        torch.from_numpy(a[keep])
        for a in (types, bonds, x, mask, qm9.props[rows].astype(np.float32), conditional)
    ]
    return Heavy(*tensors), rows[keep]


def tokens_of(
    numbers: NDArray[Any],
    charges: NDArray[Any],
    bonds: NDArray[np.int64],
    orders: NDArray[Any],
    alphabet: Alphabet = QM9_TOKENS,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]] | None:
    """(types (n,), bonds (n, n), the heavy atoms' indices (n,)) of a Kekulised graph,
    or None where it holds a type that is not known.
    """
    is_h = numbers == 1
    heavy = np.flatnonzero(~is_h)
    order = np.zeros((len(numbers), len(numbers)), np.int64)
    order[bonds[:, 0], bonds[:, 1]] = order[bonds[:, 1], bonds[:, 0]] = orders
    carried = (order[:, is_h] > 0).sum(1)
    try:
        types = [alphabet.type_of[int(numbers[i]), int(charges[i]), int(carried[i])] for i in heavy]
    except KeyError:
        return None
    return np.array(types, np.int64), order[np.ix_(heavy, heavy)], heavy


def property_scale(props: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation (12,) of the properties."""
    return props.mean(0), props.std(0)

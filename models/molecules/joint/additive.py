"""An additive estimate of a property, and the guidance that follows from it: what
MolJO's gradient does, in closed form.

Types and bonds each add their share to a property (group contributions, fitted by least
squares on the molecules that may be learnt from). Given the network's probabilities of
what is still hidden, the property is then a sum of independent terms, nearly normal,
and Bayes' rule says how much likelier a target makes each type and bond. What is not
additive (a dipole) has a wide residual and is left to the network.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from equidrift.models.molecules.joint.alphabet import QM9_TOKENS, Alphabet
from equidrift.models.molecules.joint.data import BONDS, Heavy

RIDGE = 1e-3


@dataclass(frozen=True)
class Additive:
    """Standardised properties as sums.

    Of k properties and the alphabet's kinds of types and e elements: offset (k,), types
    (k, kinds), bonds (k, 4, e, e) by order and elements; residual (k,), the deviation
    of what is not additive; element (kinds, e), that of each type.
    """

    offset: Tensor
    types: Tensor
    bonds: Tensor
    residual: Tensor
    element: Tensor

    @classmethod
    def fit(
        cls, data: Heavy, mean: Tensor, deviation: Tensor, alphabet: Alphabet = QM9_TOKENS
    ) -> Additive:
        """Least squares over `data`."""
        kinds = functional.one_hot(data.types, len(alphabet.types)).double() * data.mask[..., None]
        counts = _pair_counts(
            kinds @ _elements(alphabet).double(),
            functional.one_hot(data.bonds, BONDS)[..., 1:].double(),
        )
        rows = torch.cat([kinds.new_ones(len(data), 1), kinds.sum(1), counts], dim=1)
        wanted = ((data.props - mean) / deviation).double()
        unit = torch.eye(rows.shape[1], dtype=rows.dtype, device=rows.device)
        normal = rows.T @ rows + RIDGE * len(rows) / rows.shape[1] * unit
        solved = torch.linalg.solve(normal, rows.T @ wanted)
        residual = (rows @ solved - wanted).square().mean(0).sqrt()
        return cls.of({"solved": solved.T.tolist(), "residual": residual.tolist()}, alphabet)

    @classmethod
    def of(cls, card: dict[str, list[Any]], alphabet: Alphabet = QM9_TOKENS) -> Additive:
        """From the numbers of a card."""
        solved = torch.tensor(card["solved"], dtype=torch.float32, device="cpu")
        kinds, elements = len(alphabet.types), len(alphabet.elements)
        bonds = torch.zeros(len(solved), BONDS, elements, elements, device="cpu")
        of_pairs = solved[:, 1 + kinds :].view(len(solved), -1, BONDS - 1)
        for k, (e, f) in enumerate(_pairs(elements)):
            bonds[:, 1:, e, f] = bonds[:, 1:, f, e] = of_pairs[:, k]
        return cls(
            solved[:, 0],
            solved[:, 1 : 1 + kinds],
            bonds,
            torch.tensor(card["residual"], device="cpu"),
            _elements(alphabet),
        )

    def card(self) -> dict[str, list[Any]]:
        """The numbers for a card."""
        columns = [self.bonds[:, 1:, e, f] for e, f in _pairs(self.element.shape[1])]
        pairs = torch.stack(columns, dim=1).flatten(1)
        return {
            "solved": torch.cat([self.offset[:, None], self.types, pairs], dim=1).tolist(),
            "residual": self.residual.tolist(),
        }

    def gains(
        self, types: Tensor, bonds: Tensor, values: Tensor, given: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Log-likelihood gains of types (b, n, kinds) and, symmetric, of bonds (b, n, n,
        4), by the targets (b, k) that are given.

        types, bonds : probabilities, of padding zero; a variable that is known has a
            single one.
        """
        element = self.element.to(types)
        elements = types @ element
        gain_types, gain_bonds = torch.zeros_like(types), torch.zeros_like(bonds)
        upper = torch.ones(bonds.shape[1], bonds.shape[1], device=bonds.device).triu(1)
        for k in torch.nonzero(given.any(0))[:, 0].tolist():
            table = self.bonds[k].to(bonds)
            of_bonds = torch.einsum("bie,oef,bjf->bijo", elements, table, elements)
            of_elements = torch.einsum("bijo,oef,bjf->bie", bonds, table, elements)
            of_types = self.types[k].to(types) + of_elements @ element.T
            mean_t, mean_b = (types * of_types).sum(-1), (bonds * of_bonds).sum(-1)
            own = (types * self.types[k].to(types)).sum((1, 2))
            expected = self.offset[k].to(types) + own + (mean_b * upper).sum((1, 2))
            spread_t = (types * of_types.square()).sum(-1) - mean_t.square()
            spread_b = (bonds * of_bonds.square()).sum(-1) - mean_b.square()
            total = (
                spread_t.sum(1) + (spread_b * upper).sum((1, 2)) + self.residual[k].to(types) ** 2
            )
            miss = values[:, k] - expected
            floor = self.residual[k].to(types) ** 2
            left_t, left_b = (
                (total[:, None] - spread_t).clamp_min(floor),
                (total[:, None, None] - spread_b).clamp_min(floor),
            )
            shift_t, shift_b = of_types - mean_t[..., None], of_bonds - mean_b[..., None]
            there = given[:, k].to(types)
            gain_types += there[:, None, None] * _gain(
                miss[:, None, None], shift_t, left_t[..., None]
            )
            gain_bonds += there[:, None, None, None] * _gain(
                miss[:, None, None, None], shift_b, left_b[..., None]
            )
        return gain_types, gain_bonds


def _gain(miss: Tensor, shift: Tensor, variance: Tensor) -> Tensor:
    """How much likelier a normal target becomes when its mean shifts."""
    return (miss * shift - 0.5 * shift.square()) / variance


def _elements(alphabet: Alphabet) -> Tensor:
    """(kinds, elements): the element of each type."""
    one_hot = [[float(z == e) for e in alphabet.elements] for z, _, _ in alphabet.types]
    return torch.tensor(one_hot, device="cpu")


def _pairs(elements: int) -> list[tuple[int, int]]:
    """Which two of so many elements a bond may have, by their indices."""
    return list(combinations_with_replacement(range(elements), 2))


def _pair_counts(elements: Tensor, orders: Tensor) -> Tensor:
    """Numbers (b, pairs x 3) of bonds by elements and order, of elements (b, n, e) and
    orders (b, n, n, 3).
    """
    both = torch.einsum("bie,bijo,bjf->boef", elements, orders, elements)
    pairs = _pairs(elements.shape[-1])
    columns = [both[:, :, e, f] if e != f else 0.5 * both[:, :, e, f] for e, f in pairs]
    return torch.stack(columns, dim=1).flatten(1)

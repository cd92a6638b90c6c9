"""The inherited suite of every trunk that has no file of tests of its own."""

from __future__ import annotations

import itertools

import pytest
import torch

from equidrift.models.shared.backbones.egcl import EgclNetwork
from equidrift.models.shared.backbones.radial import (
    FEW_POINTS,
    FewPairs,
    ManyPairs,
    RadialNetwork,
    pair_sums,
)
from tests.models.shared.backbones.contract import TrunkContract


class TestRadial(TrunkContract):
    def make(self, sizes):
        return RadialNetwork(sizes)


class TestEgcl(TrunkContract):
    def make(self, sizes):
        return EgclNetwork(sizes)


def drawn(*shape: int) -> torch.Tensor:
    draw = torch.Generator().manual_seed(sum(shape))
    return torch.randn(*shape, generator=draw, dtype=torch.float64)


@pytest.mark.parametrize("form", [FewPairs, ManyPairs.of])
@pytest.mark.parametrize("d", [2, 3])
@pytest.mark.parametrize("shared", [False, True], ids=["own pairs", "shared pairs"])
def test_messages_are_the_sums_over_pairs_of_their_formula(form, d: int, shared: bool) -> None:
    """Pair by pair: f_r(i, j) times weights of r and the channel, of the vector, its part
    along the line, the line times the scalar, and the scalar.
    """
    b, n, c, count = 2, 5, 4, 3
    filters, line = drawn(1 if shared else b, count, n, n), drawn(1 if shared else b, n, n, d)
    radial, vectors, scalars = drawn(4, c, count), drawn(b, n, d, c), drawn(b, n, c)
    moved, heard = form(filters, line).heard(radial, vectors, scalars)
    weights = torch.einsum("kcr,brij->bijkc", radial, filters.expand(b, -1, -1, -1))
    lines = line.expand(b, -1, -1, -1)
    for k, i in itertools.product(range(b), range(n)):
        vector, scalar = torch.zeros(d, c).double(), torch.zeros(c).double()
        for j in range(n):
            whole, along, out, plain = weights[k, i, j]
            e, v, s = lines[k, i, j], vectors[k, j], scalars[k, j]
            vector += whole * v + e[:, None] * (along * (e @ v) + out * s)
            scalar += plain * s
        assert (moved[k, i] - vector).abs().max() < 1e-12
        assert (heard[k, i] - scalar).abs().max() < 1e-12


def test_the_form_of_the_sums_changes_with_the_number_of_points() -> None:
    for n, form in ((FEW_POINTS, FewPairs), (FEW_POINTS + 1, ManyPairs)):
        assert isinstance(pair_sums(drawn(1, 2, n, n), drawn(1, n, n, 2)), form)


def test_matrices_of_many_pairs_are_kept_in_the_precision_of_products() -> None:
    filters, line = drawn(1, 3, 4, 4).float(), drawn(1, 4, 4, 3).float()
    assert ManyPairs.of(filters, line).along.dtype == torch.float32
    with torch.autocast("cpu", torch.bfloat16):
        assert ManyPairs.of(filters, line).along.dtype == torch.bfloat16

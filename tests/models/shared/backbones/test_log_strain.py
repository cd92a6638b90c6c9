"""Log-strain coordinates: round trips, rotations, degenerate stretches, gradients."""

from __future__ import annotations

import pytest
import torch

from equidrift.errors import InputError
from equidrift.models.shared.backbones import log_strain as cells

TOLERANCE = {torch.float64: 1e-12, torch.float32: 2e-5}
DTYPES = pytest.mark.parametrize("dtype", list(TOLERANCE))


def rotations(generator, dtype, count=64):
    q, r = torch.linalg.qr(torch.randn(count, 3, 3, generator=generator, dtype=dtype))
    q = q * r.diagonal(dim1=-2, dim2=-1).sign()[:, None, :]
    return q * torch.linalg.det(q).sign()[:, None, None]


def strains(generator, dtype, count=64):
    s = 0.4 * torch.randn(count, 3, 3, generator=generator, dtype=dtype)
    return (s + s.mT) / 2


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(7)


@DTYPES
def test_polar_gives_back_stretch_and_rotation_when_they_are_known(generator, dtype):
    stretch = cells.stretch_of(strains(generator, dtype))
    turn = rotations(generator, dtype)
    found, turned = cells.polar(stretch @ turn)
    assert (found - stretch).abs().max() < TOLERANCE[dtype]
    assert (turned - turn).abs().max() < TOLERANCE[dtype]


@DTYPES
def test_log_strain_gives_back_the_strain_whatever_the_rotation(generator, dtype):
    strain = strains(generator, dtype)
    g = cells.stretch_of(strain) @ rotations(generator, dtype)
    assert (cells.log_strain(g) - strain).abs().max() < TOLERANCE[dtype]


@DTYPES
def test_log_strain_turns_with_a_rotation_from_the_left(generator, dtype):
    strain, turn = strains(generator, dtype), rotations(generator, dtype)
    turned = cells.log_strain(turn @ cells.stretch_of(strain))
    assert (turned - turn @ strain @ turn.mT).abs().max() < TOLERANCE[dtype]


@DTYPES
def test_log_strain_is_exact_when_all_stretches_are_equal(generator, dtype):
    g = 2 * rotations(generator, dtype)
    expected = torch.eye(3, dtype=dtype) * torch.tensor(2.0, dtype=dtype).log()
    assert (cells.log_strain(g) - expected).abs().max() < TOLERANCE[dtype]


@DTYPES
def test_split_gives_the_log_volume_and_a_traceless_shape(generator, dtype):
    strain = strains(generator, dtype)
    volume, shape = cells.split(strain)
    log_volume = torch.linalg.det(cells.stretch_of(strain)).log()
    assert (volume - log_volume).abs().max() < TOLERANCE[dtype]
    assert shape.diagonal(dim1=-2, dim2=-1).sum(-1).abs().max() < TOLERANCE[dtype]


@DTYPES
def test_components_keep_the_norm_and_round_trip(generator, dtype):
    strain = strains(generator, dtype)
    six = cells.components(strain)
    assert (six.norm(dim=-1) - strain.norm(dim=(-2, -1))).abs().max() < TOLERANCE[dtype]
    assert (cells.from_components(six) - strain).abs().max() < TOLERANCE[dtype]


def test_stretch_has_the_right_gradient_at_the_identity():
    six = torch.zeros(6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda s: cells.stretch_of(cells.from_components(s)), six)


@pytest.mark.parametrize("diagonal", [(1.0, 1.0, -1.0), (1.0, 1.0, 0.0), (1.0, float("nan"), 1.0)])
def test_polar_refuses_a_matrix_without_a_positive_determinant(diagonal):
    with pytest.raises(InputError, match="determinant"):
        cells.polar(torch.diag(torch.tensor(diagonal, dtype=torch.float64)))

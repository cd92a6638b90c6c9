"""Frame averaging: exact, continuous at degenerate inertia, and a judge of others."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from equidrift.errors import InputError
from equidrift.models.shared.backbones.frames import (
    FrameAveraged,
    frame_average,
    pair_frames,
    symmetry_gap,
)
from equidrift.models.shared.backbones.plain import PlainNetwork
from equidrift.models.shared.backbones.radial import RadialNetwork
from equidrift.models.shared.backbones.trunk import Features
from tests.models.shared.backbones.contract import SIZES, TrunkContract, awake, gap
from tests.models.shared.backbones.molecules import MOLECULES, inputs
from tests.models.shared.backbones.rotations import random_rotations

DEGENERATE = pytest.mark.parametrize("name", ["CH4", "benzene", "NH3", "CO2"])


class TestFrameAveraged(TrunkContract):
    def make(self, sizes):
        return FrameAveraged(sizes, PlainNetwork(sizes))


@pytest.fixture
def users_network():
    """A user's energy of six coordinates' sums: it knows no symmetry at all."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        net = nn.Sequential(nn.Linear(3, 16), nn.Tanh(), nn.Linear(16, 16), nn.Tanh()).double()
        last = nn.Linear(16, 1).double()
    return lambda x: last(net(x).sum(1).tanh())[:, 0]


def principal_axes(function, x):
    """The average over the eight sign choices of principal axes (Puny et al.)."""
    y = x - x.mean(1, keepdim=True)
    axes = torch.linalg.eigh(y.mT @ y)[1]
    signs = torch.cartesian_prod(*[torch.tensor([1.0, -1.0], dtype=x.dtype)] * 3)
    return torch.stack([function(y @ (axes * sign)) for sign in signs]).mean(0)


@DEGENERATE
def test_a_users_callable_is_invariant_to_1e_12_at_degenerate_inertia(users_network, name):
    x = MOLECULES[name][1][None]
    value = frame_average(users_network, x)
    for turn in random_rotations(16):
        assert (frame_average(users_network, x @ turn.mT) - value).abs().max() < 1e-12


@DEGENERATE
def test_a_users_vectors_turn_to_1e_12_at_degenerate_inertia(name):
    draw = torch.Generator().manual_seed(4)
    weight = torch.randn(3, 3, generator=draw, dtype=torch.float64)

    def bent(x):
        return (x @ weight).sin() + 0.3

    x = MOLECULES[name][1][None]
    value = frame_average(bent, x, vectors=True)
    for turn in random_rotations(16):
        turned = frame_average(bent, x @ turn.mT, vectors=True)
        assert (turned - value @ turn.mT).abs().max() < 1e-12


def crossing(shift: float) -> torch.Tensor:
    """A low molecule whose two largest moments cross at shift 0."""
    x = torch.tensor(
        [[1.0, 0.2, 0.1], [-0.7, 0.9, 0.3], [0.1, -1.2, 0.5], [-0.3, 0.2, -1.4], [0.2, 0.4, 0.8]],
        dtype=torch.float64,
    )
    y = x - x.mean(0)
    values, axes = torch.linalg.eigh(y.mT @ y)
    y = y @ axes
    wanted = torch.stack([values[0], values[2] + shift, values[2] - shift])
    return (y * (wanted / values).sqrt())[None]


def test_the_average_does_not_jump_where_principal_axes_do(users_network):
    ours = frame_average(users_network, crossing(1e-7)) - frame_average(
        users_network, crossing(-1e-7)
    )
    theirs = principal_axes(users_network, crossing(1e-7)) - principal_axes(
        users_network, crossing(-1e-7)
    )
    assert ours.abs() < 1e-6
    assert theirs.abs() > 1e-4


def test_the_average_is_continuous_when_a_molecule_becomes_linear(users_network):
    def bent(angle):
        a, b = math.cos(angle), math.sin(angle)
        return torch.tensor(
            [[[-1.16 * a, b, 0], [0, 0, 0], [1.06, 0, 0], [2.2 * a, b, b]]]
        ).double()

    values = [frame_average(users_network, bent(angle)) for angle in (0.0, 1e-9, 1e-6, 1e-4)]
    for value, size in zip(values[1:], (1e-8, 1e-5, 1e-3), strict=True):
        assert (value - values[0]).abs() < size


def test_weights_sum_to_one_and_frames_are_rotations_where_they_count():
    for _, x in MOLECULES.values():
        frames = pair_frames(x[None], torch.ones(1, len(x), dtype=torch.bool))
        assert abs(float(frames.weights.sum()) - 1) < 1e-12 and (frames.weights >= 0).all()
        axes = frames.axes[frames.weights > 1e-12]
        assert (torch.linalg.det(axes) - 1).abs().max() < 1e-9


def test_an_equivariant_network_is_its_own_average():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        inner = awake(RadialNetwork(SIZES)).double()
    given = inputs("CHFClBr", SIZES, torch.float64, vectors=True)
    for one, other in zip(inner(*given), FrameAveraged(SIZES, inner)(*given), strict=True):
        assert gap(one, other) < 1e-12


@pytest.mark.parametrize("planted", [0.0, 1e-6, 1e-2])
def test_a_planted_symmetry_bug_is_found_by_its_size(planted):
    def energy(x):
        pairs = torch.cdist(x, x).square()
        return (-pairs).exp().sum((1, 2)) + planted * x[..., 2].square().sum(1)

    found = symmetry_gap(energy, MOLECULES["CHFClBr"][1][None])
    assert found < 1e-12 if not planted else found > 0.1 * planted


@pytest.mark.parametrize("planted", [0.0, 1e-3])
def test_a_planted_bug_in_vectors_is_found(planted):
    shift = torch.tensor([0.0, 0.0, planted], dtype=torch.float64)
    found = symmetry_gap(lambda x: 0.5 * x + shift, MOLECULES["water"][1][None], vectors=True)
    assert found < 1e-12 if not planted else found > planted


def test_a_single_node_is_refused_since_it_defines_no_frame():
    with pytest.raises(InputError, match="two or more"):
        frame_average(lambda x: x.sum((1, 2)), torch.zeros(1, 1, 3))


def test_parameters_of_the_inner_network_are_those_of_the_average():
    trunk = FrameAveraged(SIZES, PlainNetwork(SIZES))
    assert len(list(trunk.parameters())) == len(list(PlainNetwork(SIZES).parameters()))
    assert FrameAveraged(SIZES, lambda features, *_: Features(*features)).symmetry.mirrors is False

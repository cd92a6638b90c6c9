"""PONITA: its grid, its symmetry on and off the grid, its blindness to chirality."""

from __future__ import annotations

import doctest

import pytest
import torch

from equidrift.errors import InputError
from equidrift.models.shared.backbones import torque
from equidrift.models.shared.backbones.ponita import PonitaNetwork, orientations
from equidrift.models.shared.backbones.torque import without_torque
from tests.models.shared.backbones.contract import (
    DTYPES,
    GAPS,
    NAMES,
    SIZES,
    TrunkContract,
    awake,
    forces,
    gap,
    turned,
)
from tests.models.shared.backbones.molecules import MOLECULES, inputs
from tests.models.shared.backbones.rotations import icosahedral, random_rotations


class TestPonita(TrunkContract):
    def make(self, sizes):
        return PonitaNetwork(sizes)


class TestPonitaOnADodecahedron(TrunkContract):
    def make(self, sizes):
        return PonitaNetwork(sizes, count=20)


def network(count):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return awake(PonitaNetwork(SIZES, count=count)).double()


@pytest.mark.parametrize("count", [12, 20, 32])
def test_a_grid_is_a_spherical_2_design_and_turns_into_itself(count):
    grid = orientations(count)
    assert len(grid) == count and grid.sum(0).norm() < 1e-14
    assert (grid.mT @ grid / count - torch.eye(3, dtype=torch.float64) / 3).abs().max() < 1e-14
    for turn in icosahedral():
        assert torch.cdist(grid @ turn.mT, grid).amin(1).max() < 1e-7


def test_another_number_of_orientations_is_refused():
    with pytest.raises(InputError, match="12, 20 or 32"):
        orientations(16)


def test_a_vector_that_is_lifted_and_read_comes_back():
    net = network(20)
    draw = torch.Generator().manual_seed(1)
    vector = torch.randn(1, 4, 3, 1, generator=draw, dtype=torch.float64)
    with torch.no_grad():
        net.leave.weight.zero_()
        net.leave.bias.zero_()
        net.leave.weight[SIZES.out_scalars :, 0] = 1.0  # each vector reads the first channel
    found = net.read((net.grid @ vector).expand(-1, -1, -1, SIZES.width))
    assert (found.vectors - vector).abs().max() < 1e-14


def off_grid(count):
    net, given = network(count), inputs("CHFClBr", SIZES, torch.float64, vectors=True)
    scalars, vectors = net(*given)
    gaps = [
        (gap(scalars, found.scalars), gap(turn @ vectors, found.vectors))
        for turn in random_rotations(12)
        for found in [net(*turned(given, turn))]
    ]
    return torch.tensor(gaps).square().mean(0).sqrt()


def test_the_gap_off_the_grid_falls_when_orientations_are_added():
    small, large = off_grid(12), off_grid(32)
    assert (large < 0.5 * small).all() and (small > 1e-6).all()


def test_a_mirror_image_has_the_same_scalars_whatever_the_weights():
    given = inputs("CHFClBr", SIZES, torch.float64)
    mirror = -torch.eye(3, dtype=torch.float64)
    for seed in range(3):
        net = awake(network(12), seed)
        found = net(*turned(given, mirror)).scalars
        assert gap(net(*given).scalars, found) < 1e-12


def test_forces_have_a_net_torque_of_the_size_of_the_gap():
    net, given = network(12), inputs("CHFClBr", SIZES, torch.float64)
    turned_so = turned(given, random_rotations(1)[0])
    force = forces(net, turned_so)
    torque = torch.linalg.cross(turned_so[1][0], force).sum(0).norm()
    assert 1e-9 < torque / force.norm(dim=-1).sum() < 0.5


@DTYPES
@NAMES
def test_projected_forces_neither_move_nor_turn_a_molecule(name, dtype):
    net, given = network(12).to(dtype), inputs(name, SIZES, dtype)
    turn = random_rotations(1)[0].to(dtype)
    given = turned(given, turn)
    x, nodes = given[1], given[2].nodes
    force = forces(net, given)[None]
    made = without_torque(x, force, nodes)
    size = force.norm(dim=-1).sum().clamp_min(1e-3)
    assert made.sum(1).norm() < 5 * GAPS[dtype] * size
    assert torch.linalg.cross(x, made).sum(1).norm() < 20 * GAPS[dtype] * size
    # what is taken out is what a rigid motion is made of, and the rest is as it was
    assert ((made - force) * made).sum().abs() < 20 * GAPS[dtype] * size**2


@NAMES
def test_a_projection_leaves_what_has_no_torque_and_turns_with_the_system(name):
    x = MOLECULES[name][1][None]
    nodes = torch.ones(x.shape[:2], dtype=torch.bool)
    line = x[:, :, None] - x[:, None]
    draw = torch.Generator().manual_seed(3)
    size = torch.randn(1, x.shape[1], x.shape[1], generator=draw, dtype=x.dtype)
    pairs = ((size + size.mT)[..., None] * line).sum(2)  # equal and opposite, along lines
    assert (without_torque(x, pairs, nodes) - pairs).abs().max() < 1e-12 * pairs.abs().max()
    some = torch.randn(x.shape, generator=draw, dtype=x.dtype)
    turn = random_rotations(1)[0]
    made, seen = without_torque(x, some, nodes), without_torque(x @ turn.mT, some @ turn.mT, nodes)
    assert (made @ turn.mT - seen).abs().max() < 1e-12
    wide = torch.nn.functional.pad(torch.stack([x, some]), (0, 0, 0, 2), value=7.0)
    padded = without_torque(*wide, torch.nn.functional.pad(nodes, (0, 2)))
    assert (padded[:, :-2] - made).abs().max() < 1e-12 and not padded[:, -2:].any()


def test_examples_of_the_projection_hold():
    found = doctest.testmod(torque)
    assert found.attempted and not found.failed


def test_convolutions_keep_the_spread_when_the_network_is_calibrated():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = PonitaNetwork(SIZES).double()
    given = inputs("benzene", SIZES, torch.float64, vectors=True)
    net.calibrate(given)
    h = net.lift(given)
    phi, psi = net.bases(given[1], given[2])
    layer = net.layers[0]
    heard = layer.over_orientations(layer.over_positions(h, phi), psi)
    assert abs(float((heard.std() / h.std()).detach()) - 1) < 1e-9

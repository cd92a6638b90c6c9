"""Global vectors: exact about the axis, free off it, and worth having."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from equidrift.models.shared.backbones.radial import RadialNetwork
from equidrift.models.shared.backbones.subequivariant import SubequivariantNetwork
from equidrift.models.shared.backbones.trunk import Edges, Features, Globals, Sizes
from tests.models.shared.backbones.contract import SIZES, TrunkContract, awake, gap
from tests.models.shared.backbones.molecules import inputs
from tests.models.shared.backbones.rotations import about, random_rotations

AXIS = torch.tensor([0.0, 0.6, 0.8], dtype=torch.float64)
ACROSS = torch.tensor([1.0, 0.0, 0.0], dtype=torch.float64)


class TestSubequivariant(TrunkContract):
    def make(self, sizes):
        return SubequivariantNetwork(sizes)


TRUNKS = pytest.mark.parametrize("make", [SubequivariantNetwork, RadialNetwork])


def in_field(make, strength):
    """A trunk, and a molecule in a field along `AXIS`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        trunk = awake(make(SIZES)).double()
    features, positions, edges, known = inputs("CHFClBr", SIZES, torch.float64)
    field = (strength * AXIS)[None, :, None]
    return trunk, features, positions, edges, Globals(known.scalars, field)


@TRUNKS
@pytest.mark.parametrize("angle", [0.3, 1.7, 3.0])
def test_outputs_turn_about_the_axis_and_not_off_it(make, angle):
    trunk, features, x, edges, known = in_field(make, 1.0)
    plain = trunk(features, x, edges, known)
    for axis, exact in ((AXIS, True), (ACROSS, False)):
        turn = about(axis, angle)
        found = trunk(features, x @ turn.mT, edges, known)
        for one, other in ((plain.scalars, found.scalars), (turn @ plain.vectors, found.vectors)):
            assert (gap(one, other) < 1e-12) is exact


@TRUNKS
def test_all_rotations_are_back_when_the_field_is_zero(make):
    trunk, features, x, edges, known = in_field(make, 0.0)
    plain = trunk(features, x, edges, known)
    for turn in random_rotations(4):
        found = trunk(features, x @ turn.mT, edges, known)
        assert gap(plain.scalars, found.scalars) < 1e-12
        assert gap(turn @ plain.vectors, found.vectors) < 1e-12


def fall(make, sizes: Sizes, steps: int = 150) -> float:
    """Share of the variance of accelerations that is left: charges in a uniform field
    (0, 0, 1), random springs between them; the trunk sees the field if it may.
    """
    draw = torch.Generator().manual_seed(8)
    x = torch.randn(96, 4, 3, generator=draw)
    charge = torch.randint(0, 2, (96, 4, 1), generator=draw) * 2.0 - 1
    field = torch.tensor([0.0, 0.0, 1.0])
    wanted = charge * field - 0.3 * (x - x.mean(1, keepdim=True))
    edges = Edges.complete(torch.ones(96, 4, dtype=torch.bool), torch.zeros(96, 4, 4, 0))
    given = Features(charge, torch.zeros(96, 4, 3, 0)), x, edges
    globals_ = Globals(torch.zeros(96, 0), field[None, :, None].expand(96, 3, -1))
    globals_ = Globals(globals_.scalars, globals_.vectors[..., : sizes.global_vectors])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        trunk = make(sizes)
    optimiser = torch.optim.Adam(trunk.parameters(), 5e-3)
    for _ in range(steps):
        loss = (trunk(*given, globals_).vectors[..., 0] - wanted).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return float(loss.detach() / wanted.square().mean())


@pytest.mark.long
def test_a_field_is_learned_when_its_vector_is_given_and_not_otherwise():
    sizes = Sizes(out_scalars=1, out_vectors=1, width=16, layers=1, global_vectors=1)
    told = fall(SubequivariantNetwork, sizes)
    untold = fall(SubequivariantNetwork, replace(sizes, global_vectors=0))
    assert told < 0.05 and untold > 0.3  # the field's share is 1 / (1 + 0.2)

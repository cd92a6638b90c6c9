"""Local frames: exact where symmetry leaves them undefined, and telling R from S."""

from __future__ import annotations

import pytest
import torch

from equidrift.models.shared.backbones.local_frames import LocalFrameNetwork, soft_axes
from equidrift.models.shared.backbones.radial import RadialNetwork
from equidrift.models.shared.backbones.trunk import Edges, Features, Globals, Sizes
from tests.models.shared.backbones.contract import TrunkContract, awake, gap
from tests.models.shared.backbones.molecules import inputs
from tests.models.shared.backbones.rotations import random_rotations


class TestLocalFrames(TrunkContract):
    def make(self, sizes):
        return LocalFrameNetwork(sizes)


def test_axes_are_a_rotation_where_directions_are_long_and_vanish_where_not():
    u, w = 1e3 * torch.eye(3, dtype=torch.float64)[:2]
    axes = soft_axes(u, u + w)
    assert (axes - torch.eye(3)).abs().max() < 1e-6
    assert not soft_axes(0 * u, w).any()
    assert not soft_axes(u, 2 * u)[:, 1:].any()


def test_order_one_sees_distances_alone():
    """K = 1 is a plain graph convolution: its scalars do not know mirror images."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        sizes = Sizes(scalars=2, edges=1, width=8, layers=2)
        flat = awake(LocalFrameNetwork(sizes, order=1)).double()
        solid = awake(LocalFrameNetwork(sizes, order=3)).double()
    features, x, edges, known = inputs("CHFClBr", sizes, torch.float64)
    told = [
        gap(net(features, x, edges, known).scalars, net(features, -x, edges, known).scalars)
        for net in (flat, solid)
    ]
    assert told[0] < 1e-13 and told[1] > 1e-7


def hands(count: int, seed: int):
    """R and S forms of CHFClBr, bent by 0.1 A and turned at random, and which is which."""
    draw = torch.Generator().manual_seed(seed)
    features, x, edges, known = inputs("CHFClBr", SIZES_OF_HANDS, torch.float32)
    hand = torch.randint(0, 2, (count,), generator=draw) * 2.0 - 1
    turns = random_rotations(count, seed).float()
    y = hand[:, None, None] * (x + 0.1 * torch.randn(count, 5, 3, generator=draw)) @ turns
    given = (
        Features(*(part.expand(count, *part.shape[1:]) for part in features)),
        y,
        Edges(*(part.expand(count, *part.shape[1:]) for part in vars(edges).values())),
        Globals(*(part.expand(count, *part.shape[1:]) for part in known)),
    )
    return given, hand


SIZES_OF_HANDS = Sizes(scalars=2, edges=1, width=16, layers=1)


def told_apart(make) -> float:
    """Share of enantiomers named rightly after a short training."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        net = make(SIZES_OF_HANDS)
    given, hand = hands(128, 1)
    optimiser = torch.optim.Adam(net.parameters(), 1e-2)
    for _ in range(80):
        logit = net(*given).scalars[..., 0].sum(1)
        loss = torch.nn.functional.softplus(-hand * logit).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    unseen, answer = hands(256, 2)
    return float((net(*unseen).scalars[..., 0].sum(1).sign() == answer).float().mean())


@pytest.mark.long
def test_r_and_s_are_learned_by_frames_and_never_by_distances():
    assert told_apart(LocalFrameNetwork) == 1.0
    assert abs(told_apart(RadialNetwork) - 0.5) < 0.1

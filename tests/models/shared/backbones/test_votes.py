"""Votes over 60 rotations: any rotation is reached, and nothing jumps."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from equidrift.models.shared.backbones.votes import (
    RotationHead,
    RotationVotes,
    icosahedral_rotations,
    nearest_rotation,
)
from tests.models.shared.backbones.rotations import about, icosahedral, random_rotations


def angle(one, other):
    """Of the rotation from one to the other, in rad; exact for small ones too."""
    return 2 * ((one - other).norm(dim=(-2, -1)) / 8**0.5).clamp(max=1).asin()


def test_the_60_rotations_are_a_group():
    anchors = icosahedral_rotations()
    assert anchors.shape == (60, 3, 3)
    assert (torch.linalg.det(anchors) - 1).abs().max() < 1e-12
    products = (anchors[:, None] @ anchors[None]).reshape(-1, 9)
    assert torch.cdist(products, anchors.reshape(-1, 9)).amin(1).max() < 1e-6
    assert torch.cdist(icosahedral().reshape(-1, 9), anchors.reshape(-1, 9)).amin(1).max() < 1e-6


def test_votes_that_are_linear_in_a_rotation_give_that_rotation():
    anchors, wanted = icosahedral_rotations(), random_rotations(32)
    weight = (1 + torch.einsum("axy,bxy->ba", anchors, wanted)).clamp_min(0) / 60
    found = nearest_rotation(torch.einsum("ba,axy->bxy", weight, anchors))
    assert angle(found, wanted).max() < 1e-7


def test_the_gradient_is_right_where_all_singular_values_coincide():
    turn = random_rotations(1)[0]
    draw = torch.Generator().manual_seed(2)
    for matrix in (turn / 3, turn + 0.1 * torch.randn(3, 3, generator=draw).double()):
        assert torch.autograd.gradcheck(nearest_rotation, matrix.requires_grad_())


def test_nearest_rotation_is_proper_for_a_matrix_with_a_negative_determinant():
    found = nearest_rotation(torch.diag(torch.tensor([1.0, 0.8, -0.1], dtype=torch.float64)))
    assert (found - torch.eye(3)).abs().max() < 1e-12


def test_the_answer_turns_with_the_points_under_the_60_rotations():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        net = nn.Sequential(nn.Flatten(1), nn.Linear(15, 16), nn.Tanh(), nn.Linear(16, 1))
        x = torch.randn(1, 5, 3, dtype=torch.float64)
    net.double()
    head = RotationHead(lambda y: 5 * net(y)[:, 0])
    plain = head(x)
    for turn in icosahedral_rotations():
        assert (head(x @ turn.mT) - turn @ plain).abs().max() < 1e-10


def trained() -> tuple[nn.Module, torch.Tensor]:
    """A head whose logits are linear in the points, and the points it was trained on."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        points = torch.randn(6, 3, dtype=torch.float64)
        linear = nn.Linear(18, 1).double()
    points = points - points.mean(0)
    head = RotationHead(lambda y: linear(y.flatten(1))[:, 0])
    turns = random_rotations(64, 1)
    optimiser = torch.optim.LBFGS(
        linear.parameters(), max_iter=150, tolerance_change=1e-14, line_search_fn="strong_wolfe"
    )

    def loss():
        optimiser.zero_grad()
        value = (head(points @ turns.mT) - turns).square().sum((1, 2)).mean()
        value.backward()
        return value

    optimiser.step(loss)
    return head, points


@pytest.mark.long
def test_a_trained_head_finds_unseen_rotations_within_a_thousandth_and_does_not_jump():
    head, points = trained()
    with torch.no_grad():
        unseen = random_rotations(64, 9)
        assert angle(head(points @ unseen.mT), unseen).max() < 1e-3
        axis = torch.tensor([0.48, 0.6, 0.64], dtype=torch.float64)
        path = torch.stack([about(axis, 4 * torch.pi * k / 400) for k in range(401)])
        found = head(points @ path.mT)
        steps = angle(found[1:], found[:-1])
    assert steps.max() < 2 * (4 * torch.pi / 400)


def test_votes_for_one_anchor_are_that_anchor():
    votes = RotationVotes()
    logits = torch.full((1, 60), -40.0)
    logits[0, 17] = 0.0
    assert (votes(logits)[0] - votes.anchors[17]).abs().max() < 1e-5

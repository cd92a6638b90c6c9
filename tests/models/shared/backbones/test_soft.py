"""Soft equivariance: allowed maps, and strengths that the data set."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from equidrift.errors import InputError, UnknownNameError
from equidrift.models.shared.backbones.soft import Rep, SoftLinear, allowed, generators, relaxed
from tests.models.shared.backbones.rotations import about, random_rotations

S, V, M = Rep(scalars=1), Rep(vectors=1), Rep(matrices=1)
ABOUT = ("O(2) about x", "O(2) about y", "O(2) about z")


@pytest.mark.parametrize(
    ("group", "dimensions"),
    [
        ("O(3)", (1, 0, 3, 1, 0)),
        ("SO(3)", (1, 1, 3, 1, 0)),
        ("O(2) about z", (2, 4, 10, 2, 1)),
        ("SO(2) about z", (3, 7, 19, 3, 1)),
    ],
)
def test_a_group_allows_as_many_maps_as_theory_says(group, dimensions):
    maps = (V, V), (V, M), (M, M), (S, M), (S, V)
    assert tuple(allowed(group, *pair).shape[1] for pair in maps) == dimensions


@pytest.mark.parametrize("group", ["SO(3)", "O(3)", "SO(2) about z", "O(2) about z"])
def test_allowed_maps_commute_with_the_group(group):
    inside, outside = Rep(1, 1, 0), Rep(1, 1, 1)
    basis = allowed(group, inside, outside)
    assert np.abs(basis.T @ basis - np.eye(basis.shape[1])).max() < 1e-12
    z = torch.tensor([0.0, 0, 1], dtype=torch.float64)
    turns = random_rotations(3) if "3" in group else torch.stack([about(z, 0.7), about(z, 2.9)])
    elements = [*turns.numpy(), *generators(group)[1]]
    for w in basis.T.reshape(-1, outside.size, inside.size):
        for g in elements:
            assert np.abs(w @ inside.of(g) - outside.of(g) @ w).max() < 1e-12


def fitted(target, groups, strengths, steps=300, relax_at=None):
    """A layer from matrices to matrices, fitted to noisy data of a linear law."""
    draw = torch.Generator().manual_seed(5)
    x = torch.randn(400, 9, generator=draw, dtype=torch.float64)
    y = x @ target.mT + 0.05 * torch.randn(400, 9, generator=draw, dtype=torch.float64)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layer = SoftLinear(M, M, groups).double()
    optimiser = torch.optim.Adam(layer.parameters(), 0.03)
    for step in range(steps):
        found = layer.penalties()
        if step == relax_at:
            strengths = relaxed(strengths, {g: float(p.detach()) for g, p in found.items()})
        loss = (layer(x) - y).square().sum(1).mean()
        loss = loss + sum(strengths[g] * p for g, p in found.items())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return layer, strengths


def broken(share, group="O(3)", seed=1):
    """A map of norm 3 with a share of its squared norm outside what a group allows."""
    basis = torch.from_numpy(allowed(group, M, M).copy())
    draw = torch.Generator().manual_seed(seed)
    w = torch.randn(81, generator=draw, dtype=torch.float64)
    inside = basis @ (basis.mT @ w)
    outside = w - inside
    kept = (1 - share) ** 0.5 * inside / inside.norm() + share**0.5 * outside / outside.norm()
    return 3 * kept.reshape(9, 9)


@pytest.mark.long
@pytest.mark.parametrize("group", ["O(3)", "O(2) about z"])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5])
def test_an_injected_breaking_is_found_in_the_weights_by_its_size(group, share):
    layer, _ = fitted(broken(share, group), (group,), {group: 0.0})
    assert abs(layer.breaking()[group] - share) < 0.02


def bent(strength):
    """I -> I + strength (I z) z^T: whole about z, bent about x and y."""
    z = np.array([0.0, 0, 1])
    return torch.from_numpy(np.eye(9) + strength * np.kron(np.eye(3), np.outer(z, z)))


@pytest.mark.long
def test_the_axis_that_the_data_keep_stays_strong_and_the_others_are_relaxed():
    before = dict.fromkeys(ABOUT, 0.5)
    layer, after = fitted(bent(0.3), ABOUT, before, relax_at=150)
    found = layer.breaking()
    assert max(after, key=after.get) == min(found, key=found.get) == "O(2) about z"
    assert after["O(2) about x"] < 0.1 * after["O(2) about z"]
    stiff, _ = fitted(bent(0.3), ABOUT, before)
    wrong = [float((one.weight - bent(0.3)).norm().detach()) for one in (layer, stiff)]
    assert wrong[0] < 0.5 * wrong[1]


def test_strengths_stay_when_no_group_is_resisted_more_than_another():
    assert relaxed({"a": 3.0, "b": 2.0}, {"a": 0.4, "b": 0.4}) == {"a": 3.0, "b": 2.0}
    assert relaxed({"a": 0.0, "b": 2.0}, {"a": 9.0, "b": 1.0}) == {"a": 0.0, "b": 2.0}
    assert relaxed({"a": 4.0, "b": 2.0}, {"a": 2.0, "b": 1.0}) == {"a": 1.0, "b": 2.0}


def test_an_unknown_group_and_an_empty_layer_are_refused():
    with pytest.raises(UnknownNameError, match="SU"):
        generators("SU(2)")
    with pytest.raises(InputError, match="without channels"):
        SoftLinear(Rep(), V, ("O(3)",))

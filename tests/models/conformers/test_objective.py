"""Losses and batches of the refiner and of the generator."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from equidrift.errors import InputError
from equidrift.models.conformers.objective import Batches, geometry_loss, size_buckets
from tests.models.networks import small_set


def batches(
    sigma: tuple[float, float] | None = None, seed: int = 0, **options: dict[int, float]
) -> Batches:
    return Batches(
        small_set(),
        **{"atoms_per_batch": 30, "level_weights": {}, **options},
        seed=seed,
        sigma=sigma,
    )


def test_loss_is_zero_at_the_target_and_in_every_pose() -> None:
    example = batches()(0)
    q, _ = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(0)))
    q = q * torch.linalg.det(q)
    assert float(geometry_loss(example, example.target)) < 1e-5
    assert float(geometry_loss(example, example.target @ q)) < 1e-3
    noise = torch.randn(example.target.shape, generator=torch.Generator().manual_seed(1))
    noisy = example.target + 0.2 * noise * example.batch.mask[..., None]
    loss = float(geometry_loss(example, noisy))
    assert loss > 0.1
    example.target = (
        example.target @ q + torch.tensor([1.0, 2.0, 3.0]) * example.batch.mask[..., None]
    )
    assert float(geometry_loss(example, noisy)) == pytest.approx(loss, rel=1e-3)


@pytest.mark.parametrize("sigma", [None, (-0.3, 1.4)])
def test_batches_are_functions_of_the_step(sigma: tuple[float, float] | None) -> None:
    one, other = batches(sigma), batches(sigma)
    forward = [one(step) for step in range(8)]
    for step in (7, 0, 3):
        example = other(step)
        assert torch.equal(example.start, forward[step].start) and torch.equal(
            example.target, forward[step].target
        )
        assert (
            torch.equal(example.sigma, forward[step].sigma)
            and example.recycle == forward[step].recycle
        )
    assert not all(
        torch.equal(a.start, batches(sigma, seed=1)(k).start) for k, a in enumerate(forward[:3])
    )


def test_buckets_hold_every_conformer_once() -> None:
    data = small_set()
    buckets = size_buckets(data, 30)
    assert sorted(np.concatenate(buckets).tolist()) == list(range(len(data)))
    sizes = [[data.graphs[i].n_atoms for i in rows] for rows in buckets]
    assert all(len(rows) == 1 or max(rows) * len(rows) <= 30 for rows in sizes)


def test_level_weights() -> None:
    assert sum(len(batches(level_weights={2: 3.0})(k)) for k in range(3)) >= 3
    with pytest.raises(InputError, match="level_weights"):
        batches(level_weights={2: 0.0})


def test_a_start_of_another_basin_is_dropped() -> None:
    data = small_set(("CCO",))
    data.starts[0].append(data.targets[0][::-1].copy())
    made = Batches(data, atoms_per_batch=30, seed=0, level_weights={}, sigma=None)
    assert len(made.data.starts[0]) == 1

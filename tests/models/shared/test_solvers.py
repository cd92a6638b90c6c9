"""Noise levels, and the step from one to the next."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from equidrift.models.shared.schedules import noise_level, noise_levels
from equidrift.models.shared.solvers import ancestral_step


@pytest.mark.parametrize("steps", [1, 2, 10])
def test_noise_levels_fall_from_the_highest_to_zero(steps: int) -> None:
    levels = noise_levels(steps, highest=5.0, lowest=0.1)
    assert len(levels) == steps + 1 and levels[0] == pytest.approx(5.0) and levels[-1] == 0.0
    assert all(a > b for a, b in pairwise(levels))
    if steps > 1:
        assert levels[-2] == pytest.approx(0.1)


def test_noise_level_is_the_same_of_numbers_and_of_tensors() -> None:
    share = torch.linspace(0, 1, 5, dtype=torch.float64)
    made = noise_level(share, 8.0, 0.02)
    assert made.tolist() == pytest.approx([noise_level(float(s), 8.0, 0.02) for s in share])


@pytest.mark.parametrize("churn", [0.0, 0.6, 1.0])
def test_ancestral_step_leaves_noise_of_the_following_level(churn: float) -> None:
    generator = torch.Generator().manual_seed(0)
    clean = torch.full((200_000,), 3.0)
    x = clean + 2.0 * torch.randn(clean.shape, generator=generator)
    made = ancestral_step(
        x, clean, 2.0, 0.7, churn, lambda: torch.randn(clean.shape, generator=generator)
    )
    assert float(made.mean()) == pytest.approx(3.0, abs=0.02)
    assert float(made.std()) == pytest.approx(0.7, rel=0.02)


def test_ancestral_step_draws_no_noise_when_it_adds_none() -> None:
    def never() -> torch.Tensor:
        raise AssertionError("noise is not wanted")

    x, clean = torch.ones(3), torch.zeros(3)
    torch.testing.assert_close(ancestral_step(x, clean, 2.0, 1.0, 0.0, never), 0.5 * x)
    torch.testing.assert_close(ancestral_step(x, clean, 2.0, 0.0, 1.0, never), clean)

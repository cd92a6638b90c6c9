"""The mixture of experts: densities against brute force, invariance, masks, the fit,
and a model with it from fit to samples.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from equidrift.errors import InputError
from equidrift.models.fields.functions.experts import HARMONICS, Experts
from equidrift.models.fields.functions.kernels import Kernel, make_kernel
from equidrift.models.fields.functions.likelihood import log_likelihood
from equidrift.models.fields.functions.network import NetworkConfig
from equidrift.models.fields.functions.objective import FieldDiffusion
from equidrift.models.fields.functions.sampler import FieldModel

ONE = torch.ones(1, 1, 1, dtype=torch.float64)
SE = make_kernel("se", length=0.25, noise=0.01)


def harmonic(noise: float = 1e-4) -> Experts:
    """The harmonic expert beside a smooth one."""
    experts = Experts([SE], 2.0, (2.0, 2.5))
    experts.log_noise.fill_(math.log(noise))
    return experts


def functions(n: int = 9, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Two smooth fields at the same points, the first of them periodic with frequency
    2.2.
    """
    g = torch.Generator().manual_seed(seed)
    x = 2 * torch.rand(1, n, 1, generator=g, dtype=torch.float64)
    wave = 2 * math.pi * 2.2 * x
    smooth = SE.gram(x).root(torch.randn(x.shape, generator=g, dtype=torch.float64))
    y = torch.cat([wave.sin() + 0.3 * (2 * wave).cos(), smooth])
    return x, y, torch.ones(1, n, dtype=torch.bool)


@pytest.mark.parametrize(("noise", "std"), [(1e-4, 0.0), (1e-4, 0.3)])
def test_the_unknown_frequency_is_integrated_over(noise: float, std: float) -> None:
    experts, (x, y, mask) = harmonic(noise), functions(18)
    alpha = math.sqrt(1 - std**2)
    found, frequency = experts.parts(x, y, mask, alpha * ONE, std * ONE)
    grid = torch.linspace(2.0, 2.5, 2001, dtype=torch.float64)
    power = experts.log_power.exp()
    total = noise * alpha**2 + std**2
    lag = x[0] - x[0].T
    logs = []
    for f in grid.split(500):
        k = sum(
            power[h] * torch.cos(2 * math.pi * (h + 1) * f[:, None, None] * lag)
            for h in range(HARMONICS)
        )
        k = k + experts.log_offset.exp()
        covariance = alpha**2 * k + total * torch.eye(18, dtype=torch.float64)
        logs.append(
            torch.distributions.MultivariateNormal(
                torch.zeros(18, dtype=torch.float64), covariance
            ).log_prob(y[:, None, :, 0])
        )
    exact = torch.cat(logs, 1).logsumexp(1) - math.log(len(grid))
    # without noise and with fewer values than waves the peaks are many, and the sum is
    # good to a nat of the whole field
    assert torch.allclose(found[:, -1], exact, atol=1.0 if std == 0 else 0.02), (
        found[:, -1],
        exact,
    )
    if std == 0:
        assert frequency is not None and float(frequency[0]) == pytest.approx(2.2, abs=2e-3)


def test_density_is_the_mixtures_and_does_not_see_masked_points() -> None:
    experts = Experts([SE, make_kernel("matern12", length=0.1, noise=0.2)])
    experts.log_weight.copy_(torch.tensor([0.3, 0.7]).log())
    x, y, mask = functions()
    exact = torch.logsumexp(
        torch.stack([kernel.gram(x).log_prob(y) for kernel in experts.kernels])
        + experts.log_weight[:, None],
        0,
    )
    both = x.expand(2, -1, -1), y, mask.expand(2, -1), ONE.expand(2, 1, 1), 0 * ONE.expand(2, 1, 1)
    assert torch.allclose(experts.log_prob(*both), exact)
    for mixture in (experts, harmonic()):
        part = mixture.log_prob(x[:, :6], y[:, :6], mask[:, :6], ONE, 0 * ONE)
        hidden = mask.clone()
        hidden[:, 6:] = False
        assert torch.allclose(
            mixture.log_prob(x, y * hidden[..., None], hidden, ONE, 0 * ONE), part
        )


@pytest.mark.parametrize("std", [0.05, 0.5])
def test_score_is_the_gradient_and_invariant(std: float) -> None:
    experts, (x, y, mask) = harmonic(), functions()
    alpha, noise = math.sqrt(1 - std**2) * ONE, std * ONE
    score = experts.score(
        x.expand(2, -1, -1), y, mask.expand(2, -1), alpha.expand(2, 1, 1), noise.expand(2, 1, 1)
    )
    step = 1e-5 * torch.randn(
        y.shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64
    )
    change = experts.log_prob(x, y + step, mask, alpha, noise) - experts.log_prob(
        x, y - step, mask, alpha, noise
    )
    assert torch.allclose(change, 2 * (score * step).sum((1, 2)), rtol=1e-3, atol=1e-7)
    there = experts.score(
        (x + 7).expand(2, -1, -1),
        y,
        mask.expand(2, -1),
        alpha.expand(2, 1, 1),
        noise.expand(2, 1, 1),
    )
    assert torch.allclose(score, there, atol=1e-5)


def test_flow_and_closed_form_agree() -> None:
    """The density is that of the flow along the mixture's score: the closed form is no
    other model.
    """
    experts = Experts([SE, make_kernel("se", length=1.0, noise=0.05)])
    diffusion = FieldDiffusion(make_kernel("white"), NetworkConfig("none"), experts=experts)
    x, y, mask = functions(6)
    closed = diffusion.closed_log_prob(x.expand(2, -1, -1), y, mask.expand(2, -1))
    diffusion.closed_log_prob = lambda *a: None  # type: ignore[method-assign]
    flow = log_likelihood(diffusion, x.expand(2, -1, -1), y, steps=40, first_std=1e-3)
    assert closed is not None and torch.allclose(flow, closed, atol=0.2)


@pytest.mark.long
def test_a_fit_finds_functions_with_periods_of_their_own(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 1, (20, 24, 1))
    frequency, shift = rng.uniform(3, 4, (20, 1)), rng.uniform(0, 1, (20, 1))
    y = 5 + 2 * np.abs((frequency * x[..., 0] + shift) % 1 - 0.5)  # triangles
    model = FieldModel.fit(x[:14], y[:14], base="experts", network="none")
    gaussian = FieldModel.fit(x[:14], y[:14], network="none")
    gain = model.log_prob(x[14:], y[14:]) - gaussian.log_prob(x[14:], y[14:])
    assert gain.mean() / 24 > 0.5, "the mixture should be far better than one GP"
    again = FieldModel.load(model.save(tmp_path / "triangles"))
    assert np.allclose(again.log_prob(x[14:], y[14:]), model.log_prob(x[14:], y[14:]), rtol=0.02)
    made = again.condition(x[15, :18], y[15, :18]).sample(
        x[15, 18:], 2, seed=1, steps=12, corrections=1
    )
    assert np.abs(made[..., 0] - y[15, 18:]).max() < 0.25


def test_experts_are_refused_where_they_have_no_meaning(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(4, 5, 2)), rng.normal(size=(4, 5, 2))
    with pytest.raises(
        InputError,
        match="base='experts' is for scalars on a line with a white limit, not 2 components "
        "in 2 dimensions",
    ):
        FieldModel.fit(x, y, vector=True, base="experts")
    with pytest.raises(InputError, match="positive span and frequencies 0 < low < high"):
        Experts([SE], 2.0, (3.0, 1.0))
    with pytest.raises(InputError, match="experts go with a white limiting kernel"):
        FieldDiffusion(Kernel(["se"]), NetworkConfig("none"), experts=Experts([SE]))
    small = NetworkConfig("attention", width=8, layers=1, heads=1)
    path = FieldModel.fit(
        x[..., :1], y[..., 0], limit="white", network=small, schedule={"steps": 0}
    ).save(tmp_path / "small")
    with pytest.raises(InputError, match="holds another network than the one to be trained"):
        FieldModel.fit(
            x[..., :1],
            y[..., 0],
            limit="white",
            network=NetworkConfig(width=16),
            start=path,
            schedule={"steps": 0},
        )

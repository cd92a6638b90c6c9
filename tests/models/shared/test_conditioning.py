"""The conditional sampler against GP posteriors in closed form.

With an analytic score the sampler is an affine map of its noise, so its mean and
covariance are computed exactly, by feeding it one unit of noise at a time; nothing here
is drawn at random.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from equidrift.errors import InputError
from equidrift.models.fields.functions.kernels import Kernel, make_kernel
from equidrift.models.fields.functions.objective import AnalyticScore, LinearBeta, OUNoising
from equidrift.models.shared.conditioning import conditional_sample

SCHEDULE = LinearBeta()
X = torch.tensor([[-0.6, -0.2, 0.35, -0.4, 0.1, 0.6]], dtype=torch.float64)[..., None]
FREE = torch.tensor([False] * 3 + [True] * 3)
DATA = make_kernel("se", length=0.25, noise=0.0025)


class UnitNoise:
    """Noise whose sample k (k > 0) is 1 in one component of one draw and 0 elsewhere;
    sample 0 sees none.
    """

    def __init__(self, n: int, p: int):
        self.n, self.p, self.call, self.samples = n, p, 0, 1

    def __call__(self) -> Tensor:
        z = torch.zeros(self.samples, self.n * self.p, dtype=torch.float64)
        start = 1 + self.call * self.n * self.p
        self.call += 1
        if self.samples > start:
            z[start : start + self.n * self.p] = torch.eye(self.n * self.p, dtype=torch.float64)
        return z.reshape(self.samples, self.n, self.p)


def moments(
    limit: Kernel, data: Kernel, x: Tensor, free: Tensor, scaled: bool, **options: object
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(mean, covariance) of the sampler and of the exact posterior at the free points."""
    n, p = x.shape[1], data.components
    noising, score = (
        OUNoising(limit.gram(x), SCHEDULE, scaled),
        AnalyticScore(data, limit, SCHEDULE).at(x),
    )
    context = torch.randn(n, p, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    times = SCHEDULE.times(options.pop("steps"), options.pop("last"))  # type: ignore[arg-type]
    noise = UnitNoise(n, p)
    conditional_sample(noising, score, context[None], free, times, noise, **options)  # type: ignore[arg-type]
    noise.samples, noise.call = 1 + noise.call * n * p, 0
    known = context[None].expand(noise.samples, -1, -1)
    y = conditional_sample(noising, score, known, free, times, noise, **options)[:, free].flatten(1)  # type: ignore[arg-type]
    flat = free[:, None].expand(n, p).reshape(-1)
    k = data.gram(x).matrix[0]
    weights = k[flat][:, ~flat] @ torch.linalg.inv(k[~flat][:, ~flat])
    responses = y[1:] - y[0]
    return (
        y[0],
        responses.T @ responses,
        weights @ context.reshape(-1)[~flat],
        k[flat][:, flat] - weights @ k[~flat][:, flat],
    )


def worst(
    limit: Kernel, data: Kernel, x: Tensor, free: Tensor, scaled: bool, **options: object
) -> float:
    mean, covariance, exact_mean, exact = moments(limit, data, x, free, scaled, **options)
    sd = exact.diagonal().sqrt()
    return max(
        float(((mean - exact_mean) / sd).abs().max()),
        float(((covariance - exact) / (sd[:, None] * sd)).abs().max()),
    )


@pytest.mark.parametrize("mode", ["independent", "path"])
def test_exact_for_the_limiting_gp(mode: str) -> None:
    assert (
        worst(
            DATA,
            DATA,
            X,
            FREE,
            False,
            steps=8,
            last=2e-3,
            corrections=4,
            psi=40.0,
            tau=1.0,
            mode=mode,
        )
        < 0.02
    )


@pytest.mark.long
def test_exact_for_another_limiting_kernel() -> None:
    assert (
        worst(
            make_kernel("white"),
            DATA,
            X,
            FREE,
            True,
            steps=180,
            last=3e-3,
            corrections=4,
            psi=4.0,
            tau=1.0,
        )
        < 0.02
    )


@pytest.mark.parametrize("kind", ["curl-free", "div-free"])
def test_exact_for_vector_fields(kind: str) -> None:
    x = torch.tensor([[[0.0, 0.0], [0.5, 0.2], [0.2, 0.6], [0.9, 0.4]]], dtype=torch.float64)
    free = torch.tensor([False, False, True, True])
    kernel = make_kernel(kind, 2, length=0.5, noise=0.02)
    assert (
        worst(kernel, kernel, x, free, False, steps=8, last=2e-3, corrections=4, psi=40.0, tau=1.0)
        < 0.02
    )


def test_error_falls_with_the_steps_and_without_corrections_it_stays() -> None:
    white = make_kernel("white")
    errors = [
        worst(white, DATA, X, FREE, True, steps=n, last=4e-3, corrections=4, psi=4.0, tau=1.0)
        for n in (15, 30, 60)
    ]
    assert errors[0] > errors[1] > errors[2]
    assert worst(white, DATA, X, FREE, True, steps=60, last=4e-3, corrections=0) > 5 * errors[2]


def test_hybrid_and_ode() -> None:
    white = make_kernel("white")
    assert (
        worst(
            white,
            DATA,
            X,
            FREE,
            True,
            steps=100,
            last=4e-3,
            corrections=1,
            psi=1.0,
            tau=1.0,
            mode="hybrid",
        )
        < 0.15
    )
    assert (
        worst(
            white,
            DATA,
            X,
            FREE,
            True,
            steps=60,
            last=4e-3,
            corrections=4,
            psi=4.0,
            tau=1.0,
            ode=True,
        )
        < 0.06
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"times": [0.1, 0.5]}, "times must fall"),
        ({"corrections": -1}, "corrections and psi must not be negative"),
        ({"mode": "pth"}, "Did you mean 'path'"),
        ({"mode": "hybrid", "ode": True}, "hybrid mode is a stochastic sampler"),
    ],
)
def test_schedule_or_shapes_that_cannot_be_are_refused(change: dict, message: str) -> None:
    noising = OUNoising(DATA.gram(X), SCHEDULE)
    options = {"times": [1.0, 0.5], **change}
    with pytest.raises(InputError, match=message):
        known = torch.zeros(1, 6, 1)
        conditional_sample(
            noising, lambda y, t: -y, known, FREE, options.pop("times"), lambda: known, **options
        )

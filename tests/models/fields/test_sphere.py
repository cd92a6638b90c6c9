"""The sphere: maps, the heat kernel, noising, and tracks from fit to samples."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from equidrift.errors import InputError, InputTypeError, WeightsError
from equidrift.models.fields.functions.data import hurdat_tracks, unit_vectors
from equidrift.models.fields.functions.network import NetworkConfig
from equidrift.models.fields.functions.objective import LinearBeta
from equidrift.models.fields.tracks.prior import TrackPrior
from equidrift.models.fields.tracks.sampler import TrackModel, distance_km
from equidrift.models.fields.tracks.sphere import (
    SphereNoising,
    exp_map,
    heat_draw,
    heat_score,
    log_map,
    tangent,
    walk,
)
from equidrift.models.shared.conditioning import conditional_sample

G = torch.Generator()


def points(n: int, seed: int = 0) -> torch.Tensor:
    y = torch.randn(n, 3, generator=G.manual_seed(seed), dtype=torch.float64)
    return y / y.norm(dim=-1, keepdim=True)


def at_angles(angles: np.ndarray) -> torch.Tensor:
    """Points (n, 3) at angles (n,) from the pole."""
    return torch.tensor(np.stack([np.sin(angles), 0 * angles, np.cos(angles)], -1))


def log_kernel(angles: np.ndarray, variance: float) -> np.ndarray:
    """Log of the heat kernel per steradian: sum (2l+1) exp(-l(l+1) B/2) P_l(cos a) / 4 pi."""
    l = np.arange(400)
    weights = (2 * l + 1) * np.exp(-0.5 * l * (l + 1) * variance)
    return np.log(np.polynomial.legendre.legval(np.cos(angles), weights) / (4 * np.pi))


class HeatModel(TrackModel):
    """A model of tracks whose places lie apart from each other, each with the heat kernel
    around the pole as its law: its score is known exactly.
    """

    device = torch.device("cpu")

    def __init__(self, variance: float):
        self.variance, self.schedule = variance, LinearBeta(beta1=10.0)

    def score(self, t, x, y, half=False):  # type: ignore[no-untyped-def]
        variance = self.schedule.integral(t)[:, None, None] + self.variance
        return heat_score(y, torch.tensor([0.0, 0.0, 1.0], dtype=y.dtype).expand_as(y), variance)


def test_maps_are_each_others_inverse() -> None:
    y, z = points(50), points(50, 1)
    assert torch.allclose(exp_map(y, log_map(y, z)), z) and torch.allclose(
        log_map(y, z).norm(dim=-1), (y * z).sum(-1).acos()
    )


def test_distance_is_the_great_circle_in_km() -> None:
    a, b = (
        unit_vectors(np.array([0.0, 50.0]), np.array([0.0, 10.0])),
        unit_vectors(np.array([0.0, 51.0]), np.array([90.0, 10.0])),
    )
    assert distance_km(a, b) == pytest.approx([6371 * np.pi / 2, 6371 * np.pi / 180])


def test_heat_score_is_the_gradient_and_the_two_forms_meet() -> None:
    y, origin = points(20), points(20, 1)
    for variance in (0.8, 2.0):
        at = y.clone().requires_grad_()
        x = ((at / at.norm(dim=-1, keepdim=True)) * origin).sum(-1)
        legendre = [torch.ones_like(x), x]
        for k in range(1, 20):
            legendre.append(((2 * k + 1) * x * legendre[k] - k * legendre[k - 1]) / (k + 1))
        density = sum(
            (2 * k + 1) * float(np.exp(-0.5 * k * (k + 1) * variance)) * p
            for k, p in enumerate(legendre[:21])
        )
        exact = torch.autograd.grad(density.log().sum(), at)[0]  # type: ignore[union-attr]
        assert torch.allclose(
            heat_score(y, origin, torch.tensor(variance, dtype=torch.float64)), exact, atol=1e-6
        )


@pytest.mark.parametrize("variance", [0.02, 0.1, 0.199, 0.201])
def test_heat_score_of_short_times_is_that_of_the_series(variance: float) -> None:
    """Within .2 % as far as the series can be summed in float64, to both sides of the border
    between the two forms.
    """
    angles = np.linspace(0.02, min(3.0, 4.5 * np.sqrt(variance)), 12)
    step = 1e-5
    slope = (log_kernel(angles + step, variance) - log_kernel(angles - step, variance)) / (2 * step)
    origin = torch.tensor([[0.0, 0.0, 1.0]], dtype=torch.float64).expand(len(angles), 3)
    found = heat_score(at_angles(angles), origin, torch.tensor(variance, dtype=torch.float64))
    along = torch.tensor(np.stack([np.cos(angles), 0 * angles, -np.sin(angles)], -1))
    assert np.allclose((found * along).sum(-1).numpy(), slope, rtol=2e-3)
    assert torch.allclose(found, (found * along).sum(-1, keepdim=True) * along, atol=1e-9)


@pytest.mark.parametrize("variance", [0.01, 0.3, 1.5])
def test_draws_have_the_heat_kernels_mean(variance: float) -> None:
    y = torch.tensor([0.0, 0.0, 1.0]).expand(20000, 3)
    exact = np.exp(-variance)  # E cos = exp(-l (l + 1) B / 2) at l = 1
    direct = heat_draw(y, variance, torch.randn(20000, 3, generator=G.manual_seed(0)))
    steps = walk(y, torch.tensor(variance), torch.randn(10, 20000, 3, generator=G.manual_seed(1)))
    assert float(direct[:, 2].mean()) == pytest.approx(exact, abs=0.015) and float(
        steps[:, 2].mean()
    ) == pytest.approx(exact, abs=0.03)


def test_reverse_brings_back_a_point_and_langevin_stays() -> None:
    """One free point whose law is a heat kernel of variance 0.05: its exact score leads
    from noise to it.
    """
    noising, n = SphereNoising(LinearBeta(beta1=10.0)), 4000
    origin = torch.tensor([0.0, 0.6, 0.8]).expand(n, 1, 3)
    schedule = noising.schedule

    def score(y: torch.Tensor, t: float) -> torch.Tensor:
        return heat_score(y, origin, schedule.integral(torch.tensor(t)) + 0.05)

    known, free = torch.zeros(n, 1, 3), torch.tensor([True])
    generator = torch.Generator().manual_seed(3)
    times = schedule.times(40, 1e-2)
    y = conditional_sample(
        noising,
        score,
        known,
        free,
        times,
        lambda: torch.randn(n, 1, 3, generator=generator),
        corrections=1,
        psi=0.5,
    )
    assert torch.allclose(y.norm(dim=-1), torch.ones(n, 1), atol=1e-5)
    assert float((y * origin).sum(-1).mean()) == pytest.approx(np.exp(-0.05), abs=0.01)


@pytest.mark.long
def test_fit_condition_sample_save_load(tmp_path: Path) -> None:
    t = np.arange(6) * 0.25
    tracks = unit_vectors(
        20 + 2 * t + np.arange(8)[:, None], -40 - 5 * t - 3 * np.arange(8)[:, None]
    )
    config = NetworkConfig("attention", width=16, layers=2, heads=2, components=3)
    model = TrackModel.fit(t, tracks, network=config, schedule={"steps": 4}, budget_s=60.0)
    made = model.condition(t[:3], tracks[0, :3]).sample(t[2:], 2, seed=1, steps=4)
    assert made.shape == (2, 4, 3) and np.allclose(made[:, 0], tracks[0, 2], atol=1e-6)
    assert np.allclose(np.linalg.norm(made, axis=-1), 1, atol=1e-5)
    again = TrackModel.load(model.save(tmp_path / "tracks"))
    assert np.allclose(
        again.condition(t[:3], tracks[0, :3]).sample(t[2:], 2, seed=1, steps=4), made, atol=1e-5
    )
    shifted = model.condition(t[:3] + 10, tracks[0, :3]).sample(t[2:] + 10, 2, seed=1, steps=4)
    assert np.allclose(shifted, made, atol=1e-3), "times enter by differences alone"
    assert np.isfinite(model.log_prob(t, tracks[:2], steps=4, probes=1)).all()
    with pytest.raises(InputError, match=r"the model has seen 1\.25"):
        model.sample([0.0, 4.0])
    with pytest.raises(InputError, match="n must be 1 or more, not 0"):
        model.sample(t, 0)
    with pytest.raises(InputError, match="no context is given"):
        model.condition([], np.zeros((0, 3)))
    with pytest.raises(InputError, match="given twice"):
        model.condition([0.0, 0.0], tracks[0, :2])


def test_uniform_density() -> None:
    """Without a score from prior or network the uniform distribution stays as it is:
    log p = -n log 4 pi.
    """
    config = NetworkConfig(width=8, layers=1, heads=1, components=3)
    model = TrackModel.fit([0.0, 1.0], np.eye(3)[None, :2], network=config, schedule={"steps": 0})
    model.prior.spread.fill_(1e9)
    assert model.log_prob([0.0, 1.0], np.eye(3)[None, :2], steps=3, probes=1) == pytest.approx(
        [-2 * np.log(4 * np.pi)], abs=1e-4
    )


@pytest.mark.long
@pytest.mark.parametrize("steps", [30, 60])
@pytest.mark.parametrize("variance", [0.05, 0.1, 0.3])
def test_log_prob_is_the_heat_kernels_out_to_the_tails(variance: float, steps: int) -> None:
    """At .2 to 1.2 rad, up to five standard deviations from the pole."""
    angles = np.array([0.2, 0.4, 0.8, 1.2])
    made = HeatModel(variance).log_prob([0.0], at_angles(angles)[:, None], steps=steps)
    assert made == pytest.approx(log_kernel(angles, variance), abs=0.03)


@pytest.mark.long
def test_log_prob_of_two_places_is_the_sum_of_their_heat_kernels() -> None:
    angles = np.array([0.3, 0.9])
    made = HeatModel(0.2).log_prob([0.0, 1.0], at_angles(angles)[None])
    assert made == pytest.approx([log_kernel(angles, 0.2).sum()], abs=0.03)


@pytest.mark.long
def test_log_prob_by_probes_is_that_by_the_trace() -> None:
    track = at_angles(np.array([0.3, 0.9]))[None]
    exact = HeatModel(0.2).log_prob([0.0, 1.0], track, steps=2)
    estimated = HeatModel(0.2).log_prob([0.0, 1.0], track, steps=2, probes=64)
    assert estimated == pytest.approx(exact, abs=0.3)


def test_prior_is_the_score_of_its_process_and_turns_with_the_globe() -> None:
    """For small noise it is the Gaussian's score; a turned prior and a turned track
    give a turned score.
    """
    t = torch.linspace(0, 1, 4, dtype=torch.float64)
    y = exp_map(
        torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64),
        0.2 * tangent(torch.tensor([0.0, 0.0, 1.0]), points(40)),
    )[:, None]
    y = exp_map(
        y.expand(-1, 4, -1),
        0.02 * torch.randn(40, 4, 3, generator=G.manual_seed(3), dtype=torch.float64),
    )
    prior, variance = TrackPrior.fit(t, y), torch.full((2, 1, 1), 1e-3, dtype=torch.float64)
    found = prior.score(t[None, :, None], y[:2], variance)
    k = torch.kron(
        prior.kernel.gram(t[None, :, None]).matrix[0],
        prior.axes @ prior.spread.diag() @ prior.axes.T,
    )  # type: ignore[index]
    law = torch.distributions.MultivariateNormal(
        prior.mean.repeat(4), k + 1e-3 * torch.eye(12, dtype=torch.float64)
    )
    at = y[:2].reshape(2, 12).clone().requires_grad_()
    exact = tangent(y[:2], torch.autograd.grad(law.log_prob(at).sum(), at)[0].reshape(2, 4, 3))
    assert torch.allclose(found, exact, rtol=1e-4, atol=1e-4)
    r = torch.linalg.qr(torch.randn(3, 3, generator=G.manual_seed(5), dtype=torch.float64))[0]
    turned = TrackPrior(prior.kernel, r @ prior.mean, r @ prior.axes, prior.spread)
    assert torch.allclose(
        turned.score(t[None, :, None], y[:2] @ r.T, variance), found @ r.T, atol=1e-6
    )


def test_tracks_off_the_sphere_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"must be unit vectors, not of length 2 to 2"):
        TrackModel.fit([0.0], [[[2.0, 0.0, 0.0]]])
    with pytest.raises(InputError, match=r"unit vectors \(tracks, 2, 3\) for 2 times"):
        TrackModel.fit([0.0, 1.0], [[[1.0, 0.0, 0.0]]])
    with pytest.raises(
        InputError, match=r"times must be finite and of shape \(n,\), not of shape \(1, 1\)"
    ):
        TrackModel.fit([[0.0]], [[[1.0, 0.0, 0.0]]])
    with pytest.raises(InputTypeError, match="times must be an array of numbers"):
        TrackModel.fit(["today"], [[[1.0, 0.0, 0.0]]])
    with pytest.raises(WeightsError, match="expected 'track'"):
        TrackModel.load("field-se")
    with pytest.raises(InputError, match="need HURDAT2"):
        hurdat_tracks(tmp_path)

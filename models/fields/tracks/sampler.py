"""Tracks on the globe: Brownian noising on S^2, the heat-kernel score, and `TrackModel` (arXiv:2307.05431, experiments, cyclones).

A track is (n, 3) unit vectors at times (n,). Each of its points diffuses by itself towards the uniform distribution of the sphere;
the network sees them all. Scores are tangent vectors. Variances are per tangent direction, so that time is B(t) itself.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from equidrift.errors import InputError
from equidrift.models.fields.functions.data import as_array, check_count
from equidrift.models.fields.functions.kernels import Kernel, fit_kernel
from equidrift.models.fields.functions.network import BiDimensionalAttention, NetworkConfig
from equidrift.models.fields.functions.objective import LinearBeta, draw_times
from equidrift.models.shared.conditioning import Mode, conditional_sample
from equidrift.models.shared.config import LICENCE, TRAINING_DATA, make_schedule
from equidrift.models.shared.run import check_task, own_random_state
from equidrift.models.shared.run import fit as train_network
from equidrift.models.shared.split import HELD_OUT, split
from equidrift.models.shared.trainer import Progress, Stepped, stepped
from equidrift.seeds import check_seed, sample_rng, sample_seeds
from equidrift.weights import load_weights, save_weights

SERIES_FROM, SERIES_TERMS, WALK_STEPS = 0.5, 20, 10
FASTEST = 10.0  # largest Langevin step of a mode, over the noise's variance
NOISE = 0x5EED  # salt of the seed of the noise on held-out tracks
FLAT_TO = 1.51  # variance at which 3 B exp(-B), falling, passes 1
EARTH_RADIUS_KM = 6371.0


def tangent(y: Tensor, v: Tensor) -> Tensor:
    """The part of v tangent to the sphere at y."""
    return v - (v * y).sum(-1, keepdim=True) * y


def exp_map(y: Tensor, v: Tensor) -> Tensor:
    """The point reached from y along the geodesic with tangent v."""
    length = v.norm(dim=-1, keepdim=True).clamp(min=1e-12)
    moved = length.cos() * y + length.sin() * v / length
    return moved / moved.norm(dim=-1, keepdim=True)


def log_map(y: Tensor, z: Tensor) -> Tensor:
    """The tangent at y of the geodesic to z, as long as the way."""
    towards = tangent(y, z)
    sine, cosine = towards.norm(dim=-1, keepdim=True), (y * z).sum(-1, keepdim=True)
    return torch.atan2(sine, cosine) * towards / sine.clamp(min=1e-12)


def heat_score(y: Tensor, origin: Tensor, variance: Tensor) -> Tensor:
    """grad_y log of the heat kernel of S^2 after Brownian motion from `origin` of that variance a direction.

    Varadhan's log map / variance up to `SERIES_FROM`; above it the Legendre series sum (2l+1) exp(-l(l+1) B/2) P_l(cos).
    """
    near = log_map(y, origin) / variance
    x = (y * origin).sum(-1, keepdim=True).clamp(-1.0, 1.0)
    before, now = torch.ones_like(x), x
    slope_before, slope = torch.zeros_like(x), torch.ones_like(x)
    total, derivative = torch.ones_like(x), torch.zeros_like(x)
    for degree in range(1, SERIES_TERMS + 1):
        weight = (2 * degree + 1) * (-0.5 * degree * (degree + 1) * variance).exp()
        total, derivative = total + weight * now, derivative + weight * slope
        before, now, last = now, ((2 * degree + 1) * x * now - degree * before) / (degree + 1), now
        slope_before, slope = slope, slope_before + (2 * degree + 1) * last
    far = derivative / total.clamp(min=1e-6) * tangent(y, origin)
    return torch.where(variance > SERIES_FROM, far, near)


def walk(y: Tensor, variance: Tensor, noise: Tensor) -> Tensor:
    """Geodesic random walk of that variance; noise (steps, *y.shape) is standard normal."""
    for z in noise:
        y = exp_map(y, (variance / len(noise)).sqrt() * tangent(y, z))
    return y


def heat_draw(y: Tensor, variance: float, noise: Tensor) -> Tensor:
    """A draw of the heat kernel around y: the direction is the noise's, the angle has the noise's rank in its own distribution."""
    towards = tangent(y, noise)
    radius = towards.norm(dim=-1, keepdim=True)
    if variance < 0.02:  # the plane's, to 1e-3
        return exp_map(y, math.sqrt(variance) * towards)
    grid = np.linspace(0.0, math.pi, 2001)
    total, before, now = np.ones_like(grid), np.ones_like(grid), np.cos(grid)
    for degree in range(1, 40):
        total += (2 * degree + 1) * math.exp(-0.5 * degree * (degree + 1) * variance) * now
        before, now = now, ((2 * degree + 1) * np.cos(grid) * now - degree * before) / (degree + 1)
    cumulative = np.cumsum(np.clip(total, 0.0, None) * np.sin(grid))
    rank = -np.expm1(-0.5 * radius.double().numpy() ** 2)
    angle = torch.tensor(np.interp(rank, cumulative / cumulative[-1], grid), dtype=y.dtype)
    return exp_map(y, angle * towards / radius.clamp(min=1e-12))


class SphereNoising:
    """`conditioning.Noising` of tracks (samples, n, 3); scores are grad log p.

    With a `prior` and the tracks' moments x (1, n, 1), Langevin steps are taken in the metric of the covariance that the prior, noised,
    leaves to the free points given the known ones: far from the context places move together, by hundreds of kilometres, and steps on
    the scale of the noise would never carry them there.
    """

    def __init__(self, schedule: LinearBeta, prior: TrackPrior | None = None, x: Tensor | None = None):
        self.schedule, self.process, self.x = schedule, prior, x
        self._roots: tuple[float, Tensor] | None = None  # of the last variance

    def _between(self, a: float, b: float) -> float:
        values = self.schedule.integral(torch.tensor([a, b], dtype=torch.float64))
        return float(values[1] - values[0])

    def prior(self, noise: Tensor) -> Tensor:
        """Uniform points."""
        return noise / noise.norm(dim=-1, keepdim=True)

    def transition(self, y: Tensor, earlier: float, later: float, noise: Tensor) -> Tensor:
        """Brownian motion, drawn exactly (`heat_draw`)."""
        y = y / y.norm(dim=-1, keepdim=True).clamp(min=1e-12)  # free points hold zeros
        return heat_draw(y, self._between(earlier, later), noise)

    def reverse(self, y: Tensor, t: float, to: float, score: Tensor, noise: Tensor | None) -> Tensor:
        """One step of the time-reversed Brownian motion, or of its flow."""
        dB = self._between(to, t)
        if noise is None:
            return exp_map(y, 0.5 * dB * score)
        return exp_map(y, dB * score + math.sqrt(dB) * tangent(y, noise))

    def langevin(self, y: Tensor, t: float, step: float, score: Tensor, noise: Tensor, free: Tensor) -> Tensor:
        """One Langevin step of the free points: in the prior's metric, with the weights of an exact step for a Gaussian; or on the
        scale of the noise."""
        scale = min(1.0, self._between(0.0, t))
        if self.process is not None and self.x is not None and scale < SERIES_FROM:
            if self._roots is None or self._roots[0] != scale:
                self._roots = scale, self.process.conditional_root(self.x, scale, free).to(y.dtype)
            axes, root = self.process.axes.to(y.dtype), self._roots[1]
            pulled = torch.einsum("aij,akj,bka->bia", root, root, score[:, free] @ axes)
            stirred = torch.einsum("aij,bja->bia", root, noise[:, free] @ axes)
            move = torch.zeros_like(y)
            move[:, free] = ((1 - math.exp(-0.5 * step)) * pulled + math.sqrt(-math.expm1(-step)) * stirred) @ axes.T
            return torch.where(free[..., None], exp_map(y, tangent(y, move)), y)
        moved = exp_map(y, 0.5 * step * scale * score + math.sqrt(step * scale) * tangent(y, noise))
        return torch.where(free[..., None], moved, y)


class TrackPrior(nn.Module):
    """A Gaussian process for tracks as curves in space: what the network corrects, and what it is told.

    Along each of three axes (those of the tracks' covariance) a point is mean + root(spread) g(t), with g a GP in time. As long as
    the noise is small the sphere is flat, and the score of a noised track is the tangent part of this process's.
    """

    def __init__(self, kernel: Kernel, mean: Tensor, axes: Tensor, spread: Tensor):
        super().__init__()
        self.kernel = kernel
        self.mean, self.axes, self.spread = (nn.Parameter(u.double(), requires_grad=False) for u in (mean, axes, spread))

    @classmethod
    def fit(cls, t: Tensor, y: Tensor, seed: int = 0) -> TrackPrior:
        """By moments in space and maximum marginal likelihood in time; t (n,), y (F, n, 3)."""
        flat = y.reshape(-1, 3)
        mean = flat.mean(0)
        spread, axes = torch.linalg.eigh(torch.cov(flat.T) + 1e-8 * torch.eye(3, dtype=y.dtype))
        g = ((y - mean) @ axes / spread.sqrt()).permute(0, 2, 1).reshape(-1, len(t), 1)
        kernel = time_kernel(float(t[-1] - t[0]) or 1.0)
        fit_kernel(kernel, t[None, :, None].expand(len(g), -1, -1), g, seed=seed, noise_floor=1e-7, steps=120)
        return cls(kernel, mean, axes, spread)

    def score(self, x: Tensor, y: Tensor, variance: Tensor) -> Tensor:
        """Tangent score (B, n, 3) of noised tracks y at moments x (1 or B, n, 1) and variances (B, 1, 1), in float64.

        Euclidean noise would give (K + variance)^-1 (mean - y); far beyond a radian the sphere's own law, 3 exp(-variance) towards the
        mean, takes the place of 1 / variance.
        """
        shared = x[:1] if bool((x == x[:1]).all()) else x
        values, vectors = torch.linalg.eigh(self.kernel.between(shared.double(), shared.double())[:, :, 0, :, 0])
        y = y.double()
        seen = vectors.mT @ ((self.mean - y) @ self.axes)  # (B, n, 3)
        noise = self.kernel.noise + values.clamp(min=0)[..., None]
        pulled = vectors @ (seen / (self.spread * noise + variance.double())) @ self.axes.T
        return torch.where(variance > FLAT_TO, 3 * variance * (-variance).exp(), torch.ones_like(variance)) * tangent(y, pulled)


    def conditional_root(self, x: Tensor, variance: float, free: Tensor) -> Tensor:
        """Roots (3, f, f), one an axis, of the noised process's covariance of the free points given the others."""
        matrix = self.kernel.gram(x.double()).dense
        total = self.spread[:, None, None] * matrix + variance * torch.eye(matrix.shape[-1], dtype=torch.float64)
        carried = torch.linalg.solve(total[:, ~free][:, :, ~free], total[:, ~free][:, :, free])
        values, vectors = torch.linalg.eigh(total[:, free][:, :, free] - total[:, free][:, :, ~free] @ carried)
        # the network's errors of slow modes are multiplied by what a mode's variance is over the noise's
        return vectors * values.clamp(min=0, max=FASTEST * variance).sqrt()[:, None]


def time_kernel(span: float) -> Kernel:
    """What the kernels in time are fitted from: nearly constant, slow, and rough parts."""
    return Kernel(["se", "se", "matern52"], variance=[1.0, 0.1, 0.01], length=[10 * span, span, span / 4], noise=1e-4)


class TrackModel:
    """A distribution over tracks on the globe: fit, condition, sample, log_prob, save, load, as `FieldModel`.

    Times enter by differences alone (the network is invariant under shifts in time); the place does not, for cyclones know the
    latitude. Only times that the model was fitted with may be asked for, up to a shift, or any between them.
    """

    def __init__(self, network: BiDimensionalAttention, prior: TrackPrior, schedule: LinearBeta, span: float):
        self.network, self.prior, self.schedule, self.span = network.eval(), prior, schedule, span
        self.record: dict[str, Any] = {}

    @classmethod
    def fit(
        cls,
        times: ArrayLike,
        tracks: ArrayLike,
        *,
        network: NetworkConfig | None = None,
        budget_s: float = 60.0,
        schedule: dict[str, Any] | None = None,
        batch: int = 64,
        seed: int = 0,
        out: Path | str | None = None,
        resume: bool = False,
        progress: Progress | None = None,
    ) -> TrackModel:
        """Learn from tracks (F, n, 3) of unit vectors (`data.unit_vectors`) at times (n,); options as `FieldModel.fit`.

        Raises
        ------
        InputError
            for tracks that do not lie on the unit sphere, or shapes that do not go together.
        """
        seed = check_seed(seed)
        t = _times(times)
        y = _tracks(tracks, len(t))
        span = float(np.ptp(t)) or 1.0
        sizes: dict[str, Any] = {"wave_min": span / len(t), "wave_max": 4 * span, "width": 64, "layers": 3}
        config = dataclasses.replace(network or NetworkConfig("attention", **sizes), components=3, features=3)
        prior = TrackPrior.fit(torch.tensor(t), torch.tensor(y), seed)
        with own_random_state(seed):
            model = cls(BiDimensionalAttention(config), prior, LinearBeta(beta1=10.0), span)
        data, x = torch.tensor(y, dtype=torch.float32), torch.tensor(t, dtype=torch.float32)[None, :, None]
        generator = torch.Generator()
        rows, held = split(range(len(data)), HELD_OUT, seed)
        data, unseen = data[rows], data[held]

        def held_out_loss(_: nn.Module, tracks: Tensor) -> Tensor:
            generator.manual_seed(seed ^ NOISE)
            return model.loss(tracks, x.expand(len(tracks), -1, -1), generator)

        def pick(step: int) -> Tensor:
            generator.manual_seed(seed * 1_000_003 + step)
            return data[torch.randint(len(data), (min(batch, len(data)),), generator=generator)]

        def loss(_: nn.Module, part: Stepped) -> Tensor:
            # some of the moments, for densities of a context alone; every other batch all of them
            count = len(t) if part.step % 2 else int(torch.randint(1, len(t) + 1, (1,), generator=generator))
            kept = torch.randperm(len(t), generator=generator)[:count].sort().values
            tracks: Tensor = part.data[:, kept]
            return model.loss(tracks, x[:, kept].expand(len(tracks), -1, -1), generator)

        trainer = train_network(
            model.network,
            stepped(pick),
            loss,
            make_schedule(schedule or {}, weight_decay=0.0),
            budget_s,
            out=out,
            resume=resume,
            progress=progress,
            held_out=(lambda step: unseen) if len(held) else None,
            held_out_loss=held_out_loss,
        )
        model.record = trainer.card()
        return model

    def loss(self, y: Tensor, x: Tensor, generator: torch.Generator) -> Tensor:
        """Denoising score matching with the heat kernel's score, times the variance."""
        t = draw_times(len(y), self.schedule, generator)
        variance = self.schedule.integral(t)[:, None, None].to(y.dtype)
        noisy = walk(y, variance, torch.randn(WALK_STEPS, *y.shape, generator=generator))
        score = self.score(t, x, noisy, half=True)
        error = _scale(variance) * (score - heat_score(noisy, y, variance))
        return error.square().sum(-1).mean()

    def score(self, t: Tensor, x: Tensor, y: Tensor, half: bool = False) -> Tensor:
        """Tangent vectors grad log p_t at times (B,), moments (B, n, 1) and tracks (B, n, 3)."""
        variance = self.schedule.integral(t)[:, None, None].to(y.dtype)
        scale = _scale(variance)
        prior = self.prior.score(x, y, variance).to(y.dtype)
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            f = self.network(t.to(y.dtype), scale[:, 0, 0], x, y, torch.ones(y.shape[:2], dtype=torch.bool), scale * prior)
        return prior + tangent(y, f.to(y.dtype)) / scale

    def condition(self, times: ArrayLike, track: ArrayLike) -> ConditionedTrack:
        """The distribution given the places (n, 3) at some times (n,)."""
        t = _times(times)
        if len(np.unique(t)) != len(t):
            raise InputError("a context time is given twice; give each once")
        if not len(t):
            raise InputError("no context is given; call sample of the model itself for the prior")
        return ConditionedTrack(self, t, _tracks(as_array("track", track)[None], len(t))[0])

    def sample(self, times: ArrayLike, n: int = 1, seed: int = 0, **options: Any) -> NDArray[np.float64]:
        """n tracks (n, m, 3) at times (m,)."""
        return ConditionedTrack(self, np.zeros(0), np.zeros((0, 3))).sample(times, n, seed, **options)

    def log_prob(
        self, times: ArrayLike, tracks: ArrayLike, *, steps: int = 60, probes: int = 8, first_std: float = 2e-3, seed: int = 0
    ) -> NDArray[np.float64]:
        """Log densities (F,) on the sphere's surface (per steradian and point), by the flow; `probes` of Hutchinson's estimate."""
        t = _times(times)
        y = torch.tensor(_tracks(tracks, len(t)), dtype=torch.float32)
        x = torch.tensor(t, dtype=torch.float32)[None, :, None].expand(len(y), -1, -1)
        generator = torch.Generator().manual_seed(check_seed(seed))
        signs = (2.0 * torch.randint(2, (probes, *y.shape), generator=generator) - 1) / math.sqrt(probes)
        std = np.geomspace(first_std, math.sqrt(float(self.schedule.integral(torch.tensor(1.0)))), steps + 1)
        change = torch.zeros(len(y), dtype=torch.float64)
        for low, high in itertools.pairwise(std):  # midpoint rule, one evaluation a step
            middle = math.sqrt(low * high)
            time = self._time_of(middle**2).expand(len(y))
            y = y.detach().requires_grad_()
            unit = y / y.norm(dim=-1, keepdim=True)  # a field that does not change outwards: its divergence is the surface's
            flow = -0.5 * (high**2 - low**2) * self.score(time, x, unit)
            for k, sign in enumerate(signs):
                gradient = torch.autograd.grad(flow, y, sign, retain_graph=k + 1 < probes)[0]
                change = change + (gradient * sign).sum((1, 2)).double()
            y = exp_map(unit.detach(), flow.detach())
        return (change - len(t) * math.log(4 * math.pi)).numpy()

    def _time_of(self, variance: float) -> Tensor:
        return self.schedule.time_of(torch.tensor(-math.expm1(-variance), dtype=torch.float64).sqrt())

    def save(self, path: str | Path, **more: Any) -> Path:
        """Write PATH.safetensors and its card."""
        config = {"network": dataclasses.asdict(self.network.config), "schedule": dataclasses.asdict(self.schedule), "span": self.span}
        config |= {"kernel": self.prior.kernel.config()}
        card: dict[str, Any] = {"name": Path(path).stem, "family": "fields", "task": "track", "config": config}
        card |= {"description": "distribution over tracks on the globe", "elements": "any (tracks)", "max_atoms": 0}
        card |= {"units": "days, unit vectors", "licence": LICENCE, "training_data": TRAINING_DATA}
        card |= {"quality": {}, **self.record, **more}
        state = {f"network.{k}": v for k, v in self.network.state_dict().items()}
        state |= {f"prior.{k}": v.float() for k, v in self.prior.state_dict().items()}
        return save_weights(path, state, card)

    @classmethod
    def load(cls, name_or_path: str | Path) -> TrackModel:
        """A model by name or path. Raises `WeightsError` for another kind's."""
        state, card = load_weights(name_or_path)
        check_task(name_or_path, card, "track")
        with own_random_state():
            network = BiDimensionalAttention(NetworkConfig(**card["config"]["network"]))
        network.load_state_dict({k[8:]: v for k, v in state.items() if k.startswith("network.")})
        prior = TrackPrior(Kernel(card["config"]["kernel"]["kinds"], noise=1.0), torch.zeros(3), torch.eye(3), torch.ones(3))
        prior.load_state_dict({k[6:]: v for k, v in state.items() if k.startswith("prior.")})
        return cls(network, prior, LinearBeta(**card["config"]["schedule"]), card["config"]["span"])


@dataclasses.dataclass(frozen=True)
class ConditionedTrack:
    """A `TrackModel` given places y (n, 3) at times t (n,)."""

    model: TrackModel
    t: NDArray[np.float64]
    y: NDArray[np.float64]

    def sample(
        self,
        times: ArrayLike,
        n: int = 1,
        seed: int = 0,
        *,
        steps: int = 60,
        corrections: int = 4,
        psi: float = 4.0,
        tau: float = 1.0,
        mode: Mode = "independent",
    ) -> NDArray[np.float64]:
        """n tracks (n, m, 3) at times (m,); a time of the context gives the context's place, and one that is repeated the same place."""
        query, n = _times(times), check_count(n)
        moments, where = np.unique(np.concatenate([self.t, query]), return_inverse=True)
        if np.ptp(moments) > 1.05 * self.model.span:
            asked = f"context and queries span {np.ptp(moments):.4g} days"
            raise InputError(f"{asked}, the model has seen {self.model.span:.4g}; ask for less at a time")
        known = torch.zeros(n, len(moments), 3)
        known[:, where[: len(self.t)]] = torch.tensor(self.y, dtype=torch.float32)
        free = torch.ones(len(moments), dtype=torch.bool)
        free[where[: len(self.t)]] = False
        streams = [sample_rng(int(s)) for s in sample_seeds(check_seed(seed), 0, n)]

        def draw() -> Tensor:
            return torch.tensor(np.stack([stream.standard_normal((len(moments), 3)) for stream in streams]), dtype=torch.float32)

        options: dict[str, Any] = {"corrections": corrections if len(self.t) else 0, "psi": psi, "tau": tau, "mode": mode}
        made = complete(self.model, moments, known, free, draw, steps=steps, **options)
        return np.asarray(made[:, where[len(self.t) :]].double().numpy())


def complete(
    model: TrackModel, times: NDArray[np.float64], known: Tensor, free: Tensor, draw: Callable[[], Tensor], *, steps: int, **options: Any
) -> Tensor:
    """Tracks (B, n, 3) at times (n,) whose free points (n,) are drawn given the others; options of `conditional_sample`."""
    x = torch.tensor(times, dtype=torch.float32)[None, :, None].expand(len(known), -1, -1)

    def score(y: Tensor, t: float) -> Tensor:
        return model.score(torch.full((len(y),), t, dtype=torch.float64), x, y)

    with torch.no_grad():
        noising = SphereNoising(model.schedule, model.prior, x[:1])
        return conditional_sample(noising, score, known, free, model.schedule.times(steps, 3e-3), draw, **options)


def distance_km(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Great-circle distances of unit vectors (..., 3)."""
    return np.asarray(EARTH_RADIUS_KM * np.arctan2(np.linalg.norm(np.cross(a, b), axis=-1), (a * b).sum(-1)))


def _scale(variance: Tensor) -> Tensor:
    """What makes scores of all noise levels of one size: the root of the variance, up to 1."""
    return (variance / (1 + variance)).sqrt() + 1e-3


def _times(times: ArrayLike) -> NDArray[np.float64]:
    t = as_array("times", times)
    if t.ndim != 1 or not np.isfinite(t).all():
        raise InputError(f"times must be finite and of shape (n,), not of shape {t.shape}")
    return t


def _tracks(tracks: ArrayLike, n: int) -> NDArray[np.float64]:
    y = as_array("tracks", tracks)
    if y.ndim != 3 or y.shape[1:] != (n, 3):
        raise InputError(f"tracks must be unit vectors (tracks, {n}, 3) for {n} times, not of shape {y.shape}; see data.unit_vectors")
    length = np.linalg.norm(y, axis=-1)
    if not bool((np.abs(length - 1) < 1e-3).all()):
        found = f"{length.min():.3g} to {length.max():.3g}"
        raise InputError(f"tracks must be unit vectors, not of length {found}; data.unit_vectors makes them of degrees")
    return y / length[..., None]

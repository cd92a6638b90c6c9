"""Tracks on the globe: `TrackModel` (arXiv:2307.05431, experiments, cyclones).

A track is (n, 3) unit vectors at times (n,). Each of its points diffuses by itself
towards the uniform distribution of the sphere; the network sees them all. Scores are
tangent vectors. Variances are per tangent direction, so that time is B(t) itself.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from equidrift.arguments import check_count
from equidrift.errors import InputError
from equidrift.models.fields.functions.data import as_array
from equidrift.models.fields.functions.kernels import Kernel
from equidrift.models.fields.functions.network import BiDimensionalAttention, NetworkConfig
from equidrift.models.fields.functions.objective import LinearBeta, draw_times
from equidrift.models.fields.tracks.likelihood import sphere_log_likelihood
from equidrift.models.fields.tracks.prior import TrackPrior
from equidrift.models.fields.tracks.sphere import SphereNoising, heat_score, tangent, walk
from equidrift.models.shared.conditioning import Mode, conditional_sample
from equidrift.models.shared.config import LICENCE, TRAINING_DATA, make_schedule
from equidrift.models.shared.likelihood import probe_vectors
from equidrift.models.shared.run import check_task, own_random_state
from equidrift.models.shared.run import fit as train_network
from equidrift.models.shared.split import HELD_OUT, split
from equidrift.models.shared.trainer import Progress, Schedule, Stepped, Trainer, stepped
from equidrift.seeds import check_seed, sample_rng, sample_seeds
from equidrift.weights import load_weights, save_weights

WALK_STEPS = 10  # of the noise of a training batch
NOISE = 0x5EED  # salt of the seed of the noise on held-out tracks
EARTH_RADIUS_KM = 6371.0


class TrackModel:
    """A distribution over tracks on the globe: fit, condition, sample, log_prob, save,
    load, as `FieldModel`.

    Times enter by differences alone (the network is invariant under shifts in time);
    the place does not, for cyclones know the latitude. Only times that the model was
    fitted with may be asked for, up to a shift, or any between them.
    """

    def __init__(
        self, network: BiDimensionalAttention, prior: TrackPrior, schedule: LinearBeta, span: float
    ):
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
        """Learn from tracks (F, n, 3) of unit vectors (`data.unit_vectors`) at times
        (n,); options as `FieldModel.fit`.

        Raises
        ------
        InputError
            for tracks that do not lie on the unit sphere, or shapes that do not go
            together.
        """
        seed = check_seed(seed)
        t = _times(times)
        y = _tracks(tracks, len(t))
        span = float(np.ptp(t)) or 1.0
        sizes: dict[str, Any] = {
            "wave_min": span / len(t),
            "wave_max": 4 * span,
            "width": 64,
            "layers": 3,
        }
        config = dataclasses.replace(
            network or NetworkConfig("attention", **sizes), components=3, features=3
        )
        prior = TrackPrior.fit(torch.tensor(t), torch.tensor(y), seed)
        with own_random_state(seed):
            model = cls(BiDimensionalAttention(config), prior, LinearBeta(beta1=10.0), span)
        how: dict[str, Any] = {
            "budget_s": budget_s,
            "out": out,
            "resume": resume,
            "progress": progress,
        }
        trainer = _train(
            model, t, y, batch, seed, make_schedule(schedule or {}, weight_decay=0.0), how
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
        """Tangent vectors grad log p_t at times (B,), moments (B, n, 1) and tracks (B,
        n, 3).
        """
        variance = self.schedule.integral(t)[:, None, None].to(y.dtype)
        scale = _scale(variance)
        prior = self.prior.score(x, y, variance).to(y.dtype)
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            f = self.network(
                t.to(y.dtype),
                scale[:, 0, 0],
                x,
                y,
                torch.ones(y.shape[:2], dtype=torch.bool),
                scale * prior,
            )
        return prior + tangent(y, f.to(y.dtype)) / scale

    def condition(self, times: ArrayLike, track: ArrayLike) -> ConditionedTrack:
        """The distribution given the places (n, 3) at some times (n,)."""
        t = _times(times)
        if len(np.unique(t)) != len(t):
            raise InputError("a context time is given twice; give each once")
        if not len(t):
            raise InputError("no context is given; call sample of the model itself for the prior")
        return ConditionedTrack(self, t, _tracks(as_array("track", track)[None], len(t))[0])

    def sample(
        self, times: ArrayLike, n: int = 1, seed: int = 0, **options: Any
    ) -> NDArray[np.float64]:
        """n tracks (n, m, 3) at times (m,)."""
        return ConditionedTrack(self, np.zeros(0), np.zeros((0, 3))).sample(
            times, n, seed, **options
        )

    def log_prob(
        self,
        times: ArrayLike,
        tracks: ArrayLike,
        *,
        steps: int = 30,
        probes: int | None = None,
        first_std: float = 2e-3,
        seed: int = 0,
    ) -> NDArray[np.float64]:
        """Log densities on the sphere's surface, by the flow.

        Parameters
        ----------
        times : array_like, shape (n,)
            Of the places.
        tracks : array_like, shape (F, n, 3)
            Unit vectors.
        steps : int
            Of the integration, four scores each; see `sphere_log_likelihood`.
        probes : int or None
            Of the divergence's estimate; 0 takes the exact trace, None the trace for up to 5
            places and 8 probes for more.
        first_std : float
            Noise, in radians, at which the tracks are taken to be.
        seed : int
            Of the probes.

        Returns
        -------
        ndarray, shape (F,)
            Per steradian and place.

        Raises
        ------
        InputError
            for tracks that are not unit vectors, or shapes that do not go together.
        """
        t = _times(times)
        y = torch.tensor(_tracks(tracks, len(t)), dtype=torch.float32)
        x = torch.tensor(t, dtype=torch.float32)[None, :, None].expand(len(y), -1, -1)
        generator = torch.Generator().manual_seed(check_seed(seed))

        def score(at: Tensor, std: float) -> Tensor:
            return self.score(self._time_of(std**2).expand(len(at)), x, at)

        return sphere_log_likelihood(
            score,
            y,
            first_std=first_std,
            last_std=math.sqrt(float(self.schedule.integral(torch.tensor(1.0)))),
            steps=check_count("steps", steps),
            vectors=probe_vectors(y, probes, generator),
        ).numpy()

    def _time_of(self, variance: float) -> Tensor:
        return self.schedule.time_of(
            torch.tensor(-math.expm1(-variance), dtype=torch.float64).sqrt()
        )

    def save(self, path: str | Path, **more: Any) -> Path:
        """Write PATH.safetensors and its card."""
        config = {
            "network": dataclasses.asdict(self.network.config),
            "schedule": dataclasses.asdict(self.schedule),
            "span": self.span,
        }
        config |= {"kernel": self.prior.kernel.config()}
        card: dict[str, Any] = {
            "name": Path(path).stem,
            "family": "fields",
            "task": "track",
            "config": config,
        }
        card |= {
            "description": "distribution over tracks on the globe",
            "elements": "any (tracks)",
            "max_atoms": 0,
        }
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
        prior = TrackPrior(
            Kernel(card["config"]["kernel"]["kinds"], noise=1.0),
            torch.zeros(3),
            torch.eye(3),
            torch.ones(3),
        )
        prior.load_state_dict({k[6:]: v for k, v in state.items() if k.startswith("prior.")})
        return cls(network, prior, LinearBeta(**card["config"]["schedule"]), card["config"]["span"])


def _train(
    model: TrackModel,
    times: NDArray[np.float64],
    tracks: NDArray[np.float64],
    batch: int,
    seed: int,
    schedule: Schedule,
    how: dict[str, Any],
) -> Trainer:
    """Train the network of a model on tracks (F, n, 3) at times (n,), some of which are
    held out.
    """
    n, x = len(times), torch.tensor(times, dtype=torch.float32)[None, :, None]
    rows, held = split(range(len(tracks)), HELD_OUT, seed)
    data, unseen = (torch.tensor(tracks[part], dtype=torch.float32) for part in (rows, held))
    generator = torch.Generator()

    def held_out_loss(_: nn.Module, part: Tensor) -> Tensor:
        generator.manual_seed(seed ^ NOISE)
        return model.loss(part, x.expand(len(part), -1, -1), generator)

    def pick(step: int) -> Tensor:
        generator.manual_seed(seed * 1_000_003 + step)
        return data[torch.randint(len(data), (min(batch, len(data)),), generator=generator)]

    def loss(_: nn.Module, part: Stepped) -> Tensor:
        # some of the moments, for densities of a context alone; every other batch all of them
        count = n if part.step % 2 else int(torch.randint(1, n + 1, (1,), generator=generator))
        kept = torch.randperm(n, generator=generator)[:count].sort().values
        chosen: Tensor = part.data[:, kept]
        return model.loss(chosen, x[:, kept].expand(len(chosen), -1, -1), generator)

    held_out = (lambda step: unseen) if len(held) else None
    return train_network(
        model.network,
        stepped(pick),
        loss,
        schedule,
        held_out=held_out,
        held_out_loss=held_out_loss,
        **how,
    )


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
        """n tracks (n, m, 3) at times (m,); a time of the context gives the context's
        place, and one that is repeated the same place.
        """
        query, n = _times(times), check_count("n", n)
        moments, where = np.unique(np.concatenate([self.t, query]), return_inverse=True)
        if np.ptp(moments) > 1.05 * self.model.span:
            asked = f"context and queries span {np.ptp(moments):.4g} days"
            raise InputError(
                f"{asked}, the model has seen {self.model.span:.4g}; ask for less at a time"
            )
        known = torch.zeros(n, len(moments), 3)
        known[:, where[: len(self.t)]] = torch.tensor(self.y, dtype=torch.float32)
        free = torch.ones(len(moments), dtype=torch.bool)
        free[where[: len(self.t)]] = False
        streams = [sample_rng(int(s)) for s in sample_seeds(check_seed(seed), 0, n)]

        def draw() -> Tensor:
            return torch.tensor(
                np.stack([stream.standard_normal((len(moments), 3)) for stream in streams]),
                dtype=torch.float32,
            )

        options: dict[str, Any] = {
            "corrections": corrections if len(self.t) else 0,
            "psi": psi,
            "tau": tau,
            "mode": mode,
        }
        made = complete(self.model, moments, known, free, draw, steps=steps, **options)
        return np.asarray(made[:, where[len(self.t) :]].double().numpy())


def complete(
    model: TrackModel,
    times: NDArray[np.float64],
    known: Tensor,
    free: Tensor,
    draw: Callable[[], Tensor],
    *,
    steps: int,
    **options: Any,
) -> Tensor:
    """Tracks (B, n, 3) at times (n,) whose free points (n,) are drawn given the others;
    options of `conditional_sample`.
    """
    x = torch.tensor(times, dtype=torch.float32)[None, :, None].expand(len(known), -1, -1)

    def score(y: Tensor, t: float) -> Tensor:
        return model.score(torch.full((len(y),), t, dtype=torch.float64), x, y)

    with torch.no_grad():
        noising = SphereNoising(model.schedule, model.prior, x[:1])
        return conditional_sample(
            noising, score, known, free, model.schedule.times(steps, 3e-3), draw, **options
        )


def distance_km(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Great-circle distances of unit vectors (..., 3)."""
    return np.asarray(
        EARTH_RADIUS_KM * np.arctan2(np.linalg.norm(np.cross(a, b), axis=-1), (a * b).sum(-1))
    )


def _scale(variance: Tensor) -> Tensor:
    """What makes scores of all noise levels of one size: the root of the variance, up
    to 1.
    """
    return (variance / (1 + variance)).sqrt() + 1e-3


def _times(times: ArrayLike) -> NDArray[np.float64]:
    t = as_array("times", times)
    if t.ndim != 1 or not np.isfinite(t).all():
        raise InputError(f"times must be finite and of shape (n,), not of shape {t.shape}")
    return t


def _tracks(tracks: ArrayLike, n: int) -> NDArray[np.float64]:
    y = as_array("tracks", tracks)
    if y.ndim != 3 or y.shape[1:] != (n, 3):
        raise InputError(
            f"tracks must be unit vectors (tracks, {n}, 3) for {n} times, not of shape {y.shape}; see data.unit_vectors"
        )
    length = np.linalg.norm(y, axis=-1)
    if not bool((np.abs(length - 1) < 1e-3).all()):
        found = f"{length.min():.3g} to {length.max():.3g}"
        raise InputError(
            f"tracks must be unit vectors, not of length {found}; data.unit_vectors makes them of degrees"
        )
    return y / length[..., None]

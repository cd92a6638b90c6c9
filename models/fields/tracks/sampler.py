"""Tracks on the globe: `TrackModel` (arXiv:2307.05431, experiments, cyclones).

A track is (n, 3) unit vectors at times (n,). Each of its points diffuses by itself
towards the uniform distribution of the sphere; the network sees them all. Scores are
tangent vectors. Variances are per tangent direction, so that time is B(t) itself.
"""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any, Unpack

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn

from equidrift.arguments import check_count
from equidrift.errors import InputError
from equidrift.models.fields.cards import field_card
from equidrift.models.fields.functions.data import as_array
from equidrift.models.fields.functions.kernels import Kernel
from equidrift.models.fields.functions.network import BiDimensionalAttention, NetworkConfig
from equidrift.models.fields.functions.objective import LinearBeta, draw_times
from equidrift.models.fields.tracks.conditioned import (
    ConditionedTrack,
    TrackOptions,
    as_times,
    as_tracks,
)
from equidrift.models.fields.tracks.likelihood import sphere_log_likelihood
from equidrift.models.fields.tracks.prior import TrackPrior
from equidrift.models.fields.tracks.sphere import heat_score, tangent, walk
from equidrift.models.shared.config import make_schedule
from equidrift.models.shared.devices import Device, pick_device, short_products
from equidrift.models.shared.likelihood import probe_vectors
from equidrift.models.shared.run import Kept, check_task, own_random_state, save_module
from equidrift.models.shared.run import fit as train_network
from equidrift.models.shared.split import HELD_OUT, split
from equidrift.models.shared.trainer import Schedule, Stepped, Trainer, stepped
from equidrift.seeds import check_seed
from equidrift.weights import load_weights

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
        **kept: Unpack[Kept],
    ) -> TrackModel:
        """Learn from tracks of unit vectors; see `data.unit_vectors`.

        Parameters
        ----------
        times : array_like, shape (n,)
            Of the places, the same for all tracks; in any one unit.
        tracks : array_like, shape (F, n, 3)
            Unit vectors.
        network : NetworkConfig or None
            Sizes; None is attention of 64 channels in 3 layers.
        budget_s, schedule, batch, seed
            As of `FieldModel.fit`.
        **kept
            out, resume and progress; see `Kept`.

        Raises
        ------
        InputError
            for tracks that do not lie on the unit sphere, or shapes that do not go
            together.
        """
        seed = check_seed(seed)
        t = as_times(times)
        y = as_tracks(tracks, len(t))
        span = float(np.ptp(t)) or 1.0
        least, most = span / len(t), 4 * span
        usual = NetworkConfig("attention", 64, 3, wave_min=least, wave_max=most)
        config = dataclasses.replace(network or usual, components=3, features=3)
        prior = TrackPrior.fit(torch.tensor(t, device="cpu"), torch.tensor(y, device="cpu"), seed)
        with own_random_state(seed):
            model = cls(BiDimensionalAttention(config), prior, LinearBeta(beta1=10.0), span)
        settings = make_schedule(schedule or {}, weight_decay=0.0)
        how = {"budget_s": budget_s, **kept}
        model.record = _train(model, t, y, batch, seed, settings, how).card()
        return model

    def loss(self, y: Tensor, x: Tensor, generator: torch.Generator) -> Tensor:
        """Denoising score matching with the heat kernel's score, times the variance."""
        t = draw_times(len(y), self.schedule, generator)
        variance = self.schedule.integral(t)[:, None, None].to(y.dtype)
        noisy = walk(
            y,
            variance,
            torch.randn(WALK_STEPS, *y.shape, generator=generator, device=generator.device),
        )
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
        with short_products(y.device, half):
            f = self.network(
                t.to(y.dtype),
                scale[:, 0, 0],
                x,
                y,
                torch.ones(y.shape[:2], dtype=torch.bool, device=y.device),
                scale * prior,
            )
        return prior + tangent(y, f.to(y.dtype)) / scale

    def condition(self, times: ArrayLike, track: ArrayLike) -> ConditionedTrack:
        """The distribution given the places (n, 3) at some times (n,)."""
        t = as_times(times)
        if len(np.unique(t)) != len(t):
            raise InputError("a context time is given twice; give each once")
        if not len(t):
            raise InputError("no context is given; call sample of the model itself for the prior")
        return ConditionedTrack(self, t, as_tracks(as_array("track", track)[None], len(t))[0])

    def sample(
        self, times: ArrayLike, n: int = 1, seed: int = 0, **options: Unpack[TrackOptions]
    ) -> NDArray[np.float64]:
        """n tracks (n, m, 3) at times (m,); see `ConditionedTrack.sample`."""
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
        t = as_times(times)
        y = torch.tensor(as_tracks(tracks, len(t)), dtype=torch.float32, device=self.device)
        x = torch.tensor(t, dtype=torch.float32, device=self.device)[None, :, None]
        x = x.expand(len(y), -1, -1)
        generator = torch.Generator().manual_seed(check_seed(seed))

        def score(at: Tensor, std: float) -> Tensor:
            return self.score(self._time_of(std**2).expand(len(at)), x, at)

        return (
            sphere_log_likelihood(
                score,
                y,
                first_std=first_std,
                last_std=math.sqrt(float(self.schedule.integral(torch.tensor(1.0, device="cpu")))),
                steps=check_count("steps", steps),
                vectors=probe_vectors(y, probes, generator),
            )
            .cpu()
            .numpy()
        )

    def _time_of(self, variance: float) -> Tensor:
        return self.schedule.time_of(
            torch.tensor(-math.expm1(-variance), dtype=torch.float64, device=self.device).sqrt()
        )

    def save(self, path: str | Path, **more: Any) -> Path:
        """Write PATH.safetensors and its card."""
        config = {
            "network": dataclasses.asdict(self.network.config),
            "schedule": dataclasses.asdict(self.schedule),
            "span": self.span,
            "kernel": self.prior.kernel.config(),
        }
        own = {
            "description": "distribution over tracks on the globe",
            "elements": "any (tracks)",
            "units": "days, unit vectors",
        }
        parts = nn.ModuleDict({"network": self.network, "prior": self.prior})
        name = {"name": Path(path).stem}
        return save_module(path, parts, field_card("track", config, own, name, self.record, more))

    @property
    def device(self) -> torch.device:
        """Where the network and the prior are."""
        return self.prior.mean.device

    @classmethod
    def load(cls, name_or_path: str | Path, *, device: Device = None) -> TrackModel:
        """A model by name or path, on a device; None is CUDA if there is one, else the
        CPU.

        Raises `WeightsError` for another kind's.
        """
        state, card = load_weights(name_or_path)
        check_task(name_or_path, card, "track")
        with own_random_state():
            network = BiDimensionalAttention(NetworkConfig(**card["config"]["network"]))
        network.load_state_dict({k[8:]: v for k, v in state.items() if k.startswith("network.")})
        prior = TrackPrior(
            Kernel(card["config"]["kernel"]["kinds"], noise=1.0),
            torch.zeros(3, device="cpu"),
            torch.eye(3, device="cpu"),
            torch.ones(3, device="cpu"),
        )
        prior.load_state_dict({k[6:]: v for k, v in state.items() if k.startswith("prior.")})
        schedule, on = LinearBeta(**card["config"]["schedule"]), pick_device(device)
        return cls(network.to(on), prior.to(on), schedule, card["config"]["span"])


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
    n, x = len(times), torch.tensor(times, dtype=torch.float32, device="cpu")[None, :, None]
    rows, held = split(range(len(tracks)), HELD_OUT, seed)
    data, unseen = (
        torch.tensor(tracks[part], dtype=torch.float32, device="cpu") for part in (rows, held)
    )
    generator = torch.Generator()
    device = generator.device

    def held_out_loss(_: nn.Module, part: Tensor) -> Tensor:
        generator.manual_seed(seed ^ NOISE)
        return model.loss(part, x.expand(len(part), -1, -1), generator)

    def pick(step: int) -> Tensor:
        generator.manual_seed(seed * 1_000_003 + step)
        return data[
            torch.randint(len(data), (min(batch, len(data)),), generator=generator, device=device)
        ]

    def loss(_: nn.Module, part: Stepped) -> Tensor:
        # some of the moments, for densities of a context alone; every other batch all of them
        count = (
            n
            if part.step % 2
            else int(torch.randint(1, n + 1, (1,), generator=generator, device=device))
        )
        kept = torch.randperm(n, generator=generator, device=device)[:count].sort().values
        chosen: Tensor = part.data[:, kept]
        return model.loss(chosen, x[:, kept].expand(len(chosen), -1, -1), generator)

    how |= {"held_out": (lambda _: unseen) if len(held) else None, "held_out_loss": held_out_loss}
    return train_network(model.network, stepped(pick), loss, schedule, **how)


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

"""`FieldModel`: distributions over functions for anyone with arrays - fit, condition,
sample, log_prob, save, load.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, Unpack, cast

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from equidrift.errors import InputError
from equidrift.models.fields.cards import Saves, field_card
from equidrift.models.fields.functions.conditioned import Conditioned
from equidrift.models.fields.functions.data import PAIRS_PER_BATCH, as_array, as_fields, first_equal
from equidrift.models.fields.functions.experts import Experts
from equidrift.models.fields.functions.fit import (
    Batch,
    Network,
    first_diffusion,
    standardised,
    start_from,
    training_batches,
)
from equidrift.models.fields.functions.kernels import Kernel
from equidrift.models.fields.functions.likelihood import log_likelihood
from equidrift.models.fields.functions.network import NetworkConfig, NoNetwork
from equidrift.models.fields.functions.objective import FieldDiffusion, LinearBeta
from equidrift.models.shared.config import make_schedule
from equidrift.models.shared.devices import Device, pick_device
from equidrift.models.shared.draws import in_batches
from equidrift.models.shared.run import Kept, fit, load_network
from equidrift.models.shared.trainer import Trainer, stepped
from equidrift.seeds import check_seed

Array = NDArray[np.float64]
NOISE = 0x5EED  # salt of the seeds of the noise in training
TOLERANCE = 1e-9  # share of the span within which two points are one


class FieldModel(Saves):
    """A distribution over functions x -> y, invariant under translations (scalars) or
    under all motions (vector fields).

    Made by `FieldModel.fit` or `FieldModel.load`. Points are (n, d), values (n, p) in
    the user's units throughout.

    Attributes
    ----------
    diffusion : FieldDiffusion
        Limiting kernel and network.
    centre, scale : float
        What is taken off the values, and what they are divided by.
    span : float
        Largest extent of a training function along one coordinate; farther points than
        that are refused.
    """

    diffusion: FieldDiffusion

    def __init__(
        self,
        diffusion: FieldDiffusion,
        *,
        centre: float = 0.0,
        scale: float = 1.0,
        span: float = math.inf,
        dimension: int = 1,
    ):
        self.diffusion, self.centre, self.scale, self.span, self.dimension = (
            diffusion.eval(),
            centre,
            scale,
            span,
            dimension,
        )
        self.components = diffusion.kernel.components
        self.record: dict[str, Any] = {}  # of the training, for whoever asked for it
        self.training: dict[str, Any] = {}  # the same for the card

    @classmethod
    def fit(  # noqa: PLR0913 - public: arrays and settings by name
        cls,
        x: ArrayLike,
        y: ArrayLike,
        *,
        mask: ArrayLike | None = None,
        vector: bool = False,
        limit: str | Kernel = "fitted",
        base: Literal["limit", "experts"] = "limit",
        start: str | Path | None = None,
        network: Network = "auto",
        budget_s: float = 60.0,
        schedule: dict[str, Any] | None = None,
        batch: int = 32,
        seed: int = 0,
        **kept: Unpack[Kept],
    ) -> FieldModel:
        """Learn a distribution from functions.

        Parameters
        ----------
        x : array_like, shape (n, d)
            Points that all functions share, or (F, n, d). A 1D array stands for (n, 1).
        y : array_like, shape (F, n) or (F, n, p)
            Values; NaN is missing.
        mask : array_like, shape (F, n), or None
            True where a value is known.
        vector : bool
            The values are vectors that turn with the points (p = d); otherwise scalars
            (p = 1).
        limit : str or Kernel
            Limiting kernel: "fitted" to the data by maximum marginal likelihood, a
            `Kernel` in the units of standardised values, or a name of `make_kernel`
            ("white", "noisy-se", ...), for which the length scale is a tenth of the
            span.
        base : {"limit", "experts"}
            What a network of zeros stands for: "limit", the limiting GP, or "experts",
            a mixture of GPs that is learned first, for functions of one coordinate that
            are of several kinds, or periodic with periods of their own. The limit then
            is white.
        start : str or Path or None
            Name or path of a model whose network, of the same sizes, training starts
            from.
        network : Network
            What learns how the data differs from the base: "auto", "none" (a GP,
            seconds), a mapping of sizes other than those of "auto", such as {"width":
            48}, or a `NetworkConfig`.
        budget_s : float
            Seconds of training of the network, or None in `schedule["steps"]`'s favour.
        schedule : dict or None
            Settings of `models.shared.trainer.Schedule`.
        batch : int
            Functions of a training step.
        seed : int
            Of the first weights, of the order of the functions and of the noise.
        **kept
            out, resume and progress; see `Kept`.

        Raises
        ------
        InputError
            for arrays that do not go together.
        """
        seed = check_seed(seed)
        data = standardised(x, y, mask, vector)
        diffusion = first_diffusion(data, limit, base, network, seed)
        if start is not None:
            start_from(diffusion, start)
        model = cls(
            diffusion,
            centre=data.centre,
            scale=data.scale,
            span=data.span,
            dimension=data.dimension,
        )
        if model.networked:
            batches, held_out = training_batches(data, batch, seed)
            model.train(batches, budget_s, schedule or {}, seed=seed, held_out=held_out, **kept)
        return model

    @property
    def device(self) -> torch.device:
        """Where the kernel and the network are."""
        return self.diffusion.kernel.noise.device

    @property
    def networked(self) -> bool:
        """Whether there is a network, to be trained."""
        return not isinstance(self.diffusion.network, NoNetwork)

    @property
    def white(self) -> bool:
        """Whether what a network of zeros stands for is white noise, so that all that
        the model knows of its functions was learned by the network.
        """
        return not self.diffusion.kernel.kinds and self.diffusion.experts is None

    def usual_steps(self) -> tuple[int, int, float]:
        """(steps, corrections, psi) of the conditional sampler, if the user does not
        say.

        The limiting GP is exact at any step size, a network is not, and experts are
        expensive per call.
        """
        corrections = 4 if self.diffusion.experts is None else 2
        if self.diffusion.gaussian:
            return 8, corrections, 40.0
        return (60 if self.networked else 30), corrections, 4.0

    def train(
        self,
        batches: Callable[[int], tuple[Tensor, Tensor, Tensor]],
        budget_s: float,
        schedule: dict[str, Any],
        *,
        seed: int = 0,
        held_out: Callable[[int], tuple[Tensor, Tensor, Tensor]] | None = None,
        **kept: Unpack[Kept],
    ) -> Trainer:
        """Train the network on batches (x, y, mask) of standardised functions; the
        EMA's weights stay in the model.

        held_out : as `batches`, of functions that are not trained on; their loss before
            and after goes into the card.
        """
        generator = torch.Generator()

        def measured(data: Batch, mixed: int) -> Tensor:
            generator.manual_seed(mixed)
            return self.diffusion.loss(data.x, data.y, data.mask, generator)

        trainer = fit(
            self.diffusion.network,
            stepped(lambda step: Batch(*batches(step))),
            lambda _, part: measured(part.data, part.seed(seed, NOISE)),
            make_schedule(schedule, weight_decay=0.0),
            budget_s,
            held_out=None if held_out is None else (lambda step: Batch(*held_out(step))),
            held_out_loss=lambda _, data: measured(data, seed ^ NOISE),
            **kept,
        )
        self.diffusion.eval()
        self.record, self.training = trainer.summary(), trainer.card()
        return trainer

    def condition(
        self, x_context: ArrayLike, y_context: ArrayLike, mask: ArrayLike | None = None
    ) -> Conditioned:
        """The distribution given values (n,) or (n, p) at points (n, d).

        Raises
        ------
        InputError
            for shapes that do not fit the model, or two values at one point.
        """
        x, y, known = self._single(x_context, y_context, mask)
        first = first_equal(x, self.tolerance(x))
        for k, j in enumerate(first):
            if j != k and not np.allclose(y[k], y[j], rtol=0, atol=1e-9 * self.scale):
                both = f"{y[j]} and {y[k]}"
                raise InputError(
                    f"context points {j} and {k} lie at the same place with other values "
                    f"({both}); give their mean once"
                )
        keep = known & (first == np.arange(len(x)))
        if not keep.any():
            raise InputError(
                "no context value is known; call sample of the model itself for the prior"
            )
        return Conditioned(self, x[keep], y[keep])

    def sample(self, x_query: ArrayLike, n: int = 1, seed: int = 0, **options: Any) -> Array:
        """n functions at points (m, d): (n, m, p).

        Sample k depends on the seed and k alone. Options as `Conditioned.sample`.
        """
        return Conditioned(
            self, np.zeros((0, self.dimension)), np.zeros((0, self.components))
        ).sample(x_query, n, seed, **options)

    def log_prob(
        self, x: ArrayLike, y: ArrayLike, mask: ArrayLike | None = None, **options: Any
    ) -> Array:
        """Log densities (F,) of functions (F, n) or (F, n, p); options as
        `likelihood.log_likelihood`.
        """
        x_, y_, known = as_fields(x, y, mask, dimension=self.dimension, components=self.components)
        for k in range(len(x_)):
            self.check_span(x_[k][known[k]], options.get("extrapolate", False))
            repeated = first_equal(x_[k][known[k]], self.tolerance(x_[k]))
            if (repeated != np.arange(len(repeated))).any():
                raise InputError(
                    f"function {k} has two values at one point; a density over a function has "
                    "each point once"
                )
        options.pop("extrapolate", None)
        mask_ = torch.tensor(known, device=self.device)
        values = ((torch.tensor(y_, device=self.device) - self.centre) / self.scale) * mask_[
            ..., None
        ]
        # float64 for the Gram matrices of a GP, float32 where a network sets the pace
        dtype = torch.float32 if self.networked else torch.float64
        points = torch.tensor(x_, dtype=dtype, device=self.device)

        def found_of(rows: slice) -> Tensor:
            return log_likelihood(
                self.diffusion, points[rows], values[rows].to(dtype), mask_[rows], **options
            )

        # the signs of a network's estimate are drawn for all functions at once
        size = 0 if self.networked else (x_.shape[1] * self.components) ** 2
        found = in_batches(found_of, len(x_), size, PAIRS_PER_BATCH, self.device)
        out: Array = found.double().cpu().numpy() - known.sum(-1) * self.components * math.log(
            self.scale
        )
        return out

    def card(self, **more: Any) -> dict[str, Any]:
        """The model card: what `load` needs, and what `equidrift models` shows."""
        schedule = dataclasses.asdict(self.diffusion.schedule)
        network = cast(NetworkConfig, self.diffusion.network.config)
        config: dict[str, Any] = {
            "network": dataclasses.asdict(network),
            "kernel": self.diffusion.kernel.config(),
        }
        config |= {"schedule": schedule, "parametrisation": self.diffusion.kind}
        if self.diffusion.experts is not None:
            config |= {"experts": self.diffusion.experts.config()}
        config |= {"std_trick": self.diffusion.std_trick, "residual": self.diffusion.residual}
        config |= {
            "centre": self.centre,
            "scale": self.scale,
            "span": self.span,
            "dimension": self.dimension,
        }
        own = {
            "description": "distribution over functions",
            "elements": "any (fields over points)",
            "units": "the training data's",
        }
        return field_card("field", config, own, self.training, more)

    @classmethod
    def load(cls, name_or_path: str | Path, *, device: Device = None) -> FieldModel:
        """A model by the name of shipped weights or by a path, on a device; None is
        CUDA if there is one, else the CPU.

        Raises `WeightsError` for another family's.
        """
        diffusion, card = load_network(name_or_path, "field", _diffusion)
        c = card["config"]
        return cls(
            diffusion.to(pick_device(device)),
            centre=c["centre"],
            scale=c["scale"],
            span=c["span"],
            dimension=c["dimension"],
        )

    def _single(
        self, x: ArrayLike, y: ArrayLike, mask: ArrayLike | None
    ) -> tuple[Array, Array, NDArray[np.bool_]]:
        """One function's arrays: (n, d), (n, p), (n,)."""
        points, _, _ = as_fields(x, dimension=self.dimension)
        values = as_array("y_context", y)
        fits = values.shape == (len(points), self.components) or (
            self.components == 1 and values.shape == (len(points),)
        )
        if points.ndim != 2 or not fits:
            raise InputError(
                f"a context is one function: x_context (n, {self.dimension}) and y_context (n, "
                f"{self.components}), "
                f"not {points.shape} and {values.shape}"
            )
        x_, y_, known = as_fields(
            points,
            values.reshape(1, len(points), self.components),
            None if mask is None else np.asarray(mask)[None],
        )
        return x_[0], y_[0], known[0]

    def tolerance(self, x: Array) -> float:
        """The distance within which two of the points x (n, d) are one."""
        if math.isfinite(self.span):
            return TOLERANCE * self.span
        return TOLERANCE * max(1.0, float(np.ptp(x)) if x.size else 1.0)

    def check_span(self, x: Array, extrapolate: bool) -> None:
        """Raise `InputError` for points x (n, d) farther apart than in training, unless
        `extrapolate`.
        """
        extent = float(np.ptp(x, axis=0).max()) if len(x) else 0.0
        if extent > 1.05 * self.span and not extrapolate:
            raise InputError(
                f"context and queries extend over {extent:.4g}, the model has seen functions over "
                f"{self.span:.4g}; ask for points "
                "closer together, or give extrapolate=True if the answer beyond that distance "
                "does not matter"
            )


def _diffusion(c: dict[str, Any]) -> FieldDiffusion:
    """The diffusion of a card's `config`."""
    kernel = Kernel(c["kernel"]["kinds"], components=c["kernel"]["components"], noise=1.0)
    tricks = c["parametrisation"], c["std_trick"], c["residual"]
    experts = Experts.of(c["experts"]) if "experts" in c else None
    return FieldDiffusion(
        kernel, NetworkConfig(**c["network"]), LinearBeta(**c["schedule"]), *tricks, experts
    )

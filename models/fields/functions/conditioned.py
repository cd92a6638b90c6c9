"""A distribution over functions, given some of their values."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from equidrift.arguments import check_count
from equidrift.errors import InputError
from equidrift.models.fields.functions.data import PAIRS_PER_BATCH, as_fields, first_equal
from equidrift.models.fields.functions.gram import Gram
from equidrift.models.fields.functions.objective import FieldDiffusion, OUNoising
from equidrift.models.shared.conditioning import Mode, conditional_sample
from equidrift.models.shared.draws import Noise, in_batches, normal_draws

if TYPE_CHECKING:
    from equidrift.models.fields.functions.sampler import FieldModel

Array = NDArray[np.float64]
# noise at which a sample counts as clean: of a network, and of the limiting GP alone
LAST_STD = {False: 4e-3, True: 1e-3}


@dataclasses.dataclass(frozen=True)
class Conditioned:
    """A `FieldModel` given values y (n, p) at points x (n, d)."""

    model: FieldModel
    x: Array
    y: Array

    def sample(  # noqa: PLR0913 - public: the sampler's settings, by name
        self,
        x_query: ArrayLike,
        n: int = 1,
        seed: int = 0,
        *,
        steps: int | None = None,
        corrections: int | None = None,
        psi: float | None = None,
        tau: float = 1.0,
        mode: Mode = "independent",
        ode: bool = False,
        extrapolate: bool = False,
        noise: Noise | None = None,
        dtype: torch.dtype | None = None,
    ) -> Array:
        """Functions at the query's points, one random stream per sample.

        A query that is repeated has the same value each time, one at a context point
        the context's.

        Parameters
        ----------
        x_query : array_like, shape (m, d)
            Points.
        n : int
            Number of functions.
        seed : int
            Sample k depends on the seed and k alone.
        steps, corrections, psi, tau, mode, ode
            Of `conditioning.conditional_sample`; the price is steps (1 + corrections)
            network calls.
        extrapolate : bool
            Allow points farther apart than in training.
        noise : callable, optional
            Gives standard normal arrays of a shape (n, points, p) in place of the
            seed's; for tests of equivariance.
        dtype : torch.dtype, optional
            Of the computation; float32 with a network, float64 without, if not given.

        Returns
        -------
        ndarray, shape (n, m, p)
            In the user's units.

        Raises
        ------
        InputError
            for points that do not fit, or lie too far apart.
        """
        model, n = self.model, check_count("n", n)
        points, where, free = self._layout(x_query, extrapolate)
        dtype = dtype or (torch.float32 if model.networked else torch.float64)
        x = torch.as_tensor(points, dtype=dtype, device=model.device)[None]
        context = x.new_zeros(len(points), model.components)
        context[~free] = x.new_tensor((self.y - model.centre) / model.scale)
        noising, score, times = self._reverse(x, steps)
        options = self._corrections(corrections, psi) | {"tau": tau, "mode": mode, "ode": ode}

        def drawn(rows: slice) -> Tensor:
            known = context.repeat(rows.stop - rows.start, 1, 1)
            draw = normal_draws(tuple(known.shape), seed, known, noise, rows.start)
            return conditional_sample(noising, score, known, free, times, draw, **options)

        pairs = 0 if noise is not None else len(points) ** 2  # `noise` is of all samples
        with torch.no_grad():
            made = in_batches(drawn, n, pairs, PAIRS_PER_BATCH, model.device)
        return np.asarray(made[:, where].double().cpu().numpy() * model.scale + model.centre)

    def _reverse(
        self, x: Tensor, steps: int | None
    ) -> tuple[OUNoising, Callable[[Tensor, float], Tensor], list[float]]:
        """Forward process and score at points x (1, k, d), and the times of the steps."""
        diffusion = self.model.diffusion
        gaussian, gram = diffusion.gaussian, diffusion.kernel.gram(x)
        noising = OUNoising(gram, diffusion.schedule, noise_scaled=not gaussian)
        times = diffusion.schedule.times(steps or self.model.usual_steps()[0], LAST_STD[gaussian])
        return noising, _score(diffusion, x, gram), times

    def _corrections(self, corrections: int | None, psi: float | None) -> dict[str, Any]:
        """How many Langevin steps there are after each outer step, and their sum."""
        _, usual, usual_psi = self.model.usual_steps()
        count = usual if corrections is None else corrections
        return {
            "corrections": count if len(self.x) else 0,
            "psi": usual_psi if psi is None else psi,
        }

    def _layout(
        self, x_query: ArrayLike, extrapolate: bool
    ) -> tuple[Array, NDArray[np.intp], Tensor]:
        """Points of context and query, each once (k, d); where the queries are among
        them (m,); and which of them are free (k,).
        """
        model = self.model
        query, _, _ = as_fields(x_query, dimension=model.dimension)
        if query.ndim != 2:
            raise InputError(
                f"x_query must be (points, {model.dimension}), not an array of shape {query.shape}"
            )
        points = np.concatenate([self.x, query])
        model.check_span(points, extrapolate)
        first = first_equal(points, model.tolerance(points))
        kept = np.flatnonzero(first == np.arange(len(points)))
        where = np.searchsorted(kept, first[len(self.x) :])
        free = torch.as_tensor(kept >= len(self.x), device=model.device)
        return points[kept], where, free

    def log_prob(self, x: ArrayLike, y: ArrayLike, **options: Any) -> Array:
        """log p(y at x | context) of functions (F, m, p): the joint's log density less
        the context's (arXiv:2307.05431, likelihood).
        """
        x_, y_, known = as_fields(
            x, y, dimension=self.model.dimension, components=self.model.components
        )
        f = len(x_)
        both = [
            np.concatenate([np.broadcast_to(a, (f, *a.shape)), b], 1)
            for a, b in ((self.x, x_), (self.y, y_))
        ]
        mask = np.concatenate([np.ones((f, len(self.x)), bool), known], 1)
        return self.model.log_prob(both[0], both[1], mask, **options) - self.model.log_prob(
            self.x[None], self.y[None], **options
        )


def _score(diffusion: FieldDiffusion, x: Tensor, gram: Gram) -> Callable[[Tensor, float], Tensor]:
    """The preconditioned score of fields (B, n, p) at points x (1, n, d)."""

    def score(y: Tensor, t: float) -> Tensor:
        times = torch.full((len(y),), t, dtype=torch.float64, device=y.device)
        mask = torch.ones(y.shape[:2], dtype=torch.bool, device=y.device)
        return diffusion.score(times, x.expand(len(y), -1, -1), y, mask, gram)

    return score

"""The Langevin-corrected conditional sampler (arXiv:2307.05431): any model's noising
and score, and what is already known.

A state is one tensor (samples, points, ...) that holds known and free points side by
side; `free` says which is which. The sampler never looks inside: a `Noising` moves
states forward and back in time, and `score(y, t)` is handed from one of its methods to
the other, in whatever form (preconditioned or not) the two have agreed on.

The result is exact as the outer steps shrink and the corrections grow in number, given
a perfect score. Without corrections it is the well known replacement method, which is
not: the free points never learn what the context's noise hid from them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Literal, Protocol

import torch
from torch import Tensor

from equidrift.errors import InputError, UnknownNameError

Score = Callable[[Tensor, float], Tensor]
Mode = Literal["independent", "path", "hybrid"]
MODES = ("independent", "path", "hybrid")


class Noising(Protocol):
    """A forward process that can be drawn from, reversed and corrected.

    Times fall from 1 (noise) to 0 (data).
    """

    def prior(self, noise: Tensor) -> Tensor:
        """A state of the limiting distribution, made of standard normal noise."""
        ...

    def transition(self, y: Tensor, earlier: float, later: float, noise: Tensor) -> Tensor:
        """A forward draw at `later` of states y at `earlier`; earlier = 0 is the
        marginal.
        """
        ...

    def reverse(
        self, y: Tensor, t: float, to: float, score: Tensor, noise: Tensor | None
    ) -> Tensor:
        """One reverse step of the SDE, or of the ODE where noise is None."""
        ...

    def langevin(
        self, y: Tensor, t: float, step: float, score: Tensor, noise: Tensor, free: Tensor
    ) -> Tensor:
        """One Langevin step at fixed time t, of the free points alone, which leaves
        p_t(free | known) as it is for small steps.
        """
        ...


def conditional_sample(  # noqa: PLR0913 - the settings of the paper's algorithm, by name
    noising: Noising,
    score: Score,
    known: Tensor,
    free: Tensor,
    times: Sequence[float],
    draw: Callable[[], Tensor],
    *,
    corrections: int = 5,
    psi: float = 5.0,
    tau: float = 0.5,
    mode: Mode = "independent",
    ode: bool = False,
    step_weight: Callable[[float, float], float] | None = None,
) -> Tensor:
    """Draw the free points given the known ones.

    Parameters
    ----------
    noising, score : Noising, Score
        The forward process, and y, t -> score of all points at time t.
    known : Tensor, shape (samples, points, ...)
        Clean values; what stands at free points is not read.
    free : bool Tensor, shape (points,) or (samples, points)
        Which points are drawn.
    times : sequence of float
        Falling from the noise's time to the last one, N + 1 of them.
    draw : callable
        Gives fresh standard normal noise in the shape of `known` at every call.
    corrections : int
        M, Langevin steps after each outer step whose time is below tau.
    psi : float
        What the M steps of one outer step sum to; one step is psi / M.
    mode : Mode
        The context's noise. "independent" draws it anew for each step; "path" keeps one
        forward path and replays it in reverse; "hybrid" draws it anew and merges one
        Langevin step into each reverse step: one score call per step, the M - 1 others
        left out.
    ode : bool
        Step by the probability flow instead of the SDE.
    step_weight : callable or None
        (t, to) -> factor of the Langevin step; the paper has beta(t) dt, None is 1, which
        keeps correcting at late times where beta dt vanishes.

    Returns
    -------
    (samples, points, ...) with the known points as given.

    Raises
    ------
    InputError
        for times that do not fall, or numbers that cannot be.
    """
    _check(times, corrections, psi, mode, ode)
    where_free = _spread(free, known)
    clean = torch.where(where_free, torch.zeros_like(known), known)
    path = _forward_path(noising, clean, times, draw) if mode == "path" else {}

    def context(t: float) -> Tensor:
        return path[t] if path else noising.transition(clean, 0.0, t, draw())

    y = noising.prior(draw())
    for t, to in pairwise(times):
        y = torch.where(where_free, y, context(t))
        slope = score(y, t)
        moved = noising.reverse(y, t, to, slope, None if ode else draw())
        if to >= tau or not corrections:
            y = moved
            continue
        step = psi / corrections * (1.0 if step_weight is None else step_weight(t, to))
        if mode == "hybrid":
            y = moved + noising.langevin(y, t, step, slope, draw(), free) - y
            continue
        y = moved
        for _ in range(corrections):
            y = torch.where(where_free, y, context(to))
            y = noising.langevin(y, to, step, score(y, to), draw(), free)
    return torch.where(where_free, y, known)


def _check(times: Sequence[float], corrections: int, psi: float, mode: str, ode: bool) -> None:
    """Raise `InputError` for times that do not fall, or numbers that cannot be."""
    if mode not in MODES:
        raise UnknownNameError("context noise", mode, MODES)
    if len(times) < 2 or any(b >= a for a, b in pairwise(times)) or times[-1] < 0:
        raise InputError(
            "times must fall from the noise's time to the data's and hold at least 2 values, not "
            f"{list(times)[:6]}"
        )
    if corrections < 0 or psi < 0:
        raise InputError(
            f"corrections and psi must not be negative, not {corrections} and {psi}; 0 switches "
            "the corrector off"
        )
    if mode == "hybrid" and ode:
        raise InputError(
            "the hybrid mode is a stochastic sampler; give mode='independent' with ode=True, or "
            "leave ode out"
        )


def _spread(free: Tensor, known: Tensor) -> Tensor:
    """`free` as (1 or samples, points, 1, ...)."""
    lead = free if free.ndim == 2 else free[None]
    return lead.reshape(*lead.shape, *[1] * (known.ndim - 2))


def _forward_path(
    noising: Noising, clean: Tensor, times: Sequence[float], draw: Callable[[], Tensor]
) -> dict[float, Tensor]:
    """One forward path of the context through all times."""
    path: dict[float, Tensor] = {}
    y, earlier = clean, 0.0
    for t in reversed(times):
        y = path[t] = noising.transition(y, earlier, t, draw())
        earlier = t
    return path

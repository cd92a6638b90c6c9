"""Solvers of System A (arXiv:2403.01430): reverse ODE, reverse SDE and annealed Langevin
dynamics, on distance changes mapped to coordinates.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from equidrift.errors import InputError
from equidrift.protocols import Callback

Move = Callable[[Tensor, float], Tensor]
Noise = Callable[[int], Tensor]
Corrector = float | Callable[[float], float]  # k, or k as a function of sigma in A


def geometric_sigmas(n_steps: int, sigma_max_A: float, sigma_min_A: float) -> list[float]:
    """`n_steps` noise levels in A, evenly spaced in the logarithm, and a final 0."""
    if n_steps < 2:
        raise InputError(f"steps must be at least 2, not {n_steps}")
    return [*np.geomspace(sigma_max_A, sigma_min_A, n_steps).tolist(), 0.0]


def step_fraction(sigma: float, sigma_next: float, kind: str) -> float:
    """The share of Delta c that a step with k = 1 moves: 1 - r for the ODE, 1 - r^2 for
    the SDE, r = sigma_next / sigma.
    """
    ratio = sigma_next / sigma
    return 1.0 - (ratio if kind == "ode" else ratio**2)


def stable_corrector(
    corrector: Corrector,
    sigma: float,
    sigma_next: float,
    kind: str,
    gain: float,
    margin: float = 0.9,
) -> float:
    """The corrector k, lowered where needed so that k (1 - r^p) lambda_max < 2 `margin`
    (p = 1 ODE, 2 SDE); arXiv:2403.01430.

    Parameters
    ----------
    gain : float
        lambda_max of the map, see `maps.map_gain`; 0 switches the rule off.
    """
    k = corrector(sigma) if callable(corrector) else corrector
    bound = gain * step_fraction(sigma, sigma_next, kind)
    return k if bound <= 0.0 else min(k, 2.0 * margin / bound)


def recentre(positions_A: Tensor) -> Tensor:
    """Move the centroid of the atoms to the origin; (B, n, 3)."""
    return positions_A - positions_A.mean(-2, keepdim=True)


def clip_step(step_A: Tensor, limit_A: float) -> Tensor:
    """Shorten each atom's step to at most `limit_A`."""
    length = step_A.norm(dim=-1, keepdim=True)
    out: Tensor = step_A * (limit_A / length.clamp_min(limit_A))
    return out


@dataclass(frozen=True)
class StepRule:
    """How long the steps of a solver are, and who hears of them.

    Parameters
    ----------
    corrector : float or callable
        k, or k as a function of the noise level in A; lowered step by step by the
        stability rule.
    gain : float
        lambda_max of the map, see `stable_corrector`.
    clip_A : float
        Longest step of an atom.
    callback : callable or None
        Called after each step with its number, how many there are, the noise level and
        the positions.
    """

    corrector: Corrector = 1.0
    gain: float = 1.0
    clip_A: float = 1000.0
    callback: Callback | None = None

    def at(self, kind: str, sigma: float, sigma_next: float) -> float:
        """The corrector of one step, stable."""
        return stable_corrector(self.corrector, sigma, sigma_next, kind, self.gain)

    def report(self, step: int, n_steps: int, sigma: float, c: Tensor) -> None:
        """Tell the callback of a step."""
        if self.callback is not None:
            told = {"step": step + 1, "steps": n_steps, "sigma_A": sigma, "positions_A": c}
            self.callback(told)


PLAIN = StepRule()


def reverse_ode(
    move: Move, start: Tensor, sigmas: Sequence[float], rule: StepRule = PLAIN
) -> Tensor:
    """Probability-flow ODE, Euler in sigma: c <- c + k (1 - sigma'/sigma) Delta c.

    Parameters
    ----------
    move : callable
        (c, sigma) -> Delta c, the change of coordinates (B, n, 3) in A.
    start : Tensor, shape (B, n, 3)
        In A, at noise level sigmas[0].
    sigmas : sequence of float
        Falling noise levels in A, one more than steps.
    rule : StepRule

    Returns
    -------
    Tensor, shape (B, n, 3)
        Centred positions in A at the last noise level.

    References
    ----------
    arXiv:2403.01430, reverse process.
    """
    c = recentre(start)
    for step, (sigma, sigma_next) in enumerate(itertools.pairwise(sigmas)):
        k = rule.at("ode", sigma, sigma_next)
        delta = k * step_fraction(sigma, sigma_next, "ode") * move(c, sigma)
        c = recentre(c + clip_step(delta, rule.clip_A))
        rule.report(step, len(sigmas) - 1, sigma, c)
    return c


def reverse_sde(
    move: Move, start: Tensor, sigmas: Sequence[float], noise: Noise, rule: StepRule = PLAIN
) -> Tensor:
    """Reverse SDE, ancestral: c <- c + k (1 - r^2) Delta c + sigma' sqrt(1 - r^2) z, r
    = sigma'/sigma; arXiv:2403.01430, reverse process.

    Parameters as in `reverse_ode`; `noise(step)` gives z.
    """
    c = recentre(start)
    for step, (sigma, sigma_next) in enumerate(itertools.pairwise(sigmas)):
        k = rule.at("sde", sigma, sigma_next)
        fraction = step_fraction(sigma, sigma_next, "sde")
        delta = k * fraction * move(c, sigma)
        c = c + clip_step(delta, rule.clip_A)
        if sigma_next > 0.0:
            c = c + sigma_next * fraction**0.5 * noise(step)
        c = recentre(c)
        rule.report(step, len(sigmas) - 1, sigma, c)
    return c


def annealed_langevin(
    move: Move,
    start: Tensor,
    sigmas: Sequence[float],
    noise: Noise,
    *,
    step_rate: float = 0.01,
    rule: StepRule = PLAIN,
) -> Tensor:
    """Annealed Langevin dynamics as GeoDiff samples: c <- c + a Delta c + sqrt(2 a)
    sigma z at each level; GeoDiff, arXiv:2203.02923.

    GeoDiff's step is step_lr (sigma / 0.01 A)^2, so a = `step_rate` = 1e4 step_lr (its
    1e-6: 0.01, meant for 5000 steps). No noise is added in the last step.
    """
    c = recentre(start)
    for step, (sigma, sigma_next) in enumerate(itertools.pairwise(sigmas)):
        c = c + clip_step(step_rate * move(c, sigma), rule.clip_A)
        if sigma_next > 0.0:
            c = c + (2.0 * step_rate) ** 0.5 * sigma * noise(step)
        c = recentre(c)
        rule.report(step, len(sigmas) - 1, sigma, c)
    return c

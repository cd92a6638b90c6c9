"""Annealed importance sampling from a softened energy to the full one. numpy only.

The energy is in two parts, U(x; s) = U_stiff(x) + s U_soft(x): at a small s barriers and
attractions are weak, and a short chain visits every basin. From its states, each taken
once, s is raised to 1 in steps, with moves that keep exp(-U(x; s) / kT) after each. A
state that was at x_k when s went from s_k to s_k+1 ends with

    log w = -sum_k (s_k+1 - s_k) U_soft(x_k) / kT

and weighted means over such states are those of exp(-U / kT), however few the steps and
however poor the moves (Neal, Stat. Comput. 2001, 11, 125). The mean of w is Z(1) /
Z(s_0). Steps and moves decide how even the weights are: `Annealed.ess`. What must hold
is that the first states are drawn from exp(-U(x; s_0) / kT).
"""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from equidrift.arguments import check_count
from equidrift.errors import InputError
from equidrift.geometry import Floats

LADDER_STEP_KT = 0.03  # of s U_soft, in standard deviations: 80 to 300 steps for dipeptides
PILOTS = 8  # states that find the ladder
_REMEMBERED = 5  # rungs over which the pilots' spread is averaged
_MOST_RUNGS = 5000

Progress = Callable[[int, int], None]


class SoftenedPath(ABC):
    """What annealing needs to know of a system: its soft energy, and moves at any
    softness.

    Attributes
    ----------
    kT_eV : float
        The temperature of everything.
    """

    kT_eV: float

    @abstractmethod
    def soft_eV(self, positions_A: Floats) -> float:
        """U_soft in eV at positions (n_atoms, 3)."""

    @abstractmethod
    def energy_eV(self, positions_A: Floats) -> float:
        """The full energy, U_stiff + U_soft, in eV at positions (n_atoms, 3)."""

    @abstractmethod
    def move(self, positions_A: Floats, softness: float, rng: np.random.Generator) -> Floats:
        """Positions (n_atoms, 3) after moves that keep exp(-(U_stiff + s U_soft) / kT)."""


@dataclass(frozen=True, eq=False)
class Annealed:
    """Weighted states: means with `weights` are those of exp(-U / kT).

    Parameters
    ----------
    positions_A : (n, n_atoms, 3) array
        In A.
    log_weights : (n,) array
        Not normalised: the mean of their exponentials is Z(1) / Z(s_0).
    energies_eV : (n,) array
        Full potential energy.
    ladder : (k,) array
        Softness of each step, from s_0 to 1.
    seconds : float
        CPU time of these states; of the ladder and the first states apart.
    """

    positions_A: Floats
    log_weights: Floats
    energies_eV: Floats
    ladder: Floats
    seconds: float = 0.0

    @property
    def weights(self) -> Floats:
        """(n,) weights, of sum 1."""
        w = np.exp(self.log_weights - self.log_weights.max())
        shares: Floats = w / w.sum()
        return shares

    @property
    def ess(self) -> float:
        """Effective samples as a share of n, 1 / (n sum w^2) (Kong 1992), between 1 / n
        and 1.
        """
        return float(1 / (len(self.log_weights) * (self.weights**2).sum()))

    @property
    def ess_error(self) -> float:
        """Standard error of `ess`, by leaving out one state at a time."""
        w = self.weights
        total, squares, n = w.sum() - w, (w**2).sum() - w**2, len(w)
        shares = total**2 / ((n - 1) * np.maximum(squares, np.finfo(float).tiny))
        return float(np.sqrt((n - 1) / n * np.square(shares - shares.mean()).sum()))

    @property
    def log_ratio(self) -> tuple[float, float]:
        """log Z(1) / Z(s_0), and its standard error."""
        top, n = self.log_weights.max(), len(self.log_weights)
        w = np.exp(self.log_weights - top)
        return float(top + np.log(w.mean())), float(w.std() / w.mean() / math.sqrt(n))

    def mean(self, values: ArrayLike) -> tuple[Floats, Floats]:
        """The weighted mean of values (n, ...), and its standard error."""
        x, w = np.asarray(values, np.float64), self.weights
        if len(x) != len(w):
            raise InputError(f"values must be one for each of {len(w)} states, not {len(x)}")
        w = w.reshape(-1, *[1] * (x.ndim - 1))
        found: Floats = (w * x).sum(axis=0)
        error: Floats = np.sqrt((w**2 * (x - found) ** 2).sum(axis=0))
        return found, error

    def resampled(self, n: int, seed: int = 0) -> Floats:
        """(n, n_atoms, 3) states drawn by their weights with one random number
        (systematic resampling); heavy ones come several times.
        """
        check_count("n", n)
        grid = (np.arange(n) + np.random.default_rng(seed).random()) / n
        rows = np.searchsorted(np.cumsum(self.weights), grid, side="right")
        return self.positions_A[np.minimum(rows, len(self.log_weights) - 1)]


def first_states(
    path: SoftenedPath,
    start_A: Floats,
    n: int,
    softness: float,
    *,
    rng: np.random.Generator,
    warm_up: int = 100,
    apart: int = 20,
) -> Floats:
    """(n, n_atoms, 3) states of one chain at a softness, `apart` moves from each other,
    after `warm_up` moves from a start (n_atoms, 3).
    """
    x, found = start_A, []
    for k in range(warm_up + n * apart):
        x = path.move(x, softness, rng)
        if k >= warm_up and (k - warm_up) % apart == apart - 1:
            found.append(x)
    return np.array(found)


def find_ladder(
    path: SoftenedPath,
    states_A: Sequence[Floats] | Floats,
    softness: float,
    *,
    rng: np.random.Generator,
    step: float = LADDER_STEP_KT,
) -> Floats:
    """(k,) softness from `softness` to 1, in steps of equal length: the change of s
    times the standard deviation of U_soft / kT is `step`.

    A few states (c, n_atoms, 3) climb and measure that deviation on the way. They are
    not used again, so that the ladder is fixed before the first weight.

    Raises
    ------
    InputError
        If there are fewer than two states, the softness is not between 0 and 1, the
        step is not positive, or an energy is not finite.
    """
    if not 0 < softness < 1 or not step > 0 or len(states_A) < 2:
        raise InputError(
            f"a ladder needs two states, a softness between 0 and 1 and a step above 0, not "
            f"{len(states_A)}, {softness} and {step}; give 0.2 and {LADDER_STEP_KT}, say"
        )
    ladder, spreads, states = [softness], [], list(states_A)
    while ladder[-1] < 1:
        spread = float(np.std([path.soft_eV(x) for x in states], ddof=1)) / path.kT_eV
        if not np.isfinite(spread) or len(ladder) > _MOST_RUNGS:
            raise InputError(
                f"the soft energy of the states spreads by {spread} kT at a softness of "
                f"{ladder[-1]:.3f}; begin from a larger one"
            )
        spreads.append(max(spread, step))
        ladder.append(min(1.0, ladder[-1] + step / float(np.mean(spreads[-_REMEMBERED:]))))
        states = [path.move(x, ladder[-1], rng) for x in states]
    return np.array(ladder)


def anneal(
    path: SoftenedPath,
    states_A: Sequence[Floats] | Floats,
    ladder: ArrayLike,
    *,
    seed: int = 0,
    progress: Progress | None = None,
) -> Annealed:
    """Raise the softness of each state from ladder[0] to ladder[-1], and weight it.

    Parameters
    ----------
    path : SoftenedPath
        Energies and moves.
    states_A : (n, n_atoms, 3) array
        Drawn from exp(-U(x; ladder[0]) / kT); each is annealed once.
    ladder : (k,) array
        Softness, rising; fixed before.
    seed : int
        State k has the stream (seed, k).
    progress : callable, optional
        Called with states done and states in all.

    Raises
    ------
    InputError
        If the ladder does not rise, or there is no state.
    """
    rungs = np.asarray(ladder, np.float64)
    if rungs.ndim != 1 or len(rungs) < 2 or not (np.diff(rungs) > 0).all() or not len(states_A):
        raise InputError(
            f"annealing needs a state and a ladder that rises, not {len(states_A)} states and "
            f"{rungs.tolist()[:5]}"
        )
    begun, log_w, ends = time.process_time(), np.zeros(len(states_A)), []
    for k, start in enumerate(states_A):
        x, rng = np.asarray(start, np.float64), np.random.default_rng([seed, k])
        for here, there in pairwise(rungs):
            log_w[k] -= (there - here) * path.soft_eV(x) / path.kT_eV
            x = path.move(x, float(there), rng)
        ends.append(x)
        if progress is not None:
            progress(k + 1, len(states_A))
    energies = np.array([path.energy_eV(x) for x in ends])
    spent = time.process_time() - begun
    return Annealed(np.array(ends), log_w, energies, rungs, spent)


def energy_w2(
    energies: ArrayLike,
    weights: ArrayLike | None,
    reference: ArrayLike,
    reference_weights: ArrayLike | None = None,
) -> float:
    """The 2-Wasserstein distance of two weighted samples of one number, in its unit.

    In one dimension it is the root mean square difference of the quantile functions.

    Parameters
    ----------
    energies : (n,) array
        Samples.
    weights : (n,) array, optional
        Of each; None is equal ones.
    reference : (m,) array
        The other samples.
    reference_weights : (m,) array, optional
        Of each; None is equal ones.
    """
    first, below = _quantiles(energies, weights)
    second, under = _quantiles(reference, reference_weights)
    cuts = np.unique(np.concatenate([[0.0], below, under]))
    middles = (cuts[1:] + cuts[:-1]) / 2
    apart = first[_at(below, middles)] - second[_at(under, middles)]
    return float(np.sqrt((np.diff(cuts) * apart**2).sum()))


def _quantiles(values: ArrayLike, weights: ArrayLike | None) -> tuple[Floats, Floats]:
    """Sorted values, and the share up to each, which ends at 1."""
    x = np.asarray(values, np.float64)
    w = np.ones(len(x)) if weights is None else np.asarray(weights, np.float64)
    order = np.argsort(x)
    shares: Floats = np.cumsum(w[order])
    return x[order], shares / shares[-1]


def _at(shares: Floats, levels: Floats) -> NDArray[np.int64]:
    """Which value each level between 0 and 1 belongs to."""
    return np.minimum(np.searchsorted(shares, levels), len(shares) - 1)

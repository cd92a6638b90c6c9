"""Energies on the torus as trigonometric series of single torsions and of pairs: what a
score network says of one molecule.

U(phi) = sum_i Re sum_n a_in exp(i n phi_i)
         + sum_(i<j) Re sum_nl b_ijnl exp(i (n phi_i + l phi_j)),   n > 0, l of either sign.

The score is -grad U. Gradient and Hessian are closed expressions, so that the
divergence of the probability flow and the determinant of a step of the sampler are
exact and cost as much as the score. Float64 throughout; one series serves hundreds of
states at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equidrift.errors import InputError
from equidrift.geometry import Floats

Complexes = NDArray[np.complex128]
_GRID = 48  # points per torsion on which extrema of the second derivatives are looked for


@lru_cache
def pair_index(m: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(i, j), each (m (m - 1) / 2,), of the pairs in the order that `TrigSeries.pairs`
    has.
    """
    i, j = np.triu_indices(m, 1)
    return i, j


def signed_orders(k: int) -> NDArray[np.int64]:
    """-k .. -1, 1 .. k: the orders l of the second torsion of a pair."""
    return np.concatenate([np.arange(-k, 0), np.arange(1, k + 1)])


@dataclass(frozen=True, eq=False)
class TrigSeries:
    """A series of m torsions.

    Parameters
    ----------
    singles : complex, shape (m, K1)
        Coefficients a.
    pairs : complex, shape (m (m - 1) / 2, K2, 2 K2)
        Coefficients b; l runs over
        `signed_orders(K2)`. K2 may not exceed K1.
    """

    singles: Complexes
    pairs: Complexes

    def __post_init__(self) -> None:
        m, k1 = self.singles.shape
        p, k2, both = self.pairs.shape
        if p != m * (m - 1) // 2 or both != 2 * k2 or k2 > k1:
            raise InputError(
                f"pairs of shape {self.pairs.shape} do not go with singles of shape "
                f"{self.singles.shape}"
            )

    @classmethod
    def zero(cls, m: int, k1: int, k2: int) -> TrigSeries:
        """The flat energy."""
        return cls(np.zeros((m, k1), complex), np.zeros((m * (m - 1) // 2, k2, 2 * k2), complex))

    @property
    def n_torsions(self) -> int:
        """Number of torsions."""
        return len(self.singles)

    def scaled(self, factor: float) -> TrigSeries:
        """The energy times a number."""
        return TrigSeries(self.singles * factor, self.pairs * factor)

    def plus(self, other: TrigSeries) -> TrigSeries:
        """The sum with a series of the same shape."""
        return TrigSeries(self.singles + other.singles, self.pairs + other.pairs)

    def _waves(self, phi: Floats) -> tuple[Complexes, Complexes, Complexes]:
        """exp(i n phi) (k, m, K1), and per pair exp(i n phi_i) (p, k, K2) and exp(i l
        phi_j) (p, k, 2 K2).
        """
        k1, k2 = self.singles.shape[1], self.pairs.shape[1]
        waves = np.exp(1j * phi)[..., None] ** np.arange(1, k1 + 1)
        i, j = pair_index(self.n_torsions)
        first, second = waves[:, i, :k2].transpose(1, 0, 2), waves[:, j, :k2].transpose(1, 0, 2)
        return waves, first, np.concatenate([second.conj()[..., ::-1], second], axis=-1)

    def energy(self, phi: Floats) -> Floats:
        """U of phi (k, m), (k,), in units of kT."""
        waves, first, second = self._waves(phi)
        single = np.einsum("kmn,mn->k", waves, self.singles).real
        out: Floats = single + np.einsum("pkl,pkl->k", first @ self.pairs, second).real
        return out

    def score(self, phi: Floats) -> Floats:
        """-grad U of phi (k, m), (k, m)."""
        return self.derivatives(phi)[0]

    def derivatives(self, phi: Floats) -> tuple[Floats, Floats]:
        """(score (k, m), Jacobian of the score (k, m, m)), exact."""
        k, m = phi.shape
        k1, k2 = self.singles.shape[1], self.pairs.shape[1]
        waves, first, second = self._waves(phi)
        n = np.arange(1.0, k1 + 1)
        single = waves * (self.singles * n)
        score = single.imag.sum(axis=-1)
        jacobian = np.zeros((k, m, m))
        diagonal = (single @ n).real
        if m > 1:
            i, j = pair_index(m)
            n, l = n[:k2], signed_orders(k2)
            t0, t1, t2 = ((first * weight) @ self.pairs * second for weight in (1.0, n, n * n))
            to_i, to_j = np.eye(m)[i], np.eye(m)[j]
            score += t1.sum(axis=-1).imag.T @ to_i + (t0 @ l).imag.T @ to_j
            diagonal += t2.sum(axis=-1).real.T @ to_i + (t0 @ (l * l)).real.T @ to_j
            mixed = (t1 @ l).real.T
            jacobian[:, i, j] = mixed
            jacobian[:, j, i] = mixed
        index = np.arange(m)
        jacobian[:, index, index] = diagonal
        return score, jacobian

    def given(self, phi: Floats, block: NDArray[np.int64]) -> TrigSeries:
        """The series of the torsions of a block, the others held at phi (m,); constants
        are dropped.
        """
        m, k2 = self.n_torsions, self.pairs.shape[1]
        singles = self.singles.copy()
        wave = np.exp(1j * np.asarray(phi, np.float64))[:, None] ** signed_orders(k2)
        inside = np.zeros(m, bool)
        inside[block] = True
        for p, (i, j) in enumerate(zip(*pair_index(m), strict=True)):
            if inside[i] and not inside[j]:
                singles[i, :k2] += self.pairs[p] @ wave[j]
            elif inside[j] and not inside[i]:
                left = (
                    wave[i, k2:] @ self.pairs[p]
                )  # coefficients of exp(i l phi_j), l of either sign; Re folds -l onto l
                singles[j, :k2] += left[k2:] + left[:k2][::-1].conj()
        keep = [
            p
            for p, (i, j) in enumerate(zip(*pair_index(m), strict=True))
            if inside[i] and inside[j]
        ]
        return TrigSeries(singles[np.flatnonzero(inside)], self.pairs[keep])

    def on_grid(self, bins: int) -> Floats:
        """U at the centres of a grid of one torsion (bins,) or two (bins, bins)."""
        if self.n_torsions > 2:
            raise InputError(f"a table of {self.n_torsions} torsions is too large; give one or two")
        x = centres(bins)
        k1, k2 = self.singles.shape[1], self.pairs.shape[1]
        waves = np.exp(1j * x)[:, None] ** np.arange(1, k1 + 1)
        single = (waves @ self.singles.T).real
        if self.n_torsions == 1:
            out: Floats = single[:, 0]
            return out
        both = np.exp(1j * x)[:, None] ** signed_orders(k2)
        made: Floats = single[:, :1] + single[:, 1] + (waves[:, :k2] @ self.pairs[0] @ both.T).real
        return made

    def steepest(self) -> float:
        """An upper bound of the Hessian's largest eigenvalue anywhere on the torus (0
        for a flat energy).

        Gershgorin's discs over the extrema of each term's second derivatives, bounded
        from a grid by the theorem of Ehlich and Zeller.
        """
        m, (k1, k2) = self.n_torsions, (self.singles.shape[1], self.pairs.shape[1])
        x = centres(_GRID)
        n, l = np.arange(1, k1 + 1), signed_orders(k2)
        waves = np.exp(1j * x)[:, None] ** n
        rows = _greatest(-(waves @ (self.singles * n**2).T).real, (0,), k1)
        if m > 1:
            both, first, n = np.exp(1j * x)[:, None] ** l, waves[:, :k2], n[:k2]
            ii = -((first * n**2) @ self.pairs @ both.T).real
            ij = -((first * n) @ self.pairs @ (both * l).T).real
            jj = -(first @ self.pairs @ (both * l**2).T).real
            for to, diagonal in zip(pair_index(m), (ii, jj), strict=True):
                np.add.at(
                    rows,
                    to,
                    np.maximum(
                        _greatest(diagonal + ij, (1, 2), k2), _greatest(diagonal - ij, (1, 2), k2)
                    ),
                )
        return max(0.0, float(rows.max()))

    def to_dict(self) -> dict[str, Any]:
        """Plain data; `from_dict` is the inverse."""
        return {
            name: [getattr(self, name).real.tolist(), getattr(self, name).imag.tolist()]
            for name in ("singles", "pairs")
        } | {"orders": [self.singles.shape[1], self.pairs.shape[1]]}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> TrigSeries:
        """The series that `to_dict` wrote."""
        k1, k2 = data["orders"]
        singles = np.array(data["singles"][0]) + 1j * np.array(data["singles"][1])
        pairs = np.array(data["pairs"][0]) + 1j * np.array(data["pairs"][1])
        return cls(singles.reshape(-1, k1), pairs.reshape(-1, k2, 2 * k2))


def _greatest(values: Floats, axes: tuple[int, ...], order: int) -> Floats:
    """Upper bound of a trigonometric polynomial of that order from its values on the
    grid.
    """
    high, low = values.max(axis=axes), values.min(axis=axes)
    out: Floats = (high + low) / 2 + (high - low) / 2 / np.cos(np.pi * order / _GRID) ** len(axes)
    return out


def centres(bins: int) -> Floats:
    """Centres of `bins` cells of the circle."""
    out: Floats = (np.arange(bins, dtype=np.float64) + 0.5) * (2 * np.pi / bins) - np.pi
    return out

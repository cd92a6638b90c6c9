"""Normalised densities of torsions: uniform, histogram, mixture of wrapped normals.

Each can be drawn from and evaluated as a whole, or for a block of torsions given the
others. numpy only.
"""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from equidrift.errors import InputError
from equidrift.geometry import Floats, wrap

Block = NDArray[np.int64]
_TWO_PI = 2 * np.pi
_MAX_CELLS = 4_000_000  # of a histogram


def log_wrapped_normal(delta: ArrayLike, sigma: ArrayLike) -> Floats:
    """Log density on the circle of a normal with standard deviation `sigma` (radians),
    wrapped; the arguments broadcast.

    Below one radian the sum over the nearest images is exact to rounding, above it the
    Fourier series is.
    """
    d, s = np.broadcast_arrays(wrap(delta), np.asarray(sigma, np.float64))
    out = np.empty(d.shape)
    narrow = s < 1.0
    z, t = d[narrow], s[narrow]
    # the exponents are taken relative to the nearest image, so that nothing underflows
    images = 1.0 + sum(np.exp(-np.pi * (np.pi + k * z) * 2 / t**2) for k in (-1, 1))
    out[narrow] = -0.5 * (z / t) ** 2 - np.log(t * np.sqrt(_TWO_PI)) + np.log(images)
    if not narrow.all():
        z, t = d[~narrow], s[~narrow]
        out[~narrow] = np.log1p(
            sum(2 * np.exp(-0.5 * (n * t) ** 2) * np.cos(n * z) for n in range(1, 9))
        ) - np.log(_TWO_PI)
    return out


def floor_for(frames: int) -> float:
    """Share of uniform proposals for a density fitted to so many frames: what ten of
    them are, from 0.1 to 2 %.

    Uniform draws open what no frame has shown, and are nearly all rejected.
    """
    return float(np.clip(10 / max(frames, 1), 0.001, 0.02))


class TorusDensity(Protocol):
    """A normalised density of m torsions, or of a block of them given the others.

    Inherit and give `draw` and `log_prob`.

    Attributes
    ----------
    n_torsions : int
        How many torsions it is of.
    """

    n_torsions: int

    def sample(
        self,
        n: int,
        rng: np.random.Generator,
        given: Floats | None = None,
        block: Block | None = None,
    ) -> Floats:
        """(n, m) torsions; with a block, those outside it are copied from `given` (m,)."""
        return _filled(self.draw(n, rng, given, block), given, block)

    def draw(
        self, n: int, rng: np.random.Generator, given: Floats | None, block: Block | None
    ) -> Floats:
        """(n, m) torsions; with a block (b,) those of the block alone, (n, b)."""
        ...

    def log_prob(self, phi: Floats, block: Block | None = None) -> Floats:
        """(k,) log densities of phi (k, m); with a block, of phi[:, block] given the
        rest of the row.
        """
        ...


@runtime_checkable
class GeometryDensity(Protocol):
    """What gives a density of the torsions for each geometry of the rest."""

    @property
    def n_torsions(self) -> int:
        """How many torsions it is of."""
        ...

    def at(self, positions_A: Floats, kT_eV: float) -> TorusDensity:
        """The density with the geometry (n_atoms, 3) frozen."""
        ...


class Uniform(TorusDensity):
    """The uniform density on the torus."""

    def __init__(self, n_torsions: int):
        self.n_torsions = n_torsions

    def draw(
        self, n: int, rng: np.random.Generator, given: Floats | None, block: Block | None
    ) -> Floats:
        """See `TorusDensity.draw`."""
        del given
        width = self.n_torsions if block is None else len(block)
        return rng.uniform(-np.pi, np.pi, (n, width))

    def log_prob(self, phi: Floats, block: Block | None = None) -> Floats:
        """See `TorusDensity.log_prob`."""
        return np.full(
            len(phi), -np.log(_TWO_PI) * (self.n_torsions if block is None else len(block))
        )


class Histogram(TorusDensity):
    """A density that is constant in each cell of a grid.

    Parameters
    ----------
    log_density : (bins,) * m array
        Normalised or not.
    """

    def __init__(self, log_density: ArrayLike):
        table = np.exp(np.asarray(log_density, np.float64) - np.max(log_density))
        self.n_torsions, self.bins = table.ndim, table.shape[0]
        self.table = table / table.sum()

    @staticmethod
    def check(m: int, bins: int = 36) -> None:
        """Raise `InputError` if m torsions are too many to fill the cells of a
        histogram.
        """
        if not 1 <= m <= 3 or bins**m > _MAX_CELLS:
            raise InputError(
                f"a histogram of {m} torsions with {bins} bins has too many cells; 3 "
                f"torsions fit: take the mixture or block moves"
            )

    @classmethod
    def fit(
        cls, phi: ArrayLike, bins: int = 36, smoothing_rad: float = 0.12, floor: float | None = None
    ) -> Histogram:
        """Counts of phi (k, m) smoothed by a wrapped normal, plus a uniform share
        `floor` (None: `floor_for`) so that no cell is empty.

        Raises
        ------
        InputError
            For more than three torsions, whose cells no run fills; take the mixture or
            block moves.
        """
        frames = _frames(phi)
        m = frames.shape[1]
        cls.check(m, bins)
        cells = np.floor((wrap(frames) + np.pi) / _TWO_PI * bins).astype(int) % bins
        counts = np.zeros((bins,) * m)
        np.add.at(counts, tuple(cells.T), 1.0)
        frequency = np.fft.fftfreq(bins, 1.0 / bins)
        kernel = np.exp(-0.5 * (frequency * smoothing_rad) ** 2)
        spectrum = np.fft.fftn(counts)
        for axis in range(m):
            spectrum = spectrum * kernel.reshape([-1 if a == axis else 1 for a in range(m)])
        density = np.maximum(np.fft.ifftn(spectrum).real, 0.0)
        floor = floor_for(len(frames)) if floor is None else floor
        return cls(np.log((1 - floor) * density / density.sum() + floor / density.size))

    def draw(
        self, n: int, rng: np.random.Generator, given: Floats | None, block: Block | None
    ) -> Floats:
        """See `TorusDensity.draw`."""
        table = self.table if block is None else self.table[self._slice(_need(given), block)]
        shape = table.shape
        flat = np.cumsum(table.ravel())
        cells = np.unravel_index(
            np.searchsorted(flat, rng.random(n) * flat[-1], side="right").clip(max=flat.size - 1),
            shape,
        )
        phi = (np.stack(cells, axis=1) + rng.random((n, len(shape)))) * (
            _TWO_PI / self.bins
        ) - np.pi
        # the table's axes stand in the order of the torsions, the block in its own
        ordered: Floats = phi if block is None else phi[:, np.argsort(np.argsort(block))]
        return ordered

    def log_prob(self, phi: Floats, block: Block | None = None) -> Floats:
        """See `TorusDensity.log_prob`."""
        cells = np.floor((wrap(phi) + np.pi) / _TWO_PI * self.bins).astype(int) % self.bins
        mass = self.table[tuple(cells.T)]
        if block is not None:
            mass = mass / np.array([self.table[self._slice(row, block)].sum() for row in phi])
        width = self.n_torsions if block is None else len(block)
        out: Floats = np.log(mass) + width * np.log(self.bins / _TWO_PI)
        return out

    def _slice(self, phi: Floats, block: Block) -> tuple[Any, ...]:
        cells = np.floor((wrap(phi) + np.pi) / _TWO_PI * self.bins).astype(int) % self.bins
        return tuple(slice(None) if k in block else cells[k] for k in range(self.n_torsions))


class WrappedMixture(TorusDensity):
    """A mixture whose components are products of wrapped normals: any conditional of it
    is a mixture again.

    Parameters
    ----------
    weights : (c,) array
        Positive.
    means : (c, m) array
        In radians.
    sigmas : (c, m) array
        In radians.
    """

    def __init__(self, weights: ArrayLike, means: ArrayLike, sigmas: ArrayLike):
        w = np.asarray(weights, np.float64)
        self.means, self.sigmas = (
            np.atleast_2d(np.asarray(means, np.float64)),
            np.atleast_2d(np.asarray(sigmas, np.float64)),
        )
        self.weights, self.n_torsions = w / w.sum(), self.means.shape[1]

    @classmethod
    def fit(
        cls,
        phi: ArrayLike,
        components: int = 16,
        *,
        floor: float = 0.02,
        least_sigma_rad: float = 0.08,
        iterations: int = 60,
        seed: int = 0,
    ) -> WrappedMixture:
        """Expectation maximisation on phi (k, m), plus a uniform component of weight
        `floor`, so that no place is forbidden.

        The M step takes circular means and resultant lengths: the moments that fix a
        wrapped normal.
        """
        frames = _frames(phi)
        c = min(components, len(frames))
        means = _spread(frames, c, np.random.default_rng(seed))
        weights, sigmas = np.full(c, 1.0 / c), np.full_like(means, 0.5)
        unit = np.exp(1j * frames)
        for _ in range(iterations):
            log_p = np.log(weights) + _log_components(frames, means, sigmas)
            share = np.exp(log_p - log_p.max(axis=1, keepdims=True))
            share /= share.sum(axis=1, keepdims=True)
            mass = share.sum(axis=0) + 1e-9
            moment = (share.T @ unit) / mass[:, None]
            weights, means = mass / mass.sum(), np.angle(moment)
            sigmas = np.sqrt(-2 * np.log(np.clip(np.abs(moment), 1e-4, 1 - 1e-9))).clip(
                least_sigma_rad
            )
        flat = np.full(
            (1, frames.shape[1]), 50.0
        )  # wrapped so wide, a normal is uniform to the last bit
        return cls(
            np.append((1 - floor) * weights, floor),
            np.vstack([means, 0 * flat]),
            np.vstack([sigmas, flat]),
        )

    def draw(
        self, n: int, rng: np.random.Generator, given: Floats | None, block: Block | None
    ) -> Floats:
        """See `TorusDensity.draw`."""
        weights, which = self.weights, np.arange(self.n_torsions)
        if block is not None:
            which = block
            log_w = self._log_rest(_need(given)[None], block)[0]
            weights = np.exp(log_w - log_w.max())
        pick = rng.choice(len(weights), n, p=weights / weights.sum())
        noise = rng.standard_normal((n, len(which)))
        return wrap(self.means[pick][:, which] + self.sigmas[pick][:, which] * noise)

    def log_prob(self, phi: Floats, block: Block | None = None) -> Floats:
        """See `TorusDensity.log_prob`."""
        everything = _log_sum(np.log(self.weights) + _log_components(phi, self.means, self.sigmas))
        return everything if block is None else everything - _log_sum(self._log_rest(phi, block))

    def _log_rest(self, phi: Floats, block: Block) -> Floats:
        """(k, c) log weight of each component given the torsions outside the block, up
        to a constant.
        """
        rest = np.setdiff1d(np.arange(self.n_torsions), block)
        near = _log_components(phi[:, rest], self.means[:, rest], self.sigmas[:, rest])
        weighed: Floats = np.log(self.weights) + near
        return weighed


def _log_components(phi: Floats, means: Floats, sigmas: Floats) -> Floats:
    """(k, c) log density of each component at phi (k, m)."""
    out: Floats = log_wrapped_normal(phi[:, None] - means, sigmas).sum(axis=-1)
    return out


def _log_sum(x: Floats) -> Floats:
    top = x.max(axis=1)
    out: Floats = top + np.log(np.exp(x - top[:, None]).sum(axis=1))
    return out


def _spread(phi: Floats, c: int, rng: np.random.Generator) -> Floats:
    """c starting points, each drawn with odds that grow with the distance to those
    before (k-means++ on the torus).
    """
    chosen: list[Floats] = [phi[rng.integers(len(phi))]]
    nearest = np.full(len(phi), np.inf)
    for _ in range(c - 1):
        nearest = np.minimum(nearest, (1 - np.cos(phi - chosen[-1])).sum(axis=1))
        odds = nearest + 1e-12
        chosen.append(phi[rng.choice(len(phi), p=odds / odds.sum())])
    return np.array(chosen)


def _frames(phi: ArrayLike) -> Floats:
    frames = np.asarray(phi, np.float64)
    if frames.ndim != 2 or not len(frames) or not np.isfinite(frames).all():
        raise InputError(
            f"phi must be (frames, torsions) of finite angles, at least one frame; got shape "
            f"{frames.shape}"
        )
    return frames


def _need(given: Floats | None) -> Floats:
    if given is None:
        raise InputError(
            "a block of torsions is drawn given the others: pass `given`, the torsions of "
            "the current state"
        )
    return np.asarray(given, np.float64)


def _filled(phi: Floats, given: Floats | None, block: Block | None) -> Floats:
    """phi (n, b) put into copies of `given` at `block`."""
    if block is None:
        return phi
    out = np.tile(_need(given), (len(phi), 1))
    out[:, block] = phi
    return out

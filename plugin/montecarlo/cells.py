"""Monte Carlo moves of a periodic cell at constant pressure, in log-strain coordinates.

A move stretches the cell, h -> exp(e) h with e symmetric, and carries the molecules'
centres along. At pressure P the density of cell and scaled centres is exp(-(U + P V) / kT)
V^N dV for N molecules (Wood, 1968), which is V^(N + 1) over d log V; the same power holds
for cells of any shape over the invariant measure of GL+(3), det(h)^-3 dh (Martyna, Tobias
and Klein, J. Chem. Phys. 1994, 101, 4177, whose tensor measure it is). Steps e and -e are
as likely as each other, so that measure is kept, and a move is accepted with

    min(1, exp(-(U' - U + P (V' - V)) / kT + (N + 1) log(V' / V))).
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from equidrift.arguments import check_count
from equidrift.errors import InputError, UnknownNameError
from equidrift.geometry import Floats
from equidrift.montecarlo.metropolis import Statistics, accept
from equidrift.seeds import check_seed
from equidrift.units import BOLTZMANN_EV_PER_K, EV_PER_A3_BAR

# what may change
STRAINS = {
    "volume": "all three edges alike",
    "lengths": "each edge of a rectangular box by itself",
    "shape": "edges and angles",
}


class CellHost(Protocol):
    """A periodic system whose cell can be stretched."""

    @property
    def volume_A3(self) -> float:
        """Of the cell as it stands."""
        ...

    @property
    def n_molecules(self) -> int:
        """How many centres are carried along, each one rigidly."""
        ...

    def energy_eV(self) -> float:
        """Potential energy as it stands."""
        ...

    def stretched_eV(self, stretch: Floats) -> float:
        """Show the system stretched by a symmetric matrix (3, 3); its energy, NaN if
        there is none.
        """
        ...

    def settle(self, accepted: bool) -> None:
        """Keep what was shown last, or go back to what was before."""
        ...


@dataclass(frozen=True)
class CellSettings:
    """At which pressure and temperature a cell is sampled, and by which steps.

    Parameters
    ----------
    temperature_K : float
        Of the distribution, above 0 and finite.
    pressure_bar : float
        Outer pressure, 0 or more.
    strain : str, optional
        A name of `STRAINS`.
    sigma : float, optional
        Standard deviation of the steps: of log V ("volume"), of the logarithm of each
        edge ("lengths"), or of each component of the strain ("shape").

    Raises
    ------
    InputError
        If a number cannot be.
    UnknownNameError
        For another strain.
    """

    temperature_K: float
    pressure_bar: float
    strain: str = "volume"
    sigma: float = 0.02

    def __post_init__(self) -> None:
        if not 0 < self.temperature_K < math.inf:
            raise InputError(
                f"temperature_K must be positive and finite, not {self.temperature_K}; give "
                "for example 300"
            )
        if not 0 <= self.pressure_bar < math.inf:
            raise InputError(
                f"pressure_bar must be finite and not negative, not {self.pressure_bar}; give "
                "for example 1"
            )
        if not 0 < self.sigma < 1:
            raise InputError(
                f"sigma must be above 0 and below 1, not {self.sigma}; give for example 0.02"
            )
        if self.strain not in STRAINS:
            raise UnknownNameError("strain", self.strain, STRAINS)

    @property
    def kT_eV(self) -> float:
        """Thermal energy."""
        return BOLTZMANN_EV_PER_K * self.temperature_K

    def drawn(self, rng: np.random.Generator) -> Floats:
        """A strain (3, 3), symmetric; as likely as its negative, and for "shape" as
        likely as any rotated one.
        """
        if self.strain == "volume":
            return self.sigma / 3 * rng.standard_normal() * np.eye(3)
        if self.strain == "lengths":
            return np.diag(self.sigma * rng.standard_normal(3))
        square = self.sigma * rng.standard_normal((3, 3))
        even: Floats = (square + square.T) / 2
        return even


class CellMoves(CellHost, Protocol):
    """What the hosts share: inherit, and say how the cell is read and shown.

    Attributes
    ----------
    settings : CellSettings
        Pressure, temperature and steps.
    statistics : Statistics
        What became of the moves.
    seed, calls : int
        Of the random streams: every call of `apply` has its own.
    """

    settings: CellSettings
    statistics: Statistics
    seed: int
    calls: int

    def begin(self, settings: CellSettings, seed: int) -> None:
        """Begin to count."""
        self.settings, self.statistics = settings, Statistics()
        self.seed, self.calls = check_seed(seed), 0

    def read(self) -> None:
        """Take cell and positions from the host."""
        ...

    def apply(self, n: int = 1) -> int:
        """n moves of the cell as it stands; how many were accepted.

        Raises
        ------
        InputError
            If the energy is not finite before any move.
        """
        check_count("n", n, 0)
        self.read()
        rng = np.random.default_rng([self.seed, self.calls])
        self.calls += 1
        return try_cells(self, self.settings, n, rng=rng, statistics=self.statistics)


def stretch_of(strain: Floats) -> Floats:
    """The symmetric matrix exp(strain) (3, 3)."""
    size, axes = np.linalg.eigh(strain)
    out: Floats = (axes * np.exp(size)) @ axes.T
    return out


def try_cells(
    host: CellHost,
    settings: CellSettings,
    n: int,
    *,
    rng: np.random.Generator,
    statistics: Statistics,
) -> int:
    """n moves of a host's cell; how many were accepted.

    Parameters
    ----------
    host : CellHost
        What moves.
    settings : CellSettings
        Pressure, temperature and steps.
    n : int
        Moves.
    rng : numpy.random.Generator
        Draws strains and acceptance.
    statistics : Statistics
        Counts are added here.

    Raises
    ------
    InputError
        If the energy is not finite before any move.
    """
    kT, accepted = settings.kT_eV, 0
    u, volume = host.energy_eV(), host.volume_A3
    if not math.isfinite(u):
        raise InputError(f"the energy is {u} eV before any move of the cell; minimise first")
    for _ in range(n):
        strain = settings.drawn(rng)
        growth = float(np.trace(strain))  # log V' / V
        new_volume = volume * math.exp(growth)
        begun = time.perf_counter()
        u_new = host.stretched_eV(stretch_of(strain))
        statistics.spent("energies", time.perf_counter() - begun)
        work = settings.pressure_bar * EV_PER_A3_BAR * (new_volume - volume)
        change = (u_new - u + work) / kT
        yes = accept(change, (host.n_molecules + 1) * growth, rng)
        statistics.record(yes, change, None)
        host.settle(yes)
        if yes:
            u, volume, accepted = u_new, new_volume, accepted + 1
    return accepted


def carried(
    positions_A: Floats, molecules: tuple[np.ndarray, ...] | None, stretch: Floats
) -> Floats:
    """Positions (n, 3) with every molecule's mean position stretched and its shape kept.

    Parameters
    ----------
    positions_A : (n, 3) array
        Whole molecules.
    molecules : tuple of arrays, optional
        Atoms of each; None: every atom is one.
    stretch : (3, 3) array
        Symmetric.
    """
    if molecules is None:
        return positions_A @ stretch
    out = np.array(positions_A, np.float64)
    for atoms in molecules:
        centre = positions_A[atoms].mean(axis=0)
        out[atoms] += centre @ stretch - centre
    return out

"""Which of ASE's MD classes may run between Monte Carlo moves, at which temperature,
and what they hold that a move must renew.

Moves leave exp(-U / kT) unchanged, so the whole chain is exact if the dynamics does so
too. A class is used if it is known to; others, also those that ASE adds later, are
refused by name. `exact=False` takes them all, and says so in what the run writes.

Some classes keep copies: Nosé-Hoover chains of positions and momenta, BAOAB of the
accelerations. After a move `renew` sets them from the atoms; chains of thermostats and
barostats stay, because their joint density with positions and momenta is a product.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from ase import Atoms, units
from ase.md.md import MolecularDynamics
from numpy.typing import NDArray

from equidrift.errors import InputError

_SAME_SHARE = 1e-3  # of the temperature: ASE holds kT in eV with its own constants

Dynamics = Any


def _keeps_nothing(dynamics: Dynamics) -> None:
    """Of a class that reads positions and momenta from the atoms at each step."""


def _no_temperature(dynamics: Dynamics) -> None:
    """Of dynamics at constant energy."""


@dataclass(frozen=True)
class Thermostat:
    """How to treat one class of ASE.

    Parameters
    ----------
    kelvin : callable
        The temperature it keeps; None for constant energy.
    renew : callable, optional
        Sets what it keeps of positions and momenta from the atoms.
    """

    kelvin: Callable[[Dynamics], float | None]
    renew: Callable[[Dynamics], None] = _keeps_nothing


def _of_temp(dynamics: Dynamics) -> float:
    """In K, of classes that hold kT in eV."""
    return float(dynamics.temp / units.kB)


def _of_chain(dynamics: Dynamics) -> float:
    """In K, of chains of thermostats."""
    return float(dynamics._thermostat._kT / units.kB)  # noqa: SLF001 - ASE has no public name


def _renew_copies(dynamics: Dynamics) -> None:
    """Nosé-Hoover and Martyna-Tobias-Klein classes integrate these and write them to
    the atoms.
    """
    if not (hasattr(dynamics, "_q") and hasattr(dynamics, "_p")):
        name = type(dynamics).__name__
        raise InputError(
            f"{name} of this ASE keeps its positions elsewhere; use Langevin(..., fixcm=False)"
        )
    # ASE has no public names for its copies
    dynamics._q = dynamics.atoms.get_positions()  # noqa: SLF001 - see above
    dynamics._p = dynamics.atoms.get_momenta()  # noqa: SLF001 - see above


def _renew_accelerations(dynamics: Dynamics) -> None:
    """LangevinBAOAB keeps accelerations, which ASE has no public way to renew."""
    dynamics._update_accel()  # noqa: SLF001 - see above
    if dynamics.externalstress is not None:
        dynamics._update_force_eps()  # noqa: SLF001 - see above


_CHAINS = Thermostat(_of_chain, _renew_copies)
KNOWN = {
    # canonical together with moves, which draw momenta anew
    "VelocityVerlet": Thermostat(_no_temperature),
    "Andersen": Thermostat(_of_temp),
    "Bussi": Thermostat(_of_temp),
    "Langevin": Thermostat(_of_temp),
    "LangevinBAOAB": Thermostat(lambda dynamics: dynamics.temperature_K, _renew_accelerations),
    "NoseHooverChainNVT": _CHAINS,
    "IsotropicMTKNPT": _CHAINS,
    "MTKNPT": _CHAINS,
    "MaskedMTKNPT": _CHAINS,
}
_BERENDSEN = "it rescales velocities to a temperature (Berendsen), which samples no known ensemble"
_MELCHIONNA = "it keeps past positions that a move would have to rewrite"
REFUSED = {
    "NVTBerendsen": _BERENDSEN,
    "NPTBerendsen": _BERENDSEN,
    "Inhomogeneous_NPTBerendsen": _BERENDSEN,
    "MelchionnaNPT": _MELCHIONNA,
    "NPT": _MELCHIONNA,
    "SwitchLangevin": "it changes the potential while it runs",
    "ContourExploration": "it follows a contour of the energy, and samples nothing",
}
_WAY_OUT = (
    "use Langevin(..., fixcm=False), Bussi or NoseHooverChainNVT, or pass exact=False, which says "
    "so in what the run writes"
)


def check_dynamics(
    dynamics: Any, atoms: Atoms, temperature_K: float, *, exact: bool = True
) -> None:
    """Refuse dynamics that the moves cannot be combined with.

    Raises
    ------
    InputError
        For other atoms, another temperature, or in exact mode a class that is not known
        to sample the canonical ensemble.
    """
    if dynamics is None:
        return
    if not isinstance(dynamics, MolecularDynamics) or dynamics.atoms is not atoms:
        raise InputError(
            "dynamics must be one of ASE's MD classes made with the same atoms object, for example "
            "Langevin(atoms, ...)"
        )
    name = type(dynamics).__name__
    reason = _refusal(dynamics)
    if reason is not None and (exact or reason == _MELCHIONNA):
        raise InputError(f"{name} cannot run between exact moves: {reason}; {_WAY_OUT}")
    kelvin = temperature_of(dynamics)
    if kelvin is not None and abs(kelvin - temperature_K) > _SAME_SHARE * temperature_K:
        raise InputError(
            f"the dynamics keep {kelvin:.1f} K, but temperature_K={temperature_K:g}; make both the "
            "same"
        )


def samples_canonically(dynamics: Any) -> bool:
    """Whether moves between these dynamics keep the Boltzmann distribution; True for
    None.
    """
    return dynamics is None or _refusal(dynamics) is None


def temperature_of(dynamics: Any) -> float | None:
    """The temperature the dynamics keep in K, None if they keep none or hold it
    if nobody knows.
    """
    known = _known(dynamics)
    if known is not None:
        return known.kelvin(dynamics)
    value = getattr(dynamics, "temp", None)  # kT in eV, as most of ASE's classes hold it
    if isinstance(value, float):
        return value / units.kB
    value = getattr(dynamics, "temperature", None)  # of Berendsen's classes, in K
    return float(value) if isinstance(value, float | int) else None


def renew(dynamics: Any) -> None:
    """Make the dynamics go on from where the atoms are now."""
    # some hold the centre of mass still, but drawn momenta do not
    if getattr(dynamics, "fix_com", False):
        momenta, masses = dynamics.atoms.get_momenta(), dynamics.atoms.get_masses()[:, None]
        dynamics.atoms.set_momenta(momenta - masses * momenta.sum(axis=0) / masses.sum())
    known = _known(dynamics)
    if known is not None:
        known.renew(dynamics)


def check_went_on(
    dynamics: Any, moved_from_A: NDArray[np.float64], moved_to_A: NDArray[np.float64]
) -> None:
    """After the first step that follows a move: refuse dynamics that went back to a
    copy of their own.
    """
    now = dynamics.atoms.get_positions()
    if np.abs(now - moved_from_A).max() < np.abs(now - moved_to_A).max():
        raise InputError(
            f"{type(dynamics).__name__} went back to where it was before an accepted move: it goes "
            "on from positions of its own, and "
            f"undoes every move; {_WAY_OUT}"
        )


def _known(dynamics: Any) -> Thermostat | None:
    for kind in type(dynamics).__mro__:
        if kind.__name__ in REFUSED:
            return None
        if kind.__name__ in KNOWN:
            return KNOWN[kind.__name__]
    return None


def _refusal(dynamics: Any) -> str | None:
    """Why a class does not keep the Boltzmann distribution; None if it does."""
    for kind in type(dynamics).__mro__:
        if kind.__name__ in REFUSED:
            return REFUSED[kind.__name__]
        if kind.__name__ in KNOWN:
            break
    else:
        return "it is not known to sample the canonical ensemble"
    if kind.__name__ == "Langevin" and getattr(dynamics, "fix_com", False):
        return "with fixcm=True it does not sample the canonical ensemble, as ASE warns too"
    return None

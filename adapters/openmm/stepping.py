"""Errors of ours for what OpenMM raises while it works on a user's System."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import openmm

from equidrift.errors import InputError


@contextmanager
def explained(doing: str) -> Iterator[None]:
    """Raise what OpenMM raises inside as an InputError that names the way out.

    Parameters
    ----------
    doing : str
        What OpenMM was doing, for example "taking 500 steps".

    Raises
    ------
    InputError
        For an `openmm.OpenMMException`, which is chained.
    """
    try:
        yield
    except openmm.OpenMMException as error:
        raise InputError(
            f"OpenMM stopped while {doing}: {error}; minimise first (for example with "
            "equidrift.adapters.openmm.simulation.prepare), give the integrator a shorter "
            "step, or, if it is the platform that fails, take platform 'CPU' or 'Reference'"
        ) from error


def take_steps(step: Callable[[int], None], n: int) -> None:
    """`step(n)` of an OpenMM Simulation or integrator, its errors explained.

    Parameters
    ----------
    step : callable
        `simulation.step` or `integrator.step`.
    n : int
        Steps to take.

    Raises
    ------
    InputError
        If OpenMM cannot take them.
    """
    with explained(f"taking {n} steps of this System"):
        step(n)

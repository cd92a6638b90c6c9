"""Constant pressure in OpenMM by moves of the box that the package makes itself: any
integrator, any shape of the box, no barostat in the System.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import openmm
from openmm import unit

from equidrift.adapters.openmm.stepping import explained
from equidrift.errors import InputError
from equidrift.geometry import Floats
from equidrift.montecarlo.cells import CellMoves, CellSettings, carried
from equidrift.units import KJ_MOL_PER_EV, NM_PER_A


class ContextCells(CellMoves):
    """Moves of the periodic box of one Context.

    Molecules (by OpenMM's account: bonds and constraints) keep their shape, their mean
    positions move with the box. Call `apply` between steps of the integrator.

    Parameters
    ----------
    context : openmm.Context
        Of a periodic System without a barostat.
    settings, seed
        As for `CellMoves`.

    Raises
    ------
    InputError
        If the System is not periodic, or has a barostat.

    Examples
    --------
    >>> import openmm
    >>> from openmmtools.testsystems import LennardJonesFluid
    >>> box = LennardJonesFluid(nparticles=64)
    >>> context = openmm.Context(box.system, openmm.VerletIntegrator(0.001))
    >>> context.setPositions(box.positions)
    >>> cells = ContextCells(context, CellSettings(temperature_K=300, pressure_bar=1.0))
    >>> _ = cells.apply(3)
    >>> cells.statistics.proposed
    3
    """

    def __init__(self, context: openmm.Context, settings: CellSettings, *, seed: int = 0) -> None:
        system = context.getSystem()
        if not system.usesPeriodicBoundaryConditions():
            raise InputError(
                "the System is not periodic, so it has no box to move; make its NonbondedForce "
                "periodic (CutoffPeriodic, PME)"
            )
        for force in system.getForces():
            if "Barostat" in type(force).__name__ and force.getFrequency() != 0:
                raise InputError(
                    f"the System has a {type(force).__name__}, which moves the box as well; "
                    "remove it, or set its frequency to 0"
                )
        self.context = context
        self.molecules = tuple(np.array(atoms, np.int64) for atoms in context.getMolecules())
        self._virtual = any(system.isVirtualSite(k) for k in range(system.getNumParticles()))
        self.begin(settings, seed)
        self._turned = np.eye(3)  # of the box shown last, against the one before
        self.read()

    @property
    def volume_A3(self) -> float:
        """Of the box as it stands."""
        return float(abs(np.linalg.det(self._box_nm))) / NM_PER_A**3

    @property
    def n_molecules(self) -> int:
        """How many mean positions move with the box."""
        return len(self.molecules)

    def energy_eV(self) -> float:
        """Potential energy of the Context, by the integrator's force groups."""
        with explained("computing the energy before any move of the box"):
            return self._energy_eV()

    def stretched_eV(self, stretch: Floats) -> float:
        """Show the stretched box; NaN if OpenMM has no energy there, as for a box
        narrower than two cutoffs.
        """
        box, turn = _lower(self._box_nm @ stretch)
        places = carried(self._positions_nm, self.molecules, stretch) @ turn
        self._turned = turn
        try:
            self._show(box, places)
            return self._energy_eV()
        except openmm.OpenMMException:
            return math.nan

    def settle(self, accepted: bool) -> None:
        """Keep the box shown last, velocities turned as it was, or go back."""
        if not accepted:
            self._show(self._box_nm, self._positions_nm)
            return
        if not np.array_equal(self._turned, np.eye(3)):
            state = self.context.getState(velocities=True)
            velocities: Any = state.getVelocities(asNumpy=True)
            nm_per_ps = velocities.value_in_unit(unit.nanometer / unit.picosecond)
            self.context.setVelocities(np.array(nm_per_ps) @ self._turned)
        self.read()

    def read(self) -> None:
        """Take box and positions from the Context."""
        state = self.context.getState(positions=True)
        vectors: Any = state.getPeriodicBoxVectors(asNumpy=True)
        self._box_nm = np.array(vectors.value_in_unit(unit.nanometer), np.float64)
        positions: Any = state.getPositions(asNumpy=True)
        self._positions_nm = np.array(positions.value_in_unit(unit.nanometer), np.float64)

    def _show(self, box_nm: Floats, positions_nm: Floats) -> None:
        self.context.setPeriodicBoxVectors(*box_nm)
        self.context.setPositions(positions_nm)
        if self._virtual:
            self.context.computeVirtualSites()

    def _energy_eV(self) -> float:
        groups = self.context.getIntegrator().getIntegrationForceGroups()
        energy = self.context.getState(energy=True, groups=groups).getPotentialEnergy()
        return float(energy.value_in_unit(unit.kilojoule_per_mole)) / KJ_MOL_PER_EV


def _lower(box: Floats) -> tuple[Floats, Floats]:
    """The same lattice with vectors (rows) a along x and b in the xy plane, reduced as
    OpenMM wants them; and the rotation (3, 3) of rows that this takes, places @ turn.
    """
    if not (box - np.diag(np.diag(box))).any():
        return box, np.eye(3)
    q, r = np.linalg.qr(box.T)
    sign = np.sign(np.diag(r))
    turn, lower = q * sign, (r * sign[:, None]).T
    a, b, c = lower
    c = c - b * np.round(c[1] / b[1])
    c = c - a * np.round(c[0] / a[0])
    b = b - a * np.round(b[0] / a[0])
    return np.stack([a, b, c]), turn

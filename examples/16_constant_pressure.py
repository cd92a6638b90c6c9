"""Argon at constant pressure in OpenMM: moves of the box in log-strain coordinates, in
place of a barostat.
"""

import sys

import numpy as np
import openmm
from openmm import unit

from equidrift.adapters.openmm.cells import ContextCells
from equidrift.montecarlo.cells import CellSettings

cycles = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
edge_nm, n = 1.8, 64
system, pairs = openmm.System(), openmm.NonbondedForce()
for _ in range(n):
    system.addParticle(39.948)
    pairs.addParticle(0, 0.3405, 0.996)
pairs.setNonbondedMethod(openmm.NonbondedForce.CutoffPeriodic)
pairs.setCutoffDistance(0.6)
system.addForce(pairs)
system.setDefaultPeriodicBoxVectors(*(edge_nm * np.eye(3)))

axis = (np.arange(4) + 0.5) / 4 * edge_nm
integrator = openmm.LangevinMiddleIntegrator(180, 5, 0.008)
context = openmm.Context(system, integrator, openmm.Platform.getPlatform("Reference"))
context.setPositions(np.stack(np.meshgrid(axis, axis, axis), axis=-1).reshape(-1, 3))
context.setVelocitiesToTemperature(180 * unit.kelvin, 1)

settings = CellSettings(temperature_K=180, pressure_bar=300, strain="shape", sigma=0.03)
cells = ContextCells(context, settings)
volumes_A3 = []
for _ in range(cycles):
    integrator.step(10)
    cells.apply(1)
    volumes_A3.append(cells.volume_A3)
density = 1.66054 * 39.948 * n / np.array(volumes_A3[cycles // 5 :])
print(f"{cells.statistics.acceptance:.0%} of the moves accepted")
print(f"density {density.mean():.2f} +- {density.std():.2f} g/cm^3")

#!/usr/bin/env python3
"""Make examples/data/aspirin.xtc and aspirin.pdb: 40 frames, 10 fs apart, of MMFF94
dynamics at 300 K after 5 ps of equilibration.

    python tools/make_example_trajectory.py

`examples/03_forecast_aspirin.py` continues them.
"""

from __future__ import annotations

from pathlib import Path

import openmm
from openmm import app

import equidrift
from equidrift.adapters.openmm.simulation import prepare

DATA = Path(__file__).parents[1] / "examples" / "data"
STEP_PS = 0.0005
EVERY = 20  # steps between frames
FRAMES = 40
EQUILIBRATION = 10_000  # steps


def main() -> None:
    """Run the dynamics and write both files."""
    ensemble = equidrift.sample("CC(=O)Oc1ccccc1C(=O)O", 1, model="etkdg-mmff", seed=1)
    topology, positions = ensemble.to_openmm()
    integrator = openmm.LangevinMiddleIntegrator(300, 1, STEP_PS)
    integrator.setRandomNumberSeed(1)
    platform = openmm.Platform.getPlatform("Reference")
    simulation = app.Simulation(
        topology, equidrift.mmff_system(ensemble.molecule), integrator, platform
    )
    prepare(simulation, positions[0], temperature_K=300, seed=1)
    simulation.step(EQUILIBRATION)
    simulation.context.setTime(0)
    simulation.context.setStepCount(0)
    simulation.reporters.append(
        app.XTCReporter(str(DATA / "aspirin.xtc"), EVERY, enforcePeriodicBox=False)
    )
    with open(DATA / "aspirin.pdb", "w") as stream:
        app.PDBFile.writeFile(
            topology,
            simulation.context.getState(positions=True).getPositions(),
            stream,
            keepIds=True,
        )
    simulation.step(EVERY * FRAMES)


if __name__ == "__main__":
    main()

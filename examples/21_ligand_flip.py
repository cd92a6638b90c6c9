"""A ligand that turns over in a narrow pocket in OpenMM: rigid moves whose density is
learned in a short adaptive phase, then frozen. Dynamics and small steps never turn it.
"""

import sys

import numpy as np
import openmm
from openmm import app

from equidrift.adapters.openmm.sampler import ProposalSampler
from equidrift.adapters.openmm.simulation import positions
from equidrift.adapters.openmmtools.systems import acetonitrile_in_cage
from equidrift.models.rigid.body import RigidBody
from equidrift.models.rigid.proposer import adapt_rigid

cycles = int(sys.argv[1]) if len(sys.argv) > 1 else 800
topology, system, start_A = acetonitrile_in_cage()
integrator = openmm.LangevinMiddleIntegrator(300, 1, 0.001)
platform = openmm.Platform.getPlatform("Reference")
simulation = app.Simulation(topology, system, integrator, platform)
simulation.context.setPositions(start_A * 0.1)  # nm
body = RigidBody(start_A, atoms=[0, 1, 2])  # CH3, C, N


def advance(proposer, steps):
    """Frames of moves alone, ten before each, and what became of them."""
    sampler = ProposalSampler(simulation, proposer, md_steps=0, n_proposals=10, seed=len(runs))
    frames = []
    for _ in range(steps):
        sampler.run(1)
        frames.append(positions(simulation))
    runs.append(sampler)
    return np.array(frames), sampler.statistics


runs: list[ProposalSampler] = []
adapted = adapt_rigid(advance, body, 300, radius_A=2.0)
frames, counts = advance(adapted.proposer, cycles)
print(f"{adapted.report['components']} components, {counts.acceptance:.0%} accepted")

axis = frames[:, 2] - frames[:, 0]
up = axis[:, 2] / np.linalg.norm(axis, axis=1)
sides = np.sign(up[np.abs(up) > 0.5])
turned = np.count_nonzero(np.diff(sides))
print(f"N up in {np.mean(up > 0):.0%} of {cycles} frames, turned over {turned} times")

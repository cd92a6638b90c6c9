"""A water molecule round a sodium ion in ASE with GFN2-xTB: rigid moves whose density
is learned in a short adaptive phase, then frozen.
"""

import sys

import numpy as np
from ase import Atoms
from tblite.ase import TBLite

from equidrift.adapters.ase.montecarlo import ProposalMonteCarlo
from equidrift.models.rigid.body import RigidBody
from equidrift.models.rigid.proposer import adapt_rigid

cycles = 40 * int(sys.argv[1]) if len(sys.argv) > 1 else 1000
atoms = Atoms("OH2Na", [[0, 0, 0], [0.76, 0, 0.59], [-0.76, 0, 0.59], [0, 0, -2.3]])
atoms.set_initial_charges([0, 0, 0, 1])
atoms.calc = TBLite(method="GFN2-xTB", verbosity=0)
body = RigidBody(atoms.positions.copy(), atoms=[0, 1, 2], anchors=[3])


def advance(proposer, steps):
    """Frames of a chain with a proposer, and what became of its proposals."""
    chain = ProposalMonteCarlo(atoms, proposer, 300, n_proposals=2, seed=len(runs))
    frames = []
    chain.attach(lambda: frames.append(atoms.positions.copy()))
    chain.run(steps)
    runs.append(chain)
    return np.array(frames), chain.statistics


runs: list[ProposalMonteCarlo] = []
adapted = adapt_rigid(advance, body, cycles, radius_A=4.0)
frames, counts = advance(adapted.proposer, cycles)
print(f"{adapted.report['components']} components, {counts.acceptance:.0%} accepted")

away = frames[:, 0] - frames[:, 3]
axis = frames[:, 1] + frames[:, 2] - 2 * frames[:, 0]
distance = np.linalg.norm(away, axis=1)
tilt = (away * axis).sum(axis=1) / (distance * np.linalg.norm(axis, axis=1))
print(f"O-Na {distance.mean():.2f} A, dipole tilted by {np.degrees(np.arccos(tilt)).mean():.0f}")

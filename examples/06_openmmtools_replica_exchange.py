"""Alanine dipeptide in openmmtools: replica exchange whose moves are torsion proposals
and Langevin dynamics; stored, so it can resume.
"""

import sys

from openmm import unit
from openmmtools import multistate, states, testsystems
from openmmtools.mcmc import LangevinDynamicsMove, SequenceMove

from equidrift.adapters.openmmtools.move import TorsionProposalMove
from equidrift.montecarlo.proposals import uniform_proposer
from equidrift.torsions import TorsionTree

iterations = int(sys.argv[1]) if len(sys.argv) > 1 else 100
system = testsystems.AlanineDipeptideVacuum()
bonds = [(bond.atom1.index, bond.atom2.index) for bond in system.topology.bonds()]
tree = TorsionTree(system.topology.getNumAtoms(), bonds, rotatable=[(6, 8), (8, 14)])  # phi and psi

turns = TorsionProposalMove(uniform_proposer(tree), n_proposals=10, seed=1)
move = SequenceMove([turns, LangevinDynamicsMove(n_steps=50)])
temperatures = [
    states.ThermodynamicState(system.system, kelvin * unit.kelvin) for kelvin in (300, 400, 550)
]
reporter = multistate.MultiStateReporter("exchange.nc", checkpoint_interval=10)
sampler = multistate.ReplicaExchangeSampler(mcmc_moves=move, number_of_iterations=iterations)
sampler.create(temperatures, [states.SamplerState(system.positions)] * 3, reporter)
sampler.run()
for state, combined in zip(temperatures, sampler.mcmc_moves, strict=True):
    counts = combined.statistics[0]
    print(f"{state.temperature}: {counts['accepted']} of {counts['proposed']} proposals accepted")

"""Rows `solvated-.../...` of `equidrift bench sampling`: molecules in 500 TIP3P waters,
PME, bonds of hydrogen constrained, one thread of the CPU platform.

Effective samples per CPU second of the slowest torsion, as in
`equidrift.bench.sampling_chains`: four chains with heat-bath turns among the waters
(`equidrift`), half of them begun from turned torsions, and two of dynamics alone (`md`),
which go on where others ended. A ratio to `md` is a lower bound if some of its chains
never left a basin (`chains_that_stayed`). Turns need no adaptive phase; `reference_s` is
the cost of the chains that judge; `turned` counts changes of the basin (a third of the
circle) of the slowest torsion. The steps between two proposals (`md_steps`) are what
keeps proposals at 8 % of the time (`equidrift.adapters.openmm.pace`): `speed_over_md`,
the ps per CPU second that are left, is all that a torsion loses which turns do not help.

Parameters: butane and the drug in MMFF94 (`MMFFTemplateGenerator`), alanine dipeptide in
amber14.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from equidrift.adapters.openmm.pace import paced_steps
from equidrift.adapters.openmm.simulation import graph_of
from equidrift.adapters.openmm.solvated import in_water
from equidrift.adapters.openmm.terms import turn_terms
from equidrift.adapters.openmmtools.systems import alanine_dipeptide
from equidrift.adapters.rdkit.etkdg import ETKDGMMFF
from equidrift.bench.machine import Progress
from equidrift.bench.rows import Row, row
from equidrift.bench.sampling_chains import PLAIN, TimedChain, timed_chain, worth
from equidrift.bench.sampling_drugs import turned
from equidrift.bench.sampling_run import simulation
from equidrift.errors import InputError
from equidrift.geometry import Floats
from equidrift.montecarlo.adapt import Still
from equidrift.montecarlo.heat_bath import HeatBathProposer
from equidrift.records import Molecule
from equidrift.torsions import TorsionTree

if TYPE_CHECKING:
    import openmm
    from openmm import app

WATERS = 500
PLATFORM = "CPU"
DRUG = "CC(C)Cc1ccc(cc1)[C@H](C)C(=O)O"  # ibuprofen: four rotatable bonds
EQUILIBRATION_STEPS = 1000  # before anything counts
TURNED_CHAINS, PLAIN_CHAINS = 4, 2


@dataclass(frozen=True, eq=False)
class Solvated:
    """A molecule in water, its atoms first; the tree of its torsions."""

    topology: app.Topology
    system: openmm.System
    positions_A: Floats
    tree: TorsionTree

    def simulation(self, solute_A: Floats, seed: int) -> app.Simulation:
        """A minimised Simulation at 300 K, the molecule at solute_A (n_atoms, 3)."""
        start_A = self.positions_A.copy()
        start_A[: self.tree.n_atoms] = solute_A
        return simulation(self.topology, self.system, start_A, seed, PLATFORM)


def mmff(smiles: str) -> Solvated:
    """A molecule by MMFF94."""
    molecule = Molecule.from_smiles(smiles)
    x = ETKDGMMFF().sample(molecule, np.arange(1))[0]
    return Solvated(*in_water(molecule, x, WATERS), TorsionTree.of(molecule))


def dipeptide() -> Solvated:
    """Alanine dipeptide by amber14."""
    topology, _, x = alanine_dipeptide()
    return Solvated(*in_water(topology, x, WATERS), TorsionTree.of(graph_of(topology)))


SYSTEMS: dict[str, Callable[[], Solvated]] = {
    "butane": lambda: mmff("CCCC"),
    "alanine-dipeptide": dipeptide,
    "drug": lambda: mmff(DRUG),
}


def solvated(seconds: float, say: Progress, names: tuple[str, ...] = tuple(SYSTEMS)) -> list[Row]:
    """Two rows of each system, so many CPU seconds per chain."""
    return [found for name in names for found in _rows(name, seconds, say)]


def _rows(name: str, seconds: float, say: Progress) -> list[Row]:
    """Dynamics, and dynamics with turns."""
    say(f"solvated-{name}: building")
    made = SYSTEMS[name]()
    atoms = np.arange(made.tree.n_atoms)
    terms = turn_terms(made.system, atoms)
    if terms is None:
        raise InputError(f"no turn can be read from the System of {name}")
    turns, solute_A = HeatBathProposer(made.tree, terms), made.positions_A[: made.tree.n_atoms]
    starts = (solute_A, turned(made.tree, terms, solute_A))
    sims = [made.simulation(start_A, seed) for seed, start_A in enumerate(starts, 11)]
    for sim in sims:
        sim.step(EQUILIBRATION_STEPS)
    steps = paced_steps(sims[0], turns, atoms=atoms, clock=time.process_time)
    chains: dict[str, list[TimedChain]] = {"equidrift": [], PLAIN: []}
    for k, method in enumerate(["equidrift"] * TURNED_CHAINS + [PLAIN] * PLAIN_CHAINS):
        say(f"solvated-{name}/{method}: chain {1 + len(chains[method])}, {steps} steps a cycle")
        proposer = Still(made.tree) if method == PLAIN else turns
        sim = sims[k % len(sims)]
        chain = timed_chain(sim, proposer, md_steps=steps, n_proposals=1, seed=k, seconds=seconds)
        chains[method].append(chain)
    found = worth(chains)
    found["equidrift"]["reference_s"] = found["equidrift"]["seconds"]
    return [
        row(f"solvated-{name}/{method}", found[method], int(found[method]["frames"]))
        for method in (PLAIN, "equidrift")
    ]

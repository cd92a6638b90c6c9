"""Rows `solvated-.../...` of `equidrift bench sampling`: molecules in 500 TIP3P waters,
PME, bonds of hydrogen constrained, one thread of the CPU platform.

Effective samples per CPU second of the slowest torsion, as in
`equidrift.bench.sampling_drugs`: dynamics alone (`md`) and with heat-bath turns among the
waters (`equidrift`) are judged by the mean and variance of two further chains with turns,
one of them begun from turned torsions, whose means differ by at most `reference_spread`
standard deviations. The seconds of a row are all that it cost: turns need no adaptive
phase. `reference_s` is the cost of the two chains, apart; `turned` counts changes of the
basin of the slowest torsion (a third of the circle).

Parameters: butane and the drug in MMFF94 (`MMFFTemplateGenerator`), alanine dipeptide in
amber14.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from equidrift.adapters.openmm.sampler import ProposalSampler
from equidrift.adapters.openmm.simulation import graph_of
from equidrift.adapters.openmm.solvated import in_water
from equidrift.adapters.openmm.terms import turn_terms
from equidrift.adapters.openmmtools.systems import alanine_dipeptide
from equidrift.adapters.rdkit.etkdg import ETKDGMMFF
from equidrift.bench.machine import Progress
from equidrift.bench.rows import Row, row
from equidrift.bench.sampling_drugs import effective, pooled, turned, waves_of
from equidrift.bench.sampling_run import simulation, timed
from equidrift.errors import InputError
from equidrift.geometry import Floats
from equidrift.montecarlo.adapt import Still
from equidrift.montecarlo.heat_bath import HeatBathProposer
from equidrift.protocols import Proposer
from equidrift.records import Molecule
from equidrift.torsions import TorsionTree

if TYPE_CHECKING:
    import openmm
    from openmm import app

WATERS = 500
PLATFORM = "CPU"
MD_STEPS = 50  # between proposals, which then take about a tenth of the time
DRUG = "CC(C)Cc1ccc(cc1)[C@H](C)C(=O)O"  # ibuprofen: four rotatable bonds
EQUILIBRATION = 20  # cycles before a chain counts
TIMESTEP_PS = 0.002  # of `equidrift.bench.sampling_run.simulation`
THIRD = 2 * np.pi / 3
ESS = ("ess_per_cpu_s", "mean_ess_per_cpu_s")


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
    """Two rows of each system, each of so many CPU seconds."""
    return [found for name in names for found in _rows(name, seconds, say)]


def _rows(name: str, seconds: float, say: Progress) -> list[Row]:
    """Dynamics, and dynamics with turns."""
    say(f"solvated-{name}: building")
    made = SYSTEMS[name]()
    terms = turn_terms(made.system, np.arange(made.tree.n_atoms))
    if terms is None:
        raise InputError(f"no turn can be read from the System of {name}")
    turns, solute_A = HeatBathProposer(made.tree, terms), made.positions_A[: made.tree.n_atoms]
    references: list[_Chain] = []
    for seed, start_A in ((11, solute_A), (12, turned(made.tree, terms, solute_A))):
        say(f"solvated-{name}: reference {len(references) + 1}")
        references.append(_chain(made.simulation(start_A, seed), turns, seed, seconds))
    mean, variance, spread = pooled([waves_of(chain.phi) for chain in references])
    say(f"solvated-{name}/md")
    plain = _chain(made.simulation(solute_A, 1), Still(made.tree), 1, seconds)
    say(f"solvated-{name}/equidrift")
    moved = _chain(made.simulation(solute_A, 1), turns, 1, seconds)
    md, ours = (_values(chain, mean, variance) for chain in (plain, moved))
    ours |= {f"{key}_over_md": ours[key] / md[key] for key in ESS}
    ours |= {
        "acceptance": 100 * moved.acceptance,
        "reference_spread": spread,
        "reference_s": sum(chain.seconds for chain in references),
    }
    return [
        row(f"solvated-{name}/md", md, len(plain.phi)),
        row(f"solvated-{name}/equidrift", ours, len(moved.phi)),
    ]


@dataclass(frozen=True, eq=False)
class _Chain:
    """Torsions (k, m) after each cycle, what they cost, and the share accepted."""

    phi: Floats
    seconds: float
    acceptance: float


def _chain(sim: app.Simulation, proposer: Proposer, seed: int, seconds: float) -> _Chain:
    """So many CPU seconds, after some cycles that do not count."""
    n, tree = int(not isinstance(proposer, Still)), proposer.tree
    atoms = None if tree is None else np.arange(tree.n_atoms)
    sampler = ProposalSampler(sim, proposer, MD_STEPS, n, atoms=atoms, seed=seed)
    sampler.run(EQUILIBRATION)
    spent = timed(sampler, seconds)
    return _Chain(sampler.torsions_rad[EQUILIBRATION:], spent, sampler.statistics.acceptance)


def _values(chain: _Chain, mean: Floats, variance: Floats) -> dict[str, float]:
    """What a chain was worth."""
    found = effective("", chain.phi, mean, variance, chain.seconds)
    return {
        "ess_per_cpu_s": found["ess_per_s"],
        "mean_ess_per_cpu_s": found["mean_ess_per_s"],
        "turned": _changes(chain.phi),
        "ps_per_cpu_s": len(chain.phi) * MD_STEPS * TIMESTEP_PS / chain.seconds,
    }


def _changes(phi: Floats) -> int:
    """How often the torsion that changes least enters another third of the circle."""
    thirds = np.floor(np.mod(phi, 2 * np.pi) / THIRD)
    return int((np.diff(thirds, axis=0) != 0).sum(axis=0).min())

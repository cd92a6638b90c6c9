"""Rows `blocks-.../...` of `equidrift bench sampling`: torsions that turn together, moved
one bond at a time or several at once.

Effective samples per CPU second of the slowest torsion, as in
`equidrift.bench.sampling_chains`, of these methods on the same System:

* `md`: dynamics alone;
* `heat-bath`: turns about single bonds, one in twenty about two together;
* `heat-bath-pairs`: half of the turns are about two bonds together;
* `fourier-tables`: blocks of two torsions from tables of a Fourier series fitted to an
  adaptive phase, given the others (`--proposals torsion` if turns are refused);
* `diffusion`: blocks of 3 to 6 torsions from the diffusion on the torus, with the exact
  density of its discretised flow (`--proposals diffusion`);
* `diffusion-local`: the same diffusion, noised to a level and back.

Heat-bath turns read every term that MMFF94 changes in a turn (`leucine`: capped leucine
in vacuum, four torsions), and none of a continuum's (`leucine-obc`, `ibuprofen-obc`:
MMFF94 with OpenMM's OBC water). Three chains per method, and two of dynamics; `adapt_s`
is the adaptive phase, apart.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from equidrift.adapters.openmm.implicit import in_implicit_water
from equidrift.adapters.openmm.terms import turn_terms
from equidrift.adapters.openmm.topology import to_topology
from equidrift.adapters.rdkit.etkdg import ETKDGMMFF
from equidrift.bench.machine import Progress
from equidrift.bench.rows import Row, row
from equidrift.bench.sampling_chains import PLAIN, TimedChain, timed_chain, worth
from equidrift.bench.sampling_drugs import turned
from equidrift.bench.sampling_run import MD_STEPS, N_PROPOSALS, fitted, simulation
from equidrift.errors import InputError
from equidrift.geometry import Floats
from equidrift.mmff import mmff_system
from equidrift.montecarlo.adapt import Still
from equidrift.montecarlo.heat_bath import PAIRS, HeatBathProposer
from equidrift.montecarlo.turns import TurnTerms
from equidrift.protocols import Proposer
from equidrift.records import Molecule
from equidrift.torsions import TorsionTree

if TYPE_CHECKING:
    import openmm
    from openmm import app

LEUCINE = "CC(=O)N[C@@H](CC(C)C)C(=O)NC"
IBUPROFEN = "CC(C)Cc1ccc(cc1)[C@H](C)C(=O)O"
SYSTEMS = {"leucine": LEUCINE, "leucine-obc": LEUCINE, "ibuprofen-obc": IBUPROFEN}
PLATFORM = "Reference"  # the fastest for these sizes
ADAPT_CYCLES = 300
MANY_PAIRS = 0.5  # of `heat-bath-pairs`
FITTED = {
    "fourier-tables": "torsion",
    "diffusion": "diffusion",
    "diffusion-local": "diffusion-local",
}
CHAINS, PLAIN_CHAINS = 3, 2


@dataclass(frozen=True, eq=False)
class Blocks:
    """A molecule, its System and two starts (n_atoms, 3), the second with every torsion
    turned.
    """

    molecule: Molecule
    tree: TorsionTree
    topology: app.Topology
    system: openmm.System
    terms: TurnTerms
    starts_A: tuple[Floats, Floats]

    @classmethod
    def make(cls, name: str) -> Blocks:
        """The System of a row."""
        molecule = Molecule.from_smiles(SYSTEMS[name])
        implicit = name.endswith("-obc")
        system = (
            in_implicit_water(molecule) if implicit else mmff_system(molecule, constraints="HBonds")
        )
        terms = turn_terms(system)
        if terms is None:
            raise InputError(f"no turn can be read from the System of {name}")
        tree, x = TorsionTree.of(molecule), ETKDGMMFF().sample(molecule, np.arange(1))[0]
        starts = (x, turned(tree, terms, x))
        return cls(molecule, tree, to_topology(molecule), system, terms, starts)

    def simulation(self, seed: int) -> app.Simulation:
        """A minimised Simulation; odd seeds begin from the turned start."""
        return simulation(self.topology, self.system, self.starts_A[seed % 2], seed, PLATFORM)

    def proposer(self, method: str) -> tuple[Proposer, float]:
        """What a method proposes, and the CPU seconds that fitting it took."""
        if method == PLAIN:
            return Still(self.tree), 0.0
        if method not in FITTED:
            share = MANY_PAIRS if method == "heat-bath-pairs" else PAIRS
            return HeatBathProposer(self.tree, self.terms, pairs=share), 0.0
        return fitted(
            self.simulation(1),
            self.molecule,
            self.tree,
            FITTED[method],
            cycles=ADAPT_CYCLES,
            n_proposals=N_PROPOSALS,
        )


METHODS = (PLAIN, "heat-bath", "heat-bath-pairs", *FITTED)


def blocks(seconds: float, say: Progress, names: tuple[str, ...] = tuple(SYSTEMS)) -> list[Row]:
    """The rows of each System, each chain of so many CPU seconds."""
    return [found for name in names for found in _rows(name, seconds, say)]


def _rows(name: str, seconds: float, say: Progress) -> list[Row]:
    """One row per method."""
    made = Blocks.make(name)
    chains: dict[str, list[TimedChain]] = {}
    adapted: dict[str, float] = {}
    for method in METHODS:
        say(f"blocks-{name}/{method}: {made.tree.n_torsions} torsions")
        proposer, adapted[method] = made.proposer(method)
        n = 1 if isinstance(proposer, HeatBathProposer) else N_PROPOSALS
        chains[method] = [
            timed_chain(
                made.simulation(10 + k),
                proposer,
                md_steps=MD_STEPS,
                n_proposals=n,
                seed=k,
                seconds=seconds,
            )
            for k in range(PLAIN_CHAINS if method == PLAIN else CHAINS)
        ]
    return [
        row(f"blocks-{name}/{method}", values | {"adapt_s": adapted[method]}, int(values["frames"]))
        for method, values in worth(chains).items()
    ]

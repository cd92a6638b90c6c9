"""What the trained network is for: conformers with turned bonds, and Monte Carlo
proposals with an exact density.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from equidrift.errors import InputError, MoleculeError
from equidrift.files.plain import molecule_from_dict, molecule_to_dict
from equidrift.geometry import Floats
from equidrift.models.shared.devices import Device, batch_size, pick_device
from equidrift.models.shared.graph_codes import ELEMENTS
from equidrift.models.shared.run import load_network
from equidrift.models.torsions.distances.flow import (
    TorsionScore,
    TracedFlow,
    drawn_torsions,
    step_sigmas,
)
from equidrift.models.torsions.distances.graph import HeavyGraph, heavy_atoms
from equidrift.models.torsions.distances.network import DistanceConfig, DistanceNetwork
from equidrift.montecarlo.adapt import Fit
from equidrift.montecarlo.densities import Block, GeometryDensity
from equidrift.montecarlo.proposals import TorsionProposer
from equidrift.records import Molecule, Proposal
from equidrift.seeds import sample_rng
from equidrift.torsions import TorsionTree
from equidrift.units import KCAL_MOL_PER_EV

TASK = "torsions-all"
STEPS = 8  # calls of the network per draw
KT_CONFORMERS_EV = 1.5 / KCAL_MOL_PER_EV  # wider than at 300 K: references lie up to 6 kcal/mol up
ROWS_PER_CALL = 64
BLOCK = 3  # torsions that a proposal draws at once
DRAWS_PER_BLOCK = 2  # proposals of one block before another is drawn


@lru_cache(maxsize=4)
def distance_network(weights: str | Path, device: Device = "cpu") -> DistanceNetwork:
    """The network of a shipped name or a path, ready to evaluate, in float32."""
    network, _ = load_network(weights, TASK, lambda sizes: DistanceNetwork(DistanceConfig(**sizes)))
    return network.requires_grad_(False).to(device)


@lru_cache(maxsize=4)
def exact_network(weights: str | Path) -> DistanceNetwork:
    """The same in float64, for densities."""
    return copy.deepcopy(distance_network(weights)).double()


def check_known(molecule: Molecule) -> None:
    """Raise `MoleculeError` for a molecule that the network cannot read."""
    if not set(molecule.numbers.tolist()) <= set(ELEMENTS):
        raise MoleculeError(
            f"the torsion diffusion does not know an element of {molecule!r}; take conformers of "
            "model='etkdg', or other proposals"
        )
    if len(molecule.bonds) and not (molecule.bond_orders > 0).all():
        raise MoleculeError(
            f"the torsion diffusion needs the bond orders of {molecule!r}; give an SDF file or a "
            "SMILES instead of a PDB file"
        )


class TorsionTurner:
    """Turns the rotatable bonds of conformers to torsions drawn from the diffusion.

    Rings, bond lengths and angles stay those of the conformers given.

    Parameters
    ----------
    weights : str or Path
        A shipped name, or the path of weights or a card.
    steps : int
        Calls of the network per conformer.
    kT_eV : float
        Temperature of the ensemble that is drawn from.
    device : str, torch.device or None
        Of the network; None is CUDA where there is one, else the CPU.
    """

    def __init__(
        self,
        weights: str | Path,
        *,
        steps: int = STEPS,
        kT_eV: float = KT_CONFORMERS_EV,
        device: Device = None,
    ):
        step_sigmas(steps)  # a wrong number is refused now
        if not kT_eV > 0:
            raise InputError(f"kT_eV must be positive, not {kT_eV}; 0.0259 is 300 K")
        self.device = pick_device(device)
        self.network = distance_network(weights, self.device)
        self.steps, self.kT_eV = steps, kT_eV

    def turned(self, molecule: Molecule, positions_A: Floats, seeds: NDArray[np.int64]) -> Floats:
        """Conformers (k, n_atoms, 3) with new torsions; each follows from its own
        conformer and seed. Rows of NaN stay.

        Raises
        ------
        MoleculeError
            for elements that the network does not know, or unknown bond orders.
        """
        check_known(molecule)
        tree, out = TorsionTree.of(molecule), np.array(positions_A, np.float64)
        if not tree.n_torsions:
            return out
        graph, heavy = HeavyGraph.of(molecule, tree), heavy_atoms(molecule)
        whole = np.flatnonzero(np.isfinite(out).all(axis=(1, 2)))
        size = batch_size(ROWS_PER_CALL, self.device)
        for begin in range(0, len(whole), size):
            rows = whole[begin : begin + size]
            starts = np.array(
                [
                    sample_rng(int(seed)).uniform(-np.pi, np.pi, tree.n_torsions)
                    for seed in seeds[rows]
                ]
            )
            scores = TorsionScore(self.network, graph, out[np.ix_(rows, heavy)], self.kT_eV)
            phi = drawn_torsions(scores, starts, self.steps)
            out[rows] = tree.set_torsions(out[rows], phi)
        return out


class DistanceDensity:
    """The diffusion's density of a molecule's torsions at each frozen geometry, a
    `GeometryDensity`.

    Parameters
    ----------
    molecule, tree : Molecule, TorsionTree
    weights : str or Path
    steps : int
        Calls of the network per draw.
    """

    def __init__(
        self, molecule: Molecule, tree: TorsionTree, weights: str | Path, steps: int = STEPS
    ):
        check_known(molecule)
        step_sigmas(steps)
        self.molecule, self.tree, self.weights, self.steps = molecule, tree, weights, steps
        self.graph, self.heavy = HeavyGraph.of(molecule, tree), heavy_atoms(molecule)
        distance_network(weights)  # a wrong name is told now

    @property
    def n_torsions(self) -> int:
        """Number of torsions."""
        return self.tree.n_torsions

    def flow(self, positions_A: Floats, kT_eV: float, block: Block | None = None) -> TracedFlow:
        """The density of a block of torsions, all if None, at a geometry (n_atoms, 3)
        whose other torsions stand as they do.
        """
        scores = TorsionScore(
            exact_network(self.weights), self.graph, positions_A[self.heavy], kT_eV, block
        )
        return TracedFlow(scores, self.steps)


class DistanceProposer(TorsionProposer):
    """Torsion moves from the diffusion with all distances in view: all torsions at
    once, or random blocks given the others.

    Each proposal draws independently of the block's present torsions, with the exact
    density of the sampler; or uniformly, with probability `floor`, so that no region is
    closed to a model that is wrong there. Either kind keeps the Boltzmann distribution
    by itself.

    Parameters
    ----------
    density : DistanceDensity
    block_size : int or None
        Torsions that move at once; None is all.
    floor : float
        Share of uniform proposals, from 0 to below 1.
    """

    block_sizes = (None, BLOCK, 2, 1)

    def __init__(
        self, density: DistanceDensity, *, block_size: int | None = None, floor: float = 0.02
    ):
        super().__init__(
            density.tree,
            cast(GeometryDensity, density),  # `flow` takes the part of `at`
            block_size=block_size,
            name=TASK,
        )
        if not 0 <= floor < 1:
            raise InputError(f"floor must be at least 0 and below 1, not {floor}; give 0.02")
        self.distances, self.floor = density, floor

    def propose_independent(
        self, positions_A: Floats, n: int, *, kT_eV: float, rng: np.random.Generator
    ) -> list[Proposal]:
        """Up to n proposals of one block from one state; see
        `TorsionProposer.propose_independent`.
        """
        phi, block = self.tree.torsions(positions_A), self._block(rng)
        moved = np.arange(self.tree.n_torsions) if block is None else block
        n = min(n, DRAWS_PER_BLOCK)
        if rng.random() < self.floor:
            drawn = rng.uniform(-np.pi, np.pi, (n, len(moved)))
            current, log_q = 0.0, np.zeros(n)
        else:
            flow = self.distances.flow(positions_A, kT_eV, block)
            drawn, log_q = flow.sample_with_log_prob(n, rng)
            current = float(flow.log_prob(phi[None, moved])[0])
        info: dict[str, Any] = {"kind": "independent", "torsions": tuple(moved.tolist())}
        made = np.isfinite(log_q)
        if not made.any():
            return [Proposal(np.array(positions_A), -np.inf, info)]
        new = np.tile(phi, (int(made.sum()), 1))
        new[:, moved] = drawn[made]
        positions = self.tree.set_torsions(positions_A, new)
        info["log_q_current"] = current
        return [
            Proposal(x, current - float(q), {**info, "log_q": float(q)})
            for x, q in zip(positions, log_q[made], strict=True)
        ]

    def to_dict(self) -> dict[str, Any]:
        """Plain data; `from_dict` is the inverse. The weights are named, not held."""
        density = self.distances
        return {
            "proposer": TASK,
            "molecule": molecule_to_dict(density.molecule),
            "tree": self.tree.to_dict(),
            "weights": str(density.weights),
            "steps": density.steps,
            "block_size": self.block_size,
            "floor": self.floor,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> DistanceProposer:
        """The proposer that `to_dict` wrote."""
        tree = TorsionTree.from_dict(data["tree"])
        molecule = molecule_from_dict(data["molecule"])
        density = DistanceDensity(molecule, tree, data["weights"], data["steps"])
        return cls(density, block_size=data["block_size"], floor=data["floor"])


def from_fit(fit: Fit, *, weights: str = TASK) -> DistanceProposer:
    """A factory of `equidrift.registry.PROPOSERS`: nothing is learnt of the frames."""
    return load_distance_proposer(fit.molecule, weights, tree=fit.tree, block_size=fit.block_size)


def load_distance_proposer(
    molecule: Molecule,
    weights: str | Path,
    *,
    tree: TorsionTree | None = None,
    block_size: int | None = BLOCK,
    steps: int = STEPS,
    floor: float = 0.02,
) -> DistanceProposer:
    """A proposer of trained weights.

    Parameters
    ----------
    molecule : Molecule
        With bond orders.
    weights : str or Path
        A shipped name, or the path of weights or a card.
    tree : TorsionTree or None
        Torsions to move; None takes `rotatable_bonds(molecule)`.
    block_size, floor
        See `DistanceProposer`.
    steps : int
        Calls of the network per draw.
    """
    tree = TorsionTree.of(molecule) if tree is None else tree
    density = DistanceDensity(molecule, tree, weights, steps)
    return DistanceProposer(density, block_size=block_size, floor=floor)

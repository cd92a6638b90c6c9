"""Proposers of torsion moves with exact densities: uniform, histogram, mixture of
wrapped normals, and small steps. numpy only.

Every proposer here draws new torsions from a density on the torus and turns the
molecule rigidly (`equidrift.torsions`), so that `log_q_ratio` = log q(phi | phi') - log
q(phi' | phi) is exact. A density may depend on whatever the move leaves alone: the
local geometry, and in block moves the torsions outside the block.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from equidrift.errors import InputError, UnknownNameError
from equidrift.frozen import plain_fields
from equidrift.geometry import Floats
from equidrift.montecarlo.densities import (
    Block,
    GeometryDensity,
    Histogram,
    TorusDensity,
    Uniform,
    WrappedMixture,
)
from equidrift.protocols import BatchedProposer, IndependentProposer, Proposer, as_proposer
from equidrift.records import Proposal
from equidrift.registry import STORED_PROPOSERS, resolve
from equidrift.text import counted
from equidrift.torsions import TorsionTree


def check_turns(tree: TorsionTree) -> TorsionTree:
    """Return `tree`, or raise `InputError` if it has nothing to turn."""
    if not tree.n_torsions:
        raise InputError(
            "the molecule has no rotatable bond, so there is no torsion to propose; run "
            "plain MD, or name bonds in rotatable"
        )
    return tree


# torsions moved at once that are worth a trial
BLOCK_SIZES: tuple[int | None, ...] = (None, 4, 3, 2, 1)


class SteppedTogether(BatchedProposer):
    """What steps from many states at once: a single proposal is a batch of one."""

    def propose(self, positions_A: Floats, *, kT_eV: float, rng: np.random.Generator) -> Proposal:
        """One proposal from one state (n_atoms, 3)."""
        return self.propose_many(np.asarray(positions_A)[None], kT_eV=kT_eV, rng=rng)[0]


class DrawnAnew(IndependentProposer, BatchedProposer):
    """What draws independently of the present state: single proposals and batches are
    made by `propose_independent`.
    """

    def propose(self, positions_A: Floats, *, kT_eV: float, rng: np.random.Generator) -> Proposal:
        """One proposal from one state (n_atoms, 3)."""
        return self.propose_independent(positions_A, 1, kT_eV=kT_eV, rng=rng)[0]

    def propose_many(
        self, positions_A: Floats, *, kT_eV: float, rng: np.random.Generator
    ) -> list[Proposal]:
        """One proposal from each of k states (k, n_atoms, 3)."""
        return [self.propose(x, kT_eV=kT_eV, rng=rng) for x in positions_A]


class TorsionProposer(DrawnAnew):
    """Draws torsions from a density that the current torsions do not enter, all at once
    or block by block.

    Parameters
    ----------
    tree : TorsionTree
        The torsions and how to turn them.
    density : TorusDensity or GeometryDensity
        What to draw from. One with a method `at(positions_A, kT_eV)` is asked for the
        density at that frozen geometry.
    block_size : int, optional
        None draws all torsions; a number draws a random subset of up to so many, given
        the others.
    name : str
        As statistics show it.
    """

    exact = True
    block_sizes = BLOCK_SIZES
    tree: TorsionTree

    def __init__(
        self,
        tree: TorsionTree,
        density: TorusDensity | GeometryDensity,
        *,
        block_size: int | None = None,
        name: str = "torsions",
    ):
        check_turns(tree)
        if density.n_torsions != tree.n_torsions:
            raise InputError(
                f"the density has {counted(density.n_torsions, 'torsion')}, the molecule "
                f"{tree.n_torsions}; fit it on this molecule's torsions"
            )
        if block_size is not None and block_size < 1:
            raise InputError(
                f"block_size must be at least 1 or None for all torsions, not {block_size}"
            )
        self.tree, self.density, self.block_size, self.name = tree, density, block_size, name

    def propose_independent(
        self, positions_A: Floats, n: int, *, kT_eV: float, rng: np.random.Generator
    ) -> list[Proposal]:
        """n proposals of one block from one state, to be tried one after the other.

        They stay valid while only torsions of this block change. `log_q_ratio` is with
        respect to the state given; after proposal a was accepted that of a later b is
        a.info["log_q"] - b.info["log_q"].
        """
        phi = self.tree.torsions(positions_A)
        density = (
            self.density.at(positions_A, kT_eV)
            if isinstance(self.density, GeometryDensity)
            else self.density
        )
        block = self._block(rng)
        new = density.sample(n, rng, phi, block)
        log_q = density.log_prob(np.vstack([phi[None], new]), block)
        moved = np.arange(self.tree.n_torsions) if block is None else block
        positions = self.tree.set_torsions(positions_A, new)
        info = {
            "kind": "independent",
            "torsions": tuple(moved.tolist()),
            "log_q_current": float(log_q[0]),
        }
        return [
            Proposal(x, float(log_q[0] - q), {**info, "log_q": float(q)})
            for x, q in zip(positions, log_q[1:], strict=True)
        ]

    def _block(self, rng: np.random.Generator) -> Block | None:
        """A subset that does not depend on the state, so that its choice cancels in the
        ratio.
        """
        m = self.tree.n_torsions
        if self.block_size is None or self.block_size >= m:
            return None
        return np.sort(rng.choice(m, self.block_size, replace=False)).astype(np.int64)

    def to_dict(self) -> dict[str, Any]:
        """Plain data; `proposer_from_dict` is the inverse."""
        kind = type(self.density).__name__
        if kind not in _DENSITIES:
            raise InputError(f"a proposer of {kind} has no plain form; pickle it")
        return {
            "proposer": "torsions",
            "name": self.name,
            "tree": self.tree.to_dict(),
            "block_size": self.block_size,
            "density": {"kind": kind, **plain_fields(self.density)},
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> TorsionProposer:
        """The proposer that `to_dict` wrote."""
        density = _DENSITIES[data["density"]["kind"]](data["density"])
        return cls(
            TorsionTree.from_dict(data["tree"]),
            density,
            block_size=data["block_size"],
            name=data["name"],
        )


_DENSITIES: dict[str, Callable[[Mapping[str, Any]], Any]] = {
    "Uniform": lambda data: Uniform(data["n_torsions"]),
    "Histogram": lambda data: Histogram(np.log(np.asarray(data["table"]))),
    "WrappedMixture": lambda data: WrappedMixture(data["weights"], data["means"], data["sigmas"]),
}


class LocalTorsionProposer(SteppedTogether):
    """Small steps: a wrapped normal about the current torsions of a random block.

    Symmetric, so log_q_ratio is 0.

    Parameters
    ----------
    sigma_rad : float
        Standard deviation of the step.
    block_size : int, optional
        How many torsions move at once, drawn anew for every proposal; None moves all.
    """

    exact = True
    name = "local"
    tree: TorsionTree

    def __init__(self, tree: TorsionTree, sigma_rad: float = 0.5, *, block_size: int | None = 1):
        check_turns(tree)
        if not sigma_rad > 0:
            raise InputError(f"sigma_rad must be positive, not {sigma_rad}; give for example 0.5")
        self.tree, self.sigma_rad, self.block_size = tree, float(sigma_rad), block_size

    def propose_many(
        self, positions_A: Floats, *, kT_eV: float, rng: np.random.Generator
    ) -> list[Proposal]:
        """One proposal from each of k states (k, n_atoms, 3)."""
        del kT_eV
        m = self.tree.n_torsions
        size = m if self.block_size is None else min(self.block_size, m)
        delta = np.zeros((len(positions_A), m))
        blocks = [np.sort(rng.choice(m, size, replace=False)) for _ in delta]
        for row, block in zip(delta, blocks, strict=True):
            row[block] = self.sigma_rad * rng.standard_normal(size)
        moved = self.tree.turn(positions_A, delta)
        return [
            Proposal(x, 0.0, {"kind": "local", "torsions": tuple(block.tolist())})
            for x, block in zip(moved, blocks, strict=True)
        ]

    def to_dict(self) -> dict[str, Any]:
        """Plain data; `proposer_from_dict` is the inverse."""
        return {
            "proposer": "local",
            "tree": self.tree.to_dict(),
            "sigma_rad": self.sigma_rad,
            "block_size": self.block_size,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> LocalTorsionProposer:
        """The proposer that `to_dict` wrote."""
        return cls(
            TorsionTree.from_dict(data["tree"]), data["sigma_rad"], block_size=data["block_size"]
        )


def uniform_proposer(tree: TorsionTree, *, block_size: int | None = None) -> TorsionProposer:
    """Uniform torsions."""
    return TorsionProposer(tree, Uniform(tree.n_torsions), block_size=block_size, name="uniform")


def histogram_proposer(
    tree: TorsionTree,
    positions_A: Floats | Sequence[Floats],
    *,
    bins: int = 36,
    smoothing_rad: float = 0.12,
) -> TorsionProposer:
    """Up to three torsions from their smoothed histogram over the frames positions_A
    (k, n_atoms, 3).
    """
    return TorsionProposer(
        tree,
        Histogram.fit(tree.torsions(np.asarray(positions_A)), bins, smoothing_rad),
        name="histogram",
    )


def mixture_proposer(
    tree: TorsionTree,
    positions_A: Floats | Sequence[Floats],
    *,
    components: int = 16,
    block_size: int | None = None,
) -> TorsionProposer:
    """Torsions from a mixture fitted to the frames positions_A (k, n_atoms, 3)."""
    density = WrappedMixture.fit(tree.torsions(np.asarray(positions_A)), components)
    return TorsionProposer(tree, density, block_size=block_size, name="mixture")


def proposer_from_dict(data: Mapping[str, Any]) -> Proposer:
    """The proposer whose `to_dict` wrote `data`."""
    kind = str(data.get("proposer"))
    if kind not in STORED_PROPOSERS:
        raise UnknownNameError("stored proposer", kind, STORED_PROPOSERS)
    return as_proposer(resolve(STORED_PROPOSERS[kind]).from_dict(data))

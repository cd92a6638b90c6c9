"""The torsion proposer: scores of a network, of a fit to the user's own frames, or of
both; independent, block and local moves.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import numpy as np

from equidrift.errors import InputError
from equidrift.geometry import Floats
from equidrift.models.shared.graph_codes import ELEMENTS as KNOWN_ELEMENTS
from equidrift.models.torsions.conditioned import TABLE_BINS, Conditioned
from equidrift.models.torsions.flow import local_move
from equidrift.models.torsions.scores import NOISE_LEVELS, Scores
from equidrift.montecarlo.adapt import Fit
from equidrift.montecarlo.densities import GeometryDensity, floor_for
from equidrift.montecarlo.proposals import TorsionProposer
from equidrift.records import Molecule, Proposal
from equidrift.text import counted
from equidrift.torsions import TorsionTree
from equidrift.units import BOLTZMANN_EV_PER_K

KINDS = ("independent", "local")
TOGETHER = 3  # torsions that move at once where no size of the block was asked for
FEWEST, USUAL, MOST = 3, 4, 6  # torsions of a block that the discretised flow draws at once
DRAWS_A_BLOCK = (
    2  # proposals of one block before another is drawn: more would turn the same bonds again
)


class DiffusionProposer(TorsionProposer):
    """Torsion moves from a diffusion on the torus.

    Parameters
    ----------
    scores : Scores
        What to draw from; `adapt` refits it to the user's own frames until `freeze`.
    kind : {"independent", "local"}
        "independent" draws from the prior (all torsions or a block), with the density
        of the discretised sampler; "local" noises to the level `depth` and back, with
        the probabilities of both paths.
    block_size : int or None
        None moves all torsions, a number a random subset given the others.
    floor : float or None
        Share of uniform proposals among independent ones; None takes 2 %, and from 500
        frames on that of ten frames among them.
    depth : int
        Noise levels that local moves climb.
    """

    def __init__(
        self,
        scores: Scores,
        *,
        kind: str = "independent",
        block_size: int | None = None,
        floor: float | None = None,
        depth: int = 4,
    ):
        density = cast(GeometryDensity, scores)  # what it gives is a Diffusion
        super().__init__(scores.tree, density, block_size=block_size, name="torsion")
        if kind not in KINDS:
            raise InputError(f"kind must be one of {', '.join(KINDS)}, not {kind!r}")
        if floor is not None and not 0 < floor < 1:
            raise InputError(f"floor must lie between 0 and 1, not {floor}; give for example 0.02")
        if kind == "local" and not 1 <= depth <= scores.n_levels:
            raise InputError(f"depth must be 1 to {scores.n_levels} noise levels, not {depth}")
        self.scores, self.kind, self.floor, self.depth = scores, kind, floor, depth
        self.frozen = False
        self.block_sizes = (
            (None, 1) if self.tree.n_torsions <= 3 else (2, 1)
        )  # worth a trial: larger blocks cost more than they save

    def adapt(self, positions_A: Floats, *, kT_eV: float) -> None:
        """Learn from frames (k, n_atoms, 3) of a short run or of the chain's own
        burn-in.

        Raises
        ------
        InputError
            once the proposer is frozen: a chain whose proposals change with its past
            does not keep the Boltzmann distribution.
        """
        if self.frozen:
            raise InputError(
                "this proposer is frozen for production, and adapting it now would bias the "
                "chain; adapt before freeze()"
            )
        self.scores.learn(positions_A, kT_eV)

    def freeze(self) -> str:
        """End adaptation; returns a line that says what it was."""
        self.frozen = True
        start = "no network" if self.scores.weights is None else f"network {self.scores.weights!r}"
        return (
            f"torsion proposals fixed: {start}, adapted on {counted(self.scores.frames, 'frame')}; "
            "statistics count from here"
        )

    def propose_independent(
        self, positions_A: Floats, n: int, *, kT_eV: float, rng: np.random.Generator
    ) -> list[Proposal]:
        """Up to n proposals from one state; see `TorsionProposer.propose_independent`.

        A block gets two draws, a local move one.
        """
        phi, block = self.tree.torsions(positions_A), self._block(rng)
        moved = tuple(range(self.tree.n_torsions)) if block is None else tuple(block.tolist())
        diffusion = self.scores.at(positions_A, kT_eV)
        if self.kind == "local":
            part = diffusion if block is None else diffusion.given(phi, block)
            new = phi[None].copy()
            new[:, moved], ratio = local_move(part, phi[None, moved], self.depth, rng)
            return [
                Proposal(
                    self.tree.set_torsions(positions_A, new[0]),
                    float(ratio[0]),
                    {"kind": "local", "torsions": moved},
                )
            ]
        density = Conditioned(
            diffusion, floor_for(self.scores.frames) if self.floor is None else self.floor
        )
        n = n if block is None else min(n, DRAWS_A_BLOCK)
        drawn, log_q = density.sample_with_log_prob(n, rng, phi, block)
        current = float(density.log_prob(phi[None], block)[0])
        positions = self.tree.set_torsions(positions_A, drawn)
        info = {"kind": "independent", "torsions": moved, "log_q_current": current}
        return [
            Proposal(x, current - float(q), {**info, "log_q": float(q)})
            for x, q in zip(positions, log_q, strict=True)
        ]

    def to_dict(self) -> dict[str, Any]:
        """Plain data of a proposer that is fixed; `from_dict` is the inverse."""
        options = {
            "kind": self.kind,
            "block_size": self.block_size,
            "floor": self.floor,
            "depth": self.depth,
        }
        return {"proposer": "torsion", "scores": self.scores.to_dict(), **options}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> DiffusionProposer:
        """The proposer that `to_dict` wrote, frozen."""
        options = {key: data[key] for key in ("kind", "block_size", "floor", "depth")}
        proposer = cls(Scores.from_dict(data["scores"]), **options)
        proposer.frozen = True
        return proposer


def supports(molecule: Molecule) -> bool:
    """Whether the network knows every element, and bond orders are given."""
    return bool(
        np.isin(molecule.numbers, KNOWN_ELEMENTS).all()
        and (len(molecule.bonds) == 0 or (molecule.bond_orders > 0).all())
    )


def load_torsion(
    molecule: Molecule | None = None,
    *,
    tree: TorsionTree | None = None,
    weights: str | None = "torsions",
    positions_A: Floats | None = None,
    kT_eV: float | None = None,
    kind: str = "independent",
    block_size: int | None = None,
    most: int = TOGETHER,
    **options: Any,
) -> DiffusionProposer:
    """The default torsion proposer.

    Parameters
    ----------
    molecule : Molecule or None
        The graph; one without bond orders (from a PDB file), or None, starts without
        the network.
    tree : TorsionTree or None
        Torsions to move; None takes `rotatable_bonds(molecule)`.
    weights : str or None
        Shipped name or path; None starts flat.
    positions_A, kT_eV : (k, n, 3) or None, float
        Frames of a short run to adapt to at once, and their temperature.
    kind, block_size : str, int or None
        See `DiffusionProposer`; None for block_size moves up to `most` torsions at once,
        and pairs of more.
    most : int
        See there.

    Raises
    ------
    InputError
        where there is nothing to turn, or neither a molecule nor a tree is given.
    """
    if tree is None:
        if molecule is None:
            raise InputError("give a molecule, or a tree of the torsions to move")
        tree = TorsionTree.of(molecule)
    known = molecule is not None and supports(molecule)
    if block_size is None and tree.n_torsions > most:
        block_size = 2
    width = min(block_size or tree.n_torsions, tree.n_torsions)  # torsions that move at once
    n_levels = 1 if kind == "independent" and width <= max(TABLE_BINS) else NOISE_LEVELS
    scores = Scores(tree, molecule, weights, n_levels) if known else Scores(tree, n_levels=n_levels)
    proposer = DiffusionProposer(scores, kind=kind, block_size=block_size, **options)
    if positions_A is not None:
        if kT_eV is None:
            raise InputError(
                "kT_eV is needed with frames to adapt to: the temperature they were drawn at, in eV"
            )
        proposer.adapt(np.asarray(positions_A), kT_eV=kT_eV)
    return proposer


def from_frames(
    fit: Fit, *, weights: str | None = "torsions", kind: str = "independent", most: int = TOGETHER
) -> DiffusionProposer:
    """What `equidrift.montecarlo.adapt` makes of the frames of a run's adaptive phase:
    adapted and frozen. `kind` and `most` are `load_torsion`'s.
    """
    proposer = load_torsion(
        fit.molecule,
        tree=fit.tree,
        weights=weights,
        positions_A=fit.frames_A,
        kT_eV=BOLTZMANN_EV_PER_K * fit.temperature_K,
        block_size=fit.block_size,
        kind=kind,
        most=most,
    )
    proposer.freeze()
    return proposer


def blocks_from_frames(fit: Fit, *, weights: str | None = "torsions") -> DiffusionProposer:
    """As `from_frames`, but blocks of 3 to 6 torsions at once, with the exact density of
    `equidrift.models.torsions.flow.DiscreteFlow`; without a block size four, or all of
    up to four.

    Raises
    ------
    InputError
        If there are fewer than three torsions, or the block is of another size.
    """
    m = fit.tree.n_torsions
    width = min(m, USUAL) if fit.block_size is None else fit.block_size
    if not FEWEST <= width <= min(m, MOST):
        raise InputError(
            f"the diffusion draws blocks of {FEWEST} to {MOST} torsions, and {width} of {m} were "
            "to be drawn; take 'torsion', which has tables for one and two"
        )
    proposer = from_frames(
        fit.replace(block_size=None if width == m else width), weights=weights, most=MOST
    )
    usual = () if m > USUAL else (None,)
    proposer.block_sizes = usual + tuple(k for k in range(FEWEST, MOST + 1) if k < m)
    return proposer


def local_from_frames(fit: Fit, *, weights: str | None = "torsions") -> DiffusionProposer:
    """As `from_frames`, but local moves: noise to a level and back, by the score, with the
    probabilities of both paths.
    """
    return from_frames(fit, weights=weights, kind="local")

"""The torsion proposer: scores of a network, of a fit to the user's own frames, or of
both; independent, block and local moves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from equidrift.errors import InputError
from equidrift.files.plain import molecule_from_dict, molecule_to_dict
from equidrift.geometry import Floats
from equidrift.models.shared.graph_codes import ELEMENTS as KNOWN_ELEMENTS
from equidrift.models.shared.run import load_network
from equidrift.models.torsions.adaptation import (
    Columns,
    LocalGeometry,
    Moments,
    as_series,
    fit,
    flat,
    mixture_prior,
)
from equidrift.models.torsions.data import TorsionGraph, make_batch
from equidrift.models.torsions.flow import Diffusion, DiscreteFlow, local_move, sigma_levels
from equidrift.models.torsions.network import NetworkConfig, TorsionNetwork
from equidrift.models.torsions.series import Complexes, TrigSeries
from equidrift.montecarlo.proposals import Block, Histogram, TorsionProposer, check_turns, floor_for
from equidrift.records import Molecule, Proposal
from equidrift.torsions import TorsionTree
from equidrift.units import BOLTZMANN_EV_PER_K

KINDS = ("independent", "local")
LEVELS = 12
TABLE_BINS = {1: 180, 2: 72}  # cells per torsion in the table of one or two
DRAWS_A_BLOCK = (
    2  # proposals of one block before another is drawn: more would turn the same bonds again
)
_LEAST_FRAMES = 20


@lru_cache(maxsize=4)
def torsion_network(weights: str) -> TorsionNetwork:
    """The network of a shipped name or a path, ready to evaluate."""
    network: TorsionNetwork = load_network(
        weights, "torsions", lambda sizes: TorsionNetwork(NetworkConfig(**sizes))
    )[0]
    return network.requires_grad_(False)


@dataclass(eq=False)
class Scores:
    """The diffusion of one molecule as a function of its frozen local geometry.

    Parameters
    ----------
    tree : the torsions.
    molecule, weights : a network's view of it; `weights` None starts flat, and a fit to
        frames is all there is.
    n_levels : noise levels.
    use_geometry : whether the fit lets coefficients depend on bond angles; None does so
        for one or two torsions.
    """

    tree: TorsionTree
    molecule: Molecule | None = None
    weights: str | None = None
    n_levels: int = LEVELS
    use_geometry: bool | None = None
    theta: Complexes | None = field(default=None, repr=False)  # (L, C), of the fit

    def __post_init__(self) -> None:
        m = check_turns(self.tree).n_torsions
        self.sigmas = sigma_levels(self.n_levels)
        self.orders = (6, 6) if m <= 2 else (6, 4) if m <= 5 else (6, 3)
        self.frames = 0
        self._moments: Moments | None = None
        self._phi = np.zeros((0, m))
        self._geometry: LocalGeometry | None = None
        self._prior: Complexes | None = (
            None  # (L, M) mean of the network's coefficients over the frames of the first fit
        )
        self._fixed: Diffusion | None = None  # where neither network nor geometry enters any more
        self._columns = Columns.of(m, self.orders, 0)
        if self.weights is not None:
            if self.molecule is None:
                raise InputError(
                    "a network needs the molecule with bond orders; give molecule, or weights=None and frames to learn from"
                )
            torsion_network(self.weights)  # a wrong name is told now
            self._graph = TorsionGraph.of(self.molecule, self.tree)
        if self.use_geometry is None:
            self.use_geometry = m <= 2

    @property
    def n_torsions(self) -> int:
        return self.tree.n_torsions

    def network_coefficients(self, positions_A: Floats, kT_eV: float) -> Complexes:
        """(k, L, M) coefficients of the network at frames (k, n, 3); zero without one."""
        m, (k1, k2) = self.n_torsions, self.orders
        out = np.zeros(
            (len(positions_A), self.n_levels, len(flat(TrigSeries.zero(m, k1, k2)))), complex
        )
        if self.weights is None:
            return out
        network = torsion_network(self.weights)
        with torch.no_grad():
            batch = make_batch(
                [self._graph] * len(positions_A), list(positions_A), [kT_eV] * len(positions_A)
            )
            singles, pairs = network(
                batch, torch.from_numpy(self.sigmas.astype(np.float32)).expand(len(positions_A), -1)
            )
        lead = (len(positions_A), self.n_levels)
        full_singles = out[..., : m * k1].reshape(*lead, m, k1)
        full_pairs = out[..., m * k1 :].reshape(*lead, -1, k2, 2 * k2)
        n1, n2 = min(k1, singles.shape[-1]), min(k2, pairs.shape[-2])
        full_singles[..., :n1] = singles.numpy()[..., :n1]
        own = pairs.shape[-2]
        full_pairs[..., :n2, k2 - n2 : k2 + n2] = pairs.numpy()[..., :n2, own - n2 : own + n2]
        return out

    def learn(self, positions_A: Floats, kT_eV: float) -> None:
        """Refit with further frames (k, n, 3) at the temperature of the run: closed
        form, all levels.
        """
        positions = np.asarray(positions_A, np.float64)
        if self._moments is None:
            if len(positions) < _LEAST_FRAMES:
                raise InputError(
                    f"{len(positions)} frames are too few to learn from; give at least {_LEAST_FRAMES}"
                )
            if self.use_geometry:
                self._geometry = LocalGeometry(self.tree)
                self._geometry.learn(positions)
                self._columns = Columns.of(self.n_torsions, self.orders, len(self._geometry.angles))
            some = positions[
                np.linspace(0, len(positions) - 1, min(16, len(positions))).astype(int)
            ]
            self._prior = self.network_coefficients(some, kT_eV).mean(axis=0)
        features = self._geometry(positions) if self._geometry else np.zeros((len(positions), 0))
        phi = self.tree.torsions(positions)
        self._phi = np.vstack([self._phi, phi])
        new = Moments.of(self._columns, phi, features)
        self._moments = new if self._moments is None else self._moments.plus(new)
        self.frames, self._fixed = self._moments.frames, None
        prior = np.zeros((self.n_levels, len(self._columns.wave)), complex)
        if self.n_torsions <= 2:
            known = mixture_prior(self._phi, self.sigmas, self.orders)
        else:
            known = self._prior if self._prior is not None else prior
        prior[:, : known.shape[1]] = known
        self.theta = np.array(
            [fit(self._moments, sigma, start) for sigma, start in zip(self.sigmas, prior)]
        )

    def at(self, positions_A: Floats, kT_eV: float) -> Diffusion:
        """The diffusion at one frozen geometry (n, 3)."""
        if self._fixed is not None:
            return self._fixed
        if self.theta is not None:
            coefficients = self._columns.coefficients(
                self.theta, self._geometry(positions_A) if self._geometry else np.zeros(0)
            )
        else:
            coefficients = self.network_coefficients(positions_A[None], kT_eV)[0]
        diffusion = Diffusion(
            self.sigmas, tuple(as_series(c, self.n_torsions, *self.orders) for c in coefficients)
        )
        if self._geometry is None and (self.theta is not None or self.weights is None):
            self._fixed = diffusion
        return diffusion

    def to_dict(self) -> dict[str, Any]:
        """Plain data without the frames' moments: `from_dict` gives scores that draw
        the same, but cannot learn on.
        """
        data: dict[str, Any] = {
            "tree": self.tree.to_dict(),
            "n_levels": self.n_levels,
            "frames": self.frames,
        }
        if self.theta is not None:
            data |= {"theta": [self.theta.real.tolist(), self.theta.imag.tolist()]}
            if self._geometry is not None:
                data |= {
                    "geometry": [self._geometry.mean.tolist(), self._geometry.deviation.tolist()]
                }
        elif self.weights is not None and self.molecule is not None:
            data |= {"weights": self.weights, "molecule": molecule_to_dict(self.molecule)}
        return data

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Scores:
        """The scores that `to_dict` wrote."""
        molecule = molecule_from_dict(data["molecule"]) if "molecule" in data else None
        scores = cls(
            TorsionTree.from_dict(data["tree"]), molecule, data.get("weights"), data["n_levels"]
        )
        scores.frames = data["frames"]
        if "theta" in data:
            scores.theta = np.array(data["theta"][0]) + 1j * np.array(data["theta"][1])
        if "geometry" in data:
            scores._geometry = LocalGeometry(scores.tree)
            scores._geometry.mean, scores._geometry.deviation = (
                np.array(column) for column in data["geometry"]
            )
            scores._columns = Columns.of(
                scores.n_torsions, scores.orders, len(scores._geometry.angles)
            )
        return scores


class Conditioned:
    """A `TorusDensity` at one frozen geometry: the discretised flow, or for one or two
    torsions a table of the least noise level.

    Parameters
    ----------
    diffusion : of all torsions.
    floor : share of uniform proposals, so that no region is closed to a model that is
        wrong there.
    """

    def __init__(self, diffusion: Diffusion, floor: float):
        self.diffusion, self.floor, self.n_torsions = diffusion, floor, diffusion.n_torsions
        self._made: tuple[bytes, Any] | None = None

    def _density(self, phi: Floats | None, block: Block | None) -> Any:
        key = (
            b""
            if block is None or phi is None
            else block.tobytes() + np.delete(phi, block).tobytes()
        )
        if self._made is None or self._made[0] != key:
            self._made = key, self._make(phi, block)
        return self._made[1]

    def _make(self, phi: Floats | None, block: Block | None) -> Any:
        width = self.n_torsions if block is None else len(block)
        if width > max(TABLE_BINS):
            return DiscreteFlow(
                self.diffusion if block is None or phi is None else self.diffusion.given(phi, block)
            )
        least = self.diffusion.levels[-1]
        return Histogram(
            -(least if block is None or phi is None else least.given(phi, block)).on_grid(
                TABLE_BINS[width]
            )
        )

    def sample(
        self,
        n: int,
        rng: np.random.Generator,
        given: Floats | None = None,
        block: Block | None = None,
    ) -> Floats:
        """(n, m) torsions."""
        return self.sample_with_log_prob(n, rng, given, block)[0]

    def sample_with_log_prob(
        self,
        n: int,
        rng: np.random.Generator,
        given: Floats | None = None,
        block: Block | None = None,
    ) -> tuple[Floats, Floats]:
        """(n, m) torsions and their (n,) log densities."""
        density, width = (
            self._density(given, block),
            self.n_torsions if block is None else len(block),
        )
        uniform = rng.random(n) < self.floor
        new = rng.uniform(-np.pi, np.pi, (n, width))
        log_q = np.zeros(n)
        if isinstance(density, DiscreteFlow):
            new[~uniform], log_q[~uniform] = density.sample_with_log_prob(
                int((~uniform).sum()), rng
            )
            if uniform.any():
                log_q[uniform] = density.log_prob(new[uniform])
        else:
            new[~uniform] = density.sample(int((~uniform).sum()), rng)
            log_q = density.log_prob(new)
        phi = new if block is None else np.tile(np.asarray(given), (n, 1))
        if block is not None:
            phi[:, block] = new
        return phi, self._floored(log_q, width)

    def log_prob(self, phi: Floats, block: Block | None = None) -> Floats:
        """(k,) log densities; with a block all rows must agree outside it."""
        if block is None:
            return self._floored(self._density(None, None).log_prob(phi), self.n_torsions)
        return self._floored(self._density(phi[0], block).log_prob(phi[:, block]), len(block))

    def _floored(self, log_q: Floats, width: int) -> Floats:
        out: Floats = np.logaddexp(
            np.log1p(-self.floor) + log_q, np.log(self.floor) - width * np.log(2 * np.pi)
        )
        return out


class DiffusionProposer(TorsionProposer):
    """Torsion moves from a diffusion on the torus.

    Parameters
    ----------
    scores : what to draw from; `adapt` refits it to the user's own frames until
        `freeze`.
    kind : "independent" draws from the prior (all torsions or a block), with the
        density of the discretised sampler; "local" noises to the level `depth` and
        back, with the probabilities of both paths.
    block_size : None moves all torsions, a number a random subset given the others.
    floor : share of uniform proposals among independent ones; None takes 2 %, and from
        500 frames on that of ten frames among them.
    depth : noise levels that local moves climb.
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
        super().__init__(scores.tree, scores, block_size=block_size, name="torsion")
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
                "this proposer is frozen for production, and adapting it now would bias the chain; adapt before freeze()"
            )
        self.scores.learn(positions_A, kT_eV)

    def freeze(self) -> str:
        """End adaptation; returns a line that says what it was."""
        self.frozen = True
        start = "no network" if self.scores.weights is None else f"network {self.scores.weights!r}"
        return f"torsion proposals fixed: {start}, adapted on {self.scores.frames} frames; statistics count from here"

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
            for x, q in zip(positions, log_q)
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
    **options: Any,
) -> DiffusionProposer:
    """The default torsion proposer.

    Parameters
    ----------
    molecule : the graph; one without bond orders (from a PDB file), or None, starts
        without the network.
    tree : torsions to move; None takes `rotatable_bonds(molecule)`.
    weights : shipped name or path; None starts flat.
    positions_A, kT_eV : frames (k, n, 3) of a short run to adapt to at once.
    kind, block_size : see `DiffusionProposer`; None for block_size moves up to three
        torsions at once, and pairs of more.

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
    if block_size is None and tree.n_torsions > 3:
        block_size = 2
    width = min(block_size or tree.n_torsions, tree.n_torsions)  # torsions that move at once
    n_levels = 1 if kind == "independent" and width <= max(TABLE_BINS) else LEVELS
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
    molecule: Molecule,
    tree: TorsionTree,
    frames_A: Floats,
    *,
    block_size: int | None = None,
    temperature_K: float = 300.0,
    weights: str | None = "torsions",
    **_: Any,
) -> DiffusionProposer:
    """What `equidrift.montecarlo.adapt` makes of the frames (k, n, 3) of a run's
    adaptive phase: adapted and frozen.
    """
    kT = BOLTZMANN_EV_PER_K * temperature_K
    proposer = load_torsion(
        molecule, tree=tree, weights=weights, positions_A=frames_A, kT_eV=kT, block_size=block_size
    )
    proposer.freeze()
    return proposer

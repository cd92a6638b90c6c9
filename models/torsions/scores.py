"""The diffusion of one molecule's torsions as a function of its frozen local geometry:
scores of a network, of a fit to frames, or of both.
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
from equidrift.models.torsions.flow import Diffusion, sigma_levels
from equidrift.models.torsions.network import NetworkConfig, TorsionNetwork
from equidrift.models.torsions.series import Complexes, TrigSeries
from equidrift.montecarlo.proposals import check_turns
from equidrift.records import Molecule
from equidrift.text import counted
from equidrift.torsions import TorsionTree

NOISE_LEVELS = 12
_LEAST_FRAMES = 20


@lru_cache(maxsize=4)
def torsion_network(weights: str) -> TorsionNetwork:
    """The network of a shipped name or a path, ready to evaluate."""
    network, _ = load_network(
        weights, "torsions", lambda sizes: TorsionNetwork(NetworkConfig(**sizes))
    )
    return network.requires_grad_(False)


@dataclass(eq=False)
class Scores:
    """The diffusion of one molecule as a function of its frozen local geometry.

    Parameters
    ----------
    tree : TorsionTree
        The torsions.
    molecule, weights : Molecule or None, str or None
        A network's view of it; `weights` None starts flat, and a fit to frames is all
        there is.
    n_levels : int
        Noise levels.
    use_geometry : bool or None
        Whether the fit lets coefficients depend on bond angles; None does so for one or
        two torsions.
    """

    tree: TorsionTree
    molecule: Molecule | None = None
    weights: str | None = None
    n_levels: int = NOISE_LEVELS
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
                    "a network needs the molecule with bond orders; give molecule, or "
                    "weights=None and frames to learn from"
                )
            torsion_network(self.weights)  # a wrong name is told now
            self._graph = TorsionGraph.of(self.molecule, self.tree)
        if self.use_geometry is None:
            self.use_geometry = m <= 2

    @property
    def n_torsions(self) -> int:
        """Number of torsions."""
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
        device = next(network.parameters()).device
        batch = make_batch(
            [self._graph] * len(positions_A), list(positions_A), [kT_eV] * len(positions_A)
        )
        sigmas = torch.from_numpy(self.sigmas.astype(np.float32)).to(device)
        with torch.no_grad():
            made = network(batch.to(device), sigmas.expand(len(positions_A), -1))
        singles, pairs = (part.cpu().numpy() for part in made)
        lead = (len(positions_A), self.n_levels)
        full_singles = out[..., : m * k1].reshape(*lead, m, k1)
        full_pairs = out[..., m * k1 :].reshape(*lead, -1, k2, 2 * k2)
        n1, n2 = min(k1, singles.shape[-1]), min(k2, pairs.shape[-2])
        full_singles[..., :n1] = singles[..., :n1]
        own = pairs.shape[-2]
        full_pairs[..., :n2, k2 - n2 : k2 + n2] = pairs[..., :n2, own - n2 : own + n2]
        return out

    def learn(self, positions_A: Floats, kT_eV: float) -> None:
        """Refit with further frames (k, n, 3) at the temperature of the run: closed
        form, all levels.
        """
        positions = np.asarray(positions_A, np.float64)
        if self._moments is None:
            if len(positions) < _LEAST_FRAMES:
                raise InputError(
                    f"{counted(len(positions), 'frame', 'is', 'are')} too few to learn from; "
                    f"give at least {_LEAST_FRAMES}"
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
            [
                fit(self._moments, sigma, start)
                for sigma, start in zip(self.sigmas, prior, strict=True)
            ]
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

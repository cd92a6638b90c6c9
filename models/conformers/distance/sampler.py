"""Reverse SDE, probability-flow ODE and annealed Langevin dynamics of system A
(arXiv:2403.01430), and `SE3Distance` on top of them.

The solvers are pure functions `solve(move, start, sigmas, noise, ...)`. `move(c,
sigma)` returns Delta c (see `distance_maps`), so that the coordinate score is Delta c /
sigma^2; `noise(step)` returns standard normals of the shape of `start`: nothing here
draws random numbers of its own. One step is one call of `move`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from equidrift.errors import MoleculeError, UnknownNameError
from equidrift.models.conformers.distance.chirality import chirality_step
from equidrift.models.conformers.distance.maps import (
    DistanceMap,
    complete_edges,
    distance_map,
    map_gain,
    pair_geometry,
)
from equidrift.models.conformers.distance.network import (
    EDGE_FAR,
    DistanceConfig,
    DistanceNetwork,
    edge_types,
    element_index,
    pair_indices,
)
from equidrift.models.conformers.distance.solvers import (
    Move,
    StepRule,
    annealed_langevin,
    geometric_sigmas,
    reverse_ode,
    reverse_sde,
)
from equidrift.models.shared.devices import Device, pick_device
from equidrift.models.shared.draws import in_batches
from equidrift.models.shared.run import load_network
from equidrift.protocols import Callback, ConformerModel
from equidrift.records import SYMBOLS, Molecule
from equidrift.seeds import sample_rng
from equidrift.text import counted

TASK = "distance"  # of the card
PAIRS_PER_BATCH = 20_000  # pairs of atoms x samples: keeps the pair tensors in a core's cache


@dataclass(frozen=True)
class DistanceOptions:
    """How `SE3Distance` samples; the defaults were chosen on validation molecules and
    travel in the weights' metadata.

    The noise levels are evenly spaced in the logarithm. k is that of arXiv:2403.01430,
    reverse process, lowered if the stability rule asks for it.
    """

    steps: int = 100  # network calls per sample
    solver: str = "sde"  # "ode", "sde" or "langevin"
    map: str = "gauss-newton"  # "degree" (published), "chain" or "gauss-newton", see `maps`
    corrector: float = 8.0  # k
    sigma_max_A: float = 4.0  # first noise level
    sigma_min_A: float = 0.03  # last one
    late_map: str = ""  # below `late_sigma_A`; "" keeps the first one
    late_corrector: float = 1.0  # k below that level
    late_sigma_A: float = 0.3
    global_weight: float = 1.0  # of far pairs against local ones below `late_sigma_A`
    step_rate: float = 0.3  # of Langevin, in units of sigma^2: 1e4 times GeoDiff's step_lr
    clip_A: float = 10.0  # longest step of an atom
    attempts: int = 8  # draws until a sample's stereocentres are right; then it is NaN

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> DistanceOptions:
        """From a mapping; an unknown key raises `UnknownNameError`."""
        known = {f.name for f in dataclasses.fields(cls)}
        for key in values:
            if key not in known:
                raise UnknownNameError("option", key, known)
        return cls(**values)


class LearnedMove:
    """`move(c, sigma)` from the network: distance changes on the complete graph, mapped
    to coordinates.

    Parameters
    ----------
    network : DistanceNetwork
        The trained network.
    elements, kinds : Tensor, shape (n,) and (n, n)
        Of the molecule, the same for the whole batch.
    options : DistanceOptions
        Map, late map and weights.
    """

    def __init__(
        self, network: DistanceNetwork, elements: Tensor, kinds: Tensor, options: DistanceOptions
    ):
        self.network, self.elements, self.kinds, self.options = network, elements, kinds, options
        self.map: DistanceMap = distance_map(options.map)
        self.late_map: DistanceMap = distance_map(options.late_map or options.map)
        self.complete = complete_edges(len(elements), device=elements.device)

    def edges(self, sigma: float) -> Tensor:
        """Weights of the pairs at that noise level, (n, n)."""
        if sigma < self.options.late_sigma_A and self.options.global_weight != 1.0:
            return self.complete * torch.where(
                self.kinds == EDGE_FAR, self.options.global_weight, 1.0
            )
        return self.complete

    def __call__(self, c: Tensor, sigma: float) -> Tensor:
        """Moves of the atoms (B, n, 3) at noise level sigma in A."""
        count, n, _ = c.shape
        levels = c.new_full((count,), sigma)
        d = self.network(c, self.elements.expand(count, n), self.kinds.expand(count, n, n), levels)
        by = self.late_map if sigma < self.options.late_sigma_A else self.map
        return mapped(by, c, d, self.complete, self.edges(sigma))


def mapped(by: DistanceMap, c: Tensor, d: Tensor, complete: Tensor, edges: Tensor) -> Tensor:
    """Moves (B, n, 3) that a map makes of clean distances d (B, P), in the order of
    `pair_indices`, for the coordinates c (B, n, 3).

    complete : (n, n), 1 but for the diagonal. edges : weights of the pairs.
    """
    count, n, _ = c.shape
    table = d[:, pair_indices(n, c.device)[2]].view(count, n, n)
    return by(c, (table - pair_geometry(c)[0]) * complete, edges)


def solve(
    move: Move,
    noise: Tensor,
    sigmas: list[float],
    options: DistanceOptions,
    callback: Callback | None = None,
) -> Tensor:
    """Coordinates (B, n, 3) from noise, by the solver and map of the options.

    Parameters
    ----------
    move : callable
        Delta c of coordinates and a noise level, by `options.map`.
    noise : Tensor, shape (steps + 1, B, n, 3)
        Standard normal: one block a step, and the start.
    sigmas : list of float
        Falling noise levels, one more than steps; the unit is that of the coordinates.

    Raises
    ------
    UnknownNameError
        For a solver that does not exist.
    """
    start, draw = sigmas[0] * noise[-1], noise.__getitem__
    if options.solver == "langevin":
        rule = StepRule(clip_A=options.clip_A, callback=callback)
        return annealed_langevin(move, start, sigmas, draw, step_rate=options.step_rate, rule=rule)
    if options.solver not in ("ode", "sde"):
        raise UnknownNameError("solver", options.solver, ("ode", "sde", "langevin"))

    def corrector(sigma: float) -> float:
        late = options.late_map and sigma < options.late_sigma_A
        return options.late_corrector if late else options.corrector

    rule = StepRule(corrector, map_gain(options.map, noise.shape[2]), options.clip_A, callback)
    if options.solver == "ode":
        return reverse_ode(move, start, sigmas, rule)
    return reverse_sde(move, start, sigmas, draw, rule)


def draws(
    move: Move,
    streams: Sequence[np.random.Generator],
    n: int,
    n_steps: int,
    options: DistanceOptions,
    device: torch.device,
    callback: Callback | None = None,
    dtype: type[np.floating[Any]] = np.float32,
) -> NDArray[np.float64]:
    """Coordinates (len(streams), n, 3) of n atoms or points, in batches that fit the
    device, each from a stream of its own.

    dtype : of the noise as it is drawn; the solvers work in float64.
    """
    sigmas = geometric_sigmas(n_steps, options.sigma_max_A, options.sigma_min_A)
    if not streams:
        return np.zeros((0, n, 3))

    def some(rows: slice) -> Tensor:
        z = np.stack([s.standard_normal((n_steps + 1, n, 3), dtype) for s in streams[rows]], 1)
        noise = torch.from_numpy(z).to(device, torch.float64)
        return solve(move, noise, sigmas, options, callback)

    with torch.no_grad():
        made = in_batches(some, len(streams), n * (n - 1) // 2, PAIRS_PER_BATCH, device)
    drawn: NDArray[np.float64] = made.cpu().numpy()
    return drawn


class SE3Distance(ConformerModel):
    """System A (arXiv:2403.01430) as a `ConformerModel`.

    Parameters
    ----------
    network : DistanceNetwork
        Trained `DistanceNetwork`.
    options : DistanceOptions or None
        See `DistanceOptions`.
    elements : sequence of int or None
        Atomic numbers that were in the training data; others are refused by name.
    card : dict or None
        Metadata of the weights.
    device : Device
        Torch device; None is CUDA if there is one, else the CPU.
    """

    name = "se3-distance"

    def __init__(
        self,
        network: DistanceNetwork,
        options: DistanceOptions | None = None,
        elements: Sequence[int] | None = None,
        card: dict[str, Any] | None = None,
        device: Device = None,
    ):
        self.device = pick_device(device)
        # float64: over 100 steps the rounding of float32 would grow until a sample depends on
        # its batch by more than 1e-4 A
        self.network = network.double().eval().requires_grad_(False).to(self.device)
        self.options = options or DistanceOptions()
        self.supported = frozenset(elements or (1, 6, 7, 8, 9))
        self.card = card or {}

    def sample(
        self,
        molecule: Molecule,
        seeds: NDArray[np.int64],
        *,
        steps: int | None = None,
        callback: Callback | None = None,
    ) -> NDArray[np.float64]:
        """Conformers in A, (len(seeds), n, 3); sample k depends on seeds[k] alone.

        NaN where the stereo came out wrong.

        A sample whose stereocentres are partly wrong is drawn again from the same
        stream, `options.attempts` times at most.
        """
        self._check(molecule)
        n_steps = self.options.steps if steps is None else int(steps)
        streams = [sample_rng(int(seed)) for seed in seeds]
        result = np.full((len(streams), molecule.n_atoms, 3), np.nan)
        todo = np.arange(len(streams))
        for _ in range(max(1, self.options.attempts)):
            if not len(todo):
                break
            drawn = self.draw(molecule, [streams[k] for k in todo], n_steps, callback)
            turned, right = chirality_step(drawn, molecule.tetrahedral)
            right &= np.isfinite(turned).all((1, 2))
            result[todo[right]] = turned[right]
            todo = todo[~right]
        return result

    def draw(
        self,
        molecule: Molecule,
        streams: Sequence[np.random.Generator],
        n_steps: int,
        callback: Callback | None = None,
    ) -> NDArray[np.float64]:
        """One unchecked conformer from each stream, (len(streams), n, 3); the mirror
        image is left to chance.
        """
        n = molecule.n_atoms
        if n == 1:
            return np.zeros((len(streams), 1, 3))
        kinds = torch.from_numpy(edge_types(n, molecule.bonds, molecule.bond_orders))
        elements = torch.from_numpy(element_index(molecule.numbers)).to(self.device)
        move = LearnedMove(self.network, elements, kinds.to(self.device), self.options)
        return draws(move, streams, n, n_steps, self.options, self.device, callback)

    def _check(self, molecule: Molecule) -> None:
        """Refuse by name what the network has not learnt."""
        unknown = sorted(set(molecule.numbers.tolist()) - self.supported)
        if unknown:
            have = " ".join(SYMBOLS[z] for z in sorted(self.supported))
            names = ", ".join(SYMBOLS[z] for z in unknown)
            raise MoleculeError(
                f"molecule holds {names}, but {self.name} was trained on {have}; "
                "use model='etkdg-mmff' or 'conformer'"
            )
        limit = int(self.card.get("max_atoms", 200))
        if molecule.n_atoms > limit:
            raise MoleculeError(
                f"molecule has {counted(molecule.n_atoms, 'atom')}, {self.name} takes "
                f"{limit} at most; "
                "use model='etkdg-mmff'"
            )


def load_se3_distance(
    weights: str | Path = "se3-distance", *, device: Device = None, **options: Any
) -> SE3Distance:
    """The shipped model, or the one of a card or safetensors file, on a device; `options`
    replace those of its card (see `DistanceOptions`). The shipped card has the published
    degree-normalised map, k = 20.
    """
    network, card = load_network(
        weights, TASK, lambda sizes: DistanceNetwork(DistanceConfig.from_dict(sizes))
    )
    numbers = [SYMBOLS.index(symbol) for symbol in card["elements"]]
    settings = DistanceOptions.from_dict({**card.get("options", {}), **options})
    return SE3Distance(network, settings, numbers, card, device)


def load_gauss_newton(
    weights: str | Path = "se3-distance", *, device: Device = None, **options: Any
) -> SE3Distance:
    """The same network with the Gauss-Newton map instead of the published one, k = 3.

    A projection on the tangent space needs no corrector; k above 1 sharpens the
    distribution, as a lower temperature does.
    """
    chosen = {"map": "gauss-newton", "corrector": 3.0, **options}
    model = load_se3_distance(weights, device=device, **chosen)
    model.name = "se3-distance-gauss-newton"
    return model

"""Trajectories of anything: positions (frames, nodes, 2 or 3), node and edge features.

No molecule, no unit.

>>> model = GeometricTrajectoryModel.fit(positions, nodes, edges, spacing=0.1, budget_s=120, out="runs/mine")
>>> futures = model.continue_(first_frames, nodes[0], edges[0], n_frames=20, seeds=range(5))
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from equidrift.errors import InputError, ModelError
from equidrift.models.shared.run import load_network
from equidrift.models.shared.trainer import Progress
from equidrift.models.trajectories.arrays.egnn import EGNN, roll
from equidrift.models.trajectories.arrays.modes import Modes, choose
from equidrift.models.trajectories.data import array_graph
from equidrift.models.trajectories.diffusion.draw import WindowNetwork, draw_window
from equidrift.models.trajectories.integrator.integrator import Integrator, advance, shoot
from equidrift.models.trajectories.integrator.network import Graph
from equidrift.models.trajectories.networks import make_network
from equidrift.models.trajectories.windows import gaps, run_of
from equidrift.seeds import sample_rng

BATCH_PAIRS = 60_000
CALLS_TO_START = 6  # frames that an integrator runs to find the velocities
CARRIERS = (Integrator, EGNN)  # what carries two frames on, in either direction of time
Carry = Callable[[torch.Tensor, int], torch.Tensor]


class GeometricTrajectoryModel:
    """A trained model of plain-array trajectories.

    Parameters
    ----------
    weights : name of a shipped model ("nbody-charged", ...), or the path of a card or
        safetensors file.
    noise : 0 gives the mean path of an integrator or EGNN; 1 samples, the first
        velocities spread by a quarter of what it missed of the last given frame (at
        most 2 % of their size). The others always sample.
    """

    def __init__(self, weights: str | Path, *, noise: float = 1.0):
        self.network, self.card = load_network(weights, "trajectory-arrays", make_network)
        self.noise, self.training, self.name = (
            noise,
            dict(self.card["training"]),
            str(self.card["name"]),
        )

    @classmethod
    def fit(
        cls,
        positions: ArrayLike,
        node_features: ArrayLike,
        edge_features: ArrayLike,
        *,
        spacing: float = 1.0,
        kind: Literal["integrator", "flow", "geotdm", "egnn", "modes"] = "integrator",
        budget_s: float = 120.0,
        out: str | Path = "runs/arrays",
        resume: bool = False,
        progress: Progress | None = None,
        **settings: Any,
    ) -> GeometricTrajectoryModel:
        """Train on your own trajectories.

        Parameters
        ----------
        positions : (trajectories, frames, nodes, 2 or 3), frames `spacing` apart.
        node_features, edge_features : (trajectories, nodes, f) and (trajectories,
            nodes, nodes, e).
        kind : "integrator" for what forces between pairs drive, "modes" for alternative
            futures of what moves in a plane, "flow" for all else, "geotdm" and "egnn"
            for published methods.
        **settings : further keys of a training config, such as `network`, `schedule`,
            `frames`, `context`.

        Raises
        ------
        InputError
            for shapes that do not fit, NaN, or a folder that holds a checkpoint when
            `resume` is not given.
        """
        from equidrift.models.trajectories.train import fit_arrays

        x, nodes, edges = checked(positions, node_features, edge_features)
        return cls(
            fit_arrays(
                x, nodes, edges, spacing, kind, budget_s, Path(out), resume, progress, settings
            )
        )

    def complete(
        self,
        positions: ArrayLike,
        node_features: ArrayLike,
        edge_features: ArrayLike,
        given: ArrayLike,
        seeds: Iterable[int],
        *,
        steps: int | None = None,
    ) -> NDArray[np.float64]:
        """Samples (seeds, frames, nodes, d) of the frames that `given` (frames,) does
        not mark, one trajectory.

        Raises
        ------
        InputError
            for shapes that do not fit, NaN in given frames, or too few of them.
        ModelError
            where a badly trained model runs away.
        """
        mask, chosen = np.asarray(given, bool), np.array(list(seeds), np.int64)
        x = np.where(mask[:, None, None], np.asarray(positions, np.float64), 0.0)
        x, nodes, edges = (
            np.repeat(np.asarray(a)[None], len(chosen), 0)
            for a in (x, node_features, edge_features)
        )
        return self.complete_many(x, nodes, edges, mask, chosen, steps=steps)

    def continue_(
        self,
        positions: ArrayLike,
        node_features: ArrayLike,
        edge_features: ArrayLike,
        n_frames: int,
        seeds: Iterable[int],
        *,
        steps: int | None = None,
    ) -> NDArray[np.float64]:
        """The n_frames (seeds, n_frames, nodes, d) after given ones (frames, nodes, d)."""
        x = np.asarray(positions, np.float64)
        whole = np.concatenate([x, np.zeros((n_frames, *x.shape[1:]))])
        return self.complete(
            whole, node_features, edge_features, np.arange(len(whole)) < len(x), seeds, steps=steps
        )[:, len(x) :]

    def complete_many(
        self,
        positions: ArrayLike,
        node_features: ArrayLike,
        edge_features: ArrayLike,
        given: ArrayLike,
        seeds: ArrayLike,
        *,
        steps: int | None = None,
        mask: NDArray[np.bool_] | None = None,
    ) -> NDArray[np.float64]:
        """One sample (k, frames, nodes, d) for each of k trajectories and seeds (k,);
        errors as `complete`.

        mask (k, nodes): nodes that are there, where trajectories have different numbers
        of them.
        """
        known = np.asarray(given, bool)
        x = np.where(known[None, :, None, None], np.asarray(positions, np.float64), 0.0)
        x, nodes, edges = checked(x, node_features, edge_features)
        chosen = np.asarray(seeds, np.int64)
        if known.shape != x.shape[1:2] or chosen.shape != x.shape[:1]:
            raise InputError(
                f"given must be ({x.shape[1]},) and seeds ({len(x)},), got {known.shape} and {chosen.shape}"
            )
        self._check_given(known)
        size = max(
            1,
            BATCH_PAIRS
            // x.shape[2] ** 2
            // (1 if isinstance(self.network, CARRIERS) else x.shape[1]),
        )
        real = np.ones((len(x), x.shape[2]), bool) if mask is None else np.asarray(mask, bool)
        out = x.copy()
        for k in range(0, len(x), size):
            s = slice(k, k + size)
            out[s] = self._part(x[s], nodes[s], edges[s], real[s], chosen[s], known, steps)
        out[:, known] = x[:, known]
        if not np.isfinite(out).all():
            raise ModelError(
                f"{self.name} ran away to infinity; train it longer, or look whether the given frames are like the training's"
            )
        return out

    def sample(
        self,
        node_features: ArrayLike,
        edge_features: ArrayLike,
        n_frames: int,
        seeds: Iterable[int],
        *,
        d: int = 3,
        steps: int | None = None,
        carrier: GeometricTrajectoryModel | None = None,
    ) -> NDArray[np.float64]:
        """Trajectories (seeds, n_frames, nodes, d) of one graph from nothing, centred;
        by models trained with `given: none`.

        carrier : an integrator or EGNN of the same system. It makes the trajectory anew
            from the middle of the drawn one, in both directions of time: what is drawn
            decides where and how fast, and the motion obeys the learned forces.

        Raises
        ------
        InputError
            for a model that needs given frames, or features that do not fit.
        """
        chosen = np.array(list(seeds), np.int64)
        nodes, edges = (
            np.repeat(np.asarray(a, np.float64)[None], len(chosen), 0)
            for a in (node_features, edge_features)
        )
        return self.sample_many(nodes, edges, n_frames, chosen, d=d, steps=steps, carrier=carrier)

    def sample_many(
        self,
        node_features: ArrayLike,
        edge_features: ArrayLike,
        n_frames: int,
        seeds: ArrayLike,
        *,
        d: int = 3,
        steps: int | None = None,
        carrier: GeometricTrajectoryModel | None = None,
    ) -> NDArray[np.float64]:
        """One trajectory (k, n_frames, nodes, d) for each of k graphs and seeds (k,);
        see `sample`.
        """
        nodes, edges, chosen = (
            np.asarray(node_features, np.float64),
            np.asarray(edge_features, np.float64),
            np.asarray(seeds, np.int64),
        )
        if self.training.get("given") != "none":
            raise InputError(
                f"{self.name} continues given frames and cannot begin from none; train `kind: geotdm` with `given: none`, or take "
                "given frames from your own trajectories and call continue_"
            )
        if n_frames < 1:
            raise InputError(f"n_frames must be 1 or more, not {n_frames}")
        blank = np.zeros((len(chosen), n_frames, nodes.shape[1], d))
        made = self.complete_many(
            blank, nodes, edges, np.zeros(n_frames, bool), chosen, steps=steps
        )
        return made if carrier is None else carrier.carried(made, nodes, edges, chosen)

    def carried(
        self,
        positions: NDArray[np.float64],
        node_features: ArrayLike,
        edge_features: ArrayLike,
        seeds: ArrayLike,
    ) -> NDArray[np.float64]:
        """Trajectories (k, t, n, d) made anew from their middle, both ways in time, as
        this integrator or EGNN has it.

        Raises
        ------
        InputError
            for another kind of model, or fewer than 5 frames.
        """
        n_frames = positions.shape[1]
        if n_frames < 5 or not isinstance(self.network, CARRIERS):
            raise InputError(
                "a carrier must be an integrator or EGNN, and there must be 5 frames or more to find velocities from"
            )
        middle = n_frames // 2
        near = np.arange(max(0, middle - 4), min(n_frames, middle + 5))
        design = (near - middle)[:, None] ** np.arange(
            3.0
        )  # a parabola through each node's nearest frames
        fit = np.einsum("ct,stnd->scnd", np.linalg.pinv(design), positions[:, near])
        start = positions.copy()
        start[:, middle], start[:, middle + 1] = fit[:, 0], fit.sum(1)
        given = (np.arange(n_frames) == middle) | (np.arange(n_frames) == middle + 1)
        return self.complete_many(start, node_features, edge_features, given, seeds)

    def alternatives(
        self,
        positions: ArrayLike,
        node_features: ArrayLike,
        edge_features: ArrayLike,
        *,
        mask: NDArray[np.bool_] | None = None,
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """All alternative futures (k, count, frames, nodes, 2) of pasts (k, past,
        nodes, 2), and their probabilities (k, count, nodes).

        Raises
        ------
        InputError
            for another kind of model, or a past of another length.
        """
        x, nodes, edges = checked(positions, node_features, edge_features)
        if not isinstance(self.network, Modes):
            raise InputError(
                f"{self.name} has no alternatives: it draws samples; train `kind: modes`, or call continue_ with several seeds"
            )
        if x.shape[1] != self.network.config.past or x.shape[3] != 2:
            raise InputError(
                f"{self.name} reads {self.network.config.past} frames in a plane, got positions {x.shape}; cut the past to them"
            )
        real = np.ones((len(x), x.shape[2]), bool) if mask is None else np.asarray(mask, bool)
        made, chance = [], []
        for k in range(0, len(x), 512):
            s = slice(k, k + 512)
            graph = masked_graph(nodes[s], edges[s], real[s])
            with torch.no_grad():
                futures, logit = self.network(graph, torch.from_numpy(x[s]))
            made.append(futures.permute(0, 2, 3, 1, 4).numpy())
            chance.append(logit.softmax(-1).transpose(1, 2).double().numpy())
        return np.concatenate(made), np.concatenate(chance)

    def _check_given(self, known: NDArray[np.bool_]) -> None:
        """Raises `InputError` where this network cannot work from these given frames
        (t,).
        """
        if isinstance(self.network, CARRIERS) and int(known.sum()) < 2:
            raise InputError(
                f"{self.name} needs 2 given frames, and there are {int(known.sum())}; give more"
            )
        if isinstance(self.network, Modes):
            past, future = self.network.config.past, self.network.config.future
            if int(known[:past].sum()) < past or known[past:].any() or len(known) > past + future:
                raise InputError(
                    f"{self.name} forecasts up to {future} frames after {past} given ones, and fills no other gaps; train `kind: flow`"
                )
        if isinstance(self.network, WindowNetwork) and len(known) > self.network.config.frames:
            raise InputError(
                f"{self.name} was made for windows of {self.network.config.frames} frames at most, got {len(known)}; chain windows"
            )

    def _part(
        self,
        x: NDArray[Any],
        nodes: NDArray[Any],
        edges: NDArray[Any],
        real: NDArray[np.bool_],
        seeds: NDArray[np.int64],
        mask: NDArray[np.bool_],
        steps: int | None,
    ) -> NDArray[np.float64]:
        graph, given = masked_graph(nodes, edges, real), torch.from_numpy(mask)
        centre = (
            x[:, mask].mean((1, 2), keepdims=True)
            if mask.any()
            else np.zeros((len(x), 1, 1, x.shape[-1]))
        )
        y = torch.from_numpy(np.where(mask[None, :, None, None], x - centre, 0.0))
        streams = [sample_rng(int(seed)) for seed in seeds]
        if isinstance(self.network, CARRIERS):
            return filled(y, given, self._carrier(graph, streams)).numpy() + centre
        if isinstance(self.network, Modes):
            past = self.network.config.past
            futures = choose(self.network, graph, y[:, :past], streams)
            return torch.cat([y[:, :past], futures[:, : x.shape[1] - past]], 1).numpy() + centre
        length = float(self.training["length"])
        shape = x.shape[1:]

        def normal() -> torch.Tensor:
            return torch.from_numpy(
                np.stack([rng.standard_normal(shape) for rng in streams])
            ).float()

        clock = torch.arange(x.shape[1], dtype=torch.float32)
        made = draw_window(
            self.network, graph, y.float() / length, clock, given, normal, steps=steps
        )
        return made.double().numpy() * length + centre

    def _carrier(self, graph: Graph, streams: list[np.random.Generator]) -> Carry:
        """A function that carries known frames (b, t, n, d) on; the last displacement
        spread by what the network missed before.
        """

        def spread(missed: torch.Tensor, move: torch.Tensor) -> torch.Tensor:
            normal = torch.from_numpy(
                np.stack([rng.standard_normal(move.shape[1:]) for rng in streams])
            )
            least = torch.minimum(0.25 * size_of(missed), 0.02 * size_of(move))
            return self.noise * least * (normal - normal.mean(1, keepdim=True))

        network = self.network
        if isinstance(network, Integrator):
            _, force = network.bound(graph)
            clock = network.clock(float(self.training["spacing"]))

            @torch.no_grad()
            def integrate(known: torch.Tensor, frames: int) -> torch.Tensor:
                if known.shape[1] == 2:
                    v, _ = shoot(force, known[:, -2], known[:, -1], clock, CALLS_TO_START)
                else:  # meet one frame, and see what is missed of the next
                    v, _ = shoot(force, known[:, -3], known[:, -2], clock, CALLS_TO_START // 2)
                    missed = advance(force, known[:, -2], v, clock)[0] - known[:, -1]
                    first = v - missed / clock.spacing
                    v, _ = shoot(
                        force, known[:, -2], known[:, -1], clock, CALLS_TO_START // 2 - 1, first
                    )
                    if self.noise:
                        v = v + spread(missed, v * clock.spacing) / clock.spacing
                y, made = known[:, -1], []
                for _ in range(frames):
                    y, v = advance(force, y, v, clock)
                    made.append(y)
                return torch.stack(made, 1)

            return integrate
        egnn = cast(EGNN, network)

        def step(known: torch.Tensor, frames: int) -> torch.Tensor:
            before, now = known[:, -2], known[:, -1]
            if self.noise and known.shape[1] > 2:
                missed = roll(egnn, graph, known[:, -3], before, 1)[:, 0] - now
                before = before + spread(missed, now - before)
            return roll(egnn, graph, before, now, frames)

        return step


def size_of(x: torch.Tensor) -> torch.Tensor:
    """The root mean square (b, 1, 1) of x (b, n, d)."""
    return x.square().mean((1, 2), keepdim=True).sqrt()


def masked_graph(nodes: NDArray[Any], edges: NDArray[Any], real: NDArray[np.bool_]) -> Graph:
    graph = array_graph(nodes, edges)
    graph.mask = torch.from_numpy(real)
    return graph


def filled(x: torch.Tensor, given: torch.Tensor, carry: Carry) -> torch.Tensor:
    """Every gap of x (b, t, n, d) from the side that has two given frames; from both,
    passing over smoothly, where both have.
    """
    out = x.clone()
    for first, last in gaps(given):
        before, after = run_of(given, first - 1, -1), run_of(given, last + 1, +1)
        sides = [side for side in (before, after) if side is not None]
        length = last - first + 1
        forward = (
            carry(out[:, before], length) if before and before.stop - before.start > 1 else None
        )
        backward = (
            carry(out[:, after].flip(1), length).flip(1)
            if after and after.stop - after.start > 1
            else None
        )
        if forward is None and backward is None:  # single frames: a straight line
            ends = [out[:, side.stop - 1 if side is before else side.start] for side in sides]
            share = torch.linspace(0, 1, length + 2, dtype=x.dtype)[1:-1, None, None]
            out[:, first : last + 1] = ends[0][:, None] * (1 - share) + ends[-1][:, None] * share
        elif forward is not None and backward is not None:
            share = torch.linspace(0, 1, length + 2, dtype=x.dtype)[1:-1, None, None]
            share = share * share * (3 - 2 * share)
            out[:, first : last + 1] = (1 - share) * forward + share * backward
        elif (one_sided := forward if forward is not None else backward) is not None:
            out[:, first : last + 1] = one_sided
    return out


def checked(
    positions: ArrayLike, node_features: ArrayLike, edge_features: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """The three arrays as float64.

    Raises `InputError` for shapes that do not fit or numbers that are not finite.
    """
    x, nodes, edges = (np.asarray(a, np.float64) for a in (positions, node_features, edge_features))
    if x.ndim != 4 or x.shape[-1] not in (2, 3):
        raise InputError(
            f"positions must be (trajectories, frames, nodes, 2 or 3), got {x.shape}; add an axis for a single trajectory"
        )
    k, _, n, _ = x.shape
    if nodes.ndim != 3 or nodes.shape[:2] != (k, n):
        raise InputError(f"node_features must be ({k}, {n}, features), got {nodes.shape}")
    if edges.ndim != 4 or edges.shape[:3] != (k, n, n):
        raise InputError(f"edge_features must be ({k}, {n}, {n}, features), got {edges.shape}")
    for name, array in (("positions", x), ("node_features", nodes), ("edge_features", edges)):
        if not np.isfinite(array).all():
            raise InputError(f"{name} hold NaN or infinity; leave such trajectories out")
    return x, nodes, edges

"""Trajectories of anything: positions (frames, nodes, 2 or 3), node and edge features.

No molecule, no unit.

>>> model = GeometricTrajectoryModel.fit(
...     positions, nodes, edges, spacing=0.1, budget_s=120, out="runs/mine"
... )
>>> futures = model.continue_(first_frames, nodes[0], edges[0], n_frames=20, seeds=range(5))
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from equidrift.errors import InputError, ModelError
from equidrift.models.shared.devices import Device, batch_size, pick_device
from equidrift.models.shared.draws import stream_draws
from equidrift.models.shared.run import Request, load_network
from equidrift.models.shared.trainer import Progress
from equidrift.models.trajectories.arrays.carried_path import CarriedPath
from equidrift.models.trajectories.arrays.carry import (
    CARRIERS,
    Spread,
    carry_of,
    filled,
    middle_pair,
)
from equidrift.models.trajectories.arrays.inputs import (
    Arrays,
    checked,
    checked_vectors,
    masked_graph,
)
from equidrift.models.trajectories.arrays.modes import Modes, choose
from equidrift.models.trajectories.diffusion.draw import WindowNetwork, draw_window
from equidrift.models.trajectories.diffusion.frames import KnownFrames, Sampling
from equidrift.models.trajectories.diffusion.path import on_integrator
from equidrift.models.trajectories.integrator.network import Graph
from equidrift.models.trajectories.networks import Network, make_network
from equidrift.seeds import sample_rng

FUTURES_PER_BATCH = 512  # pasts whose alternatives are made in one call
BATCH_PAIRS = 60_000  # n x n x samples (x frames): keeps the pair tensors in a core's cache


class GeometricTrajectoryModel:
    """A trained model of plain-array trajectories.

    Parameters
    ----------
    weights : name of a shipped model ("nbody-charged", ...), or the path of a card or
        safetensors file.
    noise : 0 gives the mean path of an integrator or EGNN; 1 samples, the first
        velocities spread by a quarter of what it missed of the last given frame (at
        most 2 % of their size). The others always sample.
    device : torch device; None is CUDA if there is one, else the CPU.
    """

    def __init__(self, weights: str | Path, *, noise: float = 1.0, device: Device = None):
        network, self.card = load_network(weights, "trajectory-arrays", make_network)
        self.device = pick_device(device)
        self.network: Network = network.to(self.device)
        self.noise, self.name = noise, str(self.card["name"])
        self.training = dict(self.card["training"])

    @classmethod
    def fit(  # noqa: PLR0913 - the settings of a training, by name
        cls,
        positions: ArrayLike,
        node_features: ArrayLike,
        edge_features: ArrayLike,
        *,
        spacing: float = 1.0,
        vectors: ArrayLike | None = None,
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
        vectors : (trajectories, g, d), or (g, d) for all of them: global vectors, such as a
            field or gravity, of a length of about 1. What is learned is then symmetric
            about these alone.
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
        request = Request({**settings, "kind": kind}, Path(out), budget_s, resume, progress)
        axes = checked_vectors(vectors, len(x), x.shape[-1])
        return cls(fit_arrays(Arrays(x, nodes, edges, spacing, axes), request))

    def complete(
        self,
        positions: ArrayLike,
        node_features: ArrayLike,
        edge_features: ArrayLike,
        given: ArrayLike,
        seeds: Iterable[int],
        *,
        steps: int | None = None,
        vectors: ArrayLike | None = None,
    ) -> NDArray[np.float64]:
        """Samples (seeds, frames, nodes, d) of the frames that `given` (frames,) does
        not mark, one trajectory; `vectors` (g, d), if it was trained with global ones.

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
        return self.complete_many(x, nodes, edges, mask, chosen, steps=steps, vectors=vectors)

    def continue_(
        self,
        positions: ArrayLike,
        node_features: ArrayLike,
        edge_features: ArrayLike,
        n_frames: int,
        seeds: Iterable[int],
        *,
        steps: int | None = None,
        vectors: ArrayLike | None = None,
    ) -> NDArray[np.float64]:
        """The n_frames (seeds, n_frames, nodes, d) after given ones (frames, nodes, d)."""
        x = np.asarray(positions, np.float64)
        whole = np.concatenate([x, np.zeros((n_frames, *x.shape[1:]))])
        known = np.arange(len(whole)) < len(x)
        made = self.complete(
            whole, node_features, edge_features, known, seeds, steps=steps, vectors=vectors
        )
        return made[:, len(x) :]

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
        vectors: ArrayLike | None = None,
    ) -> NDArray[np.float64]:
        """One sample (k, frames, nodes, d) for each of k trajectories and seeds (k,);
        errors as `complete`.

        mask (k, nodes): nodes that are there, where trajectories have different numbers
        of them. vectors (k, g, d), or (g, d) for all.
        """
        known = np.asarray(given, bool)
        x = np.where(known[None, :, None, None], np.asarray(positions, np.float64), 0.0)
        x, nodes, edges = checked(x, node_features, edge_features)
        chosen = np.asarray(seeds, np.int64)
        if known.shape != x.shape[1:2] or chosen.shape != x.shape[:1]:
            raise InputError(
                f"given must be ({x.shape[1]},) and seeds ({len(x)},), got {known.shape} and "
                f"{chosen.shape}"
            )
        self._check_given(known)
        frames_at_once = 1 if isinstance(self.network, CARRIERS) else x.shape[1]
        pairs = batch_size(BATCH_PAIRS, self.device)
        size = max(1, pairs // x.shape[2] ** 2 // frames_at_once)
        real = np.ones((len(x), x.shape[2]), bool) if mask is None else np.asarray(mask, bool)
        axes = checked_vectors(vectors, len(x), x.shape[-1])
        out = x.copy()
        for k in range(0, len(x), size):
            s = slice(k, k + size)
            graph = masked_graph(nodes[s], edges[s], real[s], None if axes is None else axes[s])
            out[s] = self._part(x[s], graph, chosen[s], known, steps)
        out[:, known] = x[:, known]
        if not np.isfinite(out).all():
            raise ModelError(
                f"{self.name} ran away to infinity; train it longer, or look whether the given "
                "frames are like the training's"
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
        vectors: ArrayLike | None = None,
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
        how: dict[str, Any] = {"d": d, "steps": steps, "carrier": carrier, "vectors": vectors}
        return self.sample_many(nodes, edges, n_frames, chosen, **how)

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
        vectors: ArrayLike | None = None,
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
                f"{self.name} continues given frames and cannot begin from none; train `kind: "
                "geotdm` with `given: none`, or take given frames from your own trajectories and "
                "call continue_"
            )
        if n_frames < 1:
            raise InputError(f"n_frames must be 1 or more, not {n_frames}")
        blank = np.zeros((len(chosen), n_frames, nodes.shape[1], d))
        made = self.complete_many(
            blank, nodes, edges, np.zeros(n_frames, bool), chosen, steps=steps, vectors=vectors
        )
        if carrier is None:
            return made
        return carrier.carried(made, nodes, edges, chosen, vectors=vectors)

    def carried(
        self,
        positions: NDArray[np.float64],
        node_features: ArrayLike,
        edge_features: ArrayLike,
        seeds: ArrayLike,
        *,
        vectors: ArrayLike | None = None,
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
                "a carrier must be an integrator or EGNN, and there must be 5 frames or more to "
                "find velocities from"
            )
        start, given = middle_pair(positions)
        return self.complete_many(
            start, node_features, edge_features, given, seeds, vectors=vectors
        )

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
                f"{self.name} has no alternatives: it draws samples; train `kind: modes`, or call "
                "continue_ with several seeds"
            )
        if x.shape[1] != self.network.config.past or x.shape[3] != 2:
            raise InputError(
                f"{self.name} reads {self.network.config.past} frames in a plane, got positions "
                f"{x.shape}; cut the past to them"
            )
        real = np.ones((len(x), x.shape[2]), bool) if mask is None else np.asarray(mask, bool)
        made, chance = [], []
        size = batch_size(FUTURES_PER_BATCH, self.device)
        for k in range(0, len(x), size):
            s = slice(k, k + size)
            graph = masked_graph(nodes[s], edges[s], real[s]).to(self.device)
            with torch.no_grad():
                futures, logit = self.network(graph, torch.from_numpy(x[s]).to(self.device))
            made.append(futures.permute(0, 2, 3, 1, 4).cpu().numpy())
            chance.append(logit.softmax(-1).transpose(1, 2).double().cpu().numpy())
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
                    f"{self.name} forecasts up to {future} frames after {past} given ones, and "
                    "fills no other gaps; train `kind: flow`"
                )
        if isinstance(self.network, WindowNetwork) and len(known) > self.network.config.frames:
            raise InputError(
                f"{self.name} was made for windows of {self.network.config.frames} frames at "
                f"most, got {len(known)}; chain windows"
            )

    @cached_property
    def _carried(self) -> CarriedPath | None:
        """The prior path of a network that goes on from an integrator's."""
        if not on_integrator(self.network):
            return None
        return CarriedPath(
            self.training["prior_weights"], self.training["prior_sha256"], self.device
        )

    def _part(
        self,
        x: NDArray[Any],
        graph: Graph,
        seeds: NDArray[np.int64],
        mask: NDArray[np.bool_],
        steps: int | None,
    ) -> NDArray[np.float64]:
        """Frames (k, t, n, d) of trajectories that fit a batch; `mask` (t,) marks the
        given ones.
        """
        graph, given = graph.to(self.device), torch.from_numpy(mask)
        centre = np.zeros((len(x), 1, 1, x.shape[-1]))
        if mask.any():
            centre = x[:, mask].mean((1, 2), keepdims=True)
        y = torch.from_numpy(np.where(mask[None, :, None, None], x - centre, 0.0)).to(self.device)
        streams = [sample_rng(int(seed)) for seed in seeds]
        if isinstance(self.network, CARRIERS):
            spread = Spread(streams, self.noise)
            spacing = float(self.training["spacing"])
            made = filled(y, given, carry_of(self.network, graph, spacing, spread))
        elif isinstance(self.network, Modes):
            past = self.network.config.past
            futures = choose(self.network, graph, y[:, :past], streams)
            made = torch.cat([y[:, :past], futures[:, : x.shape[1] - past]], 1)
        else:
            length = float(self.training["length"])
            normal = stream_draws(streams, x.shape[1:], torch.float32, self.device)
            clock = torch.arange(x.shape[1], dtype=torch.float32, device=self.device)
            known = KnownFrames(graph, y.float() / length, clock, given.to(self.device))
            if self._carried is not None:
                known.path = self._carried(graph, y, known.given).float() / length
            made = draw_window(self.network, known, normal, Sampling(steps=steps))
            made = made.double() * length
        out: NDArray[np.float64] = made.cpu().numpy() + centre
        return out

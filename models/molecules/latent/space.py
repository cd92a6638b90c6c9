"""The latent space: molecules with conformers to vectors and back, paths, neighbours.

A latent is one vector: the graph's (`slices["graph"]`), the conformer's
(`slices["geometry"]`), each of mean square 1, and the hand. It does not change under
rotations, translations or another order of the atoms. Without a conformer the last two
are 0, and decoding draws some conformer.

    space = load_space()
    z = space.encode(molecule, positions_A)
    molecule, positions_A = space.decode(z)[0]
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from equidrift.errors import InputError, UnknownNameError
from equidrift.models.molecules.latent.geometry import GeometryAutoencoder, GeometryConfig, hand
from equidrift.models.molecules.latent.graph import GraphAutoencoder, GraphConfig, unit
from equidrift.models.molecules.latent.graph_data import (
    END,
    PAD,
    graph_batch,
    molecule_or_none,
    plain_codes,
    smiles_of,
)
from equidrift.models.molecules.latent.vectors import (
    great_circles,
    nearest_conformers,
    normalised,
    turned,
)
from equidrift.models.molecules.targets import check_steps
from equidrift.models.shared.devices import Device, batch_size, pick_device
from equidrift.models.shared.graph_codes import (
    GraphCodes,
    collate,
    like_sized,
    pad_positions,
    with_hydrogen_rows,
)
from equidrift.models.shared.run import load_network
from equidrift.protocols import Callback
from equidrift.records import Molecule
from equidrift.registry import make_refiner

Made = tuple[Molecule, NDArray[np.float64]]
GRAPHS_PER_BATCH = 512  # graphs that are encoded in one call
SEQUENCES_PER_BATCH = 1024  # of tokens, that are written in one call
PAIRS_PER_BATCH = 20_000  # n x n x molecules: keeps the pair tensors in the cache of a core
# cosine of two graph latents above which a decoded graph is taken to be the one meant
SAME = 0.999
CANDIDATES = 8
TEMPERATURE = 0.7  # of the token draws that stand beside the likeliest sequence


class LatentSpace:
    """Both autoencoders, whose latents make one vector.

    Parameters
    ----------
    graph, geometry : str
        Names of shipped autoencoders, or paths of trained ones.
    candidates : int
        Token sequences tried for a graph latent whose likeliest one does not encode to
        it again; the nearest is taken.
    conformers : int
        Conformers drawn for a conformer latent, each from noise of its own; the one
        that encodes nearest to the latent is taken.
    steps : int
        Network calls of the geometric decoder, for each of them.
    refine : bool
        Whether the package's refiner (two calls, GFN2-xTB level) moves the decoded
        conformers.
    device : Device
        Torch device; None is CUDA if there is one, else the CPU.
    """

    def __init__(
        self,
        graph: str = "latent-graph",
        geometry: str = "latent-geometry",
        *,
        candidates: int = CANDIDATES,
        conformers: int = 1,
        steps: int = 8,
        refine: bool = False,
        device: Device = None,
    ):
        self.device = pick_device(device)
        check_steps(steps)
        if candidates < 1 or conformers < 1:
            raise InputError(
                f"candidates and conformers must be 1 or more, not {candidates} and {conformers}"
            )
        self.graph, self.graph_card = load_network(
            graph, "latent-graph", lambda sizes: GraphAutoencoder(GraphConfig(**sizes))
        )
        self.geometry, self.geometry_card = load_network(
            geometry, "latent-geometry", lambda sizes: GeometryAutoencoder(GeometryConfig(**sizes))
        )
        self.graph.to(self.device)
        self.geometry.to(self.device)
        self.tokens = list(self.graph_card["tokens"])
        self.candidates, self.conformers = candidates, conformers
        self.steps, self.refine = steps, refine
        first, second = self.graph.config.latent, self.geometry.config.latent
        self.slices = {
            "graph": slice(0, first),
            "geometry": slice(first, first + second),
            "hand": slice(first + second, first + second + 1),
        }
        self.size = first + second + 1

    # encoding

    def encode(
        self, molecule: Molecule, positions_A: ArrayLike | None = None
    ) -> NDArray[np.float64]:
        """The latent of a molecule: (size,) for positions_A (n_atoms, 3) or None, (k,
        size) for (k, n_atoms, 3).

        Raises
        ------
        MoleculeError
            for an element that the encoder does not know. InputError for positions of
            another shape, or not finite.
        """
        x = None if positions_A is None else np.asarray(positions_A, np.float64)
        if x is not None:
            fits = x.ndim in (2, 3) and x.shape[-2:] == (molecule.n_atoms, 3)
            if not fits or not np.isfinite(x).all():
                raise InputError(
                    f"positions_A must be finite and of shape ({molecule.n_atoms}, 3) or (any, "
                    f"{molecule.n_atoms}, 3), not {x.shape}"
                )
        blocks = [None] if x is None else list(x.reshape(-1, molecule.n_atoms, 3))
        out = self.encode_many([(molecule, block) for block in blocks])
        return out if x is not None and x.ndim == 3 else out[0]

    def encode_many(
        self, items: Sequence[tuple[Molecule, NDArray[np.float64] | None]]
    ) -> NDArray[np.float64]:
        """Latents (len(items), size) of (molecule, positions_A or None) pairs; errors
        as `encode`.
        """
        out = np.zeros((len(items), self.size))
        out[:, self.slices["graph"]] = self.encode_graphs([molecule for molecule, _ in items])
        placed = [k for k, (_, x) in enumerate(items) if x is not None]
        codes = [plain_codes(items[k][0]) for k in placed]
        conformers = [np.asarray(items[k][1]) for k in placed]
        out[placed, self.slices["geometry"]] = self.encode_codes(codes, conformers)
        out[placed, -1] = [
            hand(items[k][0].numbers, x) for k, x in zip(placed, conformers, strict=True)
        ]
        return out

    def encode_graphs(self, molecules: Sequence[Molecule]) -> NDArray[np.float64]:
        """Graph latents (n, d)."""
        with torch.inference_mode():
            size, length = batch_size(GRAPHS_PER_BATCH, self.device), self.graph.config.length
            blocks = (molecules[k : k + size] for k in range(0, len(molecules), size))
            parts = [
                self.graph.encoder(graph_batch(block, self.tokens, length).to(self.device))
                for block in blocks
            ]
        if not parts:
            return np.zeros((0, self.graph.config.latent))
        return np.asarray(torch.cat(parts).double().cpu().numpy())

    def encode_codes(
        self, codes: Sequence[GraphCodes], positions_A: Sequence[NDArray[np.floating]]
    ) -> NDArray[np.float64]:
        """Conformer latents (n, d) of graph codes and coordinates."""
        out = np.zeros((len(codes), self.geometry.config.latent))
        with torch.inference_mode():
            pairs = batch_size(PAIRS_PER_BATCH, self.device)
            for rows in like_sized([c.n_atoms for c in codes], pairs):
                batch = collate([codes[k] for k in rows]).to(self.device)
                x = pad_positions([positions_A[row] for row in rows], batch.mask.shape[1])
                out[rows] = self.geometry.encoder(batch, x.to(self.device)).double().cpu().numpy()
        return out

    # decoding

    def decode(
        self,
        z: ArrayLike,
        seeds: ArrayLike | None = None,
        *,
        steps: int | None = None,
        callback: Callback | None = None,
    ) -> list[Made | None]:
        """Molecules and conformers of latents z (size,) or (k, size); None where the
        graph latent decodes to no atom at all.

        Each conformer starts from noise of its seed (0, 1, ... where None): equal
        latents and seeds give equal results.

        Raises
        ------
        InputError
            for latents of another length, or not finite; for as many seeds as there are
            not latents.
        """
        table = np.atleast_2d(np.asarray(z, np.float64))
        if table.ndim != 2 or table.shape[1] != self.size or not np.isfinite(table).all():
            raise InputError(
                f"z must be finite and of shape ({self.size},) or "
                f"(any, {self.size}), not {np.shape(z)}"
            )
        chosen = (
            np.arange(len(table)) if seeds is None else np.atleast_1d(np.asarray(seeds, np.int64))
        )
        if len(chosen) != len(table):
            raise InputError(f"there are {len(table)} latents but {len(chosen)} seeds")
        molecules = self.decode_graphs(table[:, self.slices["graph"]], chosen)
        return self.decode_conformers(molecules, table, chosen, steps=steps, callback=callback)

    def decode_graphs(
        self, z: NDArray[np.float64], seeds: NDArray[np.int64]
    ) -> list[Molecule | None]:
        """Molecules of graph latents (k, d): the likeliest tokens, or those of the
        candidates whose graph encodes nearest to the latent.
        """
        table = unit(torch.from_numpy(np.asarray(z, np.float32)).to(self.device))
        best, near = self._written(table, None)
        if self.candidates == 1:
            return best
        rows = np.flatnonzero(near < SAME)
        for draw in range(1, self.candidates):
            if not len(rows):
                break
            streams = [np.random.Philox(key=[int(seeds[k]), draw]) for k in rows]
            length = self.graph.config.length
            uniform = np.stack([np.random.Generator(s).random(length) for s in streams])
            others, cosine = self._written(table[torch.from_numpy(rows)], uniform)
            for k, other, value in zip(rows.tolist(), others, cosine.tolist(), strict=True):
                if value > near[k]:
                    best[k], near[k] = other, value
            rows = rows[near[rows] < SAME]
        return best

    def _written(
        self, z: Tensor, uniform: NDArray[np.float64] | None
    ) -> tuple[list[Molecule | None], NDArray[np.float64]]:
        """(molecules, cosines of what they encode to with z (k, d); -1 for None) of
        token sequences.
        """
        with torch.inference_mode():
            written = []
            for k, part in enumerate(torch.split(z, SEQUENCES_PER_BATCH)):
                begin = k * SEQUENCES_PER_BATCH
                own = None if uniform is None else uniform[begin : begin + len(part)]
                written.append(self.graph.decoder.write(part, own, TEMPERATURE))
            codes = np.concatenate(written)
        molecules = [self.molecule_of(row) for row in codes]
        cosine = np.full(len(z), -1.0)
        rows = [k for k, molecule in enumerate(molecules) if molecule is not None]
        if rows and self.candidates > 1:
            again = self.encode_graphs([m for m in molecules if m is not None])
            cosine[rows] = (again * z[rows].double().cpu().numpy()).mean(1)
        return molecules, cosine

    def molecule_of(self, codes: NDArray[np.uint8]) -> Molecule | None:
        """The molecule of a row of token codes, None for one without atoms, or that
        cannot be sanitised.
        """
        stop = np.flatnonzero((codes == END) | (codes == PAD))
        words = codes[: stop[0]] if len(stop) else codes
        return molecule_or_none(smiles_of(tuple(self.tokens[c - 2] for c in words.tolist())))

    def decode_conformers(
        self,
        molecules: Sequence[Molecule | None],
        z: NDArray[np.float64],
        seeds: NDArray[np.int64],
        *,
        steps: int | None = None,
        callback: Callback | None = None,
    ) -> list[Made | None]:
        """Conformers of molecules whose latents are z (k, size)."""
        steps = self.steps if steps is None else steps
        check_steps(steps)
        rows = [k for k, molecule in enumerate(molecules) if molecule is not None]
        kept = [m for m in molecules if m is not None]
        codes = [with_hydrogen_rows(plain_codes(m)) for m in kept]
        shapes = normalised(z[rows][:, self.slices["geometry"]])
        out: list[Made | None] = [None] * len(molecules)
        done = 0
        with torch.inference_mode():
            pairs = batch_size(PAIRS_PER_BATCH, self.device)
            for part in like_sized([c.n_atoms for c in codes], pairs):
                own = [int(seeds[rows[k]]) for k in part]
                x = nearest_conformers(
                    self.geometry,
                    [codes[k] for k in part],
                    shapes[part],
                    own,
                    draws=self.conformers,
                    steps=steps,
                )
                for i, k in enumerate(part):
                    wanted = float(z[rows[k], self.slices["hand"]][0])
                    out[rows[k]] = (
                        kept[k],
                        turned(kept[k].numbers, x[i, : codes[k].n_atoms], wanted),
                    )
                done += len(part)
                if callback is not None:
                    callback({"done": done + len(molecules) - len(rows), "total": len(molecules)})
        return self.refined(out) if self.refine else out

    def refined(self, made: list[Made | None]) -> list[Made | None]:
        """The molecules with their conformers moved by the refiner (two calls, GFN2-xTB
        level).
        """
        rows = [k for k, one in enumerate(made) if one is not None]
        jobs = [(m, x[None]) for m, x in (one for one in made if one is not None)]
        moved = _refiner().refine_many(jobs)
        out = list(made)
        for k, (molecule, _), x in zip(rows, jobs, moved, strict=True):
            out[k] = (molecule, x[0])
        return out

    # what latents are good for

    def interpolate(
        self,
        a: Made | ArrayLike,
        b: Made | ArrayLike,
        n: int = 10,
        *,
        seed: int = 0,
    ) -> list[Made | None]:
        """`n` molecules on the way from a to b, ends included: along the great circles
        of the graph and the conformer latents.

        a and b are latents, or (molecule, positions_A) pairs. Raises `InputError` for n
        below 2.
        """
        if n < 2:
            raise InputError(f"n must be at least 2, the two ends, not {n}")
        ends = [
            self.encode(*end) if isinstance(end, tuple) else np.asarray(end, np.float64)
            for end in (a, b)
        ]
        path = great_circles(ends[0], ends[1], list(self.slices.values()), n)
        return self.decode(path, np.full(n, seed))

    def neighbours(
        self, query: ArrayLike, library: ArrayLike, k: int = 10, *, part: str = "graph"
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """The `k` rows of `library` (n, size) nearest to the latent `query` (size,), and
        their root mean square distances; `part` is "graph", "geometry" or "all".

        Raises
        ------
        UnknownNameError
            for another part. InputError where the lengths do not fit, or k is not
            positive.
        """
        parts = {**self.slices, "all": slice(None)}
        del parts["hand"]
        if part not in parts:
            raise UnknownNameError("part of a latent", part, parts)
        q, table = np.asarray(query, np.float64), np.asarray(library, np.float64)
        if q.shape != (self.size,) or table.ndim != 2 or table.shape[1] != self.size or k < 1:
            raise InputError(
                f"query must be ({self.size},), library (any, {self.size}) "
                f"and k positive, not {q.shape}, {table.shape} and {k}"
            )
        distance = np.sqrt(np.square(table[:, parts[part]] - q[parts[part]]).mean(1))
        order = np.argsort(distance, kind="stable")[:k]
        return order, distance[order]


def load_space(**options: Any) -> LatentSpace:
    """The shipped latent space; options as for `LatentSpace`."""
    return LatentSpace(**options)


@lru_cache(maxsize=1)
def _refiner() -> Any:
    return make_refiner("refine")

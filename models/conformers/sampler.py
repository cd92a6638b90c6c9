"""The generator and the refiner behind the protocols: batches by size, float32 inside, float64 at the border."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from equidrift.errors import InputError, WeightsError
from equidrift.models.conformers.data import ELEMENTS, LEVELS, Batch, GraphCodes, collate, graph_codes, pad_positions, with_hydrogen_rows
from equidrift.models.conformers.generator import SIGMA_MAX_A, churn_level, noise_levels
from equidrift.models.conformers.network import ConformerNetwork, NetworkConfig
from equidrift.protocols import Callback
from equidrift.records import Molecule
from equidrift.seeds import sample_rng
from equidrift.weights import load_weights

Job = tuple[Molecule, NDArray[Any]]
PAIRS_PER_BATCH = 12_000  # n x n x molecules: keeps the pair tensors in the cache of a core


class NetworkModel:
    """A trained network, its card and its device.

    Parameters
    ----------
    weights : name of a shipped model, or the path of a card or safetensors file that `equidrift train` wrote.
    level : level of theory whose geometries are wanted, one of `LEVELS`.
    device : torch device; None is CUDA where there is one, else the CPU.
    """

    elements = ELEMENTS
    max_atoms = 200
    task = ""

    def __init__(self, weights: str, *, level: str = "GFN2-xTB", device: str | torch.device | None = None):
        if level not in LEVELS:
            raise InputError(f"level must be one of {', '.join(LEVELS)}, not {level!r}")
        state, self.card = load_weights(weights)
        if self.card.get("task") != self.task:
            raise WeightsError(f"{weights} is a model for task {self.card.get('task')!r}, expected {self.task!r}")
        self.name = str(self.card["name"])
        self.weights_sha256 = str(self.card["sha256"])[:12]
        self.level = LEVELS.index(level)
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        with torch.random.fork_rng(devices=[]):  # torch draws the weights that are replaced below from the user's generator
            self.network = ConformerNetwork(NetworkConfig(**self.card["config"]))
        self.network.load_state_dict(state)
        self.network.to(self.device).eval()

    def _run(self, graphs: Sequence[GraphCodes], work: Callable[[Batch, list[int]], list[Tensor]]) -> list[NDArray[np.float64]]:
        """`work` on batches of like-sized graphs, results in the order given."""
        out: list[NDArray[np.float64] | None] = [None] * len(graphs)
        order = sorted(range(len(graphs)), key=lambda k: graphs[k].n_atoms)
        with torch.inference_mode():
            while order:
                size = graphs[order[0]].n_atoms
                rows = [order.pop(0)]
                while order and (n := graphs[order[0]].n_atoms) <= 1.1 * size and n**2 * (len(rows) + 1) <= PAIRS_PER_BATCH:
                    rows.append(order.pop(0))
                for row, x in zip(rows, work(collate([graphs[k] for k in rows]).to(self.device), rows)):
                    out[row] = x[: graphs[row].n_atoms].cpu().numpy().astype(np.float64)
        return [x for x in out if x is not None]

    def _levels(self, count: int) -> Tensor:
        return torch.full((count,), self.level, dtype=torch.long, device=self.device)


class RefinerModel(NetworkModel):
    """Moves conformers into the nearest minimum of a level of theory (GFN2-xTB), graph and stereo kept."""

    task = "refine"
    default_steps = 2

    def refine_many(self, jobs: Sequence[Job], *, steps: int | None = None, callback: Callback | None = None) -> list[NDArray[np.float64]]:
        """Refine conformers.

        Parameters
        ----------
        jobs : (molecule, positions_A (k, n_atoms, 3)) pairs; conformers that are NaN stay NaN.
        steps : network calls, 1 to 8, 2 where None; each starts from the result of the one before.

        Raises
        ------
        InputError
            for steps out of range.
        """
        steps = self.default_steps if steps is None else steps
        if not 1 <= steps <= 8:
            raise InputError(f"steps must lie in 1 .. 8 for the refiner, not {steps}")
        graphs, starts, where = [], [], []
        results = [np.array(positions, np.float64) for _, positions in jobs]
        for j, (molecule, positions) in enumerate(jobs):
            for k in np.flatnonzero(np.isfinite(positions).all((1, 2))):
                graphs.append(graph_codes(molecule))
                starts.append(np.asarray(positions[k], np.float64))
                where.append((j, k))

        def work(batch: Batch, rows: list[int]) -> list[Tensor]:
            x = pad_positions([starts[r] for r in rows], batch.mask.shape[1]).to(self.device)
            for _ in range(steps):
                x = self.network(batch, x, self._levels(len(rows)))[-1]
            if callback is not None:
                callback({"done": len(rows), "total": len(graphs)})
            return list(x)

        for (j, k), start, x in zip(where, starts, self._run(graphs, work)):
            results[j][k] = x - x.mean(0) + start.mean(0)
        return results


class GeneratorModel(NetworkModel):
    """Draws conformers from noise in a few network calls."""

    task = "generate"
    default_steps = 10

    def __init__(self, weights: str, *, churn: float = 0.6, **options: Any):
        super().__init__(weights, **options)
        self.churn = churn

    def sample(
        self, molecule: Molecule, seeds: NDArray[np.int64], *, steps: int | None = None, callback: Callback | None = None
    ) -> NDArray[np.float64]:
        """Conformers positions_A (len(seeds), n_atoms, 3); `steps` network calls, 10 where None."""
        return self.sample_many([(molecule, seeds)], steps=steps, callback=callback)[0]

    def sample_many(self, jobs: Sequence[Job], *, steps: int | None = None, callback: Callback | None = None) -> list[NDArray[np.float64]]:
        """`sample` over jobs of (molecule, seeds), molecules mixed in a batch."""
        starts = []
        for molecule, seeds in jobs:
            starts.append(np.stack([SIGMA_MAX_A * sample_rng(int(s)).standard_normal((molecule.n_atoms, 3)) for s in seeds]))
        return self.denoise_many([(m, x) for (m, _), x in zip(jobs, starts)], [s for _, s in jobs], SIGMA_MAX_A, steps, callback)

    def denoise_many(
        self, jobs: Sequence[Job], seeds: Sequence[NDArray[np.int64]], sigma_A: float, steps: int | None, callback: Callback | None = None
    ) -> list[NDArray[np.float64]]:
        """Denoise positions_A that carry noise of level `sigma_A`; each sample's further noise comes from its own seed."""
        steps = self.default_steps if steps is None else steps
        if not 1 <= steps <= 1000:
            raise InputError(f"steps must lie in 1 .. 1000, not {steps}")
        levels = noise_levels(steps, sigma_max_A=sigma_A)
        flat = [(m, x, int(s)) for (m, block), block_seeds in zip(jobs, seeds) for x, s in zip(block, block_seeds)]

        def work(batch: Batch, rows: list[int]) -> list[Tensor]:
            rngs = [np.random.Generator(np.random.Philox(key=[flat[r][2], 1])) for r in rows]
            n = batch.mask.shape[1]
            x = pad_positions([flat[r][1] for r in rows], n).to(self.device)
            for sigma, following in pairwise(levels):
                clean = self.network(batch, x, self._levels(len(rows)), torch.full((len(rows),), sigma, device=self.device))[-1]
                down, up = churn_level(sigma, following, self.churn)
                x = clean + (x - clean) * (down / sigma)
                if up > 0:
                    x = x + up * pad_positions([g.standard_normal((flat[r][0].n_atoms, 3)) for g, r in zip(rngs, rows)], n).to(self.device)
            if callback is not None:
                callback({"done": len(rows), "total": len(flat)})
            return list(x)

        made = self._run([with_hydrogen_rows(graph_codes(m)) for m, _, _ in flat], work)
        out, begin = [], 0
        for molecule, block in jobs:
            out.append(np.array(made[begin : begin + len(block)], np.float64).reshape(len(block), molecule.n_atoms, 3))
            begin += len(block)
        return out


def load_refiner(weights: str = "refine", **options: Any) -> RefinerModel:
    """The shipped refiner, or one of your own by path."""
    return RefinerModel(weights, **options)


def load_conformer(weights: str = "conformer", **options: Any) -> GeneratorModel:
    """The shipped generator from noise, or one of your own by path."""
    return GeneratorModel(weights, **options)

"""The generator and the refiner, as the protocols have them: batches by size, float32
inside, float64 at the border.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from equidrift.checks.conditions import Conditions, Known
from equidrift.errors import InputError
from equidrift.models.conformers.held import held_tensors, origin, turned_rows
from equidrift.models.conformers.noising import ToClean
from equidrift.models.conformers.refiner import Job, Refinement, StepRefiner
from equidrift.models.shared.backbones.conformer import ConformerNetwork
from equidrift.models.shared.conditioning import conditional_sample
from equidrift.models.shared.devices import Device, batch_size, pick_device, short_products
from equidrift.models.shared.geometry import centre, centred
from equidrift.models.shared.graph_codes import (
    ELEMENTS,
    LEVELS,
    Batch,
    GraphCodes,
    collate,
    graph_codes,
    like_sized,
    pad_positions,
    with_hydrogen_rows,
)
from equidrift.models.shared.layers import NetworkConfig
from equidrift.models.shared.newton import Held
from equidrift.models.shared.run import load_network
from equidrift.models.shared.schedules import SIGMA_MAX_A, noise_levels
from equidrift.protocols import (
    BatchedConformerModel,
    Callback,
    DenoisingConformerModel,
)
from equidrift.records import SYMBOLS, Molecule
from equidrift.seeds import sample_rng

TAU_A = 1.0  # noise level below which the conditional sampler corrects
PAIRS_PER_BATCH = 12_000  # n x n x molecules: keeps the pair tensors in the cache of a core


class NetworkModel:
    """A trained network, its card and its device.

    Parameters
    ----------
    weights : str
        Name of a shipped model, or the path of a card or safetensors file that
        `equidrift train` wrote.
    level : str
        Level of theory whose geometries are wanted, one of `LEVELS`.
    device : str, torch.device or None
        Torch device; None is CUDA where there is one, else the CPU.
    half_precision : bool or None
        Whether layers multiply in bfloat16; None is on a GPU alone, so that a result
        does not depend on the processor. Refined conformers then differ by less than
        .01 A, drawn ones by some .01 A.
    """

    elements: tuple[int, ...] | None = tuple(ELEMENTS)
    max_atoms: int | None = 200
    weights_sha256: str | None
    task = ""

    def __init__(
        self,
        weights: str,
        *,
        level: str = "GFN2-xTB",
        device: Device = None,
        half_precision: bool | None = None,
    ):
        if level not in LEVELS:
            raise InputError(f"level must be one of {', '.join(LEVELS)}, not {level!r}")
        network, self.card = load_network(
            weights, self.task, lambda sizes: ConformerNetwork(NetworkConfig(**sizes))
        )
        self.name = str(self.card["name"])
        self.weights_sha256 = str(self.card["sha256"])[:12]
        self.elements = tuple(
            SYMBOLS.index(symbol) for symbol in self.card.get("elements", ())
        ) or tuple(ELEMENTS)
        self.level = LEVELS.index(level)
        self.device = pick_device(device)
        on_gpu = self.device.type != "cpu"
        self.half_precision = on_gpu if half_precision is None else half_precision
        self.network: ConformerNetwork = network.to(self.device)

    def _run(
        self, graphs: Sequence[GraphCodes], work: Callable[[Batch, list[int]], list[Tensor]]
    ) -> list[NDArray[np.float64]]:
        """`work` on batches of like-sized graphs, results in the order given."""
        out: list[NDArray[np.float64] | None] = [None] * len(graphs)
        with torch.inference_mode(), short_products(self.device, self.half_precision):
            pairs = batch_size(PAIRS_PER_BATCH, self.device)
            for rows in like_sized([graph.n_atoms for graph in graphs], pairs):
                made = work(collate([graphs[k] for k in rows]).to(self.device), rows)
                for row, x in zip(rows, made, strict=True):
                    out[row] = x[: graphs[row].n_atoms].cpu().numpy().astype(np.float64)
        return [x for x in out if x is not None]

    def _levels(self, count: int) -> Tensor:
        return torch.full((count,), self.level, dtype=torch.long, device=self.device)


class RefinerModel(NetworkModel, StepRefiner):
    """Moves conformers into the nearest minimum of a level of theory (GFN2-xTB), graph
    and stereo kept.
    """

    task = "refine"
    default_steps = 2  # calls of the network
    most_steps = 8

    def _refined(self, asked: Refinement) -> list[NDArray[np.float64]]:
        jobs, callback, known = asked.jobs, asked.callback, asked.known
        graphs, starts, where = [], [], []
        results = [np.array(positions, np.float64) for _, positions in jobs]
        for j, (molecule, positions) in enumerate(jobs):
            for k in np.flatnonzero(np.isfinite(positions).all((1, 2))):
                graphs.append(graph_codes(molecule))
                starts.append(np.asarray(positions[k], np.float64))
                where.append((j, k))

        def work(batch: Batch, rows: list[int]) -> list[Tensor]:
            if callback is not None:
                callback({"done": len(rows), "total": len(graphs)})
            told = None if known is None else [known[where[r][0]] for r in rows]
            return list(self._called(batch, [starts[r] for r in rows], told, asked.steps))

        for (j, k), start, x in zip(where, starts, self._run(graphs, work), strict=True):
            free = known is None or not len(known[j].atoms)
            results[j][k] = x + start.mean(0) - (x.mean(0) if free else 0.0)
            if known is not None:
                results[j][k, known[j].atoms] = known[j].positions_A  # float32 is off by 1e-6
        return results

    def _called(
        self,
        batch: Batch,
        starts_A: list[NDArray[np.float64]],
        known: list[Known] | None,
        steps: int,
    ) -> Tensor:
        """A batch (b, n, 3) after `steps` calls of the network."""
        n = batch.mask.shape[1]
        x = pad_positions(starts_A, n).to(self.device)
        held = None
        if known is not None:
            held = held_tensors(known, [start.mean(0) for start in starts_A], n, self.device)
        for _ in range(steps):
            x = self.network(batch, x, self._levels(len(starts_A)), held=held)[-1]
        return x


class GeneratorModel(NetworkModel, BatchedConformerModel, DenoisingConformerModel):
    """Draws conformers from noise in a few network calls.

    Parameters
    ----------
    weights, options : str, level and device
        As for `NetworkModel`.
    churn : float
        Noise added back in each step, 0 for the ODE.
    corrections, psi : int, float
        Of the conditional sampler, if atoms are held: Langevin steps at each low
        level, and what they sum to.
    """

    task = "generate"
    default_steps = 10

    def __init__(
        self,
        weights: str,
        *,
        churn: float = 0.6,
        corrections: int = 2,
        psi: float = 1.0,
        **options: Any,
    ):
        super().__init__(weights, **options)
        self.churn, self.corrections, self.psi = churn, corrections, psi
        self.conditions: Conditions | None = None

    def conditioned(self, conditions: Conditions) -> GeneratorModel:
        """The model with atoms held and distances kept: known atoms are noised to the
        level of each step (arXiv:2307.05431).
        """
        model = copy.copy(self)
        model.conditions = conditions
        return model

    def sample_many(
        self, jobs: Sequence[Job], *, steps: int | None = None, callback: Callback | None = None
    ) -> list[NDArray[np.float64]]:
        """`sample` over jobs of (molecule, seeds), molecules mixed in a batch."""
        starts = []
        for molecule, seeds in jobs:
            starts.append(
                np.stack(
                    [
                        SIGMA_MAX_A * sample_rng(int(s)).standard_normal((molecule.n_atoms, 3))
                        for s in seeds
                    ]
                )
            )
        return self.denoise_many(
            [(m, x) for (m, _), x in zip(jobs, starts, strict=True)],
            [s for _, s in jobs],
            SIGMA_MAX_A,
            steps,
            callback,
        )

    def denoise_many(
        self,
        jobs: Sequence[Job],
        seeds: Sequence[NDArray[np.int64]],
        sigma_A: float,
        steps: int | None,
        callback: Callback | None = None,
    ) -> list[NDArray[np.float64]]:
        """Denoise positions_A that carry noise of level `sigma_A`; each sample's
        further noise comes from its own seed.
        """
        steps = self.default_steps if steps is None else steps
        if not 1 <= steps <= 1000:
            raise InputError(f"steps must lie in 1 .. 1000, not {steps}")
        levels = noise_levels(steps, highest=sigma_A)
        flat = [
            (m, x, int(s))
            for (m, block), block_seeds in zip(jobs, seeds, strict=True)
            for x, s in zip(block, block_seeds, strict=True)
        ]
        known = None if self.conditions is None else [self.conditions.of(m) for m, _, _ in flat]

        def work(batch: Batch, rows: list[int]) -> list[Tensor]:
            some = None if known is None else [known[r] for r in rows]
            x = self._denoised(batch, [flat[r] for r in rows], some, levels)
            if callback is not None:
                callback({"done": len(rows), "total": len(flat)})
            return list(x)

        graphs = [with_hydrogen_rows(graph_codes(m)) for m, _, _ in flat]
        if known is not None:
            graphs = [turned_rows(graph, one) for graph, one in zip(graphs, known, strict=True)]
        made = self._run(graphs, work)
        if known is not None:
            made = [one.placed(x + origin(one)) for x, one in zip(made, known, strict=True)]
        ends = np.cumsum([len(block) for _, block in jobs]).tolist()
        return [
            np.array(made[end - len(block) : end], np.float64).reshape(-1, molecule.n_atoms, 3)
            for (molecule, block), end in zip(jobs, ends, strict=True)
        ]

    def _denoised(
        self,
        batch: Batch,
        rows: list[tuple[Molecule, NDArray[np.float64], int]],
        known: list[Known] | None,
        levels: list[float],
    ) -> Tensor:
        """A batch (b, n, 3) of (molecule, noisy positions, seed), denoised level by level."""
        rngs = [np.random.Generator(np.random.Philox(key=[seed, 1])) for _, _, seed in rows]
        n = batch.mask.shape[1]

        def noise() -> Tensor:
            drawn = [
                rng.standard_normal((molecule.n_atoms, 3))
                for rng, (molecule, _, _) in zip(rngs, rows, strict=True)
            ]
            return pad_positions(drawn, n).to(self.device)

        x = pad_positions([start for _, start, _ in rows], n).to(self.device)
        noising = ToClean(x, self.churn)
        if known is not None:
            held = held_tensors(known, [origin(one) for one in known], n, self.device)
            return self._conditional(batch, noising, held, levels, noise)
        for sigma, following in pairwise(levels):
            x = noising.reverse(x, sigma, following, self._clean(batch, x, sigma), noise)
        return x

    def _conditional(
        self,
        batch: Batch,
        noising: ToClean,
        held: Held,
        levels: list[float],
        noise: Callable[[], Tensor],
    ) -> Tensor:
        """Conformers (b, n, 3) around held atoms, by the Langevin-corrected sampler
        (arXiv:2307.05431); there is none in the last step.
        """

        def estimate(x: Tensor, sigma: float) -> Tensor:
            return self._clean(batch, x, sigma, held)

        *steps, last, _ = levels
        x = noising.start
        if steps:
            x = conditional_sample(
                noising,
                estimate,
                held.positions,
                ~held.mask,
                [*steps, last],
                noise,
                corrections=self.corrections,
                psi=self.psi,
                tau=TAU_A,
            )
        return estimate(torch.where(held.mask[..., None], held.positions + last * noise(), x), last)

    def _clean(self, batch: Batch, x: Tensor, sigma: float, held: Held | None = None) -> Tensor:
        """The network's estimate of the clean conformers from x (b, n, 3) of noise
        level sigma.
        """
        levels, sigmas = self._levels(len(x)), torch.full((len(x),), sigma, device=self.device)
        if held is None:
            clean: Tensor = self.network(batch, x, levels, sigmas)[-1]
            return clean
        middle = centre(x, batch.mask)  # the network shrinks noisy molecules towards the origin
        moved: Tensor = self.network(
            batch, centred(x, batch.mask), levels, sigmas, held.shifted(-middle)
        )[-1]
        return moved + middle


def load_refiner(weights: str = "refine", **options: Any) -> RefinerModel:
    """The shipped refiner, or one of your own by path."""
    return RefinerModel(weights, **options)


def load_conformer(weights: str = "conformer", **options: Any) -> GeneratorModel:
    """The shipped generator from noise, or one of your own by path."""
    return GeneratorModel(weights, **options)

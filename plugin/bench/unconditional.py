"""Scores of invented trajectories (arXiv:2410.13027): marginals, how well a small
network tells them from real ones, and what a small network learns from them about real
ones.

The small network is one layer of EGTN of width 16 (in place of EqMotion, whose code is
not ours), trained with Adam at 5e-3 in batches of 128. Everything is scored once, by a
judge that did not see it: of five parts each is scored by the network of the epoch that
was best on a second one, trained on the other three, so that a judge that only learns by
heart says ln 2 = .693, that the two cannot be told apart. The floor of each score is what
a second set of real trajectories gets.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from equidrift.bench.rows import Row, means, row
from equidrift.models.shared.run import own_random_state
from equidrift.models.trajectories.arrays import metrics, nbody
from equidrift.models.trajectories.arrays.arrays import GeometricTrajectoryModel
from equidrift.models.trajectories.data import windows
from equidrift.models.trajectories.diffusion.egtn import EGTN, EGTNConfig
from equidrift.models.trajectories.dynamics import Dynamics
from equidrift.models.trajectories.graphs import array_graph, linked, molecule_graph
from equidrift.models.trajectories.integrator.network import Graph
from equidrift.models.trajectories.invent import invent
from equidrift.models.trajectories.model import ChemistryModel
from equidrift.registry import make_trajectory_model
from equidrift.seeds import sample_seeds
from equidrift.weights import zoo

Array = NDArray[np.float64]
WIDTH, BATCH, LEARNING_RATE = 16, 128, 5e-3
FOLDS = 5  # parts: three to learn from, one to stop by, one that is scored
PATIENCE = 5  # epochs without a gain on the part to stop by
FRAMES, STRIDE = 20, 10  # frames of a trajectory, and of GFN2-MD17 every tenth


class _Judge(nn.Module):
    """One EGTN layer; `score` reads its features, `move` its positions."""

    def __init__(self, graph: Graph):
        super().__init__()
        sizes = EGTNConfig(
            graph.node.shape[-1],
            graph.edge.shape[-1],
            WIDTH,
            1,
            scaled=True,
            velocities=True,
            times=False,
        )
        self.egtn, self.head = EGTN(sizes), nn.Linear(2 * WIDTH, 1)
        nn.init.zeros_(self.head.weight)  # before it has learned anything it says 1/2
        nn.init.zeros_(self.head.bias)

    def forward(self, graph: Graph, x: Tensor, given: Tensor) -> tuple[Tensor, Tensor]:
        clock = torch.arange(x.shape[1], dtype=x.dtype)
        moved, h = self.egtn(graph, x, clock, given[None].expand(len(x), -1))
        return moved, self.head(torch.cat([h.mean((1, 2)), h.amax((1, 2))], -1))[:, 0]


@dataclass(frozen=True)
class _Study:
    """What a judge learns: `loss(judge, indices)` (k,) of each thing of `learn`; it is
    stopped where that of `stop` is least.
    """

    loss: Callable[[_Judge, Tensor], Tensor]
    learn: Tensor
    stop: Tensor


def _trained(graph: Graph, study: _Study, epochs: int, seed: int) -> _Judge:
    """The judge of the best of at most `epochs` epochs, or of none; the user's random
    state is left alone.
    """
    generator = torch.Generator().manual_seed(seed)
    with own_random_state(seed):
        judge = _Judge(graph)
    optimiser = torch.optim.Adam(judge.parameters(), lr=LEARNING_RATE)
    best, least, waited = copy.deepcopy(judge.state_dict()), _mean_loss(judge, study), 0
    for _ in range(epochs):
        order = study.learn[torch.randperm(len(study.learn), generator=generator)]
        for part in torch.split(order, BATCH):
            optimiser.zero_grad(set_to_none=True)
            torch.autograd.backward(study.loss(judge, part).mean())
            nn.utils.clip_grad_norm_(judge.parameters(), 1.0)
            optimiser.step()
        now, waited = _mean_loss(judge, study), waited + 1
        if now < least:
            best, least, waited = copy.deepcopy(judge.state_dict()), now, 0
        if waited >= PATIENCE:
            break
    judge.load_state_dict(best)
    return judge.eval()


@torch.no_grad()
def _mean_loss(judge: _Judge, study: _Study) -> float:
    return float(study.loss(judge, study.stop).mean())


def _folds(count: int, seed: int) -> list[Tensor]:
    """The numbers below `count` in FOLDS parts, at random."""
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    return [order[k::FOLDS] for k in range(FOLDS)]


def classification(graph: Graph, made: Array, real: Array, epochs: int, seed: int = 0) -> Array:
    """Cross-entropies (2 k,) of classifiers on made and real trajectories (k, t, n, d)
    that they did not see, made ones first; `graph` of the k.

    What is made for a graph and what is real of it come in the same part.
    """
    k = len(made)
    frames = torch.from_numpy(np.concatenate([made, real])).float()
    label = torch.cat([torch.zeros(k), torch.ones(k)])
    frames = (frames - frames.mean((1, 2), keepdim=True)) / frames.std()
    none = torch.zeros(frames.shape[1], dtype=torch.bool)

    def cross_entropy(judge: _Judge, i: Tensor) -> Tensor:
        logits = judge(graph[i % k], frames[i], none)[1]
        return functional.binary_cross_entropy_with_logits(logits, label[i], reduction="none")

    parts = [torch.cat([part, part + k]) for part in _folds(k, seed)]
    found = torch.zeros(2 * k)
    for fold, scored in enumerate(parts):
        stop = (fold + 1) % FOLDS
        learn = torch.cat([p for j, p in enumerate(parts) if j not in (fold, stop)])
        judge = _trained(graph, _Study(cross_entropy, learn, parts[stop]), epochs, seed)
        with torch.no_grad():
            found[scored] = cross_entropy(judge, scored)
    return np.asarray(found.numpy(), np.float64)


def prediction(graph: Graph, made: Array, real: Array, epochs: int, seed: int = 0) -> Array:
    """Mean squared errors (k,) on real trajectories of a forecaster, first half to
    second, that was trained on made ones, and stopped where a fifth of those says.
    """
    half = made.shape[1] // 2
    given = torch.arange(made.shape[1]) < half
    scale = float(real.std())
    sets = [
        torch.from_numpy(a - a.mean((1, 2), keepdims=True)).float() / scale for a in (made, real)
    ]

    def error(which: Tensor, judge: _Judge, i: Tensor) -> Tensor:
        x = which[i]
        last = x[:, half - 1 : half]
        ahead = torch.arange(1, x.shape[1] - half + 1, dtype=x.dtype)[None, :, None, None]
        line = last + ahead * (last - x[:, half - 2 : half - 1])
        moved, _ = judge(graph[i], torch.cat([x[:, :half], line], 1), given)
        apart: Tensor = (moved[:, half:] - x[:, half:]).square()
        return apart.mean((1, 2, 3))

    stop, *learn = _folds(len(made), seed)
    study = _Study(lambda judge, i: error(sets[0], judge, i), torch.cat(learn), stop)
    judge = _trained(graph, study, epochs, seed)
    with torch.no_grad():
        errors = error(sets[1], judge, torch.arange(len(real)))
    return np.asarray(scale**2 * errors.numpy(), np.float64)


def scores(
    graph: Graph, made: Array, real: Array, epochs: int, bonds: NDArray[np.int64] | None = None
) -> dict[str, float]:
    """The three scores; the marginals are those of bond lengths if there are bonds,
    else of coordinates.
    """

    def numbers(x: Array) -> Array:
        if bonds is not None:
            found = np.linalg.norm(x[..., bonds[:, 0], :] - x[..., bonds[:, 1], :], axis=-1)
            return np.asarray(found, np.float64)
        return np.asarray(x - x.mean((1, 2), keepdims=True), np.float64)

    learnt = means(
        {
            "classification": classification(graph, made, real, epochs),
            "prediction": prediction(graph, made, real, epochs),
        }
    )
    return {"marginal": metrics.marginal(numbers(made), numbers(real)), **learnt}


def charged_rows(count: int, epochs: int) -> list[Row]:
    """`count` invented trajectories of charged particles, with the charges of the test
    part, against that part.

    geotdm: unconditional GeoTDM. equidrift: its samples, carried anew by the learned
    forces. resampled: training trajectories, the floor.
    """
    real, train = nbody.part("charged", "test", count), nbody.part("charged", "train", count)
    graph, seeds = array_graph(real.nodes, real.edges), sample_seeds(5, 0, count)
    model, carrier = (
        GeometricTrajectoryModel("geotdm-charged-unconditional"),
        GeometricTrajectoryModel("nbody-charged", noise=0.0),
    )
    drawn = model.sample_many(real.nodes, real.edges, FRAMES, seeds)
    made = {
        "geotdm": drawn,
        "equidrift": carrier.carried(drawn, real.nodes, real.edges, seeds),
        "resampled": train.positions[:, :FRAMES],
    }
    truth = real.positions[:, :FRAMES]
    return [
        row(
            f"charged-unconditional/{name}",
            scores(graph, x, truth, epochs) | {"epochs": epochs},
            count,
        )
        for name, x in made.items()
    ]


def molecule_rows(dynamics: Dynamics, name: str, count: int, epochs: int) -> list[Row]:
    """`count` invented trajectories of a molecule of GFN2-MD17 against the last fifth
    of its dynamics.

    geotdm: unconditional GeoTDM. equidrift: thermal velocities on geometries of the
    first 60 %, warmed up by the learned integrator. resampled: windows of the first 60
    %, the floor.
    """
    train, test = dynamics.part(0.0, 0.6), dynamics.part(0.8, 1.0)
    molecule, dt_fs = test.molecule, STRIDE * test.spacing_fs
    truth, seen = (windows(part.positions_A[0], FRAMES, STRIDE, count) for part in (test, train))
    graph, seeds = molecule_graph(molecule, test.level, count), sample_seeds(5, 0, count)
    graph.linked = linked(graph, 3)
    ours, geotdm = (
        make_trajectory_model("default"),
        make_trajectory_model(str(zoo() / f"geotdm-{name}-unconditional.json")),
    )

    def invented(model: ChemistryModel, **options: Any) -> Array:
        return np.stack(
            [t.positions_A for t in invent(model, molecule, FRAMES, seeds, dt_fs=dt_fs, **options)]
        )

    made = {
        "geotdm": invented(cast(ChemistryModel, geotdm)),
        "equidrift": invented(cast(ChemistryModel, ours), start_A=seen[:, 0]),
        "resampled": seen,
    }
    return [
        row(
            f"gfn2md17-{name}-unconditional/{method}",
            scores(graph, x, truth, epochs, molecule.bonds) | {"epochs": epochs},
            count,
        )
        for method, x in made.items()
    ]

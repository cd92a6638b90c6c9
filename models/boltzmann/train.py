"""`equidrift train boltzmann CONFIG`: a Boltzmann generator of the user's own molecule,
from frames of its own dynamics.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from equidrift.errors import InputError
from equidrift.models.boltzmann.data import Batches, Frames, chart_data, soft_torsions
from equidrift.models.boltzmann.network import BoltzmannFlow, FlowConfig
from equidrift.models.boltzmann.objective import Batch, likelihood_loss, path_loss
from equidrift.models.boltzmann.sampler import BoltzmannGenerator, load_boltzmann
from equidrift.models.shared.config import Name, SplitTraining, check_run, config_errors
from equidrift.models.shared.run import Request, Task, own_random_state, run, training_of
from equidrift.models.shared.trainer import Progress
from equidrift.records import SYMBOLS
from equidrift.units import BOLTZMANN_EV_PER_K

LEAST_FRAMES = 10  # that are held out; of fewer the loss says nothing


class BoltzmannTraining(SplitTraining):
    """What a training YAML may say. Unknown keys are errors.

    `data` names .npz files (`Frames.load`) of one molecule at one temperature; `shares`
    is how much of every batch each gives (all alike if left out) and `importance` what
    its frames count in the likelihood: a run confined to a rare basin has a large share
    and an importance of (population of the basin) / share. After `likelihood_steps` the
    torsions' density p(s) stays as it is (measured on alanine dipeptide: 6,000 frames
    are overfitted after a few thousand steps), unless `likelihood` > 0, and the rest
    goes on by path gradients, which need forces.
    """

    schedule_defaults: ClassVar[dict[str, Any]] = {"ema": 0.995, "warmup_steps": 50}

    name: Name = "my-boltzmann"
    shares: list[float] = Field(default=[])
    importance: list[float] = Field(default=[])
    temperature_K: float | None = Field(default=None, gt=0)
    batch: int = Field(default=256, ge=2)
    copies: int = Field(default=3, ge=1)
    likelihood_steps: int = Field(default=400, ge=0)
    likelihood: float = Field(default=0.0, ge=0)
    description: str = ""


def fit(
    sets: Frames | Sequence[Frames],
    out: Path | str,
    *,
    budget_s: float | None = None,
    resume: bool = False,
    progress: Progress | None = None,
    **settings: Any,
) -> BoltzmannGenerator:
    """A generator of the molecule in these frames; as `run_training`, with its other
    `settings` by name.
    """
    with config_errors():
        c = BoltzmannTraining.model_validate({**settings, "data": ["frames"]})
        schedule = c.make_schedule()
    request = Request({}, Path(out), budget_s, resume, progress)
    check_run(request.out, budget_s, schedule.steps, resume)
    task = make_task(c, [sets] if isinstance(sets, Frames) else list(sets))
    return load_boltzmann(run(c, task, schedule, request)[0])


def _of_files(c: BoltzmannTraining, _begun: None, _out: Path) -> Task:
    """The task of the files that `data` names."""
    options = {} if c.temperature_K is None else {"temperature_K": c.temperature_K}
    return make_task(c, [Frames.load(path, **options) for path in c.data])


def make_task(c: BoltzmannTraining, sets: list[Frames]) -> Task:
    """What is trained: likelihood first, then path gradients if every set has forces."""
    for name, values in (("shares", c.shares), ("importance", c.importance)):
        if values and (len(values) != len(sets) or min(values) <= 0):
            raise InputError(
                f"{name} must hold a positive number for each of the {len(sets)} data files, got "
                f"{values}"
            )
    sets, held = part_frames(sets, c.held_out)
    flow = make_flow(sets, c.seed, c.network)
    batches = training_batches(flow, sets, c)

    def batch(step: int) -> Batch:
        made = batches(step)
        return made if step >= c.likelihood_steps else dataclasses.replace(made, score=None)

    def loss(network: nn.Module, data: Batch) -> Tensor:
        if data.score is None:
            return likelihood(network, data)
        return path_loss(cast(BoltzmannFlow, network), data, c.likelihood)

    frames = sum(len(s.positions_A) for s in sets)
    held_out = held_batches(flow, held, c)
    return Task(
        flow, batch, loss, card_of(c, flow, sets), held_out, likelihood, summary={"frames": frames}
    )


def training_batches(flow: BoltzmannFlow, sets: Sequence[Frames], c: BoltzmannTraining) -> Batches:
    """Batches of all sets in the flow's chart, each with its share and importance."""
    kT_eV = BOLTZMANN_EV_PER_K * sets[0].temperature_K
    shares, importance = c.shares or [s.share for s in sets], c.importance or [1.0] * len(sets)
    chosen: list[tuple[Tensor, Tensor | None, Any, float]] = []
    for k, frames in enumerate(sets):
        y, score = chart_data(flow, frames, kT_eV, copies=c.copies, seed=c.seed + k)
        weights = (
            np.ones(len(frames.positions_A))
            if frames.weights is None
            else frames.weights / frames.weights.mean()
        )
        chosen.append((y, score, weights * importance[k], shares[k]))
    return Batches(chosen, c.batch, c.seed)


def part_frames(sets: Sequence[Frames], share: float) -> tuple[list[Frames], list[Frames]]:
    """Each set without its last frames, and these: neighbours in time are alike, so
    that a block is held out, not single frames.
    """
    kept, held = [], []
    for frames in sets:
        n = len(frames.positions_A)
        count = round(share * n)
        if count < LEAST_FRAMES:
            kept.append(frames)
            continue
        parts = []
        for rows in (slice(0, n - count), slice(n - count, n)):
            forces = None if frames.forces_eV_A is None else frames.forces_eV_A[rows]
            weights = None if frames.weights is None else frames.weights[rows]
            parts.append(
                dataclasses.replace(
                    frames,
                    positions_A=frames.positions_A[rows],
                    forces_eV_A=forces,
                    weights=weights,
                )
            )
        kept.append(parts[0])
        held.append(parts[1])
    return kept, held


def held_batches(
    flow: BoltzmannFlow, held: Sequence[Frames], c: BoltzmannTraining
) -> Callable[[int], Batch] | None:
    """Batches of the frames that are not trained on."""
    if not held:
        return None
    kT_eV = BOLTZMANN_EV_PER_K * held[0].temperature_K
    plain = [dataclasses.replace(frames, forces_eV_A=None) for frames in held]
    rows = [
        (chart_data(flow, frames, kT_eV)[0], None, np.ones(len(frames.positions_A)), 1.0)
        for frames in plain
    ]
    return Batches(rows, min(c.batch, sum(len(row[0]) for row in rows)), c.seed)


def likelihood(network: nn.Module, batch: Batch) -> Tensor:
    """The loss of held-out frames: minus their log density in the chart."""
    return likelihood_loss(cast(BoltzmannFlow, network), batch)


def make_flow(
    sets: Sequence[Frames], seed: int = 0, network: dict[str, Any] | None = None
) -> BoltzmannFlow:
    """The flow of a molecule, started as the normal distribution of its first set of
    frames; the user's random state is left alone.

    Raises
    ------
    InputError
        where the sets are not of one molecule and temperature, or `network` has an
        unknown key.
    """
    first = sets[0]
    for other in sets[1:]:
        if (
            not np.array_equal(first.numbers, other.numbers)
            or first.temperature_K != other.temperature_K
        ):
            raise InputError(
                "the data files are of different molecules or temperatures; a Boltzmann generator "
                "is of one system"
            )
    tree = first.tree()
    positions = np.concatenate([s.positions_A for s in sets])
    try:
        config = FlowConfig(
            **{
                **tree.to_dict(),
                "soft": soft_torsions(tree, positions),
                "seed": seed,
                **(network or {}),
            }
        )
    except TypeError as error:
        raise InputError(f"the network settings do not fit: {error}") from error
    with own_random_state(seed):
        flow = BoltzmannFlow(config)
    flow.start_from(torch.as_tensor(np.asarray(first.positions_A, np.float64)))
    return flow


def card_of(c: BoltzmannTraining, flow: BoltzmannFlow, sets: Sequence[Frames]) -> dict[str, Any]:
    """What the card says beside what all cards say."""
    frames = sum(len(s.positions_A) for s in sets)
    card = {
        "family": "boltzmann",
        "task": "boltzmann",
        "what": f"draws one molecule with an exact density; from {frames} frames",
        "config": flow.config.to_dict(),
        "numbers": sets[0].numbers.tolist(),
        "bonds": sets[0].bonds.tolist(),
        "temperature_K": sets[0].temperature_K,
        "elements": sorted({SYMBOLS[z] for z in sets[0].numbers.tolist()}),
        "max_atoms": len(sets[0].numbers),
        "units": "A",
        "dtype": "float32",
    }
    return card | ({"description": c.description} if c.description else {})


run_training = training_of(BoltzmannTraining, _of_files)

"""One skeleton for every training run, and one way to load what it made.

A family says what its config holds (`TrainingConfig`) and makes a `Task` of it:
network, batches, loss, and what its card says beside what all cards say. `train` does
the rest.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypedDict, TypeVar

import torch
from torch import nn

from equidrift.errors import WeightsError
from equidrift.models.shared.config import TrainingConfig, check_run, config_errors, initial
from equidrift.models.shared.trainer import Batches, Loss, Progress, Schedule, Trainer
from equidrift.weights import load_weights, save_weights

Config = TypeVar("Config", bound=TrainingConfig)
Made = TypeVar("Made", bound=nn.Module)


@dataclass
class Task:
    """What a family brings to a training.

    Attributes
    ----------
    network : nn.Module
        With its first weights.
    batches, loss : Batches, Loss
        The batch of each step, and the loss of a network on a batch.
    card : dict
        Family, task, config, elements, max_atoms, units, dtype and what else the
        family's loader reads; `what` becomes the beginning of the description.
    held_out, held_out_loss : Batches or None, Loss or None
        Batches that are not trained on, and their loss if it is not `loss`.
    summary : dict
        What `train` returns beside what every run tells.
    finish : callable
        What the trained network adds to the card. It is called when the network holds
        the averaged weights.
    unsaved : tuple
        Entries of the state dict that are left out of the weights file.
    """

    network: nn.Module
    batches: Batches
    loss: Loss
    card: dict[str, Any]
    held_out: Batches | None = None
    held_out_loss: Loss | None = None
    summary: dict[str, Any] = field(default_factory=dict)
    finish: Callable[[nn.Module], dict[str, Any]] = lambda _: {}
    unsaved: tuple[str, ...] = ()


class Kept(TypedDict, total=False):
    """Where a training is kept, and who is told of it: keywords of every `fit`.

    out : Path or str or None
        Folder of checkpoints; a temporary one if not given.
    resume : bool
        Go on from the checkpoint there.
    progress : callable or None
        Is told of every twentieth step.
    """

    out: Path | str | None
    resume: bool
    progress: Progress | None


@dataclass(frozen=True)
class Request:
    """What a training is asked for.

    Attributes
    ----------
    config : dict
        The fields of the family's config.
    out : Path
        Folder of the checkpoint and of the result.
    budget_s : float or None
        Seconds of training in all, those before a resume included; None if `schedule`
        sets `steps`.
    resume : bool
        Go on from the checkpoint in `out`.
    progress : Progress or None
        Is told of every twentieth step.
    """

    config: dict[str, Any]
    out: Path
    budget_s: float | None = None
    resume: bool = False
    progress: Progress | None = None

    @property
    def how(self) -> Kept:
        """Where and how, as keywords of a model's `fit`."""
        return {"out": self.out, "resume": self.resume, "progress": self.progress}


# (config, out, budget_s, resume, progress) -> what was done; see `entry`
RunTraining = Callable[..., dict[str, Any]]


def entry(training: Callable[[Request], dict[str, Any]]) -> RunTraining:
    """`run_training` of a function of a request."""

    def run_training(
        config: dict[str, Any],
        out: Path,
        budget_s: float | None,
        resume: bool = False,
        progress: Progress | None = None,
    ) -> dict[str, Any]:
        return training(Request(config, out, budget_s, resume, progress))

    run_training.__doc__ = training.__doc__
    return run_training


def training_of(kind: type[Config], make_task: Callable[[Config, Any, Path], Task]) -> RunTraining:
    """`run_training` of a family whose config makes a task; see `train`."""
    return entry(lambda request: train(kind, make_task, request))


def either(key: str, special: Mapping[str, RunTraining], usual: RunTraining) -> RunTraining:
    """`run_training` of a family that trains otherwise where its config's `key` says so."""

    def chosen(request: Request) -> dict[str, Any]:
        value = request.config.get(key)
        run_training = next((made for name, made in special.items() if value == name), usual)
        return run_training(
            request.config, request.out, request.budget_s, request.resume, request.progress
        )

    return entry(chosen)


def train(
    kind: type[Config], make_task: Callable[[Config, Any, Path], Task], request: Request
) -> dict[str, Any]:
    """Train by a time budget and write `out/NAME.safetensors` with its card; returns
    what was done.

    Parameters
    ----------
    kind : type[Config]
        The family's config.
    make_task : callable
        The task of a config, of what its `begin` made, and of the folder `out`.
    request : Request
        Config, folder and budget.

    Raises
    ------
    ConfigError
        for a config that does not fit.
    InputError
        for data that cannot be used, or a folder `out` that holds a checkpoint when
        `resume` is not given.
    """
    with config_errors():
        c = kind.model_validate(request.config)
        schedule, begun = c.make_schedule(), c.begin()
    budget_s = check_run(request.out, request.budget_s, schedule.steps, request.resume)
    task = make_task(c, begun, request.out)
    path, summary = run(c, task, schedule, replace(request, budget_s=budget_s))
    return {"weights": str(path), **summary}


def run(
    c: TrainingConfig, task: Task, schedule: Schedule, request: Request
) -> tuple[Path, dict[str, Any]]:
    """Train a task; (path of the weights, what was done)."""
    trainer = fit(
        task.network,
        task.batches,
        task.loss,
        schedule,
        math.inf if request.budget_s is None else request.budget_s,
        out=request.out,
        resume=request.resume,
        progress=request.progress,
        held_out=task.held_out,
        held_out_loss=task.held_out_loss,
    )
    more = task.finish(task.network)
    card = make_card(c, trainer, task.card) | more
    state = {key: value for key, value in trainer.ema.items() if key not in task.unsaved}
    path = save_weights(request.out / f"{c.name}.safetensors", state, card)
    return path, {**trainer.summary(), **task.summary}


def fit(  # noqa: PLR0913 - what a Task and a run hold, for callers without a config
    network: nn.Module,
    batches: Batches,
    loss: Loss,
    schedule: Schedule,
    budget_s: float,
    *,
    out: Path | str | None = None,
    resume: bool = False,
    progress: Progress | None = None,
    held_out: Batches | None = None,
    held_out_loss: Loss | None = None,
) -> Trainer:
    """Train a network, which is left with the averaged weights and in evaluation mode.

    Parameters
    ----------
    network, batches, loss : nn.Module, Batches, Loss
        What is trained, on what, and how it is judged.
    schedule : Schedule
        Rates and steps.
    budget_s : float
        Seconds of training; infinite if the schedule's steps end it.
    out, resume, progress : Path or str or None, bool, callable or None
        See `Kept`.
    held_out, held_out_loss : Batches or None, Loss or None
        Batches that are not trained on, and their loss if it is not `loss`.
    """
    with tempfile.TemporaryDirectory() if out is None else nullcontext(out) as folder:
        trainer = Trainer(network, schedule, Path(folder), held_out, held_out_loss)
        if resume:
            trainer.resume()
        trainer.fit(batches, loss, budget_s, progress)
    network.load_state_dict(trainer.ema)
    network.eval()
    return trainer


def make_card(c: TrainingConfig, trainer: Trainer, own: dict[str, Any]) -> dict[str, Any]:
    """The model card of a run: what all cards say, and what the family's own says."""
    own = dict(own)
    what = own.pop("what", "a model")
    return {
        "name": c.name,
        "description": f"{what}; trained for {trainer.step} steps on {trainer.samples} samples",
        "licence": c.licence,
        "training_data": c.training_data,
        "quality": {},
        **trainer.card(),
        **own,
    }


def save_module(path: Path | str, module: nn.Module, card: Mapping[str, Any]) -> Path:
    """Write PATH.safetensors, in float32, and its card; returns the former."""
    state = {key: value.clone().float().cpu() for key, value in module.state_dict().items()}
    return save_weights(path, state, {**card, "name": card.get("name", Path(path).stem)})


@contextmanager
def own_random_state(seed: int | None = None) -> Iterator[None]:
    """Torch's random state is put back at the end, so that a network's first weights
    are not drawn from the user's.

    Parameters
    ----------
    seed : int or None
        What is drawn within depends on it alone; None where what is drawn is replaced
        anyway.
    """
    with torch.random.fork_rng(devices=[]):
        if seed is not None:
            torch.default_generator.manual_seed(seed)
        yield


def fresh(make: Callable[[], Made], seed: int) -> Made:
    """A network of random weights that depend on the seed alone; the user's random
    state is left alone.
    """
    with own_random_state(seed):
        network = make()
    reinitialise(network, torch.Generator().manual_seed(seed))
    return network


def begun(
    c: TrainingConfig,
    init: str | None,
    task: str,
    make: Callable[[dict[str, Any]], Made],
) -> Made:
    """The network that a training begins with: that of `init`, or one of random weights.

    Parameters
    ----------
    c : TrainingConfig
        Its seed, and the sizes it asks for.
    init : str or None
        Name or path of weights.
    task : str
        What the card of `init` must say.
    make : callable
        The network of sizes.
    """
    state, sizes = None, c.network
    if init:
        state, card = initial(init, (task,), c.network)
        sizes = card["config"]
    network = fresh(lambda: make(sizes), c.seed)
    if state is not None:
        network.load_state_dict(state)
    return network


def load_network(
    weights: str | Path, task: str | None, make: Callable[[dict[str, Any]], Made]
) -> tuple[Made, dict[str, Any]]:
    """(network in evaluation mode, card) of a shipped model's name, or of the path of a
    card or weights.

    Parameters
    ----------
    task : str or None
        What the card's `task` must be.
    make : callable
        The network, of any weights, from the card's `config`.

    Raises
    ------
    WeightsError
        for a model of another task, and for weights that do not fit the card.
    """
    state, card = load_weights(weights)
    check_task(weights, card, task)
    with own_random_state():
        network = make(card["config"])
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise WeightsError(f"the weights of {weights} do not fit its card: {error}") from error
    return network.eval(), card


def check_task(weights: str | Path, card: dict[str, Any], task: str | None) -> None:
    """Raise `WeightsError` where a card is of a model for another task."""
    if card.get("task") != task:
        raise WeightsError(f"{weights} is a model for task {card.get('task')!r}, expected {task!r}")


def reinitialise(network: torch.nn.Module, generator: torch.Generator) -> None:
    """Redraw the linear layers and embeddings from `generator`, so that a run does not
    depend on the global random state.
    """
    # zero-initialised heads stay as they are, biases included
    linear = [
        m
        for m in network.modules()
        if isinstance(m, torch.nn.Linear) and bool(m.weight.detach().any())
    ]
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, torch.nn.Linear) and module in linear:
                bound = module.in_features**-0.5
                module.weight.uniform_(-bound, bound, generator=generator)
            elif isinstance(module, torch.nn.Embedding):
                module.weight.normal_(0.0, 0.5, generator=generator)
        for module in linear:
            if module.bias is not None:
                bound = module.in_features**-0.5
                module.bias.uniform_(-bound, bound, generator=generator)

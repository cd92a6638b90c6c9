"""One skeleton for every training run, and one way to load what it made."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from equidrift.errors import WeightsError
from equidrift.weights import load_weights


@contextmanager
def own_random_state(seed: int | None = None) -> Iterator[None]:
    """Torch's random state is put back at the end, so that a network's first weights are not drawn from the user's.

    Parameters
    ----------
    seed : what is drawn within depends on it alone; None where what is drawn is replaced anyway.
    """
    with torch.random.fork_rng(devices=[]):
        if seed is not None:
            torch.random.default_generator.manual_seed(seed)
        yield


def fresh(make: Callable[[], torch.nn.Module], seed: int) -> Any:
    """A network of random weights that depend on the seed alone; the user's random state is left alone."""
    with own_random_state(seed):
        network = make()
    reinitialise(network, torch.Generator().manual_seed(seed))
    return network


def load_network(
    weights: str | Path, task: str | None, make: Callable[[dict[str, Any]], torch.nn.Module]
) -> tuple[Any, dict[str, Any]]:
    """(network in evaluation mode, card) of a shipped model's name, or of the path of a card or weights.

    Parameters
    ----------
    task : what the card's `task` must be.
    make : the network, of any weights, from the card's `config`.

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
    """Redraw the linear layers and embeddings from `generator`, so that a run does not depend on the global random state."""
    # zero-initialised heads stay as they are, biases included
    linear = [m for m in network.modules() if isinstance(m, torch.nn.Linear) and bool(m.weight.detach().any())]
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

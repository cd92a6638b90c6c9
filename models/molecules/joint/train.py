"""`equidrift train molecules CONFIG` for `model: joint`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from equidrift.errors import ConfigError, InputError
from equidrift.models.molecules.data import PROPERTIES, QM9, SPLITS, load_qm9
from equidrift.models.molecules.joint.additive import Additive
from equidrift.models.molecules.joint.data import (
    MAX_HEAVY,
    TYPES,
    Heavy,
    kept_tokens,
    property_scale,
)
from equidrift.models.molecules.joint.network import JointConfig, JointNetwork
from equidrift.models.molecules.joint.objective import QM9_WEIGHTS, Batches, Example, joint_loss
from equidrift.models.molecules.joint.spectral import Spectral, SpectralBatches
from equidrift.models.molecules.joint.spectrum import COMPONENTS, LEAST_SPREAD
from equidrift.models.molecules.spectra.sampler import Spectra, read_spectra
from equidrift.models.molecules.spectra.train import matched
from equidrift.models.shared.config import Name, TrainingConfig, initial
from equidrift.models.shared.devices import short_products
from equidrift.models.shared.run import Task, fresh, training_of
from equidrift.records import SYMBOLS
from equidrift.spectrum import relative_roots
from equidrift.weights import find, read_card

VALIDATION = 1024  # molecules of the validation part that tell the held-out loss


class JointTraining(TrainingConfig):
    """What a training YAML may say. Unknown keys are errors.

    data : packed molecules that `tools/make_molecules.py` wrote; None is the one in the
        data folder or the cache.
    init : a model to go on from, by name or path.
    condition_on : the half of the training molecules whose properties are learnt from:
        'a' leaves 'b' to an independent judge.
    repeat : how often an epoch shows the molecules of that half.
    spectra : infrared spectra of some of the molecules, of `tools/make_spectra.py`: the
        network learns to be told them. Those of held-out molecules are not trained on.
    spectra_share : how many of the molecules that an epoch shows have a spectrum.
    signal : limits of the signal-to-noise ratio that weighs the places, in 1/A^2.
    """

    name: Name = "my-molecules"
    data: str | None = None
    init: str | None = None
    condition_on: str = Field(default="a", pattern="^(a|b|both)$")
    repeat: int = Field(default=3, ge=1)
    spectra: str | None = None
    spectra_share: float = Field(default=0.5, gt=0, lt=1)
    batch: int = Field(default=128, ge=2)
    signal: tuple[float, float] = QM9_WEIGHTS.signal
    half_precision: bool = True

    def begin(self) -> JointNetwork:
        """The network, with the weights of `init` or random ones."""
        return make_network(self)


def make_task(c: JointTraining, network: JointNetwork, _out: Path) -> Task:
    """What is trained. Raises `InputError` for data without a usable molecule, or spectra
    of none that is trained on.
    """
    qm9 = load_qm9(c.data)
    data, rows = training_part(c, qm9)
    mean, deviation = property_scale(data.props)
    spectra = None if c.spectra is None else read_spectra(c.spectra)
    unseen, unseen_rows = _validation_part(qm9, spectra)

    def batches(of: Heavy, its_rows: NDArray[np.int64], part: str, repeat: int) -> Batches:
        if spectra is None:
            return Batches(of, mean, deviation, size=c.batch, seed=c.seed, repeat=repeat)
        vectors, which = _found(qm9, spectra, part, its_rows)
        with_spectra = Spectral(of, which, vectors, c.spectra_share)
        return SpectralBatches(
            with_spectra, mean, deviation, size=c.batch, seed=c.seed, repeat=repeat
        )

    weights = dataclasses.replace(QM9_WEIGHTS, signal=c.signal)

    def loss(model: nn.Module, example: Example) -> Tensor:
        with short_products(example.type_weight.device, c.half_precision):
            return joint_loss(model, example, weights)

    training = batches(data, rows, SPLITS[0], c.repeat)
    summary = {"molecules": len(data), "conditioned": int(data.conditional.sum())}
    card = card_of(network.config, data)
    if isinstance(training, SpectralBatches):
        count = learn_spectra(c, network, training)
        summary["spectra"] = count
        card["what"] += f", also for an infrared spectrum; {count} of those were learnt from"
    held_out = batches(unseen, unseen_rows, SPLITS[1], 1) if len(unseen) else None
    return Task(network, training, loss, card, held_out, summary=summary)


def learn_spectra(c: JointTraining, network: JointNetwork, training: SpectralBatches) -> int:
    """Tell a network that knows no spectra yet the components of those that it is
    trained on; how many they are.

    Raises `InputError` where there are none.
    """
    if not len(training.vectors):
        raise InputError(f"{c.spectra} holds no spectrum of a training molecule of the data")
    embedding = network.targets.spectrum
    if embedding is not None and not embedding.learnt:
        embedding.learn(relative_roots(training.vectors), LEAST_SPREAD)
    return len(training.vectors)


def _found(
    qm9: QM9, spectra: Spectra, part: str, rows: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Spectra (s, bins) of the molecules of a part that are in these rows of QM9, and of
    each row its spectrum, -1 for none.
    """
    place_of = {int(row): k for k, row in enumerate(rows)}
    places, owners = matched(qm9, spectra, part)
    here = np.array([int(row) in place_of for row in owners], bool)
    which = np.full(len(rows), -1, np.int64)
    which[[place_of[int(row)] for row in owners[here]]] = np.arange(here.sum())
    return spectra.vectors[places[here]], which


def training_part(c: JointTraining, qm9: QM9) -> tuple[Heavy, NDArray[np.int64]]:
    """The training part as tokens, and which rows of QM9 they are.

    Raises `InputError` where no molecule of the file can be held.
    """
    rows = qm9.rows(SPLITS[0])
    half_b = qm9.half_b[rows]
    data, kept = kept_tokens(
        qm9,
        rows,
        conditional={"a": ~half_b, "b": half_b, "both": np.ones_like(half_b)}[c.condition_on],
    )
    if not len(data):
        raise InputError(
            f"no molecule of the training part of {c.data or 'QM9'} can "
            "be held: at most 9 heavy atoms of C, N, O and F"
        )
    return data, kept


def training_molecules(c: JointTraining) -> Heavy:
    """`training_part` of the config's data."""
    return training_part(c, load_qm9(c.data))[0]


def _validation_part(qm9: QM9, spectra: Spectra | None) -> tuple[Heavy, NDArray[np.int64]]:
    """Molecules of the validation part as tokens, and their rows: the first few, since
    they tell a loss alone, those with a spectrum before others.
    """
    rows = qm9.rows(SPLITS[1])
    if spectra is not None:
        rows = rows[np.argsort(~np.isin(qm9.index[rows], spectra.number), kind="stable")]
    rows = rows[:VALIDATION]
    return kept_tokens(qm9, rows, conditional=np.ones(len(rows), bool))


def make_network(c: JointTraining) -> JointNetwork:
    """The network of a config, with the weights of `init` or random ones; the user's
    random state is left alone.

    Raises `ConfigError` for sizes of spectra without any.
    """
    if c.init is None:
        sizes = JointConfig(**_sizes(c, c.network))
        return fresh(lambda: JointNetwork(sizes), c.seed)
    known = read_card(find(c.init))["config"].get("spectrum", 0)
    asked = {key: value for key, value in c.network.items() if known or key != "spectrum"}
    state, card = initial(c.init, ("joint",), asked)
    sizes = JointConfig(**_sizes(c, {**card["config"], **c.network}))
    network = fresh(lambda: JointNetwork(sizes), c.seed)
    of_spectra = {} if known else _spectral_state(network)  # `init` has none
    network.load_state_dict({**of_spectra, **state})
    return network


def _spectral_state(network: JointNetwork) -> dict[str, Tensor]:
    """The state of what takes spectra, by its names in the whole network."""
    begin = "targets.spectrum."
    return {key: value for key, value in network.state_dict().items() if key.startswith(begin)}


def _sizes(c: JointTraining, network: dict[str, Any]) -> dict[str, Any]:
    """The sizes of a network that takes spectra if the config names any."""
    components = network.get("spectrum", 0)
    if c.spectra is None and components:
        raise ConfigError(
            [f"spectra: is missing; the network takes {components} components of spectra; give it"]
        )
    if c.spectra is not None and not components:
        return {**network, "spectrum": COMPONENTS}
    return network


def card_of(config: JointConfig, data: Heavy) -> dict[str, Any]:
    """What the card says beside what all cards say: among it the scale and the range of
    each property.
    """
    learnt = data
    if bool(data.conditional.any()):
        learnt = data.take(np.flatnonzero(data.conditional.numpy()))
    known = learnt.props
    mean, deviation = property_scale(data.props)
    numbers = torch.stack([mean, deviation, known.amin(0), known.amax(0)], dim=1).tolist()
    keys = ("mean", "deviation", "least", "greatest")
    scale = {
        name: dict(zip(keys, row, strict=True))
        for name, row in zip(PROPERTIES, numbers, strict=True)
    }
    return {
        "family": "molecules",
        "task": "joint",
        "what": "draws elements, charges, hydrogens, bonds "
        "and coordinates of the heavy atoms together",
        "config": dataclasses.asdict(config),
        "properties": scale,
        "additive": Additive.fit(learnt, mean, deviation).card(),
        "sizes": (torch.bincount(data.mask.sum(1) - 1, minlength=MAX_HEAVY) / len(data)).tolist(),
        "elements": sorted({SYMBOLS[z] for z, _, _ in TYPES} | {"H"}),
        "max_atoms": 29,
        "units": "A",
        "dtype": "bfloat16",
    }


run_training = training_of(JointTraining, make_task)

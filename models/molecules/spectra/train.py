"""`equidrift train molecules CONFIG` with `model: spectra`: the likelihood of a
vibrational spectrum given a molecule.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from pydantic import Field

from equidrift.errors import InputError
from equidrift.models.molecules.data import QM9, load_qm9
from equidrift.models.molecules.latent.geometry import qm9_codes
from equidrift.models.molecules.spectra.sampler import (
    ROOT_FLOOR,
    Spectra,
    SpectrumBatches,
    SpectrumConfig,
    SpectrumNetwork,
    read_spectra,
    spectrum_loss,
)
from equidrift.models.shared.config import Name, TrainingConfig, initial
from equidrift.models.shared.run import Task, fresh, training_of
from equidrift.records import SYMBOLS
from equidrift.spectrum import GRID_CM1, STEP_CM1, WIDTH_CM1


class SpectrumTraining(TrainingConfig):
    """What a training YAML may say. Unknown keys are errors.

    `spectra`: a file of `tools/make_spectra.py`; `data`: one of
    `tools/make_molecules.py`, the one found where it is left out. `init` names the
    geometric autoencoder whose encoder the network begins with.
    """

    name: Name = "my-spectra"
    spectra: str
    data: str | None = None
    init: str | None = None
    batch: int = Field(default=32, ge=2)
    jitter_A: float = Field(default=0.01, ge=0)

    def begin(self) -> SpectrumConfig:
        """The sizes of the network."""
        return SpectrumConfig(**self.network)


def make_task(c: SpectrumTraining, sizes: SpectrumConfig, _out: Path) -> Task:
    """What is trained.

    Raises `InputError` where no spectrum is of a training molecule.
    """
    data, spectra = load_qm9(c.data), read_spectra(c.spectra)
    places, rows = matched(data, spectra, "train")
    if not len(places):
        raise InputError(f"{c.spectra} holds no spectrum of a training molecule of the data")
    roots = np.sqrt(spectra.vectors[places] + ROOT_FLOOR)
    network = first_network(c, sizes, roots)
    unseen, unseen_rows = matched(data, spectra, "val")
    held_out = (
        spectrum_batches(c, data, unseen_rows, np.sqrt(spectra.vectors[unseen] + ROOT_FLOOR))
        if len(unseen)
        else None
    )
    batches = spectrum_batches(c, data, rows, roots)
    return Task(
        network,
        batches,
        spectrum_loss,
        card_of(sizes, len(rows)),
        held_out,
        summary={"spectra": len(rows)},
    )


def first_network(c: SpectrumTraining, sizes: SpectrumConfig, roots: np.ndarray) -> SpectrumNetwork:
    """A network that knows the whitening of the training spectra, with the encoder of
    `init` if there is one.
    """
    network = fresh(lambda: SpectrumNetwork(sizes), c.seed)
    torch.nn.init.constant_(cast(torch.nn.Linear, network.lines[2]).bias, -5.0)
    network.learn(roots)
    if c.init:
        begin_with(network, c.init)
    return network


def spectrum_batches(
    c: SpectrumTraining, data: QM9, rows: np.ndarray, roots: np.ndarray
) -> SpectrumBatches:
    """Batches of molecules with the roots of their spectra."""
    codes, positions = (
        [qm9_codes(data, k) for k in rows.tolist()],
        [data.positions(k) for k in rows.tolist()],
    )
    return SpectrumBatches(
        codes, positions, roots, batch=min(c.batch, len(rows)), seed=c.seed, jitter_A=c.jitter_A
    )


def matched(data: QM9, spectra: Spectra, *parts: str) -> tuple[np.ndarray, np.ndarray]:
    """(places in `spectra`, rows of `data`) of the molecules of some parts that both
    hold.
    """
    row_of = {int(number): k for k, number in enumerate(data.index.tolist())}
    chosen = {int(k) for part in parts for k in data.rows(part)}
    pairs = [
        (p, row_of[number])
        for p, number in enumerate(spectra.number.tolist())
        if row_of.get(number) in chosen
    ]
    table = np.array(pairs, np.int64).reshape(-1, 2)
    return table[:, 0], table[:, 1]


def begin_with(network: torch.nn.Module, weights: str) -> None:
    """Take over the encoder of a trained geometric autoencoder, but for its head."""
    state, _ = initial(weights, ("latent-geometry",), {})
    encoder = {
        key: value
        for key, value in state.items()
        if key.startswith("encoder.") and ".head." not in key
    }
    try:
        network.load_state_dict(encoder, strict=False)
    except RuntimeError as error:
        raise InputError(
            f"init: {weights} has another encoder than the "
            f"config asks for; leave `network` out: {error}"
        ) from error


def card_of(sizes: SpectrumConfig, count: int) -> dict[str, Any]:
    """What the card says beside what all cards say."""
    return {
        "family": "molecules",
        "task": "spectra",
        "what": f"likelihood of an infrared spectrum given a conformer, from {count} spectra",
        "config": dataclasses.asdict(sizes),
        "elements": [SYMBOLS[z] for z in (1, 6, 7, 8, 9)],
        "max_atoms": 29,
        "units": f"A; spectra in km/mol per cm-1 at {GRID_CM1[0]:.0f} to "
        f"{GRID_CM1[-1]:.0f} cm-1 every {STEP_CM1:.0f}, "
        f"Gaussian lines of deviation {WIDTH_CM1:.0f} cm-1",
        "dtype": "float32",
    }


run_training = training_of(SpectrumTraining, make_task)

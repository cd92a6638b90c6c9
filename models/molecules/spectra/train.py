"""`equidrift train molecules CONFIG` with `model: spectra`: the likelihood of a vibrational spectrum given a molecule."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field

from equidrift.errors import InputError
from equidrift.models.molecules.data import QM9, load_qm9
from equidrift.models.molecules.latent.geometry import qm9_codes
from equidrift.models.molecules.latent.train import fresh
from equidrift.models.molecules.spectra.sampler import (
    GRID_CM1,
    WIDTH_CM1,
    Spectra,
    SpectrumBatches,
    SpectrumConfig,
    SpectrumNetwork,
    read_spectra,
    spectrum_loss,
    whitening_of,
)
from equidrift.models.shared.training import Progress, Trainer, check_run, config_errors, make_schedule
from equidrift.records import SYMBOLS
from equidrift.weights import load_weights, save_weights


class TrainingConfig(BaseModel):
    """What a training YAML may say. Unknown keys are errors.

    `spectra`: a file of `tools/make_spectra.py`; `data`: one of `tools/make_molecules.py`, the one found where it is left out. `init`
    names the geometric autoencoder whose encoder the network begins with.
    """

    model_config = ConfigDict(extra="forbid")

    spectra: str
    data: str | None = None
    name: str = Field(default="my-spectra", pattern=r"^[\w.+-]+$")
    init: str | None = None
    network: dict[str, Any] = {}
    schedule: dict[str, Any] = {}
    batch: int = Field(default=32, ge=2)
    jitter_A: float = Field(default=0.01, ge=0)
    seed: int = Field(default=0, ge=0)
    licence: str = "as the training data's owner decides"
    training_data: str = "user data"


def run_training(
    config: dict[str, Any], out: Path, budget_s: float | None, resume: bool = False, progress: Progress | None = None
) -> dict[str, Any]:
    """Train on the spectra of molecules of the training part; arguments, result and errors as `latent.train.run_training`."""
    with config_errors():
        c = TrainingConfig.model_validate(config)
        schedule = make_schedule(c.schedule)
        sizes = SpectrumConfig(**c.network)
    budget_s = check_run(out, budget_s, schedule.steps, resume)
    data, spectra = load_qm9(c.data), read_spectra(c.spectra)
    places, rows = matched(data, spectra, "train")
    if not len(places):
        raise InputError(f"{c.spectra} holds no spectrum of a training molecule of the data")
    roots = np.sqrt(spectra.vectors[places] + 1e-4)
    network = fresh(lambda: SpectrumNetwork(sizes), c.seed)
    torch.nn.init.constant_(network.lines[2].bias, -5.0)
    centre, whitening = whitening_of(roots, sizes.components)
    network.centre.copy_(torch.from_numpy(centre))
    network.whitening[:, : whitening.shape[1]].copy_(torch.from_numpy(whitening))
    if c.init:
        begin_with(network, c.init)
    batches = spectrum_batches(c, data, rows, roots)
    unseen, unseen_rows = matched(data, spectra, "val")
    held_out = None
    if len(unseen):
        held_out = spectrum_batches(c, data, unseen_rows, np.sqrt(spectra.vectors[unseen] + 1e-4))
    trainer = Trainer(network, schedule, out, held_out)
    if resume:
        trainer.resume()
    trainer.fit(batches, spectrum_loss, budget_s, progress)
    path = save_weights(out / f"{c.name}.safetensors", trainer.ema, make_card(c, sizes, trainer, len(rows)))
    done = {"weights": str(path), **trainer.summary()}
    return {**done, "spectra": len(rows)}


def spectrum_batches(c: TrainingConfig, data: QM9, rows: np.ndarray, roots: np.ndarray) -> SpectrumBatches:
    """Batches of molecules with the roots of their spectra."""
    codes, positions = [qm9_codes(data, k) for k in rows.tolist()], [data.positions(k) for k in rows.tolist()]
    return SpectrumBatches(codes, positions, roots, batch=min(c.batch, len(rows)), seed=c.seed, jitter_A=c.jitter_A)


def matched(data: QM9, spectra: Spectra, *parts: str) -> tuple[np.ndarray, np.ndarray]:
    """(places in `spectra`, rows of `data`) of the molecules of some parts that both hold."""
    row_of = {int(number): k for k, number in enumerate(data.index.tolist())}
    chosen = {int(k) for part in parts for k in data.rows(part)}
    pairs = [(p, row_of[number]) for p, number in enumerate(spectra.number.tolist()) if row_of.get(number) in chosen]
    table = np.array(pairs, np.int64).reshape(-1, 2)
    return table[:, 0], table[:, 1]


def begin_with(network: torch.nn.Module, weights: str) -> None:
    """Take over the encoder of a trained geometric autoencoder, but for its head."""
    state, card = load_weights(weights)
    if card.get("task") != "latent-geometry":
        raise InputError(f"init: {weights} is a model for task {card.get('task')!r}, expected 'latent-geometry'")
    encoder = {key: value for key, value in state.items() if key.startswith("encoder.") and ".head." not in key}
    try:
        network.load_state_dict(encoder, strict=False)
    except RuntimeError as error:
        raise InputError(f"init: {weights} has another encoder than the config asks for; leave `network` out: {error}") from error


def make_card(c: TrainingConfig, sizes: SpectrumConfig, trainer: Trainer, count: int) -> dict[str, Any]:
    """The model card of a run."""
    return {
        "name": c.name,
        "family": "molecules",
        "task": "spectra",
        "description": f"likelihood of an infrared spectrum given a conformer; trained for {trainer.step} steps on "
        f"{trainer.samples} samples of {count} spectra",
        "config": dataclasses.asdict(sizes),
        "elements": [SYMBOLS[z] for z in (1, 6, 7, 8, 9)],
        "max_atoms": 29,
        "units": f"A; spectra in km/mol per cm-1 at {GRID_CM1[0]:.0f} to {GRID_CM1[-1]:.0f} cm-1 every {GRID_CM1[1] - GRID_CM1[0]:.0f}, "
        f"Gaussian lines of deviation {WIDTH_CM1:.0f} cm-1",
        "dtype": "float32",
        "licence": c.licence,
        "training_data": c.training_data,
        "quality": {},
        **trainer.card(),
    }

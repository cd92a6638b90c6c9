"""equidrift train molecules: hands a configuration to the model it names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from equidrift.errors import UnknownNameError
from equidrift.models.molecules.joint import train as joint
from equidrift.models.molecules.latent import train as latent
from equidrift.models.molecules.properties import train as properties
from equidrift.models.molecules.spectra import train as spectra
from equidrift.models.shared.config import TrainingConfig
from equidrift.models.shared.trainer import Progress

# `model:` of the configuration -> what it may hold, and who trains it
MODELS = {
    "joint": (joint.JointTraining, joint.run_training),
    "latent": (latent.LatentTraining, latent.run_training),
    "properties": (properties.PropertyTraining, properties.run_training),
    "spectra": (spectra.SpectrumTraining, spectra.run_training),
}


def run_training(
    config: dict[str, Any], out: Path, budget_s: float | None, resume: bool = False, progress: Progress | None = None
) -> dict[str, Any]:
    """Train the model that the key `model` names. Raises `UnknownNameError` for another."""
    settings = {key: value for key, value in config.items() if key != "model"}
    return MODELS[_model(config)][1](settings, out, budget_s, resume, progress)


def config_class(config: dict[str, Any]) -> type[TrainingConfig]:
    """The class that says what such a config may hold, but for the key `model`."""
    return MODELS[_model(config)][0]


def _model(config: dict[str, Any]) -> str:
    name = str(config.get("model", "joint"))
    if name not in MODELS:
        raise UnknownNameError("model of family molecules", name, MODELS)
    return name

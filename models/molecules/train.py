"""equidrift train molecules: hands a configuration to the model it names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from equidrift.errors import UnknownNameError
from equidrift.registry import resolve

# `model:` of the configuration -> who trains it
MODELS = {
    "joint": "equidrift.models.molecules.joint.train:run_training",
    "latent": "equidrift.models.molecules.latent.train:run_training",
    "properties": "equidrift.models.molecules.properties.train:run_training",
    "spectra": "equidrift.models.molecules.spectra.train:run_training",
}


def run_training(
    config: dict[str, Any], out: Path, budget_s: float | None, resume: bool, progress: Callable[[dict[str, Any]], None]
) -> dict[str, Any]:
    """Train the model that the key `model` names. Raises `UnknownNameError` for another."""
    name = str(config.get("model", "joint"))
    if name not in MODELS:
        raise UnknownNameError("model of family molecules", name, MODELS)
    settings = {key: value for key, value in config.items() if key != "model"}
    summary: dict[str, Any] = resolve(MODELS[name])(config=settings, out=out, budget_s=budget_s, resume=resume, progress=progress)
    return summary

"""equidrift train molecules: hands a configuration to the model it names."""

from __future__ import annotations

from typing import Any

from equidrift.errors import UnknownNameError
from equidrift.models.molecules.joint.drug_train import run_training as train_drug
from equidrift.models.molecules.joint.train import run_training as train_joint
from equidrift.models.molecules.latent.train import run_training as train_latent
from equidrift.models.molecules.properties.train import run_training as train_properties
from equidrift.models.molecules.spectra.train import run_training as train_spectra
from equidrift.models.shared.run import Request, entry

# `model:` of the configuration -> who trains it
MODELS = {
    "joint": train_joint,
    "joint-drug": train_drug,
    "latent": train_latent,
    "properties": train_properties,
    "spectra": train_spectra,
}


def train_named(request: Request) -> dict[str, Any]:
    """Train the model that the key `model` names.

    Raises `UnknownNameError` for another.
    """
    config = request.config
    name = str(config.get("model", "joint"))
    if name not in MODELS:
        raise UnknownNameError("model of family molecules", name, MODELS)
    settings = {key: value for key, value in config.items() if key != "model"}
    return MODELS[name](settings, request.out, request.budget_s, request.resume, request.progress)


run_training = entry(train_named)

"""Models by name, and the lazy dotted strings by which the core reaches models and adapters."""

from __future__ import annotations

import importlib
from functools import lru_cache
from importlib.metadata import entry_points
from typing import Any

from equidrift.errors import UnknownNameError

# name -> "module:factory"; factory(**options) returns a ConformerModel. Third parties add theirs by an `equidrift.models` entry point.
CONFORMER_MODELS = {
    "default": "equidrift.chains:default",
    "etkdg": "equidrift.adapters.rdkit_etkdg:ETKDG",
    "etkdg-mmff": "equidrift.adapters.rdkit_etkdg:ETKDGMMFF",
    "conformer": "equidrift.models.conformers.sampler:load_conformer",
    "conformer-refine": "equidrift.chains:conformer_refine",
    "etkdg-refine": "equidrift.chains:etkdg_refine",
    "etkdg-mmff-refine": "equidrift.chains:etkdg_mmff_refine",
    "se3-distance": "equidrift.models.conformers.distance_sampler:load_se3_distance",
}
REFINERS = {"refine": "equidrift.models.conformers.sampler:load_refiner"}


def resolve(path: str) -> Any:
    """Import `module:name` and return the name."""
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)


@lru_cache
def _third_party() -> dict[str, str]:
    return {entry.name: entry.value for entry in entry_points(group="equidrift.models")}


def list_models() -> list[str]:
    """Names that `sample(model=...)` takes."""
    return sorted(set(CONFORMER_MODELS) | set(_third_party()))


def make_model(name: str, **options: Any) -> Any:
    """The conformer model of that name. Raises `UnknownNameError` with the nearest name."""
    table = _third_party() | CONFORMER_MODELS
    if name not in table:
        raise UnknownNameError("model", name, table)
    return resolve(table[name])(**options)


def make_refiner(name: str, **options: Any) -> Any:
    """The refiner of that name. Raises `UnknownNameError` with the nearest name."""
    if name not in REFINERS:
        raise UnknownNameError("refiner", name, REFINERS)
    return resolve(REFINERS[name])(**options)

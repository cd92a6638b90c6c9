"""Models, readers, writers and what hosts offer, by name."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from equidrift.entries import announced, others_factory, troubles
from equidrift.errors import InputError, UnknownNameError, WeightsError
from equidrift.protocols import (
    ConformerModel,
    EnergyRefiner,
    Model,
    MoleculeModel,
    Refiner,
    Surface,
    SurfaceRefiner,
    TrajectoryModel,
    as_conformer_model,
    as_molecule_model,
    as_refiner,
    as_trajectory_model,
)
from equidrift.records import Molecule
from equidrift.registry.tables import (
    BENCHMARKS,
    CONFORMER_MODELS,
    ENSEMBLE_WRITERS,
    FRAME_READERS,
    HOST_FUNCTIONS,
    JUDGES,
    MOLECULE_MODELS,
    POSES,
    PROPOSERS,
    REFINERS,
    RELAXATION_MAKERS,
    RELAXATIONS,
    STORED_PROPOSERS,
    TRAINED_MODELS,
    TRAINED_MOLECULE_MODELS,
    TRAINED_REFINERS,
    TRAINED_TRAJECTORY_MODELS,
    TRAINING_CONFIGS,
    TRAININGS,
    TRAJECTORY_MODELS,
    TRAJECTORY_WRITERS,
)
from equidrift.weights import find, read_card

__all__ = [
    "BENCHMARKS",
    "CONFORMER_MODELS",
    "ENSEMBLE_WRITERS",
    "FRAME_READERS",
    "HOST_FUNCTIONS",
    "JUDGES",
    "MOLECULE_MODELS",
    "POSES",
    "PROPOSERS",
    "REFINERS",
    "RELAXATIONS",
    "RELAXATION_MAKERS",
    "STORED_PROPOSERS",
    "TRAINED_MODELS",
    "TRAINED_MOLECULE_MODELS",
    "TRAINED_REFINERS",
    "TRAINED_TRAJECTORY_MODELS",
    "TRAININGS",
    "TRAINING_CONFIGS",
    "TRAJECTORY_MODELS",
    "TRAJECTORY_WRITERS",
    "check_relaxation",
    "energy_surface",
    "host_function",
    "is_path",
    "list_models",
    "make_energy_refiner",
    "make_model",
    "make_molecule_model",
    "make_refiner",
    "make_trajectory_model",
    "relaxation_kind",
    "relaxations",
    "resolve",
    "third_party_models",
]


def check_relaxation(name: str) -> str:
    """A relaxation's name, if there is one of that name or kind; "none" counts.

    Raises
    ------
    UnknownNameError
        For another name, with the nearest one.
    """
    if name != "none" and name not in RELAXATIONS and relaxation_kind(name) is None:
        raise UnknownNameError("relaxation", name, relaxations())
    return name


def relaxation_kind(name: str) -> str | None:
    """The prefix of a relaxation that is made of what follows it, None for another."""
    kind, colon, _ = name.partition(":")
    return kind if colon and kind in RELAXATION_MAKERS else None


def relaxations() -> list[str]:
    """Names and kinds of relaxations."""
    return ["none", *RELAXATIONS, *(f"{kind}:..." for kind in RELAXATION_MAKERS)]


# Any: what a dotted name of the tables leads to, only the caller knows
def resolve(path: str) -> Any:
    """Import `module:name` and return the name."""
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)


def host_function(host: str, name: str) -> Any:
    """What a host's adapter, or a model family, offers the core under that name (see
    `HOST_FUNCTIONS`).
    """
    return resolve(HOST_FUNCTIONS[host][name])


def third_party_models() -> dict[str, str]:
    """Models of other packages, and what is wrong with each: empty if it can be
    imported.
    """
    return troubles(CONFORMER_MODELS)


def list_models() -> list[str]:
    """Names that `sample(model=...)` takes.

    Returns
    -------
    list of str
        In alphabetical order, those of other packages among them.

    Examples
    --------
    >>> import equidrift
    >>> "default" in equidrift.list_models()
    True
    """
    return sorted(set(CONFORMER_MODELS) | set(announced()))


def make_model(name: str, **options: Any) -> ConformerModel:
    """The conformer model of that name, or of a trained model's path; a refiner's path
    makes the default chain with that refiner.

    Raises
    ------
    UnknownNameError
        For another name, with the nearest one; WeightsError for a path without a card,
        or of another kind of model.
    """
    if is_path(name):
        return as_conformer_model(_trained(name, TRAINED_MODELS, options))
    table = announced() | CONFORMER_MODELS
    if name not in table:
        raise UnknownNameError("model", name, table)
    factory = (
        resolve(table[name]) if name in CONFORMER_MODELS else others_factory(name, table[name])
    )
    return as_conformer_model(factory(**options))


def is_path(name: str) -> bool:
    """Whether a model's name is the path of a card or of weights that `equidrift train`
    wrote.
    """
    return Path(name).suffix in (".safetensors", ".json")


def _made(
    name: str,
    what: str,
    table: Mapping[str, str],
    trained: Mapping[str, str],
    options: dict[str, Any],
) -> object:
    """What a table has under a name, or what a trained one's path makes."""
    if is_path(name):
        return _trained(name, trained, options)
    if name not in table:
        raise UnknownNameError(what, name, table)
    return resolve(table[name])(**options)


def _trained(path: str, table: Mapping[str, str], options: dict[str, Any]) -> Model:
    task = read_card(find(path)).get("task")
    if task is None or task not in table:
        raise WeightsError(
            f"{path} is a model for task {task!r}; here one for "
            f"{' or '.join(map(repr, table))} is expected"
        )
    made: Model = resolve(table[task])(weights=path, **options)
    made.name = Path(path).name  # what is made with a user's own weights says so
    return made


def make_refiner(name: str, **options: Any) -> Refiner:
    """The refiner of that name, or of a trained refiner's path; errors as `make_model`."""
    return as_refiner(_made(name, "refiner", REFINERS, TRAINED_REFINERS, options))


def make_trajectory_model(name: str, **options: Any) -> TrajectoryModel:
    """The trajectory model of that name, or of a trained one's path; errors as
    `make_model`.
    """
    tables = TRAJECTORY_MODELS, TRAINED_TRAJECTORY_MODELS
    return as_trajectory_model(_made(name, "trajectory model", *tables, options))


def make_molecule_model(name: str, **options: Any) -> MoleculeModel:
    """The model of new molecules of that name, or of a trained one's path; errors as
    `make_model`.
    """
    tables = MOLECULE_MODELS, TRAINED_MOLECULE_MODELS
    return as_molecule_model(_made(name, "molecule model", *tables, options))


def make_energy_refiner(name: str, **options: Any) -> EnergyRefiner:
    """The refiner of that name, which must go down an energy; errors as `make_model`.

    Raises
    ------
    InputError
        For a refiner without an energy.
    """
    made = make_refiner(name, **options)
    if not isinstance(made, EnergyRefiner):
        raise InputError(f"the refiner {name!r} tells no energy; energy='conformer-energy' does")
    return made


def energy_surface(molecule: Molecule, weights: str) -> Surface:
    """The learned energy of a molecule with its gradient, as calculators and forces need.

    Raises
    ------
    InputError
        For weights of a refiner that has no energy. Other errors as `make_model`.
    MoleculeError
        For a molecule that the energy does not know.
    """
    refiner = make_refiner(weights)
    if not isinstance(refiner, SurfaceRefiner):
        raise InputError(
            f"weights={weights!r} has no energy that a force could be made of; give "
            "'conformer-energy', or the path of weights trained for it"
        )
    return refiner.surface(molecule)

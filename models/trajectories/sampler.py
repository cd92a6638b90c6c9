"""Trajectory models by name: what the registry calls."""

from __future__ import annotations

from typing import Any

from equidrift.models.trajectories.diffusion.sampler import DiffusionModel
from equidrift.models.trajectories.integrator.sampler import IntegratorModel
from equidrift.models.trajectories.leap.sampler import LeapModel
from equidrift.models.trajectories.model import ChemistryModel
from equidrift.weights import find, read_card

LEAP = "leap"


def load_trajectory_model(weights: str, **options: Any) -> ChemistryModel:
    """The trajectory model of a card: an `IntegratorModel` or a `DiffusionModel`."""
    kind = read_card(find(weights))["config"].get("kind")
    return (IntegratorModel if kind == "integrator" else DiffusionModel)(weights, **options)


def load_leap(**options: Any) -> LeapModel:
    """Leaps of torsions over 1 to 100 ps, by the shipped weights."""
    return LeapModel(LEAP, **options)


def load_trained_leap(weights: str, **options: Any) -> LeapModel:
    """The leaps of a card."""
    return LeapModel(weights, **options)


def load_default(**options: Any) -> IntegratorModel:
    """The default model, with the shipped weights."""
    return IntegratorModel("trajectory", **options)


def load_geotdm(**options: Any) -> DiffusionModel:
    """The faithful GeoTDM, with the shipped weights."""
    return DiffusionModel("geotdm", **options)

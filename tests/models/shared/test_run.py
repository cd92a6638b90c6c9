"""What every family loads and begins with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from equidrift.errors import WeightsError
from equidrift.models.boltzmann.sampler import load_boltzmann
from equidrift.models.conformers.distance.sampler import load_se3_distance
from equidrift.models.conformers.energy.sampler import load_elements, load_energy
from equidrift.models.conformers.sampler import load_conformer, load_refiner
from equidrift.models.fields.atoms.sampler import AtomFieldModel
from equidrift.models.fields.functions.sampler import FieldModel
from equidrift.models.fields.tracks.sampler import TrackModel
from equidrift.models.molecules.joint.sampler import load_joint
from equidrift.models.molecules.latent.sampler import load_latent
from equidrift.models.molecules.properties.sampler import load_properties
from equidrift.models.molecules.spectra.sampler import load_spectra
from equidrift.models.shared.run import fresh
from equidrift.models.torsions.scores import torsion_network
from equidrift.models.trajectories.arrays.arrays import GeometricTrajectoryModel
from equidrift.models.trajectories.integrator.sampler import IntegratorModel
from equidrift.models.trajectories.sampler import load_default, load_geotdm

LOADERS: dict[str, Callable[[], Any]] = {
    "boltzmann": load_boltzmann,
    "conformer": load_conformer,
    "refine": load_refiner,
    "conformer-energy": load_energy,
    "conformer-energy-elements": load_elements,
    "se3-distance": load_se3_distance,
    "atoms": lambda: AtomFieldModel.load("atom-forces"),
    "field": lambda: FieldModel.load("field-se-network"),
    "tracks": lambda: TrackModel.load("field-cyclones"),
    "joint": load_joint,
    "latent": load_latent,
    "properties": load_properties.__wrapped__,
    "spectra": load_spectra,
    "torsions": lambda: torsion_network.__wrapped__("torsions"),
    "arrays": lambda: GeometricTrajectoryModel("nbody-charged"),
    "trajectory": load_default,
    "geotdm": load_geotdm,
}


@pytest.mark.parametrize("name", LOADERS)
def test_loading_a_model_leaves_torchs_random_state_alone(name: str) -> None:
    before = torch.get_rng_state()
    LOADERS[name]()
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    "load",
    [
        load_boltzmann,
        load_conformer,
        load_energy,
        load_se3_distance,
        AtomFieldModel.load,
        FieldModel.load,
        TrackModel.load,
        load_joint,
        load_latent,
        load_properties,
        load_spectra,
        torsion_network,
        GeometricTrajectoryModel,
        IntegratorModel,
    ],
)
def test_a_loader_names_the_task_when_weights_are_of_another_model(
    load: Callable[[str], Any],
) -> None:
    with pytest.raises(WeightsError, match="refine is a model for task 'refine', expected '"):
        load("refine")


def test_fresh_weights_depend_on_the_seed_alone() -> None:
    made = []
    for user, seed in ((1, 0), (2, 0), (1, 5)):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(user)
            made.append(
                fresh(
                    lambda: torch.nn.Sequential(
                        torch.nn.Linear(3, 2), torch.nn.Embedding(4, 2), torch.nn.LayerNorm(2)
                    ),
                    seed,
                )
            )
    first, second, other = ([p.detach() for p in network.parameters()] for network in made)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert not torch.equal(first[0], other[0])

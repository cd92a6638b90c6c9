"""Every sampler gives the same samples when its parameters are on another device."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from equidrift.models.boltzmann.sampler import load_boltzmann
from equidrift.models.conformers.distance.sampler import load_se3_distance
from equidrift.models.conformers.energy.sampler import load_energy
from equidrift.models.conformers.sampler import load_conformer, load_refiner
from equidrift.models.fields.atoms.sampler import AtomFieldModel
from equidrift.models.fields.functions.sampler import FieldModel
from equidrift.models.fields.tracks.sampler import TrackModel
from equidrift.models.molecules.joint.sampler import JointModel
from equidrift.models.molecules.latent.sampler import LatentModel
from equidrift.models.molecules.properties.sampler import PropertyNetwork, load_properties
from equidrift.models.molecules.spectra.sampler import SpectrumModel
from equidrift.models.torsions.data import TorsionGraph, make_batch
from equidrift.models.torsions.distances.flow import TorsionScore
from equidrift.models.torsions.distances.graph import HeavyGraph, heavy_atoms
from equidrift.models.torsions.distances.network import DistanceNetwork
from equidrift.models.torsions.network import TorsionNetwork
from equidrift.models.torsions.scores import torsion_network
from equidrift.models.trajectories.arrays.arrays import GeometricTrajectoryModel
from equidrift.models.trajectories.sampler import load_default, load_geotdm
from equidrift.protocols import TrajectoryModel
from equidrift.records import Trajectory
from equidrift.torsions import TorsionTree
from tests.models.shared import pins
from tests.models.shared.other_device import (
    OTHER,
    OtherDevice,
    WrongDevice,
    modules_in,
    move,
)
from tests.models.torsions.test_distances import lively

Sampler = tuple[Callable[[Any], Any], Callable[[Any], np.ndarray]]  # load(device), draw(model)


def field(name: str, dimension: int) -> Sampler:
    return lambda on: FieldModel.load(name, device=on), lambda m: pins.field_of(m, dimension)


def arrays(name: str) -> Sampler:
    return lambda on: GeometricTrajectoryModel(name, device=on), lambda m: pins.arrays_of(m, None)


def head(frames: int) -> Trajectory:
    """The first frames of aspirin."""
    whole = pins.aspirin()
    return whole.replace(positions_A=whole.positions_A[:frames], time_fs=whole.time_fs[:frames])


def atoms(model: TrajectoryModel, steps: int | None) -> np.ndarray:
    """Frames of which some atoms are known."""
    part = head(7)
    given = np.zeros((7, part.molecule.n_atoms), bool)
    given[:2] = given[4, :9] = True
    return model.complete(part, given, pins.SEEDS, steps=steps)


def tree() -> TorsionTree:
    """Of aspirin."""
    return TorsionTree.of(pins.aspirin().molecule)


def coefficients(network: TorsionNetwork) -> np.ndarray:
    """Of the series of two frames of aspirin."""
    frames, on = pins.aspirin(), next(network.parameters()).device
    graph = TorsionGraph.of(frames.molecule, tree())
    batch = make_batch([graph, graph], list(frames.positions_A[:2]), [0.0258, 0.03]).to(on)
    with torch.no_grad():
        made = network(batch, torch.tensor([[0.2, 1.0]] * 2, device=on))
    return np.concatenate([np.abs(part.cpu().numpy()).ravel() for part in made])


def distance_scores(network: DistanceNetwork) -> np.ndarray:
    """Scores of aspirin's torsions and their derivatives."""
    molecule, heavy = pins.aspirin().molecule, heavy_atoms(pins.aspirin().molecule)
    graph, start = HeavyGraph.of(molecule, tree()), pins.aspirin().positions_A[0][heavy]
    scores = TorsionScore(network, graph, start, 0.0258, np.array([0, 2]))
    phi = np.array([[0.1, 2.0], [1.0, -3.0]])
    parts = scores.score(phi, 0.4), *scores.derivatives(phi, 0.4)
    return np.concatenate([part.ravel() for part in parts])


SAMPLERS: dict[str, Sampler] = {
    "conformer": (
        lambda on: load_conformer(device=on),
        lambda m: m.sample(pins.alanine(), pins.SEEDS, steps=4),
    ),
    "se3-distance": (
        lambda on: load_se3_distance(device=on),
        lambda m: m.sample(pins.alanine(), pins.SEEDS, steps=8),
    ),
    "refine": (lambda on: load_refiner(device=on), pins.refined_by),
    "energy": (lambda on: load_energy(device=on), lambda m: pins.refined_by(m, 3)),
    "torsions": (lambda _: copy.deepcopy(torsion_network("torsions")), coefficients),
    "torsions of all distances": (lambda _: lively(), distance_scores),
    "trajectory": (lambda on: load_default(device=on), lambda m: pins.gap_of(m, None)),
    "geotdm": (lambda on: load_geotdm(device=on), lambda m: pins.gap_of(m, 4)),
    "trajectory of atoms": (lambda on: load_default(device=on), lambda m: atoms(m, None)),
    "geotdm of atoms": (lambda on: load_geotdm(device=on), lambda m: atoms(m, 3)),
    "geotdm refined": (
        lambda on: load_geotdm(device=on),
        lambda m: m.refine(head(6), pins.SEEDS, level=0.02),
    ),
    "nbody-charged": arrays("nbody-charged"),
    "egnn-spring": arrays("egnn-spring"),
    "pedestrians-eth": (
        lambda on: GeometricTrajectoryModel("pedestrians-eth", device=on),
        pins.pedestrians_of,
    ),
    "boltzmann": (
        lambda on: load_boltzmann(device=on),
        lambda m: np.append(m.sample(2, seed=3)[0], m.log_prob(m.sample(2, seed=4)[0])),
    ),
    "joint": (
        lambda on: JointModel(half_precision=False, device=on),
        pins.joint_of,
    ),
    "latent": (
        lambda on: LatentModel(refine=False, device=on),
        lambda m: np.concatenate([x for _, x in m.sample(pins.SEEDS, steps=4)]),
    ),
    "properties": (
        lambda on: PropertyNetwork(load_properties.__wrapped__("properties").network, device=on),
        lambda m: np.array(list(m.predict(pins.pairs()).values())),
    ),
    "spectra": (lambda on: SpectrumModel(device=on), lambda m: m.predict(pins.pairs())),
    "field-se": field("field-se", 1),
    "field-se-network": field("field-se-network", 1),
    "field-mixture": field("field-mixture", 1),
    "field-2d-div-free": field("field-2d-div-free", 2),
    "field-cyclones": (
        lambda on: TrackModel.load("field-cyclones", device=on),
        lambda m: m.sample(np.arange(4.0) / 4, 2, seed=3, steps=6),
    ),
    "atom-forces": (lambda on: AtomFieldModel.load("atom-forces", device=on), pins.atom_field_of),
    "atom-charges": (lambda on: AtomFieldModel.load("atom-charges", device=on), pins.atom_field_of),
}


@pytest.mark.long
@pytest.mark.parametrize("name", SAMPLERS)
def test_a_sampler_gives_the_same_when_its_parameters_are_on_another_device(name: str) -> None:
    load, draw = SAMPLERS[name]
    wanted = draw(load("cpu"))
    with OtherDevice():
        model = load(OTHER)
        moved = list(modules_in(model))
        assert moved
        for module in moved:
            move(module)
        found = draw(model)
    np.testing.assert_array_equal(found, wanted)


def test_the_other_device_refuses_what_a_gpu_refuses() -> None:
    with OtherDevice():
        there, here = torch.ones(3, device=OTHER), torch.ones(3)
        assert there.device == OTHER and (2 * there).device == OTHER and there.cpu().device != OTHER
        assert here.to(there).device == OTHER and torch.zeros_like(there).device == OTHER
        assert float(there.sum()) == 3.0 and here[there.argmax().cpu()] == 1.0
        for wrong in (
            lambda: there + here,
            lambda: torch.cat([there, here]),
            there.numpy,
            lambda: torch.where(there > 0, here, here),
            lambda: torch.nn.Linear(3, 1)(there),
        ):
            with pytest.raises(WrongDevice):
                wrong()
        layer = torch.nn.Linear(3, 1)
        move(layer)
        assert layer(there).device == OTHER

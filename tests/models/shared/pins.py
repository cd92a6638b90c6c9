"""Samples and trainings at fixed seeds, as numbers: `tests/data/pins.json` holds those
of a version that was looked at.

`tools/make_pins.py` writes the file anew; it is right to do so only where a change
means to change samples.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from equidrift.files.trajectories import load_trajectory
from equidrift.models.boltzmann.sampler import load_boltzmann
from equidrift.models.fields.atoms.sampler import AtomFieldModel
from equidrift.models.fields.functions.sampler import FieldModel
from equidrift.models.fields.tracks.sampler import TrackModel
from equidrift.models.molecules.joint.sampler import JointModel
from equidrift.models.molecules.latent.sampler import LatentModel
from equidrift.models.molecules.properties.sampler import load_properties
from equidrift.models.molecules.spectra.sampler import load_spectra
from equidrift.models.torsions.sampler import load_torsion
from equidrift.models.trajectories.arrays import nbody
from equidrift.models.trajectories.arrays.arrays import GeometricTrajectoryModel
from equidrift.protocols import Refiner, TrajectoryModel
from equidrift.records import Molecule, Trajectory
from equidrift.registry import make_model, make_refiner, make_trajectory_model
from tests.models.shared import trainings

ROOT = Path(__file__).parents[3]
FILE = ROOT / "tests" / "data" / "pins.json"
SEEDS = np.array([3, 11], np.int64)
KEPT = 12  # values of an array that are written down beside its mean and spread


@lru_cache
def aspirin() -> Trajectory:
    data = ROOT / "examples" / "data"
    return load_trajectory(data / "aspirin.xtc", data / "aspirin.pdb")


def alanine() -> Molecule:
    return Molecule.from_smiles("C[C@H](N)C(=O)O")


def gap(model: str, steps: int | None) -> np.ndarray:
    return gap_of(make_trajectory_model(model), steps)


def gap_of(model: TrajectoryModel, steps: int | None) -> np.ndarray:
    """Frames of aspirin between given ones."""
    part = aspirin()
    part = part.replace(positions_A=part.positions_A[:10], time_fs=part.time_fs[:10])
    given = np.isin(np.arange(10), (0, 1, 2, 7, 8, 9))
    return model.complete(part, given, SEEDS, steps=steps)[:, ~given]


def arrays(name: str, steps: int | None) -> np.ndarray:
    return arrays_of(GeometricTrajectoryModel(name), steps)


def arrays_of(model: GeometricTrajectoryModel, steps: int | None) -> np.ndarray:
    system = nbody.simulate(model.name.rpartition("-")[2], 0, 1, frames=14)
    return model.continue_(
        system.positions[0, :10], system.nodes[0], system.edges[0], 4, SEEDS.tolist(), steps=steps
    )


def pedestrians() -> np.ndarray:
    return pedestrians_of(GeometricTrajectoryModel("pedestrians-eth"))


def pedestrians_of(model: GeometricTrajectoryModel) -> np.ndarray:
    rng = np.random.default_rng(0)
    x = np.cumsum(rng.normal(0.4, 0.05, (8, 3, 2)), axis=0)
    return model.continue_(x, np.ones((3, 1)), np.zeros((3, 3, 1)), 12, SEEDS.tolist())


def torsions(kind: str) -> np.ndarray:
    proposer = load_torsion(aspirin().molecule, kind=kind)
    made = proposer.propose_independent(
        aspirin().positions_A[0], 2, kT_eV=0.0258, rng=np.random.default_rng(0)
    )
    return np.array(
        [[np.cos(proposer.tree.torsions(p.positions_A)).sum(), p.log_q_ratio] for p in made]
    )


def field(name: str, dimension: int) -> np.ndarray:
    return field_of(FieldModel.load(name), dimension)


def field_of(model: FieldModel, dimension: int) -> np.ndarray:
    x = (
        np.linspace(-0.8, 0.8, 5)[:, None]
        if dimension == 1
        else np.array([[0.0, 0.0], [0.6, 0.1], [-0.3, 0.5]])
    )
    known = np.array([[0.3], [0.1]]) if dimension == 1 else np.array([[0.3, 0.1], [0.0, -0.2]])
    return model.condition(x[:2], known).sample(x[2:], 2, seed=3, steps=6, corrections=1)


def atom_field(name: str) -> np.ndarray:
    return atom_field_of(AtomFieldModel.load(name))


def atom_field_of(model: AtomFieldModel) -> np.ndarray:
    """Samples without a known value, and with one of every third atom."""
    x = aspirin()
    prior = model.sample(x.molecule.numbers, x.positions_A[0], 2, seed=3, steps=4)
    given = np.arange(0, x.molecule.n_atoms, 3)
    conditioned = model.condition(x.molecule.numbers, x.positions_A[0], prior[0], given)
    return np.stack([*prior, *conditioned.sample(1, seed=5, steps=4), *conditioned.interval(0.9)])


def joint(sampler: str) -> np.ndarray:
    return joint_of(JointModel(sampler=sampler, half_precision=False))


def joint_of(model: JointModel) -> np.ndarray:
    made = model.sample(SEEDS, steps=8)
    return np.concatenate(
        [
            np.zeros(3)
            if raw is None
            else [raw[0].n_atoms, raw[0].numbers.sum(), len(raw[0].bonds)]
            for raw in made
        ]
    )


def pairs() -> list[tuple[Molecule, np.ndarray]]:
    return [(aspirin().molecule, aspirin().positions_A[k]) for k in (0, 30)]


def judged(what: str) -> np.ndarray:
    if what == "spectra":
        return load_spectra().predict(pairs())
    network = load_properties()
    return (
        np.diff(list(network.predict(pairs()).values()), axis=1)
        / network.network.spread.numpy()[:, None]
    )


def refined(name: str, steps: int | None = None) -> np.ndarray:
    return refined_by(make_refiner(name), steps)


def refined_by(refiner: Refiner, steps: int | None = None) -> np.ndarray:
    return refiner.refine_many([(aspirin().molecule, aspirin().positions_A[:2])], steps=steps)[0]


SAMPLES: dict[str, Callable[[], np.ndarray]] = {
    "conformer": lambda: make_model("conformer").sample(alanine(), SEEDS, steps=4),
    "se3-distance": lambda: make_model("se3-distance").sample(alanine(), SEEDS, steps=8),
    "se3-distance-gauss-newton": lambda: make_model("se3-distance-gauss-newton").sample(
        alanine(), SEEDS, steps=8
    ),
    "refine": lambda: refined("refine"),
    "conformer-energy": lambda: refined("conformer-energy", 4),
    "trajectory": lambda: gap("default", None),
    "geotdm": lambda: gap("geotdm", 4),
    "nbody-charged": lambda: arrays("nbody-charged", None),
    "egnn-spring": lambda: arrays("egnn-spring", None),
    "pedestrians-eth": pedestrians,
    "torsions independent": lambda: torsions("independent"),
    "torsions local": lambda: torsions("local"),
    "boltzmann": lambda: load_boltzmann().sample(2, seed=3)[0],
    "boltzmann density": lambda: load_boltzmann().sample(4, seed=3)[1],
    "field-se": lambda: field("field-se", 1),
    "field-se-network": lambda: field("field-se-network", 1),
    "field-mixture": lambda: field("field-mixture", 1),
    "field-sawtooth": lambda: field("field-sawtooth", 1),
    "field-2d-div-free": lambda: field("field-2d-div-free", 2),
    "field-cyclones": lambda: TrackModel.load("field-cyclones").sample(
        np.arange(4.0) / 4, 2, seed=3, steps=6
    ),
    "atom-forces": lambda: atom_field("atom-forces"),
    "atom-charges": lambda: atom_field("atom-charges"),
    "atom-virial": lambda: atom_field("atom-virial"),
    "joint diffusion": lambda: joint("diffusion"),
    "joint bfn": lambda: joint("bfn"),
    "latent": lambda: LatentModel(refine=False).latents(SEEDS, steps=4),
    "properties": lambda: judged("properties"),
    "spectra": lambda: judged("spectra"),
}


def losses(name: str) -> np.ndarray:
    """Losses of a short training: of held-out data before and after it, and of its
    batches.
    """
    seen: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        done = trainings.train(
            name,
            Path(folder),
            Path(folder) / "out",
            progress=lambda event: seen.append(event["loss"]),
        )
    return np.array([done["held_out_loss_before"], done["held_out_loss_after"], seen[-1]])


TRAININGS = {
    f"training of {name}": lambda name=name: losses(name)
    for name in trainings.CASES
    if name != "properties"  # the unit of that loss is rounding
}
ALL: dict[str, Callable[[], np.ndarray]] = SAMPLES | TRAININGS


def summary(values: np.ndarray) -> dict[str, Any]:
    """An array in a few numbers: shape, mean, spread, and values at even distances."""
    flat = np.asarray(values, np.float64).ravel()
    some = flat[np.linspace(0, len(flat) - 1, min(KEPT, len(flat))).astype(int)]
    numbers = {"mean": flat.mean(), "spread": flat.std(), "some": some.tolist()}
    return {"shape": list(np.shape(values))} | {
        key: np.round(value, 6).tolist() for key, value in numbers.items()
    }

"""A short training of every kind, on tiny data."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from equidrift.models.torsions.distances.data import EnsembleSet
from equidrift.registry import TRAININGS, resolve
from tests.models import networks
from tests.models.boltzmann import test_boltzmann
from tests.models.fields import test_atoms
from tests.models.molecules import test_joint, test_latent, test_properties, test_spectra
from tests.models.torsions import ensembles

ROOT = Path(__file__).parents[3]
STEPS: dict[str, Any] = {"schedule": {"steps": 5, "checkpoint_s": 0.0}}
NINE = ("CCO", "CC=O", "CCN", "COC", "CC#N", "CCF", "C1CC1", "OCC=O", "NCCO")
Case = tuple[str, dict[str, Any]]  # family and config


def conformers(folder: Path, task: str) -> Case:
    networks.small_set(NINE).save(folder / "set.npz")
    return "conformers", {
        "task": task,
        "data": str(folder / "set.npz"),
        "network": networks.SIZES,
        "atoms_per_batch": 30,
    }


def distance(folder: Path) -> Case:
    """A shard of three molecules, and one that is held out."""
    for name, smiles in (
        ("gfn2_0", ("CCO", "CC=O", "CCN")),
        ("mmff_0", ("COC", "CCF")),
        ("unseen", ("OCC=O", "CC#N")),
    ):
        parts = [networks.conformer(text) for text in smiles]
        counts = np.cumsum([0, *(m.n_atoms for m, _ in parts)])
        arrays = {
            "z": np.concatenate([m.numbers for m, _ in parts]),
            "atom_offset": counts,
            "coord_offset": counts,
        }
        arrays |= {
            "bonds": np.concatenate([m.bonds for m, _ in parts]),
            "orders": np.concatenate([m.bond_orders for m, _ in parts]),
        }
        arrays |= {
            "bond_offset": np.cumsum([0, *(len(m.bonds) for m, _ in parts)]),
            "conf_offset": np.arange(len(parts) + 1),
        }
        np.savez(
            folder / f"{name}.npz",
            R=np.concatenate([x for _, x in parts]).astype(np.float32),
            **arrays,
        )
    config = {
        "task": "distance",
        "data": str(folder),
        "held_out": [str(folder / "unseen.npz")],
        "pairs_per_batch": 60,
    }
    return "conformers", config | {"network": {"hidden": 16, "global_layers": 1}}


def trajectories(folder: Path, kind: str) -> Case:
    small = {"geotdm": {"width": 16, "layers": 1}, "flow": {"width": 16, "layers": 1}}
    config = {
        "kind": kind,
        "data": "nbody:spring",
        "trajectories": 9,
        "frames": 8,
        "context": 3,
        "pairs_per_batch": 200,
    }
    config |= {
        "network": small.get(kind, {}),
        "options": {"steps": 5} if kind == "geotdm" else {},
        "interpolate_steps": 2,
    }
    return "trajectories", config


def dynamics(folder: Path) -> Case:
    data = ROOT / "examples" / "data"
    config = {
        "kind": "flow",
        "data": str(data / "aspirin.xtc"),
        "topology": str(data / "aspirin.pdb"),
        "stride": 1,
        "frames": 4,
    }
    return "trajectories", config | {"context": 2, "network": {"width": 16, "layers": 1}}


def torsions(folder: Path) -> Case:
    from equidrift.torsions import TorsionTree

    smiles, frames, rng = (
        ("CCCO", "CCOC", "CCCN", "OCCO", "NCCO", "CCCF", "COCC=O", "CCCC", "OCCC#N"),
        [],
        np.random.default_rng(0),
    )
    for text in smiles:
        molecule, x = networks.conformer(text)
        tree = TorsionTree.of(molecule)
        frames.append(tree.set_torsions(x, rng.normal(size=(4, tree.n_torsions))))
    offset = np.cumsum([0, *(x.shape[1] for x in frames)])
    flat = np.concatenate([x.reshape(-1, 3) for x in frames]).astype(np.float32)
    counts = np.arange(0, 4 * len(smiles) + 1, 4)
    np.savez(
        folder / "frames.npz",
        smiles=np.array(smiles),
        offset=offset,
        R=flat,
        frame_offset=counts,
        kT_eV=np.full(counts[-1], 0.0258),
    )
    return "torsions", {
        "data": str(folder / "frames.npz"),
        "network": {"width": 16, "layers": 1, "k1": 2, "k2": 1},
        "frames_per_batch": 4,
    }


def torsions_all(folder: Path) -> Case:
    packed = [
        ensembles.ensemble(smiles)
        for smiles in ("CCCO", "CCOC", "CCCN", "OCCO", "NCCO", "CCCF", "COCC=O", "CCCC", "OCCC#N")
    ]
    EnsembleSet(packed).save(folder / "packed.npz")
    return "torsions-all", {
        "data": str(folder / "packed.npz"),
        "network": {"width": 16, "rounds": 1, "radial": 8, "forces": 2, "orders": 3},
        "molecules": 4,
        "rows": 4,
    }


def boltzmann(folder: Path) -> Case:
    frames = test_boltzmann.sampled_frames(300)
    keys = ("numbers", "bonds", "positions_A", "forces_eV_A", "temperature_K")
    np.savez(folder / "frames.npz", **{key: getattr(frames, key) for key in keys})
    config = {"data": str(folder / "frames.npz"), "likelihood_steps": 2, "copies": 1, "batch": 32}
    return "boltzmann", config | {"network": {"width": 16, "layers": 2, "bins": 8}}


def fields(folder: Path, source: str) -> Case:
    if source == "system":
        return "fields", {"system": "se", "limit": "white", "batch": 4, "functions": 16}
    rng = np.random.default_rng(0)
    x = np.linspace(-1, 1, 12)
    np.savez(folder / "waves.npz", x=x, y=np.sin(3 * x + rng.uniform(0, 6, (20, 1))))
    return "fields", {"data": str(folder / "waves.npz"), "limit": "white", "batch": 4}


def atoms(folder: Path) -> Case:
    numbers, positions, values = test_atoms.data("vector")
    np.savez(folder / "forces.npz", numbers=numbers, positions_A=positions, values=values)
    sizes = {"width": 8, "layers": 1, "radial": 6, "score_width": 8, "score_layers": 1}
    return "fields", {
        "kind": "atoms",
        "data": str(folder / "forces.npz"),
        "sizes": sizes,
        "score_schedule": STEPS["schedule"],
    }


def qm9(folder: Path) -> Any:
    """Packed molecules, two of them in the validation part."""
    data = test_latent.dataset([test_latent.made(smiles) for smiles in test_latent.SMILES])
    data.split[-2:] = 1
    np.savez(folder / "qm9_molecules.npz", **vars(data))
    return data


def joint(folder: Path) -> Case:
    qm9(folder)
    config = {
        "model": "joint",
        "data": str(folder / "qm9_molecules.npz"),
        "network": test_joint.SIZES,
        "batch": 4,
    }
    return "molecules", config | {"half_precision": False}


def properties(folder: Path) -> Case:
    data = qm9(folder)
    data.split[-4:-2] = 2
    np.savez(folder / "qm9_molecules.npz", **vars(data))
    config = {
        "model": "properties",
        "data": str(folder / "qm9_molecules.npz"),
        "network": test_properties.SMALL,
    }
    return "molecules", config | {"batch": 4, "bfloat16": False}


def latent(folder: Path, stage: str) -> Case:
    qm9(folder)
    config = {
        "model": "latent",
        "stage": stage,
        "data": str(folder / "qm9_molecules.npz"),
        "batch": 4,
    }
    return "molecules", config | {"network": test_latent.STAGES[stage]}


def spectra(folder: Path) -> Case:
    data = qm9(folder)
    lines = [np.sort(500.0 + 100.0 * k + np.arange(5)) for k in range(len(data))]
    offset = np.arange(0, 5 * len(data) + 1, 5)
    arrays = {
        "index": data.index,
        "mode_offset": offset,
        "frequencies_cm1": np.concatenate(lines),
        "intensities": np.ones(offset[-1]),
    }
    np.savez(folder / "spectra.npz", **arrays)
    config = {
        "model": "spectra",
        "spectra": str(folder / "spectra.npz"),
        "data": str(folder / "qm9_molecules.npz"),
    }
    return "molecules", config | {"network": test_spectra.SIZES, "batch": 4}


CASES: dict[str, Callable[[Path], Case]] = {
    "refiner": lambda folder: conformers(folder, "refine"),
    "generator": lambda folder: conformers(folder, "generate"),
    "distance": distance,
    **{
        kind: lambda folder, kind=kind: trajectories(folder, kind)
        for kind in ("integrator", "flow", "geotdm", "egnn")
    },
    "dynamics": dynamics,
    "torsions": torsions,
    "torsions with all distances": torsions_all,
    "boltzmann": boltzmann,
    "field of a system": lambda folder: fields(folder, "system"),
    "field of data": lambda folder: fields(folder, "data"),
    "atoms": atoms,
    "joint": joint,
    "properties": properties,
    "graph": lambda folder: latent(folder, "graph"),
    "geometry": lambda folder: latent(folder, "geometry"),
    "spectra": spectra,
}


def train(
    name: str,
    folder: Path,
    out: Path,
    *,
    resume: bool = False,
    progress: Callable[[dict[str, Any]], None] = lambda event: None,
) -> dict[str, Any]:
    """Train a case; its summary."""
    family, config = CASES[name](folder)
    settings = {**STEPS, **config, "name": "mine"}
    summary: dict[str, Any] = resolve(TRAININGS[family])(settings, out, None, resume, progress)
    return summary

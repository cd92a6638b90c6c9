"""Small ensembles in place of MMFF94's: turns of one conformer at even angles."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from equidrift.models.torsions.distances.data import TorsionEnsemble
from equidrift.models.torsions.distances.graph import HeavyGraph, heavy_atoms
from equidrift.models.torsions.distances.network import DistanceNetwork
from equidrift.records import Molecule
from equidrift.torsions import TorsionTree
from equidrift.weights import save_weights
from tests.models import networks


def ensemble(smiles: str, minima: int = 3) -> TorsionEnsemble:
    """A molecule whose torsions all stand at 60, 180 or -60 degrees, drawn at random."""
    made, x = networks.conformer(smiles)
    return turned_ensemble(made, x, minima)


def turned_ensemble(molecule: Molecule, x: np.ndarray, minima: int) -> TorsionEnsemble:
    """Turns of one conformer (n_atoms, 3)."""
    tree, rng = TorsionTree.of(molecule), np.random.default_rng(0)
    phi = rng.choice(np.radians([60.0, 180.0, -60.0]), (minima, tree.n_torsions))
    heavy = heavy_atoms(molecule)
    relaxed = tree.set_torsions(x, phi)[:, heavy].astype(np.float32)
    drawn = np.repeat(x[None, heavy], minima, axis=0).astype(np.float32)
    return TorsionEnsemble(
        molecule.smiles,
        HeavyGraph.of(molecule, tree),
        np.linspace(0, 2, minima).astype(np.float32),
        tree.torsions(tree.set_torsions(x, phi)).astype(np.float32),
        relaxed,
        drawn,
        np.ones((minima, minima), bool),
    )


def saved(network: DistanceNetwork, path: Path) -> Path:
    """Weights and card of a network."""
    card = {
        "name": path.stem,
        "family": "torsions",
        "task": "torsions-all",
        "description": "random",
        "config": dataclasses.asdict(network.config),
        "elements": ["H", "C", "O"],
        "max_atoms": 200,
        "units": "A",
        "licence": "MIT",
        "training_data": "none",
        "quality": {},
    }
    return save_weights(path, network.float().state_dict(), card)

"""Small random networks and molecules for the tests of the conformer models."""

from __future__ import annotations

import dataclasses
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from equidrift.models.conformers.data import ConformerSet
from equidrift.models.conformers.energy.layers import EnergyConfig
from equidrift.models.conformers.energy.network import EnergyNetwork
from equidrift.models.shared.backbones.conformer import ConformerNetwork
from equidrift.models.shared.layers import NetworkConfig
from equidrift.records import Molecule
from equidrift.weights import save_weights
from tests.geometries import geometry_of

SIZES: dict[str, Any] = {
    "width": 16,
    "pair_width": 8,
    "vectors": 2,
    "radial": 6,
    "stages": 2,
    "blocks": 1,
    "newton": 1,
}


def small_network(*, noise: bool = False, seed: int = 0) -> ConformerNetwork:
    """Every parameter random, so that no path through the network is switched off."""
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = ConformerNetwork(NetworkConfig(**{**SIZES, "noise": noise}))
    with torch.no_grad():
        for parameter in network.parameters():
            scale = 0.1 if parameter.ndim < 2 else 0.3 * parameter.shape[-1] ** -0.5
            parameter.add_(scale * torch.randn(parameter.shape, generator=generator))
    return network.eval()


@lru_cache
def conformer(smiles: str, seed: int = 0) -> tuple[Molecule, np.ndarray]:
    """A molecule and an ETKDG geometry (n_atoms, 3), whatever the release of RDKit."""
    return geometry_of(smiles, seed)


def small_weights(folder: Path, task: str = "refine", name: str = "small", seed: int = 0) -> Path:
    """Weights and card of a small random network."""
    network = small_network(noise=task == "generate", seed=seed)
    card = {
        "name": name,
        "family": "conformers",
        "task": task,
        "description": "random",
        "config": dataclasses.asdict(network.config),
        "elements": ["H", "C", "O"],
        "max_atoms": 200,
        "units": "A",
        "licence": "MIT",
        "training_data": "none",
        "quality": {},
    }
    return save_weights(folder / f"{name}.safetensors", network.state_dict(), card)


ENERGY_SIZES: dict[str, Any] = {
    "width": 12,
    "rounds": 2,
    "hidden": 16,
    "radial": 6,
    "blocks": 2,
    "channels": 4,
}


def small_energy_network(seed: int = 0) -> EnergyNetwork:
    """Every parameter random, in float64."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = EnergyNetwork(EnergyConfig(**ENERGY_SIZES))
        with torch.no_grad():
            for parameter in network.parameters():
                parameter.add_(0.2 * torch.randn(parameter.shape))
    return network.double().eval()


def small_energy_weights(folder: Path) -> Path:
    """Weights and card of a small random energy."""
    network = small_energy_network().float()
    card = {
        "name": "small-energy",
        "family": "conformers",
        "task": "energy",
        "description": "random",
        "config": {**dataclasses.asdict(network.config), "reference": "MMFF94"},
        "elements": ["H", "C", "N", "O"],
        "max_atoms": 200,
        "units": "A, eV",
        "licence": "MIT",
        "training_data": "none",
        "quality": {},
    }
    return save_weights(folder / "small-energy.safetensors", network.state_dict(), card)


def small_set(
    smiles: tuple[str, ...] = ("CCO", "CC=O", "CCN", "COC", "C[C@H](N)C(=O)O"),
) -> ConformerSet:
    """Training data: a target and a start next to it for each molecule."""
    data = ConformerSet.empty()
    rng = np.random.default_rng(0)
    for text in smiles:
        molecule, x = conformer(text)
        data.add(molecule, "MMFF94", x, [x + 0.02 * rng.standard_normal(x.shape)])
    return data

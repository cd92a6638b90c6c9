"""The learned energy with a trunk of the symmetry kit in the place of neighbourhoods."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from equidrift.errors import InputError
from equidrift.models.conformers.energy.layers import EnergyConfig
from equidrift.models.conformers.energy.network import EnergyNetwork
from equidrift.models.conformers.energy.sampler import EnergyModel
from equidrift.models.conformers.energy.terms import join
from equidrift.models.conformers.energy.train import run_training
from equidrift.models.shared.backbones.choice import TRUNKS
from tests.models.conformers.energy.test_energy import laid_out, rotation, shaken, small_paths
from tests.models.networks import ENERGY_SIZES, conformer

EXACT = ("radial", "egcl", "subequivariant", "clebsch-gordan", "local-frames", "frames")


def network(backbone: str) -> EnergyNetwork:
    """Every parameter random, in float64."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = EnergyNetwork(EnergyConfig(**(ENERGY_SIZES | {"backbone": backbone})))
        with torch.no_grad():
            for parameter in made.parameters():
                parameter.add_(0.1 * torch.randn(parameter.shape))
    return made.double().eval()


def trunk_part(made: EnergyNetwork, smiles: str, x: np.ndarray) -> torch.Tensor:
    """What the trunk adds to the energy."""
    terms, _ = shaken(smiles)
    graphs, places = join([terms]), laid_out(x)
    assert made.trunk is not None
    with torch.no_grad():
        return made.trunk(graphs, places, made.features(graphs)).sum(0)


@pytest.mark.parametrize("backbone", EXACT)
def test_a_trunk_adds_what_turns_and_shifts_leave_as_it_is(backbone: str) -> None:
    made, smiles = network(backbone), "CC=O"
    _, x = shaken(smiles)
    before = trunk_part(made, smiles, x)
    after = trunk_part(made, smiles, x @ rotation(3, reflect=False) + [3.0, -1.0, 2.0])
    assert before.std() > 1e-5, "the geometry matters"
    torch.testing.assert_close(after, before, atol=1e-8, rtol=1e-7)


@pytest.mark.parametrize("backbone", ["radial", "clebsch-gordan"])
def test_energies_do_not_depend_on_what_else_is_in_the_batch(backbone: str) -> None:
    made = network(backbone)
    parts = [shaken(smiles) for smiles in ("C#CC=O", "CO", "C[C@H](N)C(=O)O")]
    with torch.no_grad():
        together = made(
            join([terms for terms, _ in parts]), torch.cat([laid_out(x) for _, x in parts], dim=1)
        )
        alone = torch.cat([made(join([terms]), laid_out(x)) for terms, x in parts])
    torch.testing.assert_close(together, alone, atol=1e-9, rtol=0)


@pytest.mark.parametrize("backbone", TRUNKS)
def test_a_config_picks_the_trunk_of_the_energy_by_its_name(tmp_path: Path, backbone: str) -> None:
    small_paths().save(tmp_path / "set.npz")
    sizes = ENERGY_SIZES | {"channels": 4, "blocks": 1}
    config: dict[str, Any] = {"data": str(tmp_path / "set.npz"), "held_out": 0.0, "network": sizes}
    config |= {"paths_per_batch": 2, "frames_per_path": 2, "schedule": {"steps": 2}}
    made = run_training(config | {"backbone": backbone}, tmp_path / "run", None)
    model = EnergyModel(made["weights"], device="cpu")
    assert model.network.config.backbone == backbone and not model.network.blocks
    model.elements = (1, 6, 8)  # of three molecules its card claims none
    molecule, x = conformer("CCO")
    model.reference = "none"
    energy, gradient = model.surface(molecule)(x[None])
    assert np.isfinite(energy).all() and np.abs(gradient).max() > 0


def test_a_trunk_that_is_not_there_is_refused_by_name(tmp_path: Path) -> None:
    small_paths().save(tmp_path / "set.npz")
    config = {"data": str(tmp_path / "set.npz"), "backbone": "ponyta", "schedule": {"steps": 1}}
    with pytest.raises(InputError, match=r"unknown backbone .ponyta."):
        run_training(config, tmp_path / "run", None)


def test_weights_of_before_have_no_trunk() -> None:
    fields = {field.name: field.default for field in dataclasses.fields(EnergyConfig)}
    assert fields["backbone"] is None and EnergyNetwork(EnergyConfig(**ENERGY_SIZES)).trunk is None

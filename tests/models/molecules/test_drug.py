"""Drug-size molecules of the joint model: alphabet, data, batches, training, samples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from equidrift.adapters.rdkit.validity import kekulised
from equidrift.checks.valency import atoms_stable
from equidrift.errors import InputError, UnknownNameError
from equidrift.models.molecules.joint import drug_train
from equidrift.models.molecules.joint.alphabet import ALPHABETS, DRUG_TOKENS, ORDERS, alphabet_of
from equidrift.models.molecules.joint.assemble import graph_of
from equidrift.models.molecules.joint.data import tokens_of
from equidrift.models.molecules.joint.drugs import Conformers, DrugSet
from equidrift.models.molecules.joint.sampler import JointModel
from equidrift.models.molecules.joint.walk import Draws, Walk
from equidrift.records import Molecule
from equidrift.weights import load_weights
from tests.models.molecules.sizes import SIZES
from tests.tools.loading import tool

SMILES = (
    "CCCCO",
    "C[N+](=O)[O-]",
    "CS(=O)(=O)c1ccccc1Cl",
    "CCCBr",
    "Fc1ccccc1I",
    "CC(=O)Nc1nccs1",
    "CCP(=O)(OC)OC",
    "C[NH2+]CC(=O)[O-]",
    "OCCOCCOCCO",
    "C1CCCCCCCC1",
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the tool makes of a few molecules, all in the training part."""
    folder = tmp_path_factory.mktemp("drugs")
    making = tool("make_drug_molecules")
    args = making.arguments([str(folder / "d.npz"), "--draws", "2"])
    parts = [making.entry(smiles, "train", args, 0) for smiles in SMILES]
    parts += [making.entry(smiles, "val", args, 0) for smiles in ("CCCCN", "CCOC=O")]
    making.save(folder / "d.npz", **making.joined(parts))
    return folder / "d.npz"


@pytest.fixture
def config(made: Path) -> dict[str, Any]:
    return {
        "data": str(made),
        "network": SIZES,
        "batch": 3,
        "schedule": {"steps": 6},
        "half_precision": False,
    }


def graph(molecule: Molecule) -> tuple[np.ndarray, ...]:
    flat = kekulised(molecule)
    return flat.numbers, flat.formal_charges, flat.bonds, flat.bond_orders


@pytest.mark.parametrize("smiles", SMILES)
def test_tokens_of_a_drug_give_its_graph_back(smiles: str) -> None:
    molecule = Molecule.from_smiles(smiles)
    tokens = tokens_of(*graph(molecule), DRUG_TOKENS)
    assert tokens is not None
    types, bonds, _ = tokens
    assert DRUG_TOKENS.fits[types, bonds.sum(1)].all()
    back, _ = graph_of(types, bonds, DRUG_TOKENS)
    assert sorted(back.numbers.tolist()) == sorted(molecule.numbers.tolist())
    assert back.charge == molecule.charge and atoms_stable(back).all()


@pytest.mark.parametrize("alphabet", ALPHABETS.values(), ids=ALPHABETS)
def test_alphabet_has_room_for_a_bond_at_each_type_but_lone_molecules(alphabet: Any) -> None:
    assert len(set(alphabet.types)) == len(alphabet.types)
    assert alphabet.fits.shape == (len(alphabet.types), ORDERS) and alphabet.fits.any(1).all()
    lone = [kind for kind, most in zip(alphabet.types, alphabet.most, strict=True) if most == 0]
    assert set(lone) <= {(6, 0, 4), (7, 0, 3), (7, 1, 4), (8, 0, 2)}


def test_unknown_alphabet_is_named() -> None:
    with pytest.raises(UnknownNameError, match="qm9"):
        alphabet_of("drugs")


def test_sulphur_with_each_of_its_valences_is_whole_and_with_others_broken() -> None:
    sulphur, carbon = DRUG_TOKENS.type_of[16, 0, 0], DRUG_TOKENS.type_of[6, 0, 3]
    walk = Walk(
        torch.tensor([7]), Draws.of(np.array([1]), 2, 40), None, 2, torch.device("cpu"), DRUG_TOKENS
    )
    types = torch.zeros(1, 9, dtype=torch.long)
    types[0, :7] = torch.tensor([sulphur, *[carbon] * 6])
    nothing = torch.zeros(1, 9, dtype=torch.bool), torch.zeros(1, 9, 9, dtype=torch.bool)
    for count in range(7):
        bonds = torch.zeros(1, 9, 9, dtype=torch.long)
        bonds[0, 0, 1 : 1 + count] = bonds[0, 1 : 1 + count, 0] = 1
        broken = walk.broken(types, bonds, *nothing)[0, 0]
        assert bool(broken) == (count not in (2, 4, 6)), count


def test_conformers_of_a_file_are_centred_and_closed_shell(made: Path) -> None:
    drugs = DrugSet.load(made)
    data = Conformers(drugs, "train")
    assert len(data.first_rows()) == len(SMILES) and len(data) == drugs.first[len(SMILES)]
    heavy = data.take(np.arange(len(data)))
    torch.testing.assert_close(
        (heavy.x * heavy.mask[..., None]).sum(1), torch.zeros(len(data), 3), atol=1e-4, rtol=0
    )
    sums = heavy.bonds.sum(2).numpy()
    assert DRUG_TOKENS.fits[heavy.types.numpy(), sums][heavy.mask.numpy()].all()
    bonded = heavy.bonds > 0
    apart = torch.cdist(heavy.x, heavy.x)[bonded]
    assert float(apart.min()) > 1.1 and float(apart.max()) < 2.2


def test_rows_of_a_file_are_conformers_as_the_tool_made_them(made: Path) -> None:
    drugs = DrugSet.load(made)
    data = Conformers(drugs, "train")
    rows = np.flatnonzero(data.molecule == 8)  # OCCOCCOCCO
    sizes, counts = np.diff(drugs.offset), np.diff(drugs.first)
    begin = int((sizes * counts)[:8].sum())
    own = drugs.positions_A[begin : begin + 10 * len(rows)].reshape(len(rows), 10, 3)
    taken = data.take(rows).x.numpy()
    np.testing.assert_allclose(taken, own - own.mean(1, keepdims=True), atol=1e-5)


def test_batches_hold_molecules_of_nearly_one_size_and_an_epoch_all_of_them() -> None:
    class Sized(Conformers):
        def __init__(self) -> None:
            rng = np.random.default_rng(0)
            self.sizes = rng.integers(10, 40, 2048)

        def __len__(self) -> int:
            return len(self.sizes)

    data = Sized()
    batches = drug_train.SizedBatches(
        data, torch.zeros(5), torch.ones(5), size=32, seed=0, alphabet=DRUG_TOKENS
    )
    order, _ = batches.epochs(0)
    assert sorted(order.tolist()) == list(range(2048))
    sizes = data.sizes[order].reshape(-1, 32)
    padded = (sizes.max(1, keepdims=True) ** 2).sum() * 32 / (sizes**2).sum()
    assert padded < 1.1
    mixed = data.sizes.reshape(-1, 32)
    assert padded < 0.75 * (mixed.max(1, keepdims=True) ** 2).sum() * 32 / (mixed**2).sum()
    assert not np.array_equal(order, batches.epochs(64)[0])


def test_resume_equals_an_uninterrupted_run(config: dict[str, Any], tmp_path: Path) -> None:
    whole = drug_train.run_training(config, tmp_path / "whole", None)
    one_step = drug_train.run_training(config, tmp_path / "parts", 1e-9)
    assert one_step["steps"] == 1
    parts = drug_train.run_training(config, tmp_path / "parts", None, resume=True)
    assert whole["steps"] == parts["steps"] == 6 and whole["molecules"] == len(SMILES)
    one, other = (load_weights(str(summary["weights"]))[0] for summary in (whole, parts))
    assert all(bool((one[name] == other[name]).all()) for name in one)


def test_trained_weights_draw_molecules_of_the_alphabet(
    config: dict[str, Any], tmp_path: Path
) -> None:
    summary = drug_train.run_training(config, tmp_path, None)
    model = JointModel(str(summary["weights"]), refine=0)
    assert model.max_heavy_atoms == 40 and set(model.properties) == set(DRUG_TOKENS.properties)
    raws = model.sample(np.arange(3), steps=3)
    again = model.sample(np.arange(1, 2), steps=3)
    assert all(raw is not None and set(raw[0].numbers) <= set(model.elements) for raw in raws)
    first, alone = raws[1], again[0]
    assert first is not None and alone is not None and first[0].key() == alone[0].key()
    np.testing.assert_allclose(first[1], alone[1], atol=1e-4)
    model.sample(np.arange(2), targets={"logP": 2.5, "MW": 350.0}, guidance=2.0, steps=2)


def test_layers_of_another_alphabet_are_taken_over(tmp_path: Path) -> None:
    begun = drug_train.DrugTraining(data="none.npz", init="joint").begin()
    state, _ = load_weights("joint")
    own = begun.state_dict()
    assert all(
        torch.equal(own[name], value) for name, value in state.items() if name.startswith("blocks")
    )
    assert own["to_types.3.weight"].shape[0] == len(DRUG_TOKENS.types)
    with pytest.raises(InputError, match="tensors fit"):
        drug_train.DrugTraining(data="none.npz", init="joint", network=SIZES).begin()
    with pytest.raises(InputError, match="task"):
        drug_train.DrugTraining(data="none.npz", init="refine").begin()


def test_data_that_cannot_be_trained_on(config: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="make_drug_molecules"):
        drug_train.run_training({**config, "data": str(tmp_path / "no.npz")}, tmp_path, None)
    np.savez(tmp_path / "other.npz", smiles=np.array(["C"]))
    with pytest.raises(InputError, match="it lacks bond_offset, bond_orders, bonds"):
        drug_train.run_training({**config, "data": str(tmp_path / "other.npz")}, tmp_path, None)
    with pytest.raises(InputError, match="one batch"):
        drug_train.run_training({**config, "batch": 500}, tmp_path, None)

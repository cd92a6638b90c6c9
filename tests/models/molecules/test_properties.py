"""The judge of properties: invariant, the same in any batch, trained as the command
says, and its data matched to geometries.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from equidrift.adapters.rdkit.molecule import flat_smiles
from equidrift.adapters.rdkit.qm9 import match_geometry
from equidrift.adapters.rdkit.validity import kekulised, perceived
from equidrift.errors import EquidriftError, InputError, MoleculeError, WeightsError
from equidrift.models.molecules.data import PROPERTIES, QM9, SPLITS, find_qm9, half_of, load_qm9
from equidrift.models.molecules.properties.sampler import (
    PropertyConfig,
    PropertyNetwork,
    load_properties,
    make_batch,
    make_network,
)
from equidrift.models.molecules.properties.train import Batches, run_training, set_scales
from equidrift.models.shared.split import held_out
from equidrift.records import Molecule
from tests.doubles import BREAD, geometry

SMALL = {"width": 16, "message": 8, "vectors": 4, "layers": 2}


def toy_qm9() -> QM9:
    """A dozen molecules with made-up properties, all of them training molecules of half
    b.
    """
    graphs = [kekulised(Molecule.from_smiles(smiles)) for smiles in BREAD]
    positions = [geometry(Molecule.from_smiles(smiles)) for smiles in BREAD]
    n = len(graphs)
    props = np.random.default_rng(0).normal(size=(n, len(PROPERTIES))) + [
        [g.n_atoms] for g in graphs
    ]
    return QM9(
        numbers=np.concatenate([g.numbers for g in graphs]).astype(np.uint8),
        positions_A=np.concatenate(positions).astype(np.float32),
        formal_charges=np.concatenate([g.formal_charges for g in graphs]).astype(np.int8),
        offset=np.cumsum([0, *(g.n_atoms for g in graphs)]),
        bonds=np.concatenate([g.bonds for g in graphs]).astype(np.uint8),
        bond_orders=np.concatenate([g.bond_orders for g in graphs]).astype(np.uint8),
        aromatic=np.zeros(sum(len(g.bonds) for g in graphs), bool),
        bond_offset=np.cumsum([0, *(len(g.bonds) for g in graphs)]),
        smiles=np.array([flat_smiles(g) for g in graphs]),
        index=np.arange(n),
        props=props,
        split=np.array([0] * (n - 3) + [2] * 3, np.uint8),
        half_b=np.ones(n, bool),
    )


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    path = tmp_path / "toy.npz"
    np.savez(path, **vars(toy_qm9()))
    return path


def network() -> PropertyNetwork:
    net = make_network(PropertyConfig(**SMALL), seed=1)
    data = toy_qm9()
    set_scales(net, data, np.arange(len(data)))
    return PropertyNetwork(net)


def test_rotation_translation_reflection_and_permutation() -> None:
    judge, rng = network(), np.random.default_rng(0)
    molecule = Molecule.from_smiles("CC(O)CN")
    x = geometry(molecule)
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    order = rng.permutation(molecule.n_atoms)
    place = np.argsort(order)
    mixed = Molecule(
        molecule.numbers[order],
        place[molecule.bonds],
        molecule.bond_orders,
        molecule.formal_charges[order],
    )
    values = judge.predict(
        [(molecule, x), (molecule, x @ turn + 7.0), (molecule, x * [1, 1, -1]), (mixed, x[order])]
    )
    for name, column in values.items():
        assert np.abs(column - column[0]).max() < 1e-4, name
    assert not np.allclose(judge.predict([(molecule, 1.1 * x)])["gap_eV"], values["gap_eV"][0])


def test_a_value_does_not_depend_on_the_batch_and_nan_stays_nan() -> None:
    judge = network()
    systems = [
        (Molecule.from_smiles(s), geometry(Molecule.from_smiles(s)))
        for s in ("CCO", "CC(O)CN", "C")
    ]
    together = judge.predict([*systems, (systems[0][0], systems[0][1] * np.nan)])
    for k, system in enumerate(systems):
        assert all(
            abs(judge.predict([system])[name][0] - together[name][k]) < 1e-4 for name in PROPERTIES
        )
    assert all(np.isnan(together[name][3]) for name in PROPERTIES)
    with pytest.raises(MoleculeError, match="holds S, which the property network does not know"):
        judge.predict([(Molecule.from_smiles("CS"), geometry(Molecule.from_smiles("CS")))])
    assert judge.predict([])["mu_D"].shape == (0,)


def test_hops_are_bonds_between_atoms() -> None:
    butane = Molecule.from_smiles("CCCC")
    batch = make_batch(
        [butane.numbers], [butane.formal_charges], [butane.bonds], [geometry(butane)]
    )
    heavy = batch.hops[0, :4, :4].tolist()
    assert heavy == [[0, 1, 2, 3], [1, 0, 1, 2], [2, 1, 0, 1], [3, 2, 1, 0]]
    assert batch.hops.max() == 4 and batch.composition[0].tolist() == [10, 4, 0, 0, 0, 1]


@pytest.mark.long
def test_training_resumes_exactly_and_leaves_a_card(toy: Path, tmp_path: Path) -> None:
    config = {"data": str(toy), "network": SMALL, "batch": 4, "bfloat16": False}
    config |= {"schedule": {"steps": 24, "warmup_steps": 1, "checkpoint_s": 0.2}}

    def stop(event: dict[str, float]) -> None:
        raise KeyboardInterrupt

    with pytest.raises(
        KeyboardInterrupt
    ):  # at the first report, that of step 20; the last checkpoint is older
        run_training(config, tmp_path / "torn", None, progress=stop)
    again = run_training(config, tmp_path / "torn", None, resume=True)
    whole = run_training(config, tmp_path / "whole", None)
    first, second = load_file(again["weights"]), load_file(whole["weights"])
    assert all(torch.equal(first[key], second[key]) for key in first) and again["steps"] == 24
    assert set(whole["MAE"]) == set(PROPERTIES) and again["MAE"] == whole["MAE"]


def test_scales_survive_the_file(toy: Path, tmp_path: Path) -> None:
    config = {
        "data": str(toy),
        "network": SMALL,
        "batch": 4,
        "schedule": {"steps": 1},
        "bfloat16": False,
    }
    done = run_training(config, tmp_path / "out", None)
    data = load_qm9(toy)
    judge = load_properties(done["weights"])
    rows = data.rows("test")
    values = judge.predict([(data.molecule(int(k)), data.positions(int(k))) for k in rows])
    assert np.abs(
        values["u0_eV"] - data.props[rows, PROPERTIES.index("u0_eV")]
    ).mean() == pytest.approx(done["MAE"]["u0_eV"], rel=1e-4)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"colour": 1}, "the training config does not fit"),
        ({"data": "none.npz"}, "there is no none.npz"),
        ({}, "how long"),
    ],
)
def test_bad_configs(config: dict, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        run_training({**config, **({"schedule": {"steps": 1}} if config else {})}, tmp_path, None)


def test_other_weights_are_refused() -> None:
    with pytest.raises(WeightsError, match="expected 'molecules-properties'"):
        load_properties("refine")


def test_batches_depend_on_step_and_seed_alone() -> None:
    data = toy_qm9()
    first, second = Batches(data, np.arange(12), 4, 0), Batches(data, np.arange(12), 4, 0)
    second(7)
    assert torch.equal(first(5).x, second(5).x) and not torch.equal(
        first(5).x, Batches(data, np.arange(12), 4, 1)(5).x
    )
    assert len(first(0)) == 4 and first.per_epoch == 3


@pytest.mark.parametrize("smiles", [*BREAD, "C[N+](C)(C)CC([O-])=O", "c1cc[nH]c1", "OC1CC1O"])
def test_bonds_are_found_in_any_order_of_atoms(smiles: str) -> None:
    molecule = Molecule.from_smiles(smiles)
    order = np.random.default_rng(1).permutation(molecule.n_atoms)
    numbers, x = (
        molecule.numbers[order].astype(np.uint8),
        geometry(molecule)[order].astype(np.float32),
    )
    found = match_geometry(smiles, numbers, x)
    assert found is not None
    bonds, orders, _, charges, key = found
    made = perceived(Molecule(numbers, bonds, orders.astype(float), charges), x.astype(float))
    assert made.smiles == perceived(molecule, geometry(molecule)).smiles and key == flat_smiles(
        molecule
    )


def test_a_geometry_of_another_molecule_is_no_match() -> None:
    ethanol, ether = Molecule.from_smiles("CCO"), Molecule.from_smiles("COC")
    assert (
        match_geometry(
            "COC", ethanol.numbers.astype(np.uint8), geometry(ethanol).astype(np.float32)
        )
        is None
    )
    assert (
        match_geometry(
            "COC", ether.numbers.astype(np.uint8), 2 * geometry(ether).astype(np.float32)
        )
        is None
    )
    assert (
        match_geometry("CC", ether.numbers.astype(np.uint8), geometry(ether).astype(np.float32))
        is None
    )
    assert (
        match_geometry("C[CH]C", ether.numbers.astype(np.uint8), geometry(ether).astype(np.float32))
        is None
    )


def test_missing_data_says_how_to_make_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EQUIDRIFT_DATA", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(
        EquidriftError,
        match=r"tools/make_molecules.py --qm9 qm9_130831.npz --out .*equidrift/qm9_molecules.npz",
    ):
        find_qm9()


def test_parts_and_halves_of_the_real_data() -> None:
    try:
        data = load_qm9()
    except InputError:
        pytest.skip("the packed QM9 is not there; tools/make_molecules.py makes it")
    for k in (0, 500, 100_000):
        key = str(data.smiles[k])
        assert SPLITS[data.split[k]] == held_out(key) and data.half_b[k] == (half_of(key) == "b")
        assert perceived(data.molecule(k), data.positions(k)).n_atoms == data.sizes[k]
    assert not set(data.rows("train", "a")) & set(data.rows("train", "b"))
    assert len(data.rows("train")) == len(data.rows("train", "a")) + len(data.rows("train", "b"))

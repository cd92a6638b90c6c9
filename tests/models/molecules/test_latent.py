"""The latent space and its diffusion: invariances, round trips, determinism, training
and resume, messages. Networks are tiny.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from equidrift.adapters.rdkit.molecule import flat_smiles, from_smiles
from equidrift.bench.reconstruction import conformer_quality, reconstruction_rows
from equidrift.errors import InputError, MoleculeError, UnknownNameError, WeightsError
from equidrift.models.molecules.data import PROPERTIES, QM9
from equidrift.models.molecules.latent.geometry import GeometryBatches, hand, qm9_codes
from equidrift.models.molecules.latent.graph import GraphBatches, unit
from equidrift.models.molecules.latent.graph_data import (
    graph_batch,
    plain_codes,
    qm9_graphs,
    selfies_of,
    smiles_of,
    tokenise,
    vocabulary,
)
from equidrift.models.molecules.latent.network import DiffusionConfig, LatentDenoiser, thinned
from equidrift.models.molecules.latent.sampler import LatentModel
from equidrift.models.molecules.latent.space import PAIRS_PER_BATCH, LatentSpace
from equidrift.models.molecules.latent.train import run_training
from equidrift.models.molecules.latent.vectors import slerp
from equidrift.models.shared.graph_codes import like_sized
from equidrift.records import Molecule
from equidrift.testing.molecule_model import MoleculeModelContract
from equidrift.weights import load_weights
from tests.geometries import geometry_of

SMILES = (
    "CCO",
    "c1ccccc1",
    "CC(=O)N",
    "C[C@H](O)F",
    "N#CC",
    "c1cc[nH]c1",
    "OCC=O",
    "CC1CC1O",
    "[NH3+]CC(=O)[O-]",
    "C1=CC=CC=C1F",
    "FC(F)F",
    "COC",
)


def made(smiles: str) -> tuple[Molecule, np.ndarray]:
    return geometry_of(smiles, 1)


@pytest.fixture(scope="module")
def molecules() -> list[tuple[Molecule, np.ndarray]]:
    return [made(smiles) for smiles in SMILES]


def dataset(items: list[tuple[Molecule, np.ndarray]]) -> QM9:
    """A QM9 of some molecules, all in the training part."""
    ends = lambda sizes: np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)  # noqa: E731
    orders = np.concatenate([m.bond_orders for m, _ in items])
    return QM9(
        numbers=np.concatenate([m.numbers for m, _ in items]).astype(np.uint8),
        positions_A=np.concatenate([x for _, x in items]).astype(np.float32),
        formal_charges=np.concatenate([m.formal_charges for m, _ in items]).astype(np.int8),
        offset=ends([m.n_atoms for m, _ in items]),
        bonds=np.concatenate([m.bonds for m, _ in items]).astype(np.uint8),
        bond_orders=np.floor(orders).astype(np.uint8),
        aromatic=orders == 1.5,
        bond_offset=ends([len(m.bonds) for m, _ in items]),
        smiles=np.array([flat_smiles(m) for m, _ in items]),
        index=np.arange(len(items)),
        props=np.random.default_rng(0).random((len(items), len(PROPERTIES))),
        split=np.zeros(len(items), np.uint8),
        half_b=np.arange(len(items)) % 2 == 1,
    )


@pytest.fixture(scope="module")
def trained(
    tmp_path_factory: pytest.TempPathFactory, molecules: list[tuple[Molecule, np.ndarray]]
) -> Path:
    """A folder with the three stages trained for a few steps."""
    folder = tmp_path_factory.mktemp("latent")
    np.savez(folder / "qm9.npz", **vars(dataset(molecules)))
    for stage, network in STAGES.items():
        run_training(settings_of(folder, stage, network), folder / stage, None, False, None)
        for suffix in (".safetensors", ".json"):
            (folder / stage / f"{stage}{suffix}").rename(folder / f"{stage}{suffix}")
    return folder


DECODER = {
    "width": 16,
    "pair_width": 8,
    "vectors": 2,
    "radial": 6,
    "stages": 1,
    "blocks": 1,
    "newton": 1,
}
STAGES = {
    "graph": {
        "latent": 8,
        "width": 16,
        "layers": 1,
        "heads": 2,
        "decoder_width": 16,
        "decoder_layers": 1,
        "decoder_heads": 2,
        "contrast": 0.1,
    },
    "geometry": {
        "latent": 4,
        "width": 16,
        "pair_width": 8,
        "vectors": 2,
        "blocks": 1,
        "decoder": DECODER,
    },
    "diffusion": {"width": 16, "blocks": 1, "condition": 8, "centres": 4},
}


def settings_of(folder: Path, stage: str, network: dict, steps: int = 3) -> dict:
    places = {key: str(folder / f"{key}.safetensors") for key in ("graph", "geometry")}
    config = {
        "stage": stage,
        "data": str(folder / "qm9.npz"),
        "name": stage,
        "network": network,
        "batch": 4,
    }
    return (
        config
        | (places if stage == "diffusion" else {})
        | {"schedule": {"steps": steps, "warmup_steps": 1}, "training_data": "toy"}
    )


@pytest.fixture(scope="module")
def space(trained: Path) -> LatentSpace:
    return LatentSpace(
        str(trained / "graph.safetensors"), str(trained / "geometry.safetensors"), steps=2
    )


@pytest.fixture(scope="module")
def model(trained: Path) -> LatentModel:
    return LatentModel(str(trained / "diffusion.safetensors"), steps=2)


def rotation(seed: int) -> np.ndarray:
    q, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((3, 3)))
    return q * np.sign(np.linalg.det(q))


def permuted(molecule: Molecule, order: np.ndarray) -> Molecule:
    """The same molecule with atom order[k] in place k."""
    back = np.argsort(order)
    return Molecule(
        numbers=molecule.numbers[order],
        bonds=back[molecule.bonds],
        bond_orders=molecule.bond_orders,
        formal_charges=molecule.formal_charges[order],
    )


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 10_000), which=st.integers(0, len(SMILES) - 1))
def test_a_latent_knows_no_frame_and_no_order_of_atoms(space, molecules, seed, which):
    molecule, x = molecules[which]
    order = np.random.default_rng(seed).permutation(molecule.n_atoms)
    moved = (x @ rotation(seed).T + np.random.default_rng(seed).standard_normal(3) * 5)[order]
    assert (
        np.abs(space.encode(permuted(molecule, order), moved) - space.encode(molecule, x)).max()
        < 1e-5
    )


def test_a_latent_knows_geometry_graph_and_hand(space, molecules):
    molecule, x = molecules[3]
    z = space.encode(molecule, x)
    mirrored = space.encode(molecule, -x)
    assert abs(z[space.slices["hand"]][0]) > 1e-3
    np.testing.assert_allclose(mirrored[space.slices["hand"]], -z[space.slices["hand"]], atol=1e-9)
    np.testing.assert_allclose(
        mirrored[: space.slices["hand"].start], z[: space.slices["hand"].start], atol=1e-5
    )
    other = space.encode(molecule, x + 0.3 * np.random.default_rng(0).standard_normal(x.shape))
    assert np.abs(other - z)[space.slices["geometry"]].max() > 1e-3
    np.testing.assert_array_equal(other[space.slices["graph"]], z[space.slices["graph"]])
    assert np.abs(space.encode(*molecules[0]) - z)[space.slices["graph"]].max() > 1e-3


def test_kekule_and_aromatic_drawings_are_one_graph(space):
    kekule = Molecule(
        numbers=[6] * 6 + [1] * 6,
        bonds=[(k, (k + 1) % 6) for k in range(6)] + [(k, k + 6) for k in range(6)],
        bond_orders=[1, 2] * 3 + [1] * 6,
        formal_charges=[0] * 12,
    )
    np.testing.assert_allclose(
        space.encode(kekule), space.encode(from_smiles("c1ccccc1")), atol=1e-5
    )


def test_a_planar_molecule_has_no_hand():
    molecule, x = made("C=C")
    x = x @ np.linalg.svd(x - x.mean(0))[2].T
    x[:, 2] = 0
    assert abs(hand(molecule.numbers, x)) < 1e-9


def test_the_decoder_gives_the_hand_asked_for(space, molecules):
    molecule, x = molecules[3]
    z = space.encode(molecule, x)
    for sign in (1.0, -1.0):
        z[space.slices["hand"]] = 0.5 * sign
        (_, decoded) = space.decode_conformers([molecule], z[None], np.array([5]))[0]
        assert hand(molecule.numbers, decoded) * sign > 0


def test_of_several_conformers_the_nearest_is_taken(space, trained, molecules):
    places = (str(trained / "graph.safetensors"), str(trained / "geometry.safetensors"))
    several = LatentSpace(*places, steps=2, conformers=4)
    some, z = [m for m, _ in molecules[:5]], space.encode_many(molecules[:5])
    part = space.slices["geometry"]

    def nearness(made):
        return np.array(
            [
                (space.encode(*one)[part] * row[part]).mean()
                for one, row in zip(made, z, strict=True)
            ]
        )

    single, best = (nearness(s.decode_conformers(some, z, np.arange(5))) for s in (space, several))
    assert (best >= single - 1e-4).all() and (best > single + 1e-4).any()


def test_reconstruction_counts_what_comes_back(tmp_path, space, molecules):
    data = dataset(molecules)
    data.split[:6] = 2
    np.savez(tmp_path / "qm9_molecules.npz", **vars(data))
    rows = {row["row"]: row["values"] for row in reconstruction_rows(tmp_path, 4, space=space)}
    assert set(rows) == {
        "latent/graph",
        "latent/geometry",
        "latent/geometry-refine",
        "latent/graph-alone",
        "latent/geometry-etkdg-mmff",
    }
    assert (
        rows["latent/graph"]["molecules"] == 4 and 0 <= rows["latent/graph"]["exact_match"] <= 100
    )
    items = molecules[:3]
    perfect = conformer_quality(items, [(m, x @ rotation(1).T) for m, x in items])
    assert (
        perfect["rmsd_A"] < 1e-6
        and perfect["bond_error_A"] < 1e-6
        and perfect["below_0.5_A"] == 100.0
    )
    worse = conformer_quality(items, [items[0], None, (items[2][0], items[2][1] * 1.5)])
    assert (
        worse["below_0.5_A"] < 100.0 and worse["bond_error_A"] > 0.1
    )  # one is missing, one is blown up


def test_decoding_is_determined_by_latent_and_seed(space):
    z = np.random.default_rng(3).standard_normal((6, space.size))
    whole = space.decode(z, np.arange(6))
    alone = space.decode(z[4], np.array([4]))[0]
    assert (whole[4] is None) == (alone is None)
    for first, second in zip(whole, space.decode(z, np.arange(6)), strict=True):
        if first is not None:
            assert flat_smiles(first[0]) == flat_smiles(second[0])
            np.testing.assert_array_equal(first[1], second[1])
    if alone is not None:
        np.testing.assert_allclose(whole[4][1], alone[1], atol=1e-4)


def test_every_token_sequence_is_a_molecule_or_nothing(space):
    rng = np.random.default_rng(0)
    for _ in range(50):
        molecule = space.molecule_of(rng.integers(2, len(space.tokens) + 2, 12).astype(np.uint8))
        assert molecule is None or molecule.n_atoms > 0


@pytest.mark.parametrize("smiles", SMILES)
def test_selfies_keep_the_molecule(smiles):
    flat = flat_smiles(from_smiles(smiles))
    assert flat_smiles(from_smiles(smiles_of(tuple(selfies_of(flat))))) == flat


def test_graphs_of_the_data_set_are_those_of_its_molecules(molecules):
    data = dataset(molecules)
    codes = tokenise(
        sequences := [selfies_of(s) for s in data.smiles], tokens := vocabulary(sequences), 24
    )
    at_once = qm9_graphs(data, np.arange(len(data)), codes)
    one_by_one = graph_batch([m for m, _ in molecules], tokens, 24)
    assert all(
        torch.equal(getattr(at_once, name), getattr(one_by_one, name))
        for name in ("atom", "bond", "tokens")
    )


def test_codes_of_the_data_set_are_those_of_its_molecules(molecules):
    data = dataset(molecules)
    for k, (molecule, _) in enumerate(molecules):
        np.testing.assert_array_equal(qm9_codes(data, k).pair, plain_codes(molecule).pair)
        np.testing.assert_array_equal(qm9_codes(data, k).atom, plain_codes(molecule).atom)


def test_batches_depend_on_the_step_alone(molecules):
    data = dataset(molecules)
    tokens = tokenise(sequences := [selfies_of(s) for s in data.smiles], vocabulary(sequences), 24)
    for make in (
        lambda: GraphBatches(
            qm9_graphs(data, np.arange(len(data)), tokens), latent=4, batch=4, seed=1
        ),
        lambda: GeometryBatches(data, np.arange(len(data)), latent=4, batch=4, seed=1),
    ):
        batches, fresh = make(), make()
        assert len(batches(0)) == 4
        batches(7)
        assert torch.equal(batches(2).noise, fresh(2).noise)
        seen = [
            b(5).graphs.atom if isinstance(b, GraphBatches) else b(5).clean
            for b in (batches, fresh)
        ]
        assert torch.equal(*seen)


def test_training_resumes_to_the_same_weights(tmp_path, trained):
    whole = settings_of(trained, "graph", STAGES["graph"], steps=4)
    run_training(whole, tmp_path / "a", None, False, None)
    run_training(
        settings_of(trained, "graph", STAGES["graph"], steps=4)
        | {"schedule": {"steps": 4, "warmup_steps": 1}},
        tmp_path / "b",
        1e-9,
        False,
        None,
    )
    run_training(whole, tmp_path / "b", None, True, None)
    first, second = (load_weights(tmp_path / run / "graph.safetensors")[0] for run in ("a", "b"))
    assert first.keys() == second.keys() and all(
        torch.equal(first[key], second[key]) for key in first
    )


class TestContract(MoleculeModelContract):
    """What the engine relies on, of a model with the tiny networks."""

    steps = 3

    @pytest.fixture(scope="class")
    def model(self, trained):
        return LatentModel(str(trained / "diffusion.safetensors"), steps=2)


def test_targets_may_differ_from_sample_to_sample(model):
    wanted = np.full((3, len(PROPERTIES)), np.nan)
    wanted[:, 0] = (0.1, 0.5, 0.9)
    whole = model.latents(np.arange(3), wanted, steps=3)
    np.testing.assert_allclose(
        model.latents(np.array([1]), wanted[1], steps=3)[0], whole[1], atol=1e-5
    )


def test_a_vector_observable_conditions_the_diffusion(tmp_path, trained, molecules):
    np.savez(
        tmp_path / "observed.npz",
        index=np.arange(6),
        vectors=np.random.default_rng(0).random((6, 5)),
    )
    config = settings_of(trained, "diffusion", STAGES["diffusion"]) | {
        "observables": str(tmp_path / "observed.npz")
    }
    run_training(config, tmp_path / "run", None, False, None)
    model = LatentModel(
        str(tmp_path / "run" / "diffusion.safetensors"),
        graph=str(trained / "graph.safetensors"),
        geometry=str(trained / "geometry.safetensors"),
    )
    assert model.network.config.observable == 5 and model.latents(
        np.arange(2), observable=np.ones(5), steps=2
    ).shape == (
        2,
        model.space.size,
    )
    run_training(
        settings_of(trained, "diffusion", STAGES["diffusion"]) | {"conformers": 8},
        tmp_path / "few",
        None,
        False,
        None,
    )
    (table,) = (np.load(path) for path in (tmp_path / "few").glob("latents-*.npy"))
    assert (~np.isnan(table)).all(1).sum() == 8 and not np.isnan(
        table[:, : model.space.slices["graph"].stop]
    ).any()
    with pytest.raises(InputError, match="vectors"):
        np.savez(tmp_path / "poor.npz", index=np.arange(6))
        run_training(
            config | {"observables": str(tmp_path / "poor.npz")},
            tmp_path / "other",
            None,
            False,
            None,
        )


def test_guidance_zero_ignores_the_target(model):
    seeds = np.arange(4)
    plain = model.latents(seeds, steps=3)
    wanted = np.array([0.5 if name == "gap_eV" else np.nan for name in model.properties])
    np.testing.assert_allclose(
        model.latents(seeds, wanted, guidance=0.0, steps=3),
        plain,
        atol=1e-5,
    )
    assert model.properties["gap_eV"][0] < model.properties["gap_eV"][1]


def test_conditions_reach_the_network():
    """With weights that are not zero, a property and an observable change the estimate,
    and NaN stands for none.
    """
    torch.manual_seed(0)
    network = LatentDenoiser(
        DiffusionConfig(
            latent=5, width=8, blocks=1, condition=8, properties=2, centres=4, observable=3
        )
    )
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    x, sigma = torch.randn(2, 5), torch.ones(2)
    none = network(x, sigma, torch.full((2, 2), torch.nan), torch.full((2, 3), torch.nan))
    assert (
        network(x, sigma, torch.tensor([[0.3, torch.nan]]).expand(2, -1), None)
        - network(x, sigma, None, None)
    ).abs().max() > 1e-3
    assert (
        network(x, sigma, torch.full((2, 2), torch.nan), torch.rand(2, 3)) - none
    ).abs().max() > 1e-3
    assert torch.isfinite(none).all()


def test_thinning_leaves_none_one_or_some():
    kept = ~np.isnan(thinned(np.ones((4000, 6), np.float32), np.random.default_rng(0)))
    counts = np.bincount(kept.sum(1), minlength=7) / 4000
    assert 0.2 < counts[0] < 0.32 and 0.45 < counts[1] < 0.6 and counts[2:].sum() > 0.15


def test_interpolation_begins_and_ends_at_the_ends(space, molecules):
    a, b = (space.encode(*molecules[k]) for k in (0, 4))
    path = space.interpolate(a, b, 3)
    assert len(path) == 3
    for end, z in ((path[0], a), (path[-1], b)):
        direct = space.decode(z, np.array([0]))[0]
        assert (end is None) == (direct is None)
        if end is not None:
            assert flat_smiles(end[0]) == flat_smiles(direct[0])
    assert len(space.interpolate(molecules[0], molecules[4], 2)) == 2


@given(t=st.floats(0, 1), seed=st.integers(0, 100))
def test_great_circles_keep_the_length(t, seed):
    a, b = np.random.default_rng(seed).standard_normal((2, 8))
    a, b = a / np.linalg.norm(a), b / np.linalg.norm(b)
    assert np.linalg.norm(slerp(a, b, t)) == pytest.approx(1.0)
    np.testing.assert_allclose(slerp(a, np.zeros(8), t), (1 - t) * a)


def test_neighbours_are_the_nearest(space):
    library = np.random.default_rng(0).standard_normal((30, space.size))
    query = library[7] + 1e-3
    for part in ("graph", "geometry", "all"):
        rows, distance = space.neighbours(query, library, 5, part=part)
        assert rows[0] == 7 and len(rows) == 5 and (np.diff(distance) >= 0).all()


def test_like_sized_batches_hold_everything_once():
    sizes = np.random.default_rng(0).integers(3, 30, 200).tolist()
    parts = like_sized(sizes, PAIRS_PER_BATCH)
    assert sorted(k for part in parts for k in part) == list(range(200))
    assert all(max(sizes[k] for k in part) <= 1.1 * min(sizes[k] for k in part) for part in parts)


def test_unit_has_mean_square_one():
    assert unit(torch.randn(3, 7)).square().mean(1) == pytest.approx(
        torch.ones(3).numpy(), rel=1e-5
    )


def test_latent_arrays_and_configs_that_cannot_be_are_refused_by_name(
    space, model, trained, tmp_path, molecules
):
    molecule, x = molecules[0]
    with pytest.raises(InputError, match="shape"):
        space.encode(molecule, x[:-1])
    with pytest.raises(InputError, match="finite"):
        space.encode(molecule, x * np.nan)
    with pytest.raises(MoleculeError, match="does not know the elements"):
        space.encode(from_smiles("C[Se]C"))
    with pytest.raises(InputError, match="z must be"):
        space.decode(np.zeros(3))
    with pytest.raises(InputError, match="seeds"):
        space.decode(np.zeros((2, space.size)), [0])
    with pytest.raises(UnknownNameError, match="geometry"):
        space.neighbours(np.zeros(space.size), np.zeros((2, space.size)), part="geometri")
    with pytest.raises(InputError, match="at least 2"):
        space.interpolate(molecules[0], molecules[1], 1)
    with pytest.raises(UnknownNameError, match="gap_eV"):
        model.sample(np.arange(1), targets={"gap": 3.0})
    with pytest.raises(InputError, match="fragment"):
        model.sample(np.arange(1), fragment=molecules[0])
    with pytest.raises(InputError, match="observable"):
        model.latents(np.arange(1), observable=np.zeros(3))
    with pytest.raises(InputError, match="wanted"):
        model.sample_many(np.arange(2), np.zeros((3, len(PROPERTIES))))
    with pytest.raises(WeightsError, match="expected 'latent-graph'"):
        LatentSpace(
            graph=str(trained / "geometry.safetensors"),
            geometry=str(trained / "geometry.safetensors"),
        )
    with pytest.raises(InputError, match="does not fit"):
        run_training({"stage": "graph", "colour": 1}, tmp_path / "c", 1.0, False, None)
    with pytest.raises(InputError, match="does not fit"):
        run_training(settings_of(trained, "graph", {"depth": 3}), tmp_path / "d", 1.0, False, None)

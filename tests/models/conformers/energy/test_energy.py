"""The learned energy: symmetries, gradients, batches, its training and its relaxation."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from equidrift.checks.conditions import Known
from equidrift.checks.geometry import GeometryCheck
from equidrift.errors import InputError, MoleculeError, WeightsError
from equidrift.geometry import align
from equidrift.models.conformers.energy.data import PathSet, RelaxationPath
from equidrift.models.conformers.energy.hessian import model_hessian
from equidrift.models.conformers.energy.layers import EnergyConfig
from equidrift.models.conformers.energy.network import EnergyNetwork
from equidrift.models.conformers.energy.objective import (
    Batches,
    Example,
    energy_loss,
    relative_errors,
    without_rigid_motion,
)
from equidrift.models.conformers.energy.sampler import EnergyModel, EnergySurface, relax, updated
from equidrift.models.conformers.energy.terms import Topology, join, topology
from equidrift.models.conformers.energy.train import run_training
from equidrift.models.shared.graph_codes import GraphCodes, graph_codes
from equidrift.models.shared.trainer import Trainer
from equidrift.records import Molecule
from equidrift.weights import load_weights
from tests.models.networks import (
    ENERGY_SIZES,
    conformer,
    small_energy_network,
    small_energy_weights,
    small_weights,
)

DATA = Path(__file__).parents[3] / "data"
SMILES = ("C[C@H](N)C(=O)O", "C#CC=O", "O=C1CC1")


def shaken(smiles: str, count: int = 3, seed: int = 1) -> tuple[Topology, NDArray[np.float64]]:
    molecule, x = conformer(smiles)
    return topology(graph_codes(molecule)), x + 0.1 * np.random.default_rng(seed).standard_normal(
        (count, *x.shape)
    )


def laid_out(x: NDArray[np.float64]) -> torch.Tensor:
    """(k, n, 3) as the network's (3, n, k)."""
    return torch.from_numpy(np.ascontiguousarray(x.transpose(2, 1, 0)))


def rotation(seed: int, *, reflect: bool) -> NDArray[np.float64]:
    q, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((3, 3)))
    return q * np.linalg.det(q) * (-1 if reflect else 1)


@pytest.mark.parametrize("sigma_A", [0.0, 0.05])
@pytest.mark.parametrize("reflect", [False, True])
@pytest.mark.parametrize("smiles", SMILES)
def test_energy_is_the_same_when_the_molecule_is_turned_shifted_or_mirrored(
    smiles: str, reflect: bool, sigma_A: float
) -> None:
    network = small_energy_network()
    terms, x = shaken(smiles)
    moved = x @ rotation(3, reflect=reflect) + [3.0, -1.0, 2.0]
    with torch.no_grad():
        before, after = (network(join([terms]), laid_out(y), sigma_A) for y in (x, moved))
    assert before.std() > 1e-4, "the geometry matters"
    torch.testing.assert_close(after, before, atol=1e-9, rtol=0)


@pytest.mark.parametrize("smiles", SMILES)
def test_energy_is_the_same_when_atoms_are_renumbered(smiles: str) -> None:
    network = small_energy_network()
    codes = graph_codes(conformer(smiles)[0])
    order = np.random.default_rng(5).permutation(codes.n_atoms)
    other = GraphCodes(
        codes.atom[order], codes.pair[np.ix_(order, order)], np.zeros((0, 5), np.int64)
    )
    _, x = shaken(smiles)
    with torch.no_grad():
        before = network(join([topology(codes)]), laid_out(x))
        after = network(join([topology(other)]), laid_out(x[:, order]))
    torch.testing.assert_close(after, before, atol=1e-9, rtol=0)


@pytest.mark.parametrize("smiles", SMILES)
def test_gradient_equals_finite_differences_in_float64(smiles: str) -> None:
    terms, x = shaken(smiles, count=1)
    surface = EnergySurface(small_energy_network(), terms)
    _, gradient = surface(x)
    rng, step = np.random.default_rng(0), 1e-5
    for _ in range(5):
        along = rng.standard_normal(x.shape)
        numeric = (surface(x + step * along)[0] - surface(x - step * along)[0]) / (2 * step)
        assert numeric[0] == pytest.approx((gradient * along).sum(), rel=1e-6, abs=1e-6)


def test_energies_do_not_depend_on_what_else_is_in_the_batch() -> None:
    network = small_energy_network()
    parts = [shaken(smiles) for smiles in SMILES]
    with torch.no_grad():
        together = network(
            join([terms for terms, _ in parts]), torch.cat([laid_out(x) for _, x in parts], dim=1)
        )
        alone = torch.cat([network(join([terms]), laid_out(x)) for terms, x in parts])
        single = torch.stack([network(join([terms]), laid_out(x[1:2]))[0, 0] for terms, x in parts])
    torch.testing.assert_close(together, alone, atol=1e-9, rtol=0)
    torch.testing.assert_close(together[:, 1], single, atol=1e-9, rtol=0)


def test_energy_is_smooth_where_a_pair_crosses_the_cutoffs() -> None:
    network = small_energy_network()
    terms = topology(graph_codes(Molecule.from_smiles("C.C")))
    x = np.tile(conformer("C")[1], (2, 1))[None]
    for cutoff in (network.config.cutoff_A, network.config.cutoff_neighbours_A):
        energies = []
        for gap in (cutoff - 1e-6, cutoff + 1e-6):
            moved = x.copy()
            moved[:, terms.n_atoms // 2 :, 0] += gap
            with torch.no_grad():
                energies.append(float(network(join([terms]), laid_out(moved))))
        assert energies[0] == pytest.approx(energies[1], abs=1e-4)


def test_model_hessian_has_no_stiffness_against_rigid_motion_and_is_positive_otherwise() -> None:
    terms, x = shaken("CCO", count=2)
    for hessian, geometry in zip(model_hessian(terms, x), x, strict=True):
        value = np.linalg.eigvalsh(hessian)
        assert (value[:6] < 1e-8 * value[-1]).all()
        assert value[6] > 0.01
        shift = np.tile([1.0, 0.0, 0.0], terms.n_atoms)
        turn = np.cross([0.0, 0.0, 1.0], geometry).ravel()
        assert max(np.abs(hessian @ shift).max(), np.abs(hessian @ turn).max()) < 1e-8 * value[-1]


def test_displacements_without_rigid_motion_have_no_linear_and_angular_momentum() -> None:
    _, x = shaken("CCO", count=1)
    centred = x[0] - x[0].mean(0)
    left = without_rigid_motion(
        centred, np.random.default_rng(0).standard_normal((2, *centred.shape))
    )
    assert np.abs(left.sum(1)).max() < 1e-9
    assert np.abs(np.cross(centred, left).sum(1)).max() < 1e-9


def quadratic(smiles: str) -> tuple[Any, NDArray[np.float64], NDArray[np.float64]]:
    """A surface whose minimum is known: a spring Hessian around an ETKDG geometry; and
    a start.
    """
    molecule, minimum = conformer(smiles)
    n = molecule.n_atoms
    hessian = model_hessian(topology(graph_codes(molecule)), minimum[None])[0] * 1.5 + 0.3 * np.eye(
        3 * n
    )

    def surface(x: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        off = (x - minimum).reshape(len(x), -1)
        return 0.5 * np.einsum("ki,ij,kj->k", off, hessian, off), (off @ hessian).reshape(x.shape)

    rng = np.random.default_rng(0)
    return surface, minimum, minimum + 0.05 * rng.standard_normal((2, n, 3))


def test_relaxation_reaches_the_minimum_of_a_known_surface_and_holds_what_is_held() -> None:
    surface, minimum, start = quadratic("CCO")
    hessian = model_hessian(topology(graph_codes(conformer("CCO")[0])), start)
    end = relax(surface, hessian, start, 60)
    assert np.abs(end - minimum).max() < 2e-3
    assert surface(relax(surface, hessian, start, 1))[0].sum() < surface(start)[0].sum()
    free = np.ones(start.shape[1], bool)
    free[:2] = False
    held = relax(surface, hessian, start, 60, free=free)
    np.testing.assert_array_equal(held[:, :2], start[:, :2])
    assert (surface(end)[0] < surface(held)[0]).all()
    assert (surface(held)[0] < surface(start)[0]).all()


def test_bfgs_update_satisfies_the_secant_equation() -> None:
    rng = np.random.default_rng(0)
    s, inverse = rng.standard_normal((2, 5)), np.stack([np.eye(5)] * 2)
    y = s * [[1.0, 2.0, 3.0, 4.0, 5.0]]
    y[1] = -y[1]  # negative curvature is passed over
    new = updated(inverse, s, y)
    np.testing.assert_allclose(new[0] @ y[0], s[0], atol=1e-12)
    np.testing.assert_array_equal(new[1], inverse[1])


def path(smiles: str, molecule: int, seed: int) -> RelaxationPath:
    """A path on a quadratic surface, as if GFN2-xTB were one; the reference is a softer
    one.
    """
    surface, minimum, start = quadratic(smiles)
    rng = np.random.default_rng(seed)
    x = np.stack(
        [minimum + t * (start[0] - minimum) for t in (1.0, 0.6, 0.3, 0.0)]
        + [minimum + 0.03 * rng.standard_normal(minimum.shape)]
    )
    energy, gradient = surface(x)
    forces = -gradient.astype(np.float32)
    kind = np.array([0, 0, 0, 0, 2], np.uint8)
    return RelaxationPath(
        molecule, kind, energy, 0.5 * energy, x.astype(np.float32), forces, 0.5 * forces
    )


def small_paths() -> PathSet:
    texts = ("CCO", "CC=O", "CCN")
    return PathSet(
        [graph_codes(conformer(text)[0]) for text in texts],
        [path(text, k, k) for k, text in enumerate(texts)],
    )


def batches(data: PathSet, **options: Any) -> Batches:
    return Batches(
        data,
        **{"paths": 2, "frames": 4, "noise_share": 0.0, "reference": True, "seed": 0, **options},
    )


def test_paths_come_back_from_disk_as_they_were(tmp_path: Path) -> None:
    data = small_paths()
    data.save(tmp_path / "set.npz")
    again = PathSet.load(tmp_path / "set.npz")
    for old, new in zip(data.paths, again.paths, strict=True):
        for field in dataclasses.fields(RelaxationPath):
            np.testing.assert_array_equal(getattr(old, field.name), getattr(new, field.name))
    for a, b in zip(data.graphs, again.graphs, strict=True):
        np.testing.assert_array_equal(a.pair, b.pair)


def test_another_npz_is_refused_by_name(tmp_path: Path) -> None:
    np.savez(tmp_path / "other.npz", x=np.zeros(3))
    with pytest.raises(InputError, match="no set of relaxation paths"):
        PathSet.load(tmp_path / "other.npz")


def test_labels_are_what_the_reference_leaves_over() -> None:
    data = small_paths()
    example = batches(data).example(np.array([0, 1]), np.random.default_rng(0))
    torch.testing.assert_close(example.forces, 0.5 * example.whole_forces)
    torch.testing.assert_close(example.energy, 0.5 * example.whole_energy, atol=1e-6, rtol=1e-5)
    assert (example.energy[:, 0] == 0).all(), "the minimum is the zero of energy"
    plain = batches(data, reference=False).example(np.array([0, 1]), np.random.default_rng(0))
    torch.testing.assert_close(plain.forces, example.whole_forces)


def test_loss_is_zero_for_a_network_that_knows_the_surface() -> None:
    data = small_paths()
    example = batches(data, reference=False).example(np.array([0]), np.random.default_rng(0))
    centre = data.paths[0].positions_A[3].mean(0)

    class Exact(torch.nn.Module):
        """The surface of `path`, whose batch is centred on the minimum."""

        def forward(self, graphs: Any, x: torch.Tensor, sigma_A: float) -> torch.Tensor:
            molecule, minimum = conformer("CCO")
            hessian = model_hessian(topology(graph_codes(molecule)), minimum[None])[
                0
            ] * 1.5 + 0.3 * np.eye(3 * molecule.n_atoms)
            off = (x.permute(2, 1, 0) - torch.from_numpy(minimum - centre).float()).reshape(
                x.shape[2], -1
            )
            return (0.5 * torch.einsum("ki,ij,kj->k", off, torch.from_numpy(hessian).float(), off))[
                None
            ]

    assert float(energy_loss(Exact(), example).detach()) < 0.02
    assert float(energy_loss(small_energy_network().float(), example).detach()) > 0.5


def test_score_target_is_the_noise_of_the_batch() -> None:
    example: Example = batches(small_paths(), noise_share=0.999)(0)
    assert 0.01 <= example.sigma_A <= 0.1
    begin = 0
    for n in example.sizes:
        block = example.x[:, begin : begin + n]
        clean = block - example.sigma_A * example.whole_forces[:, begin : begin + n]
        torch.testing.assert_close(clean, clean[..., :1].expand_as(clean), atol=1e-5, rtol=0)
        begin += n


@pytest.fixture
def config(tmp_path: Path) -> dict[str, Any]:
    small_paths().save(tmp_path / "set.npz")
    data = str(tmp_path / "set.npz")
    sizes = {"network": ENERGY_SIZES, "paths_per_batch": 2, "frames_per_path": 3}
    return {"data": data, "validation": [data], **sizes, "schedule": {"steps": 6}}


@pytest.mark.long
def test_resumed_training_ends_with_the_weights_of_an_uninterrupted_one(
    config: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_training(config, tmp_path / "whole", None)
    update = Trainer._update

    class Killed(Exception):
        pass

    def stopped(self: Trainer, *args: Any) -> float:
        if self.step == 3:
            self.save()
            raise Killed
        return update(self, *args)

    torch.manual_seed(99)
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Trainer, "_update", stopped)
        run_training(config, tmp_path / "parts", None)
    assert run_training(config, tmp_path / "parts", None, resume=True)["steps"] == 6
    whole, parts = (
        load_weights(tmp_path / name / "my-model.safetensors")[0] for name in ("whole", "parts")
    )
    assert all(torch.equal(whole[key], parts[key]) for key in whole)


@pytest.mark.long
def test_training_lowers_the_errors_of_forces_and_energies(
    config: dict[str, Any], tmp_path: Path
) -> None:
    schedule = {"steps": 150, "learning_rate": 0.005, "warmup_steps": 5, "ema": 0.9}
    result = run_training(
        {**config, "schedule": schedule, "noise_share": 0.0}, tmp_path / "run", None
    )
    torch.manual_seed(0)
    before = relative_errors(EnergyNetwork(EnergyConfig(**ENERGY_SIZES)), batches(small_paths()))
    assert result["held_out_loss_after"] < 0.7 * result["held_out_loss_before"]
    after = load_weights(tmp_path / "run" / "my-model.safetensors")[1]["quality"]["held-out paths"]
    assert all(after[name] < 0.7 * value for name, value in before.items())


def test_training_goes_on_from_weights_and_keeps_their_elements(
    config: dict[str, Any], tmp_path: Path
) -> None:
    schedule = {"steps": 1, "warmup_steps": 0, "learning_rate": 1e-12, "ema": 0.0}
    del config["network"]
    run_training(
        {**config, "schedule": schedule, "init": "conformer-energy"}, tmp_path / "run", None
    )
    before, card = load_weights("conformer-energy")
    after, new = load_weights(tmp_path / "run" / "my-model.safetensors")
    assert all(torch.allclose(before[key], after[key], atol=1e-6) for key in before)
    assert new["elements"] == card["elements"] and new["config"] == card["config"] | {
        "backbone": None
    }
    assert new["training_molecules_per_element"]["C"] > card["training_molecules_per_element"]["C"]


@pytest.mark.parametrize(
    "change",
    [
        {"init": "refine"},
        {"init": "conformer-energy", "reference": "none"},
        {"init": "conformer-energy", "backbone": "ponita"},
    ],
)
def test_training_goes_on_from_no_other_model(
    config: dict[str, Any], tmp_path: Path, change: dict[str, Any]
) -> None:
    del config["network"]
    with pytest.raises(InputError, match="init: "):
        run_training({**config, **change}, tmp_path / "run", None)


@pytest.mark.parametrize(
    "wrong", [{"reference": "UFF"}, {"noise_share": 1.0}, {"paths": 3}, {"network": {"depth": 3}}]
)
def test_config_that_does_not_fit_is_refused(
    config: dict[str, Any], tmp_path: Path, wrong: dict[str, Any]
) -> None:
    with pytest.raises(InputError, match=r"reference|noise_share|paths|depth"):
        run_training({**config, **wrong}, tmp_path / "run", None)


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    return small_energy_weights(tmp_path)


def test_unknown_elements_are_refused_by_name(weights: Path) -> None:
    molecule, x = conformer("CCCl")
    with pytest.raises(MoleculeError, match="not Cl"):
        EnergyModel(str(weights)).refine_many([(molecule, x[None])])


def test_molecules_that_the_reference_cannot_type_come_back_as_not_a_number(
    weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def untyped(molecule: Molecule) -> None:
        raise MoleculeError("MMFF94 cannot type it")

    monkeypatch.setattr("equidrift.adapters.rdkit.mmff_energy.MMFFEnergy", untyped)
    molecule, x = conformer("CCO")
    assert np.isnan(EnergyModel(str(weights)).refine_many([(molecule, x[None])])[0]).all()


@pytest.mark.parametrize("steps", [0, 201])
def test_steps_out_of_range_are_refused(weights: Path, steps: int) -> None:
    molecule, x = conformer("CCO")
    with pytest.raises(InputError, match="steps must lie in 1"):
        EnergyModel(str(weights)).refine_many([(molecule, x[None])], steps=steps)


def test_weights_of_another_task_are_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="expected 'energy'"):
        EnergyModel(str(small_weights(tmp_path)))


def test_refinement_lowers_the_energy_keeps_order_and_passes_missing_conformers_through(
    weights: Path,
) -> None:
    model = EnergyModel(str(weights))
    molecule, x = conformer("CCO")
    other, y = conformer("CC(=O)N")
    three = np.stack([x, np.full_like(x, np.nan), x + 0.01])
    first, second = model.refine_many([(molecule, three), (other, y[None])], steps=5)
    assert np.isnan(first[1]).all()
    assert np.isfinite(first[[0, 2]]).all()
    surface = model.surface(molecule)
    assert (surface(first[[0, 2]])[0] < surface(three[[0, 2]])[0]).all()
    np.testing.assert_allclose(second, model.refine_many([(other, y[None])], steps=5)[0], atol=1e-5)


@pytest.mark.long
def test_held_atoms_stay_and_bounds_pull(weights: Path) -> None:
    model = EnergyModel(str(weights))
    molecule, x = conformer("CCO")
    held = Known(molecule, atoms=np.array([0, 1]), positions_A=x[:2])
    fixed = model.refine_many([(molecule, x[None])], steps=5, known=[held])[0][0]
    np.testing.assert_array_equal(fixed[:2], x[:2])
    assert np.abs(fixed[2:] - x[2:]).max() > 1e-3
    apart = np.linalg.norm(x[0] - x[2])
    bound = Known(
        molecule,
        pairs=np.array([[0, 2]]),
        lower_A=np.array([apart - 0.3]),
        upper_A=np.array([apart - 0.2]),
    )
    free, pulled = (
        model.refine_many([(molecule, x[None])], steps=60, known=[k])[0][0]
        for k in (Known(molecule), bound)
    )
    length = [np.linalg.norm(y[0] - y[2]) for y in (free, pulled)]
    assert abs(length[1] - (apart - 0.2)) < 0.8 * abs(length[0] - (apart - 0.2))


@pytest.mark.long
def test_shipped_energy_brings_drug_size_molecules_nearer_to_their_gfn2_minima() -> None:
    model = EnergyModel()
    before, after = [], []
    for pair in json.loads((DATA / "gfn2_minima.json").read_text())["pairs"]:
        molecule = Molecule.from_smiles(pair["smiles"])
        start, minimum = np.array(pair["start_A"]), np.array(pair["minimum_A"])
        moved = model.refine_many([(molecule, start[None])])[0][0]
        for store, x in ((before, start), (after, moved)):
            store.append(float(np.sqrt(np.square(align(x, minimum) - minimum).sum(1).mean())))
    assert np.mean(after) < 0.85 * np.mean(before)


@pytest.mark.long
def test_shipped_energy_answers_each_element_that_its_card_claims() -> None:
    model = EnergyModel()
    assert {"H", "C", "N", "O"} <= set(model.card["elements"])
    for symbol in set(model.card["elements"]) - {"H", "C"}:
        molecule, x = conformer(
            {"N": "CCN", "O": "CCO", "F": "CCF", "S": "CCS", "Cl": "CCCl", "Br": "CCBr"}[symbol]
        )
        moved = model.refine_many([(molecule, x[None])])[0]
        assert (GeometryCheck(molecule)(moved) == "").all()
        assert model.surface(molecule)(moved)[0] < model.surface(molecule)(x[None])[0]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is one device here, the CPU")
def test_relaxation_is_the_same_on_another_device(tmp_path: Path) -> None:
    weights = str(small_energy_weights(tmp_path))
    molecule, x = conformer("CCCO")
    made = [
        EnergyModel(weights, device=device).refine_many([(molecule, x[None])], steps=5)[0]
        for device in ("cpu", "cuda")
    ]
    np.testing.assert_allclose(made[0], made[1], atol=1e-3)

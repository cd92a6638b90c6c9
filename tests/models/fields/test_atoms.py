"""Fields on atoms: equivariance of the whole process, exactness where the model is a
GP, marginals, messages, hosts.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import MDAnalysis as mda
import numpy as np
import pytest
import torch
from ase import Atoms

from equidrift.errors import InputError, InputTypeError, UnknownNameError, WeightsError
from equidrift.models.fields.atoms.network import to_matrix, to_six
from equidrift.models.fields.atoms.sampler import AtomFieldModel
from equidrift.models.fields.train import run_training
from equidrift.registry import resolve

NUMBERS = np.array([6, 8, 1, 1, 1, 1])
PLACES_A = np.array(
    [
        [0.0, 0, 0],
        [1.4, 0.1, 0],
        [-0.4, 1.0, 0.1],
        [-0.4, -0.5, 0.9],
        [-0.4, -0.5, -0.9],
        [1.8, 0.3, 0.8],
    ]
)
TURN = np.linalg.qr(np.random.default_rng(5).standard_normal((3, 3)))[0]
VALUES = {"scalar": (), "vector": (3,), "tensor": (3, 3)}


def data(rank: str, count: int = 12) -> tuple[Any, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    positions = PLACES_A + 0.05 * rng.standard_normal((count, 6, 3))
    values = rng.standard_normal((count, 6, *VALUES[rank]))
    if rank == "vector":  # pair forces: no net force and no torque
        line = positions[:, :, None] - positions[:, None]
        size = rng.standard_normal((count, 6, 6))
        values = ((size + size.swapaxes(1, 2))[..., None] * line).sum(2)
    if rank == "tensor":
        values = values + values.swapaxes(2, 3)
    return NUMBERS, positions, values


def fitted(rank: str, **sizes: Any) -> AtomFieldModel:
    small = {
        "width": 8,
        "layers": 1,
        "radial": 6,
        "features": 3,
        "score_width": 8,
        "score_layers": 1,
        **sizes,
    }
    model = AtomFieldModel.fit(
        *data(rank),
        rank=rank,
        config=small,
        schedule={"steps": 3},
        score_schedule={"steps": 2},
        batch=4,
    )
    with torch.no_grad():  # a network of some effect, which that of two steps does not have
        for parameter in model.diffusion.network.parameters():
            parameter.add_(
                0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
            )
    return model


@pytest.fixture(scope="module", params=["scalar", "vector", "tensor"])
def model(request: pytest.FixtureRequest) -> AtomFieldModel:
    return fitted(request.param)


def turned(values: np.ndarray, rank: str, turn: np.ndarray = TURN) -> np.ndarray:
    if rank == "scalar":
        return values
    return values @ turn.T if rank == "vector" else turn @ values @ turn.T


def turned_six(z: np.ndarray, rank: str) -> np.ndarray:
    """Standard normal noise in the inner components, turned: its law does not change."""
    if rank != "tensor":
        return turned(z, rank)
    return to_six(torch.tensor(TURN @ to_matrix(torch.tensor(z)).numpy() @ TURN.T)).numpy()


@pytest.mark.long
def test_samples_and_densities_move_along(model: AtomFieldModel) -> None:
    rank = model.config.rank
    _, positions, values = data(rank)
    order = np.array([1, 0, 4, 2, 3, 5])
    given = np.array([True, True, False, False, True, False])

    def noise(change: Any) -> Any:
        rng = np.random.default_rng(8)
        return lambda shape: change(rng.standard_normal(shape))

    first = model.condition(NUMBERS, positions[0], values[0], given).sample(
        3, steps=6, noise=noise(lambda z: z)
    )
    assert np.isfinite(first).all()
    moved = model.condition(
        NUMBERS[order],
        positions[0][order] @ TURN.T + 7,
        turned(values[0][order], rank),
        given[order],
    )
    second = moved.sample(3, steps=6, noise=noise(lambda z: turned_six(z[:, order], rank)))
    np.testing.assert_allclose(second, turned(first[:, order], rank), atol=2e-3 * model.scale)
    np.testing.assert_allclose(
        first[:, given],
        np.broadcast_to(values[0][given], first[:, given].shape),
        rtol=1e-15,
        atol=0,
    )
    probability = model.log_prob(NUMBERS, positions[0], values[0], probes=0, steps=6)
    there = model.log_prob(
        NUMBERS[order],
        positions[0][order] @ TURN.T + 7,
        turned(values[0][order], rank),
        probes=0,
        steps=6,
    )
    np.testing.assert_allclose(probability, there, atol=0.05, rtol=1e-3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_score_turns_in_both_precisions(model: AtomFieldModel, dtype: torch.dtype) -> None:
    rank = model.config.rank
    _, positions, values = data(rank)
    diffusion = model.diffusion.double() if dtype == torch.float64 else model.diffusion.float()
    out = []
    for turn in (np.eye(3), TURN):
        x = torch.tensor(
            np.concatenate(
                [positions[:2] @ turn.T, np.broadcast_to(NUMBERS[:, None], (2, 6, 1))], -1
            ),
            dtype=dtype,
        )
        y = torch.tensor(turned(values[:2], rank, turn))
        inner = to_six(y) if rank == "tensor" else y.reshape(2, 6, -1)
        with torch.no_grad():
            mean, gram = diffusion.kernel.law(x)
            mask = torch.ones(2, 6, dtype=torch.bool)
            score = (
                diffusion.score(
                    torch.tensor([0.3, 0.7], dtype=torch.float64),
                    x,
                    inner / model.scale,
                    mask,
                    gram,
                )
                + mean
            )
        full = to_matrix(score) if rank == "tensor" else score.reshape(values[:2].shape)
        out.append(full.double().numpy())
    model.diffusion.float()
    np.testing.assert_allclose(
        out[1], turned(out[0], rank), atol=1e-2 if dtype == torch.float32 else 1e-7
    )


def test_a_model_without_network_is_its_gp() -> None:
    model = fitted("vector", score_layers=0)
    _, positions, values = data("vector")
    one = model.condition(NUMBERS, positions[0], values[0], [0, 1, 2, 3])
    mean, std = one.mean_std()
    made = one.sample(1500, 3)
    np.testing.assert_allclose(made.mean(0), mean, atol=0.12 * std.max())
    np.testing.assert_allclose(made.std(0), std, atol=0.08 * std.max())
    joint = model.log_prob(NUMBERS, positions[:2], values[:2])
    _, gram = model.law(model._single(NUMBERS, positions[0], values[0], None))
    assert np.isfinite(joint).all() and gram.jitter == 0.0


def test_balanced_fields_have_no_net_value_and_no_torque() -> None:
    model = fitted("vector")
    assert model.config.balanced
    _, positions, _ = data("vector")
    made = model.sample(NUMBERS, positions[0], 4, steps=6)
    size = np.abs(made).max()
    assert np.abs(made.sum(1)).max() < 0.05 * size  # the white part alone
    arm = positions[0] - positions[0].mean(0)
    assert np.abs(np.cross(arm, made).sum(1)).max() < 0.1 * size


def test_density_of_some_atoms_is_the_marginal() -> None:
    model = fitted("scalar", score_layers=0)
    _, positions, values = data("scalar")
    hidden = values[0].copy()
    hidden[3:] = np.nan
    _, gram = model.law(model._single(NUMBERS, positions[0], values[0], None))
    mean, _ = model.law(model._single(NUMBERS, positions[0], values[0], None))
    inner = (model.standard(model._single(NUMBERS, positions[0], values[0], None)).y - mean)[
        0, :3, 0
    ]
    expected = torch.distributions.MultivariateNormal(
        torch.zeros(3, dtype=torch.float64), gram.matrix[0][:3, :3]
    ).log_prob(inner)
    np.testing.assert_allclose(
        model.log_prob(NUMBERS, positions[0], hidden),
        float(expected) - 3 * np.log(model.scale),
        rtol=1e-4,
        atol=1e-3,
    )


def test_save_and_load(model: AtomFieldModel, tmp_path: Path) -> None:
    _, positions, values = data(model.config.rank)
    model.save(tmp_path / "mine")
    again = AtomFieldModel.load(tmp_path / "mine.safetensors")
    kept, other = (
        m.condition(NUMBERS, positions[0], values[0], [0]).sample(1, 2, steps=3)
        for m in (model, again)
    )
    np.testing.assert_allclose(kept, other, atol=1e-5)
    with pytest.raises(WeightsError, match="expected 'atom-field'"):
        AtomFieldModel.load("field-se")


def test_train_by_config(tmp_path: Path) -> None:
    numbers, positions, values = data("vector")
    np.savez(tmp_path / "forces.npz", numbers=numbers, positions_A=positions, values=values)
    sizes = {"width": 8, "layers": 1, "radial": 6, "score_width": 8, "score_layers": 1}
    config = {
        "kind": "atoms",
        "data": str(tmp_path / "forces.npz"),
        "sizes": sizes,
        "schedule": {"steps": 2},
        "score_schedule": {"steps": 2},
    }
    made = run_training(config, tmp_path / "out", None)
    assert AtomFieldModel.load(made["weights"]).config.balanced
    with pytest.raises(InputError, match="resume"):
        run_training(config, tmp_path / "out", None)
    with pytest.raises(InputError, match="unknown system"):
        run_training({"kind": "atoms", "system": "water"}, tmp_path / "other", 1.0)


@pytest.mark.parametrize("backbone", ["ponita", "clebsch-gordan"])
def test_a_config_picks_the_trunk_of_atoms_by_its_name(tmp_path: Path, backbone: str) -> None:
    numbers, positions, values = data("vector")
    np.savez(tmp_path / "forces.npz", numbers=numbers, positions_A=positions, values=values)
    config = {
        "kind": "atoms",
        "data": str(tmp_path / "forces.npz"),
        "backbone": backbone,
        "sizes": {"width": 8, "layers": 1, "radial": 6, "score_width": 8, "score_layers": 1},
        "schedule": {"steps": 2},
        "score_schedule": {"steps": 2},
    }
    made = AtomFieldModel.load(run_training(config, tmp_path / "out", None)["weights"])
    assert made.config.backbone == backbone
    one = made.condition(numbers, positions[0], values[0], np.arange(len(numbers)) < 3)
    assert np.isfinite(one.sample(2)).all()
    with pytest.raises(InputError, match="unknown backbone 'ponyta'; known are"):
        run_training(config | {"backbone": "ponyta"}, tmp_path / "other", None)


def test_bad_input(model: AtomFieldModel) -> None:
    rank = model.config.rank
    _, positions, values = data(rank)
    x, y = positions[0], values[0]
    close = x.copy()
    close[3] = close[2] + 0.01
    for arguments, told in [
        ((NUMBERS, x[:, :2], y), "numbers \\(n,\\) and positions_A \\(n, 3\\)"),
        ((NUMBERS, close, y), "atoms 2 and 3 are 0.02 A apart"),
        ((NUMBERS, np.where(np.arange(6)[:, None] == 2, np.nan, x), y), "NaN"),
        ((np.where(NUMBERS == 8, 16, NUMBERS), x, y), "has not seen elements \\[16\\]"),
        ((NUMBERS, x, y[:4]), "have shape"),
        ((NUMBERS, x, y, [9]), "names atom 9"),
        ((NUMBERS, x, y, [True, False]), "one True or False an atom"),
        ((NUMBERS, x, y), "nothing is left"),
        ((NUMBERS, x, y * np.nan), "no value is known"),
        (
            (
                NUMBERS,
                x,
                np.where(np.arange(6).reshape(6, *[1] * (y.ndim - 1)) == 1, np.nan, y),
                [0, 1],
            ),
            "given atoms \\[1\\] are NaN",
        ),
    ]:
        with pytest.raises(InputError, match=told):
            model.condition(*arguments)
    with pytest.raises(InputTypeError):
        model.condition(NUMBERS, x, "forces")
    with pytest.raises(UnknownNameError):
        AtomFieldModel.fit(NUMBERS, positions, values, rank="spinor")
    with pytest.raises(InputError, match="same everywhere"):
        AtomFieldModel.fit(NUMBERS, positions, np.zeros_like(values), rank=rank)
    if rank == "tensor":
        with pytest.raises(InputError, match="symmetric"):
            model.condition(NUMBERS, x, y + np.eye(3)[[1, 2, 0]])


def test_fields_on_atoms_reach_ase_and_mdanalysis() -> None:
    model = fitted("vector")
    _, positions, values = data("vector")
    complete_atoms, calculator, add_field = (
        resolve(name)
        for name in (
            "equidrift.adapters.ase.calculators:complete_atoms",
            "equidrift.adapters.ase.calculators:FieldCalculator",
            "equidrift.adapters.mdanalysis.fields:add_field",
        )
    )
    atoms = Atoms(numbers=NUMBERS, positions=positions[0])
    known = values[0].copy()
    known[2:] = np.nan
    atoms.set_array("field", known)
    done = complete_atoms(atoms, model, n=3, steps=3)
    np.testing.assert_array_equal(done.arrays["field"][:2], values[0][:2])
    assert (
        np.isfinite(done.arrays["field"]).all()
        and (done.arrays["field_std"][2:] > 0).all()
        and not done.arrays["field_std"][:2].any()
    )
    assert np.isnan(atoms.arrays["field"][2:]).all()
    with pytest.raises(InputError, match="complete_atoms"):
        calculator(model)
    model.quantity, model.unit = "forces", "eV/A"
    with pytest.raises(InputError, match="level"):
        model.condition(NUMBERS, positions[0], known).interval(2.0)
    mean, low, high = model.condition(NUMBERS, positions[0], known).interval(0.5)
    assert (
        (low[2:] < mean[2:]).all() and (mean[2:] < high[2:]).all() and (low[:2] == high[:2]).all()
    )
    atoms.calc = calculator(model, known, n=2, steps=3)
    np.testing.assert_array_equal(atoms.get_forces()[:2], values[0][:2])
    assert atoms.calc.results["forces_std"].shape == (6, 3)
    atoms.pbc = True
    with pytest.raises(InputError, match="periodic"):
        atoms.get_forces()
    with pytest.raises(InputTypeError, match=r"ase\.Atoms"):
        complete_atoms([atoms], model)

    universe = mda.Universe.empty(6, trajectory=True)
    universe.add_TopologyAttr("elements", ["C", "O", "H", "H", "H", "H"])
    universe.load_new(positions[:3].astype(np.float32), order="fac")
    part = values[:3].copy()
    part[:, 2:] = np.nan
    made = add_field(universe, model, known=part, n=2, steps=3)
    for k, frame in enumerate(universe.trajectory):
        np.testing.assert_array_equal(frame.aux.forces, made[k])
        np.testing.assert_array_equal(frame.aux.forces[:2], values[k, :2])
        assert frame.aux.forces_std.shape == (6, 3)
    with pytest.raises(InputError, match="3"):
        add_field(universe, model, "again", known=part[:2])

"""Spectra: broadening against hand-made lines, the likelihood against its definition,
ranking, training, and messages.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from equidrift.adapters.ase.xtb import infrared, is_linear
from equidrift.bench.spectra import chance, composition, formula_of, recovery, spectra_rows
from equidrift.errors import InputError, MissingDependencyError
from equidrift.models.molecules.latent.graph_data import plain_codes
from equidrift.models.molecules.spectra.sampler import (
    SpectrumConfig,
    SpectrumExample,
    SpectrumModel,
    SpectrumNetwork,
    padded,
    read_spectra,
    spectrum_loss,
)
from equidrift.models.molecules.spectra.train import matched, run_training
from equidrift.models.molecules.spectra.whitening import whitening_of
from equidrift.spectrum import GRID_CM1, KM_PER_MOL, broaden
from equidrift.weights import load_weights
from tests.models.molecules.test_latent import SMILES, dataset, made

SIZES = {"width": 16, "pair_width": 8, "vectors": 2, "blocks": 1, "components": 4}


@pytest.fixture(scope="module")
def molecules():
    return [made(smiles) for smiles in SMILES]


@pytest.fixture(scope="module")
def folder(tmp_path_factory, molecules):
    """The packed molecules, and spectra of them that were made up: a line for each
    atom.
    """
    out = tmp_path_factory.mktemp("spectra")
    data = dataset(molecules)
    data.split[-3:] = 2
    np.savez(out / "qm9_molecules.npz", **vars(data))
    lines = [np.sort(500.0 + 100.0 * m.numbers + np.arange(m.n_atoms)) for m, _ in molecules]
    np.savez(
        out / "qm9_spectra.npz",
        index=data.index,
        mode_offset=np.cumsum([0] + [len(f) for f in lines]),
        frequencies_cm1=np.concatenate(lines),
        intensities=np.ones(sum(map(len, lines))),
    )
    return out


@pytest.fixture(scope="module")
def trained(folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("run")
    done = run_training(config_of(folder, 30), out, None, False, None)
    assert done["spectra"] == len(SMILES) - 3
    return SpectrumModel(str(out / "toy.safetensors"))


def config_of(folder, steps):
    places = {"spectra": str(folder / "qm9_spectra.npz"), "data": str(folder / "qm9_molecules.npz")}
    return {
        **places,
        "name": "toy",
        "network": SIZES,
        "batch": 4,
        "schedule": {"steps": steps, "warmup_steps": 2, "learning_rate": 3e-3, "ema": 0.5},
    }


def test_a_line_keeps_its_intensity_and_its_place():
    spectrum = broaden([1700.0], [2.0])
    assert GRID_CM1[spectrum.argmax()] == 1700.0
    assert spectrum.sum() * (GRID_CM1[1] - GRID_CM1[0]) == pytest.approx(2.0 * KM_PER_MOL, rel=1e-3)
    np.testing.assert_allclose(
        broaden([500.0, 1700.0], [1.0, 2.0]), broaden([500.0], [1.0]) + spectrum
    )
    with pytest.raises(InputError, match="one length"):
        broaden([500.0], [1.0, 2.0])


def test_whitened_training_spectra_have_unit_variance():
    roots = np.random.default_rng(0).standard_normal((200, 30)) @ np.random.default_rng(
        1
    ).standard_normal((30, 30))
    centre, whitening = whitening_of(roots, 5)
    table = (roots - centre) @ whitening
    np.testing.assert_allclose(np.cov(table.T), np.eye(5), atol=0.02)


def test_likelihood_is_the_normal_density(trained, molecules):
    spectrum = broaden([900.0, 1500.0], [1.0, 3.0])
    values = trained.log_likelihood(spectrum, molecules)[0]
    batch, x = padded([plain_codes(molecules[2][0])], [molecules[2][1]])
    with torch.no_grad():
        _, mean, log_variance = trained.network(batch, x)
        point = trained.network.whitened(torch.from_numpy(np.sqrt(spectrum + 1e-4)).float())
    normal = torch.distributions.Normal(mean[0], (0.5 * log_variance[0]).exp())
    constant = 0.5 * len(point) * np.log(2 * np.pi)
    assert values[2] == pytest.approx(float(normal.log_prob(point).sum()) + constant, rel=1e-4)


def test_likelihood_knows_no_frame_and_no_order(trained, molecules):
    molecule, x = molecules[3]
    turn = np.linalg.qr(np.random.default_rng(0).standard_normal((3, 3)))[0]
    first, second = (
        trained.log_likelihood(broaden([900.0], [1.0]), [(molecule, y)])[0, 0]
        for y in (x, x @ turn.T + 3.0)
    )
    assert first == pytest.approx(second, abs=1e-3)


def test_training_lowers_the_loss_and_resumes(folder, tmp_path, molecules, trained):
    fresh = run_training(config_of(folder, 1), tmp_path / "a", None, False, None)
    assert fresh["steps"] == 1
    run_training(config_of(folder, 4), tmp_path / "b", None, False, None)
    run_training(
        config_of(folder, 2) | {"schedule": config_of(folder, 4)["schedule"]},
        tmp_path / "c",
        1e-9,
        False,
        None,
    )
    run_training(config_of(folder, 4), tmp_path / "c", None, True, None)
    first, second = (load_weights(tmp_path / run / "toy.safetensors")[0] for run in ("b", "c"))
    assert first.keys() == second.keys() and all(
        torch.equal(first[key], second[key]) for key in first
    )
    spectra = read_spectra(folder / "qm9_spectra.npz")
    batch, x = padded([plain_codes(m) for m, _ in molecules[:6]], [x for _, x in molecules[:6]])
    example = SpectrumExample(
        batch, x, torch.from_numpy(np.sqrt(spectra.vectors[:6] + 1e-4)).float()
    )
    with torch.no_grad():
        before, after = (
            float(spectrum_loss(m.network, example))
            for m in (SpectrumModel(str(tmp_path / "a" / "toy.safetensors")), trained)
        )
    assert after < before


def test_padding_does_not_matter():
    network = SpectrumNetwork(SpectrumConfig(**SIZES)).eval()
    small, large = made("C"), made("CCCC")
    with torch.no_grad():
        alone = network(*padded([plain_codes(small[0])], [small[1]]))
        beside = network(*padded([plain_codes(m) for m, _ in (small, large)], [small[1], large[1]]))
    for a, b in zip(alone, beside, strict=True):
        np.testing.assert_allclose(a[0].numpy(), b[0].numpy(), atol=1e-5)


def test_training_molecules_are_kept_apart(folder):
    data, spectra = dataset([made(s) for s in SMILES]), read_spectra(folder / "qm9_spectra.npz")
    data.split[-3:] = 2
    places, rows = matched(data, spectra, "train")
    assert set(rows) == set(range(len(SMILES) - 3)) and (data.split[rows] == 0).all()
    np.testing.assert_array_equal(
        matched(data, spectra, "test", "val")[1], np.arange(len(SMILES) - 3, len(SMILES))
    )
    assert len(places) == len(rows)


def test_recovery_counts_ranks():
    scores = np.array([[3.0, 2.0, 1.0], [1.0, 2.0, 3.0], [0.0, 0.0, 0.0]])
    values = recovery(scores, np.array([0, 0, 1]))
    assert (
        values["top-1"] == pytest.approx(100 / 3)
        and values["top-10"] == 100.0
        and values["median_rank"] == 2.0
    )
    assert recovery(np.zeros((1, 40)), np.array([0]))["top-10"] == 0.0  # ties are no recovery
    assert chance(np.array([20]))["top-10"] == 50.0


def test_rows_have_the_model_and_its_baselines(folder, trained):
    rows = {row["row"]: row["values"] for row in spectra_rows(folder, 3, model=trained)}
    assert set(rows) == {
        f"spectra/{name}"
        for name in ("equidrift", "formula", "random", "formula-random", "nearest")
    }
    assert rows["spectra/equidrift"]["spectra"] == 3 and rows["spectra/equidrift"]["pool"] == len(
        SMILES
    )
    assert (
        rows["spectra/formula"]["top-1"] >= rows["spectra/equidrift"]["top-1"]
    )  # fewer candidates


def test_composition_tells_isomers_by_bonds():
    first, second = made("CCO")[0], made("COC")[0]
    assert formula_of(first) == formula_of(second) == "H6 C2 O1"
    assert (
        np.abs(composition(first) - composition(second)).sum() == 4
    )  # C-C and O-H for C-O and C-H


def test_spectra_that_cannot_be_are_refused_by_name(trained, molecules, tmp_path):
    with pytest.raises(InputError, match="shape"):
        trained.log_likelihood(np.zeros(3), molecules)
    with pytest.raises(InputError, match="not negative"):
        trained.log_likelihood(-np.ones(len(GRID_CM1)), molecules)
    with pytest.raises(InputError, match="make_spectra"):
        read_spectra(tmp_path / "none.npz")
    with pytest.raises(InputError, match="does not fit"):
        run_training({"spectra": "x", "colour": 1}, tmp_path / "d", 1.0, False, None)


def test_water_has_its_three_modes():
    """Against GFN2-xTB's own program: bend near 1540, stretches near 3640 and 3650
    cm^-1, and hydrogens are known not to be linear.
    """
    try:
        x, frequencies, intensities = infrared(
            np.array([8, 1, 1]), np.array([[0, 0, 0.0], [0.96, 0, 0], [-0.24, 0.93, 0]])
        )
    except MissingDependencyError:
        pytest.skip("tblite is not installed")
    assert len(frequencies) == len(intensities) == 3
    assert (
        1450 < frequencies[0] < 1650 and (frequencies[1:] > 3400).all() and (intensities > 0).all()
    )
    assert not is_linear(x) and is_linear(np.array([[0, 0, 0.0], [1, 0, 0], [2.5, 0, 0]]))

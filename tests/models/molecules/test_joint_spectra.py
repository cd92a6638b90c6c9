"""The joint model with infrared spectra: what a spectrum adds to the network, training
from weights without, sampling, and messages.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch

from equidrift.adapters.rdkit.molecule import flat_smiles
from equidrift.errors import InputError, MoleculeError, WeightsError
from equidrift.models.molecules.data import load_qm9
from equidrift.models.molecules.joint.network import JointConfig, JointNetwork, Targets
from equidrift.models.molecules.joint.sampler import JointModel, load_joint_spectra
from equidrift.models.molecules.joint.spectral import Spectral, SpectralBatches
from equidrift.models.molecules.joint.train import (
    JointTraining,
    make_network,
    make_task,
    run_training,
    training_molecules,
)
from equidrift.records import Molecule
from equidrift.registry import make_molecule_model
from equidrift.seeds import sample_seeds
from equidrift.spectrum import COVERED_CM1, GRID_CM1, relative_roots
from equidrift.weights import load_weights
from tests.models.molecules.sizes import SIZES
from tests.models.molecules.spectral import (
    TOYS,
    config_of,
    spectrum,
    toy_data,
    weights_like_joint,
)
from tests.models.molecules.test_joint import some_state


def roots(rows: int, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    """Relative roots of the first toys' spectra."""
    return torch.from_numpy(np.stack([relative_roots(spectrum(k)) for k in range(rows)])).to(dtype)


@pytest.fixture(scope="module")
def network() -> JointNetwork:
    """A network whose every weight is drawn, the zero ones too."""
    torch.manual_seed(0)
    network = JointNetwork(JointConfig(**SIZES, spectrum=5))
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    embedding = network.targets.spectrum
    assert embedding is not None
    embedding.learn(np.stack([relative_roots(spectrum(k)) for k in range(6)]), 0.01)
    return network.double().eval()


def with_spectra(targets: Targets, rows: int = 2) -> Targets:
    return Targets(targets.values, targets.given, roots(rows))


def test_network_stays_equivariant_with_a_spectrum(network: JointNetwork) -> None:
    state, targets = some_state()
    turn = torch.linalg.qr(
        torch.randn(3, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    )[0]
    told = with_spectra(targets)
    with torch.no_grad():
        one, free = network(state, told), network(state, targets)
        state.x = state.x @ turn
        other = network(state, told)
    assert float((one.types - free.types).abs().max()) > 1e-3, "the spectrum is seen"
    assert float((one.x - free.x).abs().max()) > 1e-4
    for a, b in ((one.types, other.types), (one.bonds, other.bonds), (one.x @ turn, other.x)):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


def test_a_molecule_without_a_spectrum_is_as_if_there_were_none(network: JointNetwork) -> None:
    state, targets = some_state()
    told = with_spectra(targets)
    assert told.spectrum is not None
    told.spectrum[1] = torch.nan
    with torch.no_grad():
        one, free = network(state, told), network(state, targets)
        sizes, free_sizes = network.size_logits(told), network.size_logits(targets)
    torch.testing.assert_close(one.types[1], free.types[1])
    torch.testing.assert_close(sizes[1], free_sizes[1])
    assert float((one.types[0] - free.types[0]).abs().max()) > 1e-3
    assert float((sizes[0] - free_sizes[0]).abs().max()) > 1e-3


def test_going_on_from_joint_changes_nothing_at_first(tmp_path: Path) -> None:
    config = config_of(tmp_path, init="joint", network={"spectrum": 3})
    c = JointTraining.model_validate(config)
    network = c.begin()
    make_task(c, network, tmp_path)  # tells it the components
    plain = make_network(JointTraining.model_validate({"init": "joint"}))
    assert network.targets.spectrum is not None and network.targets.spectrum.learnt
    state, targets = some_state()
    state = type(state)(
        *(part.float() if part.is_floating_point() else part for part in vars(state).values())
    )
    values = targets.values.float()
    with torch.no_grad():
        one = network(state, Targets(values, targets.given, roots(2, torch.float32)))
        other = plain(state, Targets(values, targets.given))
    for a, b in zip(vars(one).values(), vars(other).values(), strict=True):
        if isinstance(a, torch.Tensor):
            assert torch.equal(a, b)


def test_spectra_are_shown_often_and_short_of_an_end_at_times(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    molecules = training_molecules(JointTraining.model_validate(config))
    which = np.array([0, -1, -1, -1, -1, -1])
    data = Spectral(molecules, which, spectrum(0)[None], 0.5)
    batches = SpectralBatches(data, torch.zeros(12), torch.ones(12), size=6, seed=0)
    shown = [batches(step).targets.spectrum for step in range(60)]
    table = torch.cat([one for one in shown if one is not None])
    told = ~table.isnan().all(1)
    assert 0.5 * 0.85 - 0.08 < float(told.double().mean()) < 0.5 * 0.85 + 0.08
    whole = float((~table[told].isnan()).all(1).double().mean())
    assert 0.35 < whole < 0.65
    least, most = COVERED_CM1
    inner = torch.from_numpy((least <= GRID_CM1) & (most >= GRID_CM1))
    assert not table[told][:, inner].isnan().any(), "what every spectrum must cover is shown"
    mean = (table[told] ** 2 - 1e-3).nanmean(1)
    torch.testing.assert_close(mean, torch.ones_like(mean), atol=1e-3, rtol=1e-3)


def test_spectra_of_held_out_molecules_are_not_trained_on(tmp_path: Path) -> None:
    config = config_of(tmp_path) | toy_data(tmp_path, held_out=2)
    c = JointTraining.model_validate(config)
    task = make_task(c, c.begin(), tmp_path)
    assert task.summary["spectra"] == 4 and isinstance(task.batches, SpectralBatches)
    assert task.card["what"].endswith("4 of those were learnt from")
    np.testing.assert_allclose(
        task.batches.vectors / spectrum(0).max(),
        [spectrum(k) / spectrum(0).max() for k in range(4)],
    )
    assert isinstance(task.held_out, SpectralBatches)
    assert len(task.held_out.vectors) == 2 and sorted(task.held_out.which.tolist()) == [0, 1]
    assert len(load_qm9(c.data).rows("val")) == 2


def test_training_resumes_to_the_same_weights(tmp_path: Path) -> None:
    run_training(config_of(tmp_path, 4), tmp_path / "a", None, False, None)
    run_training(config_of(tmp_path, 4), tmp_path / "b", 1e-9, False, None)
    run_training(config_of(tmp_path, 4), tmp_path / "b", None, True, None)
    first, second = (load_weights(tmp_path / run / "toy.safetensors")[0] for run in ("a", "b"))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)
    again = config_of(tmp_path, 1, init=str(tmp_path / "a" / "toy.safetensors"), network={})
    done = run_training(again, tmp_path / "c", None, False, None)
    state, card = load_weights(done["weights"])
    assert card["config"]["spectrum"] == 3
    assert torch.equal(state["targets.spectrum.whitening"], first["targets.spectrum.whitening"])


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"spectra": "none.npz"}, "there are no spectra 'none.npz'"),
        ({"spectra": None}, "spectra: is missing; the network takes 3 components"),
        ({"spectra_share": 1.0}, "spectra_share: must be less than 1"),
        ({"network": {**SIZES, "spectrum": 3}, "init": "joint"}, "another network than the config"),
    ],
)
def test_a_config_that_does_not_fit_says_why(
    tmp_path: Path, more: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        run_training(config_of(tmp_path) | more, tmp_path / "run", None, False, None)


def test_spectra_of_no_training_molecule_are_refused(tmp_path: Path) -> None:
    config = config_of(tmp_path) | toy_data(tmp_path, held_out=2)
    with np.load(config["spectra"]) as data:
        arrays = {key: data[key] for key in data.files}
    arrays["index"] = arrays["index"] + 10_000
    np.savez(config["spectra"], **arrays)
    with pytest.raises(InputError, match="holds no spectrum of a training molecule"):
        run_training(config, tmp_path / "run", None, False, None)


def test_weights_without_spectra_say_how_to_train_others(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"joint takes no spectrum. No weights .*train_joint_spec"):
        JointModel(device="cpu").sample(np.arange(1), spectrum=spectrum(0), steps=2)
    monkeypatch.setattr(load_joint_spectra, "__defaults__", ("joint-none",))
    with pytest.raises(WeightsError, match="No weights that take spectra are shipped yet"):
        make_molecule_model("joint-spectra")


@pytest.mark.parametrize("sampler", ["diffusion", "bfn"])
def test_guidance_zero_and_no_spectrum_are_the_same_draws(
    tmp_path: Path, sampler: Literal["diffusion", "bfn"]
) -> None:
    weights = weights_like_joint(tmp_path)
    model = JointModel(weights, sampler=sampler, refine=0, half_precision=False, device="cpu")
    assert model.takes_spectrum and not JointModel(device="cpu").takes_spectrum
    seeds = sample_seeds(3, 0, 3)
    free = model.sample(seeds, steps=4)
    ignored = model.sample(seeds, spectrum=spectrum(1), guidance=0.0, steps=4)
    for one, other in zip(free, ignored, strict=True):
        assert one is not None and other is not None and one[0].key() == other[0].key()
        np.testing.assert_allclose(one[1], other[1], atol=1e-5)
    assert all(
        raw is not None
        for raw in model.sample(
            seeds, spectrum=spectrum(1), guidance=2.0, targets={"gap_eV": 7.0}, steps=4
        )
    )


def named(raw: tuple[Molecule, np.ndarray] | None) -> str | None:
    """The graph of a draw, None if it is none."""
    try:
        return None if raw is None else flat_smiles(raw[0])
    except (MoleculeError, ValueError):
        return None


@pytest.mark.long
def test_a_spectrum_brings_forth_its_molecule(tmp_path: Path) -> None:
    """Six toys learnt by heart: more than by chance, by more than five errors."""
    sizes = {"width": 32, "pair_width": 16, "stages": 1, "radial": 8, "spectrum": 5}
    config = config_of(tmp_path, 200, network={**SIZES, **sizes}, batch=32)
    config |= toy_data(tmp_path, copies=8)
    config["schedule"] = {"steps": 200, "learning_rate": 0.01, "warmup_steps": 20, "ema": 0.98}
    run_training(config, tmp_path / "run", None, False, None)
    model = JointModel(
        str(tmp_path / "run" / "toy.safetensors"), refine=0, half_precision=False, device="cpu"
    )
    seeds, keys = sample_seeds(1, 0, 12), [flat_smiles(Molecule.from_smiles(s)) for s in TOYS]
    hits = np.zeros((len(TOYS), 2))
    for k, key in enumerate(keys):
        for column, told in enumerate(({"spectrum": spectrum(k)}, {})):
            found = [named(raw) == key for raw in model.sample(seeds, steps=15, **told)]
            hits[k, column] = sum(found)
    right, chance = hits.sum(0) / (len(TOYS) * len(seeds))
    error = (right * (1 - right) / (len(TOYS) * len(seeds))) ** 0.5
    assert right > 0.5 and right - chance > 5 * error, (right, chance, error)

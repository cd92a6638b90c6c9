"""Chains: samples are functions of their seeds, and the pick of new conformers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from equidrift import registry
from equidrift.engine.chain import BLOCK, Chain
from equidrift.engine.diversity import torsions
from equidrift.errors import InputError, UnknownNameError
from equidrift.records import Molecule
from equidrift.seeds import sample_rng, sample_seeds
from tests.doubles import Shaker, geometry
from tests.models.networks import small_weights


class Turner(Shaker):
    """Butane-like chains whose middle torsion is anti, or gauche on one side, by the
    seed.
    """

    name = "turner"

    def _one(self, molecule: Molecule, seed: int) -> np.ndarray:
        rng = sample_rng(seed)
        x = geometry(molecule) + 0.01 * rng.standard_normal((molecule.n_atoms, 3))
        axis = (x[2] - x[1]) / np.linalg.norm(x[2] - x[1])
        angle = np.radians(rng.choice([0.0, 110.0]))
        far = [
            3,
            9,
            10,
            11,
            12,
            13,
        ]  # everything behind the middle bond of butane, hydrogens of atoms 2 and 3
        v = x[far] - x[2]
        x[far] = (
            x[2]
            + v * np.cos(angle)
            + np.cross(axis, v) * np.sin(angle)
            + np.outer(v @ axis, axis) * (1 - np.cos(angle))
        )
        return x


@pytest.fixture(autouse=True)
def doubles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        registry.CONFORMER_MODELS, "turner", "tests.plugin.engine.test_chain:Turner"
    )
    monkeypatch.setitem(registry.REFINERS, "refine", "tests.doubles:Shrinker")


def chain(**options: Any) -> Chain:
    return Chain(**{"start": "turner", "relax": "none", "refiner": None, **options})


BUTANE = Molecule.from_smiles("CCCC")


def test_a_sample_is_a_function_of_its_seed_alone() -> None:
    model, seeds = chain(candidates=3), sample_seeds(0, 0, BLOCK + 6)
    whole = model.sample(BUTANE, seeds)
    for rows in ([5], [7, 2, 11], [BLOCK + 3, 1], list(range(20))):
        np.testing.assert_array_equal(model.sample(BUTANE, seeds[rows]), whole[rows])
    again = sample_seeds(0, 3, 5, attempt=1)
    np.testing.assert_array_equal(
        model.sample(BUTANE, np.concatenate([again, seeds[:2]]))[2:], whole[:2]
    )


def test_etkdg_chain_with_mmff() -> None:
    model, molecule, seeds = (
        chain(start="etkdg", relax="mmff", num_threads=1),
        Molecule.from_smiles("CCCO"),
        sample_seeds(1, 0, 5),
    )
    whole = model.sample(molecule, seeds)
    np.testing.assert_allclose(model.sample(molecule, seeds[[4, 1]]), whole[[4, 1]], atol=1e-6)


def test_the_pick_finds_more() -> None:
    seeds = sample_seeds(0, 0, 2)
    new = 0
    for run in range(8):
        first, second = torsions(BUTANE).angles_deg(
            chain(candidates=12, mirror=False).sample(BUTANE, sample_seeds(run, 0, 2))
        )[:, 0]
        new += abs((second - first + 180.0) % 360.0 - 180.0) > 60.0
    assert new == 8, "two samples of three conformers are different ones"
    assert chain(candidates=1).sample(BUTANE, seeds).shape == (2, 14, 3)


@pytest.mark.parametrize(("smiles", "offered"), [("CCC(N)O", True), ("CC[C@H](N)O", False)])
def test_mirror_images_only_without_stereocentres(
    smiles: str, offered: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    molecule = Molecule.from_smiles(smiles)
    model = chain(start="etkdg", candidates=1, num_threads=1)
    raw = model.start.sample(molecule, sample_seeds(0, 0, 1))[0]
    model.candidates = 2
    monkeypatch.setattr(
        model.start, "sample", lambda molecule, seeds, **_: np.repeat(raw[None], len(seeds), axis=0)
    )
    made = model.sample(molecule, sample_seeds(0, 0, 3))
    mirrored = [bool(np.allclose(x, raw * [1, 1, -1])) for x in made]
    assert any(mirrored) == offered and np.allclose(made[0], raw)


def test_chain_relaxes_by_uff_when_mmff94_has_no_types() -> None:
    molecule, seeds = Molecule.from_smiles("CB(O)O"), sample_seeds(0, 0, 2)
    model = chain(start="etkdg", relax="mmff", num_threads=1)
    marked = model.sample_marked([(molecule, seeds)])[0]
    assert np.isfinite(marked.energies_eV).all() and not marked.refined.any()
    assert model.origin(molecule)["energies"].startswith("UFF")


def test_refiner_sees_all_jobs(tmp_path: Any) -> None:
    model = chain(refiner="refine")
    blocks = model.sample_many([(BUTANE, sample_seeds(0, 0, 2)), (BUTANE, sample_seeds(0, 2, 3))])
    np.testing.assert_allclose(
        blocks[0][0], chain().sample(BUTANE, sample_seeds(0, 0, 2))[0] + 0.001
    )
    mine = registry.make_model(str(small_weights(tmp_path)), start="turner", relax="none")
    assert isinstance(mine, Chain) and mine.weights_sha256 == mine.refiner.weights_sha256
    assert mine.refiner.name == mine.name == "small.safetensors"


def test_bad_options() -> None:
    with pytest.raises(InputError, match="relax"):
        chain(relax="gfn2")
    with pytest.raises(InputError, match="candidates"):
        chain(candidates=0)
    with pytest.raises(UnknownNameError, match="turner"):
        chain(start="turnr")

"""The refiner and the generator behind the protocols, with small random weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from equidrift.errors import InputError, WeightsError
from equidrift.models.conformers.sampler import GeneratorModel, RefinerModel
from equidrift.protocols import BatchedConformerModel, Refiner
from equidrift.records import Molecule
from equidrift.testing.conformer_model import ConformerModelContract
from tests.models.networks import conformer, small_weights


class TestGeneratorContract(ConformerModelContract):
    steps = 3

    @pytest.fixture(scope="class")
    def model(self, tmp_path_factory: pytest.TempPathFactory) -> GeneratorModel:
        return GeneratorModel(str(small_weights(tmp_path_factory.mktemp("w"), "generate")))


@pytest.fixture(scope="module")
def refiner(tmp_path_factory: pytest.TempPathFactory) -> RefinerModel:
    return RefinerModel(str(small_weights(tmp_path_factory.mktemp("w"))))


def test_models_keep_their_protocols_and_refuse_no_steps(
    refiner: RefinerModel, tmp_path: Path
) -> None:
    assert isinstance(refiner, Refiner)
    generator = GeneratorModel(str(small_weights(tmp_path, "generate")))
    assert isinstance(generator, BatchedConformerModel)
    with pytest.raises(InputError, match=r"steps must lie in 1 \.\. 1000, not 0"):
        generator.sample(Molecule.from_smiles("CO"), np.array([1]), steps=0)


def test_refined_conformers_do_not_depend_on_the_batch(refiner: RefinerModel) -> None:
    jobs = [
        (m, np.stack([x, x + 0.05 * np.sin(x)]))
        for m, x in map(conformer, ("CCO", "C[C@H](N)C(=O)O", "CC=O"))
    ]
    together = refiner.refine_many(jobs)
    for (molecule, positions), block in zip(jobs, together, strict=True):
        for k, x in enumerate(positions):
            np.testing.assert_allclose(
                refiner.refine_many([(molecule, x[None])])[0][0], block[k], atol=1e-4
            )


def test_shipped_refiner_keeps_the_batch_tolerance_with_room_to_spare() -> None:
    """The Newton step's matrix multiplies rounding by its condition number, so that it
    is solved in float64.
    """
    smiles = (
        "CCO",
        "OCC=O",
        "C[C@H](F)/C=C/Br",
        "CC(=O)Oc1ccccc1C(=O)O",
        "CC(C)Cc1ccc(cc1)[C@@H](C)C(=O)O",
    )
    jobs = [(m, np.stack([x, x + 0.05 * np.sin(x)])) for m, x in map(conformer, smiles)]
    shipped = RefinerModel("refine")
    for (molecule, positions), block in zip(jobs, shipped.refine_many(jobs), strict=True):
        for k, x in enumerate(positions):
            np.testing.assert_allclose(
                shipped.refine_many([(molecule, x[None])])[0][0], block[k], atol=1e-5
            )


@pytest.mark.parametrize(("half", "short"), [(True, True), (False, False), (None, False)])
def test_short_products_are_for_a_gpu_and_change_little(
    monkeypatch: pytest.MonkeyPatch, half: bool | None, short: bool
) -> None:
    molecule, x = conformer("CC(C)Cc1ccc(cc1)[C@@H](C)C(=O)O")
    wanted = RefinerModel("refine", device="cpu").refine_many([(molecule, x[None])])[0][0]
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    model = RefinerModel("refine", device="cpu", half_precision=half)
    (found,) = model.refine_many([(molecule, x[None])])[0]
    apart, moved = (np.sqrt(((found - y) ** 2).sum(-1).mean()) for y in (wanted, x))
    assert 0 < apart < 0.01 < moved if short else apart == 0


def test_nan_conformers_pass_through(refiner: RefinerModel) -> None:
    molecule, x = conformer("CCO")
    given = np.stack([x, np.full_like(x, np.nan), x + 5.0])
    out = refiner.refine_many([(molecule, given)])[0]
    assert np.isnan(out[1]).all() and np.isfinite(out[[0, 2]]).all() and np.isfinite(given[0]).all()
    np.testing.assert_allclose(out[0] + 5.0, out[2], atol=1e-4)
    np.testing.assert_allclose(out[0].mean(0), x.mean(0), atol=1e-6)
    assert refiner.refine_many([(molecule, given[1:2])])[0].shape == (1, 9, 3)


@pytest.mark.parametrize("steps", [0, 9])
def test_steps_out_of_range(refiner: RefinerModel, steps: int) -> None:
    with pytest.raises(InputError, match=rf"steps must lie in 1 \.\. 8 for small, not {steps}"):
        refiner.refine_many([], steps=steps)


def test_wrong_level_and_wrong_task(tmp_path: Path) -> None:
    path = str(small_weights(tmp_path))
    with pytest.raises(InputError, match=r"level must be one of .*MMFF94, not 'PM6'"):
        RefinerModel(path, level="PM6")
    with pytest.raises(WeightsError, match="task 'refine', expected 'generate'"):
        GeneratorModel(path)

"""Rows of molecules made for a spectrum, against a generator that is known to find them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from equidrift.bench.spectra_generated import (
    NAMES,
    element_counts,
    found_shares,
    generated_rows,
    molecules_of,
    rank_of,
)
from equidrift.models.molecules.data import load_qm9
from equidrift.models.molecules.joint.sampler import load_joint_spectra
from equidrift.models.molecules.spectra.sampler import SpectrumModel
from tests.doubles import Baker
from tests.models.molecules.spectral import TOYS, spectrum, toy_data
from tests.models.molecules.test_latent import made


class Knowing(Baker):
    """Draws the toy whose spectrum it is told among others; without one, ethanol alone."""

    takes_spectrum = True

    def sample(self, seeds: np.ndarray, **options: Any) -> list[Any]:
        told = options.get("spectrum")
        places = [0]
        if told is not None:
            places = [int(np.argmin([np.abs(spectrum(k) - told).sum() for k in range(6)])), 3]
        return [None, *(made(TOYS[k]) for k in places)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    toy_data(tmp_path, held_out=3)
    (tmp_path / "toy_molecules.npz").rename(tmp_path / "qm9_molecules.npz")
    (tmp_path / "toy_spectra.npz").rename(tmp_path / "qm9_spectra.npz")
    return tmp_path


def test_rows_count_what_a_generator_finds(folder: Path) -> None:
    rows = {row["row"]: row["values"] for row in generated_rows(folder, model=Knowing())}
    assert set(rows) == {f"spectra/{name}" for name in NAMES}
    full, blind = rows["spectra/generated"], rows["spectra/generated-blind"]
    assert full["found"] == full["top-10"] == 100.0 and full["n"] == 3
    assert blind["found"] == 0.0 and blind["candidates"] == 1.0
    assert rows["spectra/generated-formula"]["top-1"] == 100.0
    assert rows["spectra/generated-formula"]["candidates"] <= full["candidates"] <= 2.0
    assert rows["spectra/generated-pool"]["found"] == 100.0
    data = load_qm9(folder / "qm9_molecules.npz")
    np.testing.assert_array_equal(element_counts(data)[0], [6, 2, 0, 1, 0])


def test_rows_are_left_out_without_weights(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load_joint_spectra, "__defaults__", ("joint-none",))
    said: list[str] = []
    assert generated_rows(folder, say=said.append) == []
    assert said[0].startswith("left out: spectra/generated (No weights that take spectra")


def test_a_rank_is_that_among_the_different_valid_draws() -> None:
    model = SpectrumModel()
    items = [made(smiles) for smiles in TOYS]
    found = molecules_of([*items, None, items[0]])
    assert len(found) == len(TOYS)
    predicted = model.predict(items)[2]
    values = model.shape_likelihood(predicted, list(found.values()))
    keys = list(found)
    order = [keys[k] for k in np.argsort(-values)]
    assert [rank_of(key, found, predicted, model) for key in order] == list(range(len(TOYS)))
    assert rank_of("CCCCC", found, predicted, model) is None
    told = found_shares([0, None, 4, 12])
    assert told["top-1"] == 25.0 and told["top-10"] == 50.0 and told["found"] == 75.0

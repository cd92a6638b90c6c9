"""Molecules for a spectrum: who is told, what is recorded and scored, messages."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import equidrift
from equidrift.cli.generate import Request
from equidrift.cli.generate_part import request_told, stored_request
from equidrift.cli.place import Point
from equidrift.engine.molecule_settings import make_settings
from equidrift.engine.molecules import provenance
from equidrift.engine.spectra import SCORE, model_for, spectrum_fit
from equidrift.errors import EquidriftError, WeightsError
from equidrift.models.molecules.spectra.sampler import SpectrumModel
from equidrift.registry import host_function
from equidrift.scale.manifest import MANIFEST
from equidrift.seeds import sample_seeds
from equidrift.spectrum import GRID_CM1, broaden, spectrum_of
from tests.doubles import Baker
from tests.models.molecules.spectral import curve_file


class Listener(Baker):
    """A model that can be told of a spectrum."""

    takes_spectrum = True


def curve() -> np.ndarray:
    x = np.arange(400.0, 4000.1, 5.0)
    y = np.interp(x, GRID_CM1, broaden([1050.0, 1715.0, 2960.0], [1.0, 3.0, 2.0]))
    return np.stack([x, y], axis=1)


def test_a_model_is_told_the_spectrum_on_the_grid() -> None:
    model = Listener()
    made = equidrift.generate(2, model=model, spectrum=curve(), guidance=2.0, seed=1)
    told = model.calls[0]
    np.testing.assert_array_equal(told["spectrum"], spectrum_of(curve()))
    assert told["guidance"] == 2.0 and "targets" not in told
    known = made[0].provenance["spectrum"]
    assert known["from_cm1"] == 400.0 and known["to_cm1"] == 4000.0 and len(known["sha256"]) == 12
    assert made[0].provenance["options"]["guidance"] == 2.0
    free = Listener()
    equidrift.generate(1, model=free, seed=1)
    assert "spectrum" not in free.calls[0] and "guidance" not in free.calls[0]


def test_the_record_knows_no_unit_but_the_shape() -> None:
    scaled = curve() * [1.0, 250.0]
    other = curve()
    other[200:300, 1] *= 2.0
    first, same, another = (
        provenance(make_settings(Listener(), spectrum=what))["spectrum"]["sha256"]
        for what in (curve(), scaled, other)
    )
    assert first == same != another


def test_each_molecule_is_scored_by_the_network_that_ranks() -> None:
    made = equidrift.generate(3, model=Listener(), spectrum=curve(), targets={"gap_eV": 7.0})
    items = [(one.molecule, one.positions_A[0]) for one in made]
    expected = SpectrumModel().shape_likelihood(spectrum_of(curve()), items)
    found = [float(one.scores[SCORE][0]) for one in made]
    np.testing.assert_allclose(found, expected, rtol=1e-4)
    assert all("gap_eV" in one.scores for one in made)
    assert spectrum_fit({SCORE: [1.0, np.nan, 3.0]}) == {SCORE: {"mean": 2.0, "greatest": 3.0}}
    assert spectrum_fit({}) == {}


def test_without_the_weights_that_rank_there_is_no_score(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(host: str, name: str) -> Any:
        if name != "spectrum_likelihood":
            return host_function(host, name)

        def refuse(*_: object) -> None:
            raise WeightsError("spectra.safetensors is not installed")

        return refuse

    monkeypatch.setattr("equidrift.engine.spectra.host_function", absent)
    (made,) = equidrift.generate(1, model=Listener(), spectrum=curve())
    assert SCORE not in made.scores and "spectrum" in made.provenance


def test_the_shape_is_scored_whatever_its_unit_and_end() -> None:
    """Of all spectra the one predicted for a molecule is the likeliest for it."""
    model = SpectrumModel()
    made = equidrift.generate(5, model=Baker(), seed=2)
    items = [(one.molecule, one.positions_A[0]) for one in made]
    spectra = model.predict(items)
    table = np.stack([model.shape_likelihood(spectrum, items) for spectrum in spectra])
    np.testing.assert_array_equal(table.argmax(0), np.arange(5))
    for spectrum, values in zip(spectra, table, strict=True):
        scaled = model.shape_likelihood(37.0 * spectrum, items)
        np.testing.assert_allclose(scaled, values, rtol=1e-4, atol=1e-4)
        short = np.where(GRID_CM1 < 600, np.nan, spectrum)
        assert np.isfinite(model.shape_likelihood(short, items)).all()


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        (
            Baker,
            {"spectrum": curve()},
            r"the model 'baker' takes no spectrum. No weights .*--model",
        ),
        (Listener, {"spectrum": "none.csv"}, "there is no file 'none.csv'"),
        (Listener, {"spectrum": -curve()}, "negative intensity"),
        (Listener, {"guidance": 2.0}, "nothing to guide to; give a target, .* or a spectrum"),
    ],
)
def test_what_cannot_be_says_why(model: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(EquidriftError, match=message):
        equidrift.generate(1, model=model(), **options)


def test_the_default_model_is_that_of_spectra_where_there_is_one() -> None:
    assert model_for("default", curve()) == "joint-spectra"
    assert model_for("default", None) == "default" and model_for("latent", curve()) == "latent"


def test_settings_with_a_spectrum_go_to_workers_and_back() -> None:
    settings = pickle.loads(pickle.dumps(make_settings(Listener(), spectrum=curve(), seed=4)))
    np.testing.assert_array_equal(settings.spectrum, spectrum_of(curve()))
    assert len(sample_seeds(settings.seed, 0, 1)) == 1


def test_jobs_of_an_array_store_every_file_of_their_request(tmp_path: Path) -> None:
    request = Request(
        output=tmp_path / "x.sdf",
        spectrum=curve_file(tmp_path / "ir.csv"),
        pocket=tmp_path / "pocket.pdb",
        centre=Point((1.0, 2.0, 3.0)),
        pull=0.5,
    )
    told = json.loads(json.dumps({"request": request_told(request)}))
    (tmp_path / MANIFEST).write_text(json.dumps(told))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("equidrift.cli.generate_part.read_manifest", lambda _: told)
        again = stored_request(tmp_path, request.output, overwrite=False, as_json=False)
    assert again == request and isinstance(again.centre, Point)

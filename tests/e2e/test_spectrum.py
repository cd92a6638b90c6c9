"""`equidrift generate --spectrum` from a file to molecules, with weights that make molecules
as the shipped ones do and hear of a spectrum.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import equidrift
from equidrift.files.ensembles import load_all
from equidrift.models.molecules.joint.sampler import load_joint_spectra
from tests.commands import Cli, caller
from tests.models.molecules.spectral import curve_file, weights_like_joint


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    return weights_like_joint(tmp_path_factory.mktemp("weights"))


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Cli:
    monkeypatch.chdir(tmp_path)
    curve_file(Path("ir.csv"), 4)
    return caller(monkeypatch, capsys)


SHORT: dict[str, Any] = {"steps": 12, "seed": 3}
FEW = ("-n", "2", "--steps", "12", "--seed", "3")


@pytest.mark.long
def test_command_and_python_make_the_same_molecules(cli: Cli, weights: str) -> None:
    code, out, err = cli(
        "generate", *FEW, "--model", weights, "--spectrum", "ir.csv", "--json", "-o", "x.sdf"
    )
    assert code == 0, err
    told = json.loads(out)
    assert told["molecules"] == 2 and told["model"] == "toy.safetensors"
    made = equidrift.generate(2, model=weights, spectrum="ir.csv", **SHORT)
    scores = [float(one.scores["spectrum_log_likelihood"][0]) for one in made]
    summary = told["spectrum"]["spectrum_log_likelihood"]
    assert summary["greatest"] == pytest.approx(max(scores), rel=1e-4)
    assert summary["mean"] == pytest.approx(np.mean(scores), rel=1e-4)
    assert made[0].provenance["spectrum"]["from_cm1"] == 400.0
    for one, other in zip(load_all(Path("x.sdf")), made, strict=True):
        assert one.molecule.smiles == other.molecule.smiles
        np.testing.assert_allclose(one.positions_A, other.positions_A, atol=1e-3)
    points = np.loadtxt("ir.csv", delimiter=",")
    again = equidrift.generate(2, model=weights, spectrum=points * [1.0, 40.0], **SHORT)
    assert [one.molecule.smiles for one in again] == [one.molecule.smiles for one in made]


@pytest.mark.long
def test_a_run_of_another_spectrum_is_another_run(cli: Cli, weights: str) -> None:
    common = ("generate", *FEW, "--model", weights, "-o", "x.sdf", "--spectrum")
    assert cli(*common, "ir.csv")[0] == 0
    code, out, _ = cli(*common, "ir.csv", "--json")
    assert code == 0 and json.loads(out)["finished_before"]
    curve_file(Path("other.csv"), 1)
    code, _, err = cli(*common, "other.csv")
    assert code == 2 and "--overwrite" in err


@pytest.mark.long
def test_a_spectrum_goes_together_with_targets_and_a_fragment(cli: Cli, weights: str) -> None:
    equidrift.sample("CO", 1, model="etkdg", seed=1).save("core.sdf")
    code, out, err = cli(
        *("generate", *FEW, "--model", weights, "--spectrum", "ir.csv", "--guidance", "1.5"),
        *("--target", "gap_eV=0.75", "--fragment", "core.sdf", "--json", "-o", "x.sdf"),
    )
    assert code == 0, err
    told = json.loads(out)
    assert told["targets"][0]["property"] == "gap_eV" and told["spectrum"]
    core = equidrift.load("core.sdf").positions_A[0][:2]
    for made in load_all(Path("x.sdf")):
        np.testing.assert_allclose(made.positions_A[0][:2], core, atol=1e-3)


@pytest.mark.long
def test_a_spectrum_goes_together_with_a_part_drawn_anew_and_a_pocket(
    cli: Cli, weights: str
) -> None:
    equidrift.sample("CCO", 1, model="etkdg", seed=1).save("core.sdf")
    asked = ("generate", *FEW, "--model", weights, "--spectrum", "ir.csv", "--json")
    code, out, err = cli(*asked, "--fragment", "core.sdf", "--replace", "[OX2H]", "-o", "x.sdf")
    assert code == 0 and json.loads(out)["spectrum"], err
    equidrift.sample("OCCOCCO", 1, model="etkdg-mmff", seed=1).save("wall.sdf")
    code, out, err = cli(*asked, "--pocket", "wall.sdf", "--centre=0,0,8", "-o", "y.sdf")
    assert code == 0, err
    told = json.loads(out)
    assert told["spectrum"] and told["pocket"]


@pytest.mark.long
def test_jobs_of_an_array_make_the_molecules_of_one_process(cli: Cli, weights: str) -> None:
    common = (
        "generate",
        *FEW,
        "--model",
        weights,
        "--spectrum",
        "ir.csv",
        "--batch-size",
        "1",
        "-o",
    )
    assert cli(*common, "alone.sdf")[0] == 0
    code, _, err = cli(*common, "x.sdf", "--shard", "1/1")
    assert code == 0, err
    code, _, err = cli("merge", "x.sdf")
    assert code == 0, err
    one, other = (load_all(Path(name)) for name in ("alone.sdf", "x.sdf"))
    assert [e.molecule.smiles for e in one] == [e.molecule.smiles for e in other]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "No weights that take spectra are shipped yet: train some with `equidrift train"),
        (("--model", "joint"), "--spectrum: the model 'joint' takes no spectrum. No weights"),
        (("--model", "joint-spectra"), "--model: No weights that take spectra are shipped yet"),
    ],
)
def test_weights_that_are_not_there_are_named(
    arguments: tuple[str, ...], message: str, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load_joint_spectra, "__defaults__", ("joint-none",))
    code, out, err = cli("generate", "--spectrum", "ir.csv", *arguments, "-o", "x.sdf")
    assert code == 2 and not out and message in err and err.count("\n") == 1
    assert not Path("x.sdf").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no numbers"),
        ("1000\n2000\n", "has 1 columns, and two are wanted"),
        ("wave,height\nlow,high\n", "line 2 of 'bad.csv' is no pair of numbers"),
        ("400,1\n1000,-1\n4000,1\n", "negative intensity, -1 at 1000"),
        ("400,1\n1000,nan\n4000,1\n", "NaN or infinite"),
        ("4500,1\n5000,1\n", "covers 4500 to 5000"),
    ],
)
def test_a_file_that_is_no_spectrum_is_refused_first(text: str, message: str, cli: Cli) -> None:
    """Before any weights are looked for."""
    Path("bad.csv").write_text(text)
    code, _, err = cli("generate", "--spectrum", "bad.csv", "-o", "x.sdf")
    assert code == 2 and "--spectrum: " in err and message in err and err.count("\n") == 1


def test_guidance_needs_a_target_or_a_spectrum(cli: Cli) -> None:
    code, _, err = cli("generate", "--guidance", "2", "-o", "x.sdf")
    assert code == 2 and "give a --target, say --target gap_eV=7.0, or a --spectrum" in err

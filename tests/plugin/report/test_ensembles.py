"""Reports of conformers: what is in the page, and what cannot get into it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

import equidrift
from equidrift.errors import InputError
from equidrift.report import write_report
from equidrift.report.page import VIEWER_SHA256, asset
from equidrift.report.parts import CARDS_A_PAGE
from equidrift.report.write import Options
from tests.commands import caller
from tests.plugin.report.pages import cards_of, hash_of, policy_of, scripts_of, tables_of

EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"


@pytest.fixture(scope="module")
def propanol() -> equidrift.Ensemble:
    molecule = equidrift.Molecule.from_smiles("CCCO", "propanol")
    return equidrift.sample(molecule, 6, model="etkdg", relax="mmff")


def save_library(path: Path, n: int) -> None:
    """Methane under n names, each with one conformer."""
    from equidrift.adapters.rdkit.io import write_sdf

    start = equidrift.sample("C", 1, model="etkdg")
    for k in range(n):
        named = start.replace(molecule=start.molecule.replace(name=f"m{k}"))
        write_sdf(named, path, append=k > 0, first_sample=0)


def test_vendored_viewer_is_the_published_file() -> None:
    from hashlib import sha256

    assert sha256(asset("3Dmol-min.js").encode("utf-8")).hexdigest() == VIEWER_SHA256
    assert "BSD-3-Clause" in asset("3Dmol-LICENSE.txt")
    assert len(asset("3Dmol-min.js")) < 540_000


def test_report_of_an_ensemble_holds_conformers_figures_and_provenance(
    propanol: equidrift.Ensemble, tmp_path: Path
) -> None:
    propanol.save(tmp_path / "a.npz")
    done = write_report([tmp_path / "a.npz"], tmp_path / "r.html")
    ((card,),) = cards_of(tmp_path / "r.html")
    shown = np.array(card["c"]).reshape(6, -1, 3) / 1000
    order = np.argsort(propanol.energies_eV, kind="stable")
    # laid on the first one: distances within a conformer are what they were
    apart = np.linalg.norm(shown[:, :1] - shown, axis=-1)
    x = propanol.positions_A[order]
    assert np.allclose(apart, np.linalg.norm(x[:, :1] - x, axis=-1), atol=2e-3)
    assert "<svg" in card["v"] and len(card["f"]) == 3
    assert card["d"]["seed"] == [str(s) for s in np.asarray(propanol.seeds)[order]]
    text = (tmp_path / "r.html").read_text()
    assert "etkdg" in text and equidrift.__version__ in text
    assert done["sections"] == [{"title": "a.npz", "kind": "ensemble", "molecules": 1}]
    assert done["bytes"] < 1_000_000


def test_page_lets_only_its_own_scripts_run(propanol: equidrift.Ensemble, tmp_path: Path) -> None:
    propanol.save(tmp_path / "a.sdf")
    write_report([tmp_path / "a.sdf"], tmp_path / "r.html")
    policy = policy_of(tmp_path / "r.html")
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe-eval" not in policy and "http" not in policy
    scripts = scripts_of(tmp_path / "r.html")
    assert len(scripts) == 2
    allowed = re.search(r"script-src ([^;]*);", policy)
    assert allowed is not None
    assert sorted(allowed[1].split()) == sorted(map(hash_of, scripts))


@pytest.mark.long
def test_names_stay_text_when_they_look_like_markup(
    propanol: equidrift.Ensemble, tmp_path: Path
) -> None:
    molecule = propanol.molecule.replace(name=EVIL, properties={EVIL: EVIL})
    two = [propanol.replace(molecule=molecule), equidrift.sample("CO", 2, model="etkdg")]
    from equidrift.adapters.rdkit.io import write_sdf

    for k, ensemble in enumerate(two):
        write_sdf(ensemble, tmp_path / "a.sdf", append=k > 0, first_sample=0)
    write_report(
        [tmp_path / "a.sdf"], tmp_path / "r.html", options=Options(title=EVIL, command=EVIL)
    )
    text = (tmp_path / "r.html").read_text()
    assert "alert(1)</script>" not in text and "<img" not in text
    assert len(scripts_of(tmp_path / "r.html")) == 2
    (cards,) = cards_of(tmp_path / "r.html")
    assert cards[0]["t"] == EVIL
    assert "alert(1)" in tables_of(tmp_path / "r.html")["Molecules"]


@pytest.mark.long
def test_same_call_writes_the_same_bytes_and_may_be_repeated(
    propanol: equidrift.Ensemble, tmp_path: Path
) -> None:
    propanol.save(tmp_path / "a.npz")
    write_report([tmp_path / "a.npz"], tmp_path / "r.html")
    first = (tmp_path / "r.html").read_bytes()
    write_report([tmp_path / "a.npz"], tmp_path / "r.html")
    assert (tmp_path / "r.html").read_bytes() == first


def test_report_replaces_nothing_that_is_not_its_own(
    propanol: equidrift.Ensemble, tmp_path: Path
) -> None:
    propanol.save(tmp_path / "a.npz")
    (tmp_path / "r.html").write_text("mine")
    with pytest.raises(InputError, match="overwrite"):
        write_report([tmp_path / "a.npz"], tmp_path / "r.html")
    assert (tmp_path / "r.html").read_text() == "mine"
    write_report([tmp_path / "a.npz"], tmp_path / "r.html", overwrite=True)
    assert "<!DOCTYPE html>" in (tmp_path / "r.html").read_text()


def test_library_is_split_into_pages_that_are_unpacked_one_at_a_time(tmp_path: Path) -> None:
    n = 2 * CARDS_A_PAGE + 3
    save_library(tmp_path / "a.sdf", n)
    write_report([tmp_path / "a.sdf"], tmp_path / "r.html", options=Options(details=2))
    pages = cards_of(tmp_path / "r.html")
    assert [len(page) for page in pages] == [CARDS_A_PAGE, CARDS_A_PAGE, 3]
    assert [card["t"] for page in pages for card in page] == [f"m{k}" for k in range(n)]
    assert "have figures" not in (tmp_path / "r.html").read_text(), "of one conformer is none"
    repeated = tables_of(tmp_path / "r.html")["Molecules that come more than once"]
    assert repeated.splitlines()[1:] == [f"C,{n}"]


def test_failed_and_rejected_entries_come_from_the_run_that_wrote_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "in.smi").write_text("CCO ethanol\nnonsense bad\n")
    cli = caller(monkeypatch, capsys)
    out = tmp_path / "a.sdf"
    code, told, _ = cli(
        "sample", tmp_path / "in.smi", "-n", 2, "--model", "etkdg", "-o", out, "--json"
    )
    assert code == 1
    (tmp_path / "a.json").write_text(told)
    for given in (out, tmp_path / "a.json"):
        page = tmp_path / f"{Path(given).suffix[1:]}.html"
        assert cli("report", given, "-o", page)[0] == 0
        failed = tables_of(page)["Failed entries"].splitlines()
        assert len(failed) == 2 and failed[1].startswith("bad,")
        assert "rejected and drawn again" in page.read_text()
    (tmp_path / "in.smi").write_text("CCO ethanol\n")
    out = tmp_path / "whole.sdf"
    assert cli("sample", tmp_path / "in.smi", "-n", 2, "--model", "etkdg", "-o", out)[0] == 0
    assert cli("report", out, "-o", tmp_path / "whole.html")[0] == 0
    assert "Failed entries" not in tables_of(tmp_path / "whole.html")
    assert "failed entries" in (tmp_path / "whole.html").read_text()


def test_elements_and_charges_outside_the_training_set_are_shown_in_a_band(
    tmp_path: Path,
) -> None:
    methanol = equidrift.sample("C[Si](C)(C)[O-]", 2, model="etkdg")
    methanol.replace(provenance={"model": "default"}).save(tmp_path / "a.npz")
    write_report([tmp_path / "a.npz"], tmp_path / "r.html")
    bands = re.findall(r'class="band" role="alert">([^<]*)<', (tmp_path / "r.html").read_text())
    assert any("Si (1 molecule)" in band for band in bands)
    assert any("charge" in band for band in bands)


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.npz", b"PK\x03\x04 broken", "damaged"),
        ("a.sdf", b"no molecule here", "holds no conformer"),
        ("a.txt", b"text", "is no result of equidrift"),
        ("a.json", b"{", "no JSON"),
        ("a.json", b"{}", "no summary"),
    ],
)
def test_broken_result_is_one_line_that_names_the_file(
    name: str,
    content: bytes,
    told: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / name).write_bytes(content)
    cli = caller(monkeypatch, capsys)
    code, _, err = cli("report", tmp_path / name, "-o", tmp_path / "r.html")
    assert code == 2 and len(err.splitlines()) == 1
    assert name in err and told in err
    assert not (tmp_path / "r.html").exists()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["missing.sdf", "-o", "r.html"], "there is no file or folder"),
        (["a.npz", "-o", "r.pdf"], "suffix of a page"),
        (["a.npz", "-o", "no/r.html"], "no folder"),
        (["a.npz", "-o", "r.html", "--details", "-1"], "details"),
        ([".", "-o", "r.html"], "holds no result"),
    ],
)
def test_bad_argument_is_one_line(
    arguments: list[str],
    told: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if "a.npz" in arguments:
        equidrift.sample("C", 1, model="etkdg").save(tmp_path / "a.npz")
    monkeypatch.chdir(tmp_path)
    code, _, err = caller(monkeypatch, capsys)("report", *arguments)
    assert code == 2 and len(err.splitlines()) == 1 and told in err


def test_report_imports_no_torch_and_no_host() -> None:
    import subprocess
    import sys

    code = (
        "import sys, equidrift.report; "
        "print([n for n in ('torch', 'rdkit', 'ase', 'openmm', 'MDAnalysis', 'matplotlib') "
        "if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_summary_of_the_command_is_json_when_asked_for(
    propanol: equidrift.Ensemble,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    propanol.save(tmp_path / "a.npz")
    cli = caller(monkeypatch, capsys)
    code, out, _ = cli("report", tmp_path / "a.npz", "-o", tmp_path / "r.html", "--json")
    assert code == 0 and json.loads(out)["sections"][0]["kind"] == "ensemble"

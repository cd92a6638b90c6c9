"""Work that several processes share: the bytes of one process, whoever dies on the way."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rdkit import Chem

from tests.commands import Cli, caller
from tests.conftest import MOLECULES, make_ensemble
from tests.scaling import SHARD, killed, run_shared

SMILES = [*MOLECULES.values()][:11]  # two whole shards and the begin of a third


def library(folder: Path, smiles: list[str]) -> str:
    rows = "".join(f"{text} m{k}\n" for k, text in enumerate(smiles))
    (folder / "library.smi").write_text(rows)
    return "library.smi"


def sample(out: str, *more: object) -> list[object]:
    return ["sample", "library.smi", "-n", 2, "--model", "etkdg", "-o", out, "--json", *more]


@pytest.mark.long
def test_sample_gives_the_bytes_of_one_process_when_workers_and_driver_are_killed(
    tmp_path: Path,
) -> None:
    library(tmp_path, SMILES)
    alone = run_shared(sample("alone.sdf"), tmp_path)
    assert alone.returncode == 0, alone.stderr
    two = run_shared(sample("two.sdf", "--workers", 2), tmp_path, {"000001.sdf.journal": [1]})
    assert two.returncode == 0 and killed(tmp_path) == 1, two.stderr
    # the driver is killed after its first shard, and four workers go on for it
    dead = run_shared(sample("torn.sdf", "--workers", 1), tmp_path, {"torn.sdf.journal": [2]})
    assert dead.returncode == -9 and not (tmp_path / "torn.sdf").exists()
    four = run_shared(sample("torn.sdf", "--workers", 4), tmp_path)
    assert four.returncode == 0, four.stderr
    whole = (tmp_path / "alone.sdf").read_bytes()
    assert (tmp_path / "two.sdf").read_bytes() == whole
    assert (tmp_path / "torn.sdf").read_bytes() == whole
    assert 2 * SHARD <= json.loads(four.stdout)["resumed_from"] <= 4 * SHARD
    left = {path.name for path in tmp_path.iterdir()} - {"site", "library.smi"}
    assert left == {"alone.sdf", "two.sdf", "torn.sdf"}
    told = [json.loads(run.stdout) for run in (alone, two)]
    same = ("molecules", "conformers", "drawn", "rejected", "failures", "notes")
    assert [told[0][name] for name in same] == [told[1][name] for name in same]


@pytest.mark.long
def test_refine_gives_the_bytes_of_one_process_when_a_worker_is_killed(tmp_path: Path) -> None:
    for k, name in enumerate(sorted(MOLECULES)[:6]):
        make_ensemble(name).save(tmp_path / f"{k}.sdf")
    whole = b"".join((tmp_path / f"{k}.sdf").read_bytes() for k in range(6))
    (tmp_path / "all.sdf").write_bytes(whole)
    arguments = ["refine", "all.sdf", "--model", "shrinker", "--json"]
    alone = run_shared([*arguments, "-o", "alone.sdf"], tmp_path)
    assert alone.returncode == 0, alone.stderr
    two = run_shared(
        [*arguments, "-o", "two.sdf", "--workers", 2], tmp_path, {"000000.sdf.journal": [2]}
    )
    assert two.returncode == 0 and killed(tmp_path) == 1, two.stderr
    assert (tmp_path / "two.sdf").read_bytes() == (tmp_path / "alone.sdf").read_bytes()
    told = [json.loads(run.stdout) for run in (alone, two)]
    for name in ("molecules", "conformers", "refined", "kept_input", "failures"):
        assert told[0][name] == told[1][name]


@pytest.mark.long
def test_generate_gives_the_bytes_of_one_process_when_workers_and_driver_are_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MORTAL", str(tmp_path / "site" / "dead"))
    arguments = ["generate", "-n", 6, "--batch-size", 3, "--json", "--model"]
    alone = run_shared([*arguments, "baker", "-o", "alone.sdf"], tmp_path)
    assert alone.returncode == 0, alone.stderr
    # a worker dies at its first draw, and the driver after its first batch
    torn = [*arguments, "mortal", "-o", "torn.sdf", "--workers"]
    dead = run_shared([*torn, 2], tmp_path, {"torn.sdf.journal": [2]})
    assert dead.returncode == -9 and (tmp_path / "site" / "dead").exists()
    four = run_shared([*torn, 4], tmp_path)
    assert four.returncode == 0, four.stderr
    assert (tmp_path / "torn.sdf").read_bytes() == (tmp_path / "alone.sdf").read_bytes()
    told = [json.loads(run.stdout) for run in (alone, four)]
    assert told[0]["drawn"] == told[1]["drawn"] > 6 and told[1]["resumed_from"] > 0


@pytest.mark.long
def test_poison_molecule_is_named_and_the_rest_is_there_when_it_kills_its_worker(
    tmp_path: Path,
) -> None:
    library(tmp_path, ["CCO", "CCC", "NCCN", "CCF", "CCCl", "CO"])
    arguments = ["sample", "library.smi", "--model", "fatal", "-o", "x.sdf", "--json"]
    done = run_shared([*arguments, "--workers", 2], tmp_path)
    assert done.returncode == 1, done.stderr
    (failure,) = json.loads(done.stdout)["failures"]
    assert failure["title"] == "m2" and "SIGKILL" in failure["error"]
    titles = [mol.GetProp("_Name") for mol in Chem.SDMolSupplier(str(tmp_path / "x.sdf"))]
    assert titles == ["m0", "m1", "m3", "m4", "m5"]


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    return caller(monkeypatch, capsys)


@pytest.mark.parametrize("workers", ["0", "-3", "many", "2"])
def test_workers_are_refused_in_one_line_when_they_cannot_be(
    cli: Cli, workers: str, tmp_path: Path
) -> None:
    out = tmp_path / "x.sdf"
    code, _, told = cli("sample", "CCO", "--workers", workers, "-o", out)
    assert code == 2 and told.count("\n") == 1 and "--workers" in told
    assert not list(tmp_path.iterdir())

"""Jobs of an array: their shards, their locks, and the one file they make together."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from equidrift.engine import conformers as engine
from tests.commands import Cli, add_doubles, caller
from tests.conftest import MOLECULES, make_ensemble
from tests.scaling import ROOT, SHARD, make_site

SMILES = ["CCO", "CCN", "C", "CO", "CC", "NCCN", "CCF", "CCC", "C=O", "CC=O", "nonsense"]


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Cli:
    """The command in a folder with a library; shards are small, in workers too."""
    site = make_site(tmp_path)
    monkeypatch.syspath_prepend(str(ROOT))
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setattr(engine, "SHARD_MOLECULES", SHARD)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in.smi").write_text("".join(f"{text} m{k}\n" for k, text in enumerate(SMILES)))
    return caller(monkeypatch, capsys)


def sample(out: str, *more: object) -> list[object]:
    return ["sample", "in.smi", "-n", 2, "--model", "etkdg", "-o", out, *more]


@pytest.mark.long
def test_jobs_make_the_file_of_one_process_when_their_shards_are_merged(
    cli: Cli, tmp_path: Path
) -> None:
    assert cli(*sample("alone.sdf"))[0] == 1  # one line cannot be read
    code, out, _ = cli(*sample("x.sdf", "--shard", "2/2", "--json"))
    assert code == 0 and json.loads(out)["shards"] == 1
    code, _, told = cli("merge", "x.sdf")
    assert code == 2 and "shards 0, 2 of 3 are not done" in told
    # a lock that another machine has left is told, and the rest is done
    lock = tmp_path / "x.sdf.shards" / "000000.lock"
    lock.write_text(json.dumps({"host": "node7", "pid": 11, "time": "today", "run": "?"}))
    code, out, _ = cli(*sample("x.sdf", "--shard", "1/2"))
    assert code == 1 and "process 11 on node7" in out and f"remove {str(lock)!r}" in out
    code, out, _ = cli("status", "x.sdf", "--json")
    told = json.loads(out)
    assert code == 1 and told["shards_missing"] == [0] and list(told["locked"]) == ["0"]
    lock.unlink()
    code, out, _ = cli(*sample("x.sdf", "--shard", "1/2", "--json"))
    assert code == 1 and json.loads(out)["done_before"] == 1 and json.loads(out)["failed"] == 1
    assert cli("status", "x.sdf.shards")[0] == 0
    code, out, _ = cli("merge", "x.sdf", "--json")
    assert code == 1 and json.loads(out)["failures_by_reason"] == {"refused": 1}
    assert (tmp_path / "x.sdf").read_bytes() == (tmp_path / "alone.sdf").read_bytes()
    with open(tmp_path / "x.sdf.failures.csv", newline="") as table:
        (row,) = csv.DictReader(table)
    assert row["index"] == "10" and row["title"] == "m10" and row["reason"] == "refused"
    counts = json.loads((tmp_path / "x.sdf.manifest.json").read_text())["counts"]
    assert counts["molecules"] == 10 and counts["conformers"] == 20
    assert not (tmp_path / "x.sdf.shards").exists()


@pytest.mark.long
def test_folder_of_another_run_is_refused_by_the_name_of_what_differs(cli: Cli) -> None:
    (Path("x.sdf.shards")).mkdir()
    assert cli(*sample("x.sdf", "--shard", "3/3"))[0] == 1
    for more, key in (
        (["--seed", 7], "seed"),
        (["-n", 3], "n"),
        (["--max-attempts", 3], "attempts"),
        (["--set", "num_threads=2"], "options.num_threads"),
    ):
        code, _, told = cli(*sample("x.sdf", "--shard", "1/3", *more))
        assert code == 2 and f"its {key} is" in told and told.count("\n") == 1
    Path("in.smi").write_text("CCO\n")
    code, _, told = cli(*sample("x.sdf", "--shard", "1/3"))
    assert code == 2 and "its inputs is" in told
    # nor does a run without --shard take it up, or drop it
    code, _, told = cli(*sample("x.sdf"))
    assert code == 2 and "its inputs is" in told and Path("x.sdf.shards").exists()


@pytest.mark.long
def test_refined_shards_make_the_files_of_one_process_with_what_could_not_be_read(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_doubles(monkeypatch, "shrinker")
    for k, name in enumerate(sorted(MOLECULES)[:6]):
        make_ensemble(name).save(tmp_path / f"{k}.sdf")
    whole = [(tmp_path / f"{k}.sdf").read_text() for k in range(6)]
    Path("all.sdf").write_text("".join([*whole[:2], "broken\n\n\nno counts\n$$$$\n", *whole[2:]]))
    refine = ["refine", "all.sdf", "--model", "shrinker", "--json", "-o"]
    code, out, told = cli(*refine, "alone.sdf")
    assert code == 1, told
    (failure,) = json.loads(out)["failures"]
    url = (tmp_path / "there").as_uri()
    for job in ("2/2", "1/2"):
        for more in ([], ["--store", url]):
            code, out, told = cli(*refine, "x.sdf", "--shard", job, *more)
            assert code == 0, told
    for given, output in (("x.sdf", "x.sdf"), (url, "y.sdf")):
        assert cli("status", given)[0] == 0
        code, out, told = cli("merge", given, "-o", output, "--json")
        assert code == 1, told
        assert json.loads(out)["failures_by_reason"] == {"refused": 1}
        assert Path(output).read_bytes() == Path("alone.sdf").read_bytes()
        with open(f"{output}.failures.csv", newline="") as table:
            (row,) = csv.DictReader(table)
        assert row["error"] == failure["error"] and row["index"] == ""


@pytest.mark.long
def test_shards_in_a_store_are_made_once_and_refuse_another_run(cli: Cli, tmp_path: Path) -> None:
    assert cli(*sample("alone.sdf"))[0] == 1
    store = ["--store", (tmp_path / "there").as_uri()]
    assert cli(*sample("x.sdf", "--shard", "1/2", *store))[0] == 1  # one line cannot be read
    code, out, _ = cli(*sample("x.sdf", "--shard", "1/2", *store, "--json"))
    assert code == 1 and json.loads(out)["done_before"] == 2
    code, _, told = cli(*sample("x.sdf", "--shard", "2/2", *store, "--seed", 3))
    assert code == 2 and told.count("\n") == 1 and "its seed is 0, and 3 is asked for" in told
    code, _, told = cli("merge", store[1])
    assert code == 2 and "shards 1 of 3 are not done" in told
    assert cli(*sample("x.sdf", "--shard", "2/2", *store))[0] == 0
    assert cli("merge", store[1])[0] == 1
    assert Path("x.sdf").read_bytes() == Path("alone.sdf").read_bytes()
    assert not Path("x.sdf.shards").exists()


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("nowhere://x", "'nowhere://x' cannot be used as a store"),
        ("memory://empty", "'memory://empty' is no folder of shards"),
    ],
)
def test_store_without_shards_is_refused_in_one_line(cli: Cli, place: str, words: str) -> None:
    for command in ("merge", "status"):
        code, _, told = cli(command, place)
        assert code == 2 and told.count("\n") == 1 and words in told


@pytest.mark.parametrize("part", ["0/3", "4/3", "1", "a/b", "1/0"])
def test_part_is_refused_in_one_line_when_it_is_none(cli: Cli, part: str) -> None:
    code, _, told = cli(*sample("x.sdf", "--shard", part))
    assert code == 2 and told.count("\n") == 1 and "--shard must be k/K" in told


@pytest.mark.long
def test_script_for_slurm_makes_the_library_when_each_task_runs(cli: Cli, tmp_path: Path) -> None:
    page = (ROOT / "docs" / "guide" / "cluster.md").read_text()
    (script,) = re.findall(r"```slurm\n(.*?)```", page, re.DOTALL)
    assert len(script.splitlines()) == 10
    (tmp_path / "job.sh").write_text(script.replace("library.smi", "in.smi"))
    (tmp_path / "bin").mkdir()
    command = tmp_path / "bin" / "equidrift"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m equidrift "$@"\n')
    command.chmod(0o755)
    path = os.pathsep.join([str(tmp_path / "site"), str(ROOT), os.environ.get("PYTHONPATH", "")])
    tasks = os.pathsep.join([str(tmp_path / "bin"), os.environ["PATH"]])
    for task in (1, 2, 3):
        environment = {"PYTHONPATH": path, "PATH": tasks, "SLURM_ARRAY_TASK_ID": str(task)}
        done = subprocess.run(
            ["bash", "job.sh"], check=False, cwd=tmp_path, env={**os.environ, **environment}
        )
        assert done.returncode == int(task == 3)  # the line that cannot be read is in shard 2
    assert cli("merge", "conformers.sdf")[0] == 1
    assert (tmp_path / "conformers.sdf").read_text().count("$$$$") == 10 * 10

"""Jobs of an array that draw new molecules: the one file they make together."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from equidrift import registry
from equidrift.seeds import sample_seeds
from tests.commands import Cli, add_doubles, caller
from tests.doubles import Baker
from tests.scaling import ROOT, make_site

ARGUMENTS = ["--batch-size", 3, "--model", "baker", "--set", "share=0.3", "--seed", 4]


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Cli:
    """The command in an empty folder, with a quick model that its workers know, too."""
    monkeypatch.syspath_prepend(str(ROOT))
    monkeypatch.syspath_prepend(str(make_site(tmp_path)))
    add_doubles(monkeypatch)
    monkeypatch.setitem(registry.MOLECULE_MODELS, "poison", "tests.doubles:Poison")
    monkeypatch.chdir(tmp_path)
    return caller(monkeypatch, capsys)


def generate(out: str, *more: object, n: int = 6) -> list[object]:
    return ["generate", "-n", n, *ARGUMENTS, "-o", out, "--json", *more]


@pytest.mark.long
@pytest.mark.parametrize(
    ("suffix", "more"),
    [
        (".sdf", []),
        (".extxyz", ["--relax", "mmff"]),
        (".sdf.gz", ["--target", "QED=max", "--candidates", 2]),
    ],
)
def test_jobs_make_the_file_of_one_process_when_their_draws_are_merged(
    cli: Cli, tmp_path: Path, suffix: str, more: list[object]
) -> None:
    code, out, told = cli(*generate(f"alone{suffix}", *more))
    assert code == 0, told
    alone = json.loads(out)
    for job in ("2/2", "1/2", "2/2"):
        code, out, told = cli(*generate(f"x{suffix}", *more, "--shard", job))
        assert code == 0, told
    assert json.loads(out)["done_before"] >= 1
    code, out, _ = cli("status", f"x{suffix}", "--json")
    there = json.loads(out)
    assert code == 0 and there["drawn"] == there["molecules"] + sum(there["rejected"].values())
    code, out, told = cli("merge", f"x{suffix}", "--json")
    assert code == 0, told
    merged = json.loads(out)
    for name in ("molecules", "drawn", "rejected", "targets", "notes"):
        assert merged[name] == alone[name]
    whole = (tmp_path / f"alone{suffix}").read_bytes()
    assert (tmp_path / f"x{suffix}").read_bytes() == whole
    counts = json.loads((tmp_path / f"x{suffix}.manifest.json").read_text())["counts"]
    assert counts["molecules"] == 6 and counts["drawn"] == alone["drawn"]
    assert not (tmp_path / f"x{suffix}.shards").exists()


@pytest.mark.long
def test_draws_in_a_store_and_in_several_folders_give_the_bytes_of_one_process(
    cli: Cli, tmp_path: Path
) -> None:
    assert cli(*generate("alone.sdf"))[0] == 0
    whole = (tmp_path / "alone.sdf").read_bytes()
    url = (tmp_path / "there").as_uri()
    for job in ("1/2", "2/2"):
        code, out, told = cli(*generate("x.sdf", "--shard", job, "--store", url))
        assert code == 0, told
        assert json.loads(out)["output"] == url and not Path("x.sdf.shards").exists()
    assert cli("status", url)[0] == 0
    code, _, told = cli("merge", url)
    assert code == 0, told
    assert (tmp_path / "x.sdf").read_bytes() == whole
    # the same draws, out of two folders
    for name, half in (("A.shards", 0), ("B.shards", 1)):
        shutil.copytree(tmp_path / "there", name)
        for path in Path(name).glob("*.draws"):
            if int(path.stem) % 2 == half:
                path.unlink()
    code, _, told = cli("merge", "A.shards", "B.shards", "-o", "both.sdf")
    assert code == 0, told
    assert (tmp_path / "both.sdf").read_bytes() == whole
    assert Path("A.shards").exists()  # nobody's output is theirs


@pytest.mark.long
def test_one_process_takes_up_what_the_jobs_have_drawn(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sample, sizes = Baker.sample, []

    def counted(model: Baker, seeds: NDArray[np.int64], **options: Any) -> object:
        sizes.append(len(seeds))
        return sample(model, seeds, **options)

    monkeypatch.setattr(Baker, "sample", counted)
    assert cli(*generate("alone.sdf"))[0] == 0
    alone, begins = list(sizes), np.cumsum([0, *sizes])
    for job in ("1/2", "2/2"):
        assert cli(*generate("x.sdf", "--shard", job))[0] == 0
    there = {int(path.stem) for path in Path("x.sdf.shards").glob("*.draws")}
    code, _, told = cli(*generate("x.sdf", "--seed", 5))
    assert code == 2 and "its seed is 4" in told and Path("x.sdf.shards").exists()
    sizes.clear()
    assert cli(*generate("x.sdf"))[0] == 0
    whole = [(size, begin % 3, begin // 3) for size, begin in zip(alone, begins, strict=False)]
    assert sizes == [one[0] for one in whole if one[:2] != (3, 0) or one[2] not in there]
    assert len(sizes) < len(alone)
    assert (tmp_path / "x.sdf").read_bytes() == (tmp_path / "alone.sdf").read_bytes()
    assert not Path("x.sdf.shards").exists()


@pytest.mark.long
def test_draws_of_another_run_are_dropped_when_they_may_be(cli: Cli) -> None:
    assert cli(*generate("x.sdf", "--shard", "1/2"))[0] == 0
    code, _, told = cli(*generate("x.sdf", "--seed", 5, "--overwrite"))
    assert code == 0, told
    assert not Path("x.sdf.shards").exists()


@pytest.mark.long
def test_merge_refuses_what_is_missing_and_what_is_damaged(cli: Cli) -> None:
    for job in ("1/2", "2/2", "1/2", "2/2"):  # each sees what the other has found
        assert cli(*generate("x.sdf", "--batch-size", 1, "--shard", job))[0] == 0
    draws = sorted(Path("x.sdf.shards").glob("*.draws"))
    for path in draws[:5]:
        path.rename(path.with_suffix(".away"))
    code, _, told = cli("merge", "x.sdf")
    assert code == 2 and told.count("\n") == 1
    assert "shards 0, 1, 2, 3, 4" in told and "are not done" in told
    for path in draws[:5]:
        path.with_suffix(".away").rename(path)
    text = draws[0].read_text()
    draws[0].write_text(text.replace('"reason"', '"cause"', 1))
    code, _, told = cli("merge", "x.sdf")
    assert code == 2 and f"{str(draws[0])!r} is damaged" in told and told.count("\n") == 1
    draws[0].write_text(text)
    manifest = Path("x.sdf.shards") / "manifest.json"
    kept = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**kept, "request": {**kept["request"], "n": "6"}}))
    code, _, told = cli("merge", "x.sdf")
    assert code == 2 and "manifest.json' is damaged" in told and "n: " in told
    manifest.write_text(json.dumps({**kept, "request": {**kept["request"], "seed": 9}}))
    code, _, told = cli("merge", "x.sdf")
    assert code == 2 and "its seed is 4, and 9 is asked for" in told
    manifest.write_text(json.dumps(kept))
    (Path("x.sdf.shards") / "total.json").unlink()
    code, _, told = cli("merge", "x.sdf")
    assert code == 2 and "no job has come to its end yet" in told
    assert not Path("x.sdf").exists()


@pytest.mark.long
def test_draw_that_ends_its_process_is_rejected_and_the_rest_is_there(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    poison = int(sample_seeds(4, 4, 5)[0])
    monkeypatch.setenv("POISON", str(poison))
    runs = {"x.sdf": ["--workers", 2], "y.sdf": ["--shard", "1/1"]}
    for name, more in runs.items():
        code, out, told = cli(*generate(name, "--model", "poison", *more))
        assert code == 0, told
    code, out, told = cli("merge", "y.sdf", "--json")
    assert code == 0, told
    assert json.loads(out)["rejected"]["ended its process"] == 1
    assert Path("x.sdf").read_bytes() == Path("y.sdf").read_bytes()


@pytest.mark.parametrize(
    ("n", "more", "words"),
    [
        (6, ["--shard", "1/3"], "more jobs than the 2 batches of 3 draws that 6 molecules"),
        (1, ["--shard", "1/1"], "the 0 batches of 3 draws that 1 molecule"),
        (6, ["--shard", "1/2", "--overwrite"], "--overwrite would drop"),
        (6, ["--shard", "1/2", "--ray", "auto"], "--ray and --shard"),
        (6, ["--ray", "auto", "--store", "s3://x"], "is not needed by generate --ray"),
        (6, ["--store", "s3://x"], "give --ray ADDRESS or --shard k/K"),
        (6, ["--shard", "1/2", "--store", "nowhere://x"], "--store: 'nowhere://x' cannot be used"),
    ],
)
def test_jobs_are_refused_in_one_line_when_they_cannot_work(
    cli: Cli, n: int, more: list[object], words: str
) -> None:
    code, _, told = cli(*generate("x.sdf", *more, n=n))
    assert code == 2 and told.count("\n") == 1 and words in told, told
    assert not Path("x.sdf").exists()


def test_job_needs_a_file_as_output(cli: Cli) -> None:
    code, _, told = cli(*generate("-", "--shard", "1/2"))
    assert code == 2 and "--shard needs a file as output" in told

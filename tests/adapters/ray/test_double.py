"""The adapter of Ray against a double of the cluster: tasks, lost processes, room, errors."""

from __future__ import annotations

import json
from pathlib import Path

import fsspec
import pytest

from equidrift.cli import sample_run
from equidrift.engine import conformers as engine
from equidrift.scale.writers import GatheringWriter
from tests.commands import Cli, add_doubles, caller
from tests.doubles import Shaker
from tests.ray_double import Cluster, instead_of_ray
from tests.scaling import SHARD

SMILES = ["CCO", "CCN", "C", "CO", "CC", "NCCN", "CCF", "CCC", "C=O", "CC=O", "nonsense"]


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Cli:
    add_doubles(monkeypatch, "shrinker")
    monkeypatch.setattr(engine, "SHARD_MOLECULES", SHARD)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in.smi").write_text("".join(f"{text} m{k}\n" for k, text in enumerate(SMILES)))
    return caller(monkeypatch, capsys)


def sample(out: str, *more: object) -> list[object]:
    return ["sample", "in.smi", "-n", 2, "--model", "shaker", "-o", out, "--json", *more]


def test_tasks_give_the_bytes_of_one_process_when_some_lose_theirs(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out, _ = cli(*sample("alone.sdf"))
    assert code == 1  # one line cannot be read
    alone = json.loads(out)
    cluster = instead_of_ray(monkeypatch, Cluster(0, 2, CPU=4.0, GPU=1.0))
    ray = ["--ray", "auto", "--threads", 2, "--gpus-per-task", 0.5]
    code, out, told = cli(*sample("ray.sdf", *ray))
    assert code == 1, told
    assert (tmp_path / "ray.sdf").read_bytes() == (tmp_path / "alone.sdf").read_bytes()
    for name in ("molecules", "conformers", "drawn", "rejected", "failed", "failures", "notes"):
        assert json.loads(out)[name] == alone[name]
    assert cluster.calls["task"] == 3 + 2  # three shards, two of them twice
    assert cluster.options == {"num_cpus": 2, "num_gpus": 0.5, "max_retries": 0}
    assert cluster.calls["init"] == cluster.calls["shutdown"] == 1
    assert {path.name for path in tmp_path.iterdir()} == {"in.smi", "alone.sdf", "ray.sdf"}


@pytest.mark.parametrize("where", ["memory://run", "file"])
@pytest.mark.parametrize("suffix", [".sdf", ".sdf.gz", ".npz"])
def test_shards_in_a_store_give_the_bytes_of_one_process_when_a_task_is_lost(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, suffix: str
) -> None:
    if suffix == ".npz":  # holds one molecule
        (tmp_path / "in.smi").write_text("CCO\n")
    code = cli(*sample(f"alone{suffix}"))[0]
    instead_of_ray(monkeypatch, Cluster(1))
    url = where if "://" in where else (tmp_path / "there").as_uri()
    ray = ["--ray", "auto", "--store", f"{url}{suffix}"]
    found, _, told = cli(*sample(f"ray{suffix}", *ray))
    assert found == code, told
    whole = (tmp_path / f"alone{suffix}").read_bytes()
    assert (tmp_path / f"ray{suffix}").read_bytes() == whole
    files, folder = fsspec.core.url_to_fs(f"{url}{suffix}")
    assert files.find(folder) == []


def test_store_refuses_another_run_and_gives_the_shards_of_the_same(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cli(*sample("alone.sdf"))[0] == 1
    cluster = instead_of_ray(monkeypatch, Cluster())
    ray = ["--ray", "auto", "--store", "memory://broken"]
    with monkeypatch.context() as patch:  # the driver ends when two shards are in the store
        patch.setattr(GatheringWriter, "adopt", ended)
        assert cli(*sample("x.sdf", *ray))[0] == 130
    assert cluster.calls["task"] == 3
    code, _, told = cli(*sample("y.sdf", *ray, "--seed", 4))
    assert code == 2 and "'memory://broken' has shards of another run: its seed is 0" in told
    assert cli(*sample("x.sdf", *ray))[0] == 1
    assert (tmp_path / "x.sdf").read_bytes() == (tmp_path / "alone.sdf").read_bytes()


@pytest.mark.parametrize(
    ("key", "more"),
    [
        ("inputs", []),
        ("seed", ["--seed", 4]),
        ("n", ["-n", 3]),
        ("options.broken", ["--set", "broken=0.1"]),
        ("weights_sha256", []),
    ],
)
def test_manifest_refuses_another_run_by_the_name_of_what_differs(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, key: str, more: list[object]
) -> None:
    instead_of_ray(monkeypatch, Cluster())
    ray = ["--ray", "auto"]
    with monkeypatch.context() as patch:
        patch.setattr(GatheringWriter, "adopt", ended)
        assert cli(*sample("x.sdf", *ray))[0] == 130
    if key == "inputs":
        Path("in.smi").write_text("CCO\n")
    if key == "weights_sha256":
        monkeypatch.setattr(Shaker, key, "9" * 64, raising=False)
    code, _, told = cli(*sample("x.sdf", *ray, *more))
    assert code == 2 and f"its {key} is" in told and told.count("\n") == 1
    assert len(list(Path("x.sdf.shards").glob("*.journal"))) == 3  # nothing is dropped


def ended(*told: object) -> None:
    del told
    raise KeyboardInterrupt


def test_refine_and_generate_give_the_bytes_of_one_process_by_tasks(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cli(*sample("given.sdf"))[0] == 1
    instead_of_ray(monkeypatch, Cluster(1))
    for name, arguments in {
        "refined": ["refine", "given.sdf", "--model", "shrinker"],
        "new": ["generate", "-n", 6, "--model", "baker", "--batch-size", 3],
    }.items():
        assert cli(*arguments, "-o", f"{name}.sdf")[0] == 0
        code, _, told = cli(*arguments, "-o", f"{name}-ray.sdf", "--ray", "auto")
        assert code == 0, told
        whole = (tmp_path / f"{name}.sdf").read_bytes()
        assert (tmp_path / f"{name}-ray.sdf").read_bytes() == whole


def test_progress_counts_the_conformers_of_each_shard_that_a_cluster_has_made(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[dict[str, int]] = []
    instead_of_ray(monkeypatch, Cluster())
    gather = sample_run.gather

    def watched(*arguments: object) -> None:
        gather(*arguments[:-1], told.append)  # type: ignore[arg-type]

    monkeypatch.setattr(sample_run, "gather", watched)
    code, out, _ = cli(*sample("x.sdf", "--ray", "auto"))
    assert code == 1 and [event["accepted"] for event in told] == [8, 8, 4]
    assert sum(event["drawn"] for event in told) == json.loads(out)["drawn"]


def test_no_more_tasks_are_under_way_than_the_cluster_has_room_for(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    del cli
    instead_of_ray(monkeypatch, Cluster(CPU=9.0, GPU=1.0))
    from equidrift.adapters.ray.pool import RayPool

    with RayPool("auto", threads=2) as pool:
        assert pool.size == 4
    with RayPool("auto", threads=2, gpus_per_task=0.5) as pool:
        assert pool.size == 2


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--ray", "node1:6379"], "no cluster answers at 'node1:6379'"),
        (["--ray", "auto", "--threads", 9], "no room for a task of 9 CPUs"),
        (["--ray", "auto", "--gpus-per-task", 1], "no room for a task of 1 CPUs and 1 GPUs"),
        (["--ray", "auto", "--workers", 2], "--workers"),
        (["--ray", "auto", "--shard", "1/2"], "--shard"),
        (["--gpus-per-task", 1], "--gpus-per-task"),
        (["--store", "s3://x"], "--store"),
        (["--ray", "auto", "--store", "nowhere://x"], "--store: 'nowhere://x' cannot be used"),
    ],
)
def test_cluster_is_refused_in_one_line_when_it_cannot_do_the_work(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, more: list[object], words: str
) -> None:
    cluster = instead_of_ray(monkeypatch, Cluster())
    code, _, told = cli(*sample("x.sdf", *more))
    assert code == 2 and told.count("\n") == 1 and words in told
    assert cluster.calls["init"] == cluster.calls["shutdown"]


def test_error_of_a_task_is_told_as_that_of_this_process(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    del cli
    instead_of_ray(monkeypatch, Cluster())
    from equidrift.adapters.ray.pool import RayPool
    from equidrift.scale.pool import Call

    with RayPool("auto") as pool:
        assert pool.submit(Call(divmod, (7, 2), "a division")).result() == (3, 1)
        with pytest.raises(ZeroDivisionError):
            pool.submit(Call(divmod, (7, 0), "a division")).result()

"""The shards of a run on a Ray cluster of two nodes in one machine, one of them killed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from equidrift.engine import conformers as engine
from equidrift.errors import InputError, WorkerDiedError
from equidrift.scale.pool import Call
from tests import deaths
from tests.commands import Cli, caller
from tests.conftest import MOLECULES
from tests.scaling import ROOT, SHARD, make_site

ray = pytest.importorskip("ray")

SMILES = [*MOLECULES.values()][:11]


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Cli:
    site = make_site(tmp_path)
    path = os.pathsep.join([str(site), str(ROOT), os.environ.get("PYTHONPATH", "")])
    monkeypatch.setenv("PYTHONPATH", path)  # of the nodes, which start later
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setattr(engine, "SHARD_MOLECULES", SHARD)
    monkeypatch.chdir(tmp_path)
    rows = "".join(f"{text} m{k}\n" for k, text in enumerate(SMILES))
    (tmp_path / "in.smi").write_text(rows)
    return caller(monkeypatch, capsys)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_ray_gives_the_bytes_of_one_process_when_a_node_is_killed(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ray.cluster_utils import Cluster

    from equidrift.scale.writers import GatheringWriter

    arguments = ["sample", "in.smi", "-n", 2, "--model", "etkdg"]
    assert cli(*arguments, "-o", "alone.sdf")[0] == 0
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    second = cluster.add_node(num_cpus=1)
    adopt, gathered = GatheringWriter.adopt, []

    def losing_a_node(writer: GatheringWriter, *told: object) -> None:
        adopt(writer, *told)
        gathered.append(told)
        if len(gathered) == 1:
            cluster.remove_node(second, allow_graceful=False)

    monkeypatch.setattr(GatheringWriter, "adopt", losing_a_node)
    try:
        code, _, told = cli(*arguments, "-o", "ray.sdf", "--ray", cluster.address)
    finally:
        ray.shutdown()
        cluster.shutdown()
    assert code == 0, told
    assert len(gathered) == 3
    assert (tmp_path / "ray.sdf").read_bytes() == (tmp_path / "alone.sdf").read_bytes()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_pool_tells_what_became_of_each_call_of_a_real_cluster(cli: Cli) -> None:
    from ray.cluster_utils import Cluster

    from equidrift.adapters.ray.pool import RayPool

    del cli  # the nodes find the tests' modules by it
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2})
    try:
        with pytest.raises(InputError, match="no room for a task of 3 CPUs"):
            RayPool(cluster.address, threads=3)
        with RayPool(cluster.address) as pool:
            assert pool.size == 2
            assert pool.submit(Call(divmod, (7, 2), "the work")).result(120) == (3, 1)
            with pytest.raises(ZeroDivisionError):
                pool.submit(Call(divmod, (7, 0), "the work")).result(120)
            with pytest.raises(WorkerDiedError, match="the work lost its process or node"):
                pool.submit(Call(deaths.killed, (), "the work")).result(120)
            with pytest.raises(WorkerDiedError, match="the work ran out of memory"):
                pool.submit(Call(deaths.devoured, (), "the work")).result(120)
    finally:
        ray.shutdown()
        cluster.shutdown()
    with pytest.raises(InputError, match=r"no cluster answers at '127\.0\.0\.1:1'"):
        RayPool("127.0.0.1:1")


def test_ray_is_refused_in_one_line_beside_workers_and_shards(cli: Cli) -> None:
    for more in (["--workers", 1], ["--shard", "1/2"]):
        code, _, told = cli("sample", "in.smi", "-o", "x.sdf", "--ray", "auto", *more)
        assert code == 2 and told.count("\n") == 1 and str(more[0]) in told

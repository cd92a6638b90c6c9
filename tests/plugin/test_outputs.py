"""What a run may write: never an input, never the file of somebody else."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from equidrift.errors import InputError
from equidrift.files import finished
from equidrift.files.ensembles import load
from equidrift.files.formats import WITHOUT_GRAPH
from equidrift.files.stream import StreamWriter
from equidrift.files.trajectory_stream import TrajectoryStream
from equidrift.outputs import claim, same_file, topology_beside
from tests.conftest import make_ensemble
from tests.killing import same_when_killed_at_any_step

COMMAND = {"n": 1}


def write_one(writer: StreamWriter) -> None:
    writer.write([(make_ensemble("imine"), 0)], (1, 0), {"conformers": 2})


@pytest.mark.parametrize("link", ["symlink", "hard link", "folder", "dots"])
def test_claim_refuses_an_input_under_another_name(link: str, tmp_path: Path) -> None:
    mine = tmp_path / "mine.sdf"
    mine.write_text("mine")
    other = tmp_path / "other.sdf"
    if link == "symlink":
        other.symlink_to(mine)
    elif link == "hard link":
        os.link(mine, other)
    elif link == "folder":
        (tmp_path / "here").symlink_to(tmp_path)
        other = tmp_path / "here" / "mine.sdf"
    else:
        (tmp_path / "sub").mkdir()
        other = tmp_path / "sub" / ".." / "mine.sdf"
    assert same_file(mine, other)
    for overwrite in (False, True):
        with pytest.raises(InputError, match="it is the input"):
            claim([tmp_path / "x.sdf", other], inputs=["CCO", mine], overwrite=overwrite)
    assert mine.read_text() == "mine"


def test_claim_refuses_what_exists_unless_it_is_own_or_overwritten(tmp_path: Path) -> None:
    there, dangling = tmp_path / "there.sdf", tmp_path / "dangling.sdf"
    there.write_text("")
    dangling.symlink_to(tmp_path / "nowhere")
    for path in (there, dangling):
        with pytest.raises(
            InputError, match=r"exists and is no run of this command; .*--overwrite"
        ):
            claim([path])
        claim([path], own=True)
        claim([path], overwrite=True)
    claim([tmp_path / "new.sdf"], inputs=["CCO", there])


def test_topology_beside_has_a_name_of_its_own() -> None:
    assert topology_beside("a/run.xtc") == Path("a/run.top.pdb")
    assert topology_beside("a.b.dcd") == Path("a.b.top.pdb")


@pytest.mark.parametrize("suffix", [".sdf", ".npz"])
def test_writer_refuses_a_foreign_file_until_it_is_overwritten(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"x{suffix}"
    path.write_text("precious")
    with pytest.raises(InputError, match="exists and is no run of this command"):
        StreamWriter(path, COMMAND)
    assert path.read_text() == "precious"
    writer = StreamWriter(path, COMMAND, overwrite=True)
    write_one(writer)
    assert path.read_text() == "precious", "replaced only when the new one is whole"
    again = StreamWriter(path, COMMAND)
    assert again.position == (1, 0), "a run that may overwrite goes on without being told again"
    again.finish()
    assert path.stat().st_size > 100 and [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("suffix", [".sdf", ".npz"])
def test_writer_knows_its_finished_file_until_it_is_edited(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"x{suffix}"
    writer = StreamWriter(path, COMMAND)
    write_one(writer)
    writer.finish()
    again = StreamWriter(path, COMMAND)
    assert again.finished and again.summary == {"conformers": 2}
    with pytest.raises(InputError, match="exists and is no run of this command"):
        StreamWriter(path, {"n": 2})
    anew = StreamWriter(path, COMMAND, overwrite=True)
    assert not anew.finished and anew.position == (0, 0)
    with open(path, "ab") as stream:
        stream.write(b"edited")
    with pytest.raises(InputError, match="exists and is no run of this command"):
        StreamWriter(path, COMMAND)


def test_writer_works_without_a_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    writer = StreamWriter(tmp_path / "x.sdf", COMMAND)
    write_one(writer)
    writer.finish()
    with pytest.raises(InputError, match="exists and is no run of this command"):
        StreamWriter(tmp_path / "x.sdf", COMMAND)


@pytest.mark.parametrize("suffix", [".sdf", ".npz"])
@pytest.mark.parametrize("name", ["part", "window", "journal", "new"])
def test_writer_leaves_foreign_scratch_files_alone(name: str, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"x{suffix}"
    foreign = tmp_path / (f".x.new{suffix}" if name == "new" else f"x{suffix}.{name}")
    foreign.write_text("precious")
    with pytest.raises(InputError):
        StreamWriter(path, COMMAND)
    assert foreign.read_text() == "precious"


def test_writer_never_removes_a_folder_of_others(tmp_path: Path) -> None:
    (tmp_path / "x.npz.part").mkdir()
    (tmp_path / "x.npz.part" / "thesis.tex").write_text("precious")
    for overwrite in (False, True):
        with pytest.raises(InputError, match=r"exists and is no run|files of others"):
            StreamWriter(tmp_path / "x.npz", COMMAND, overwrite=overwrite)
    assert (tmp_path / "x.npz.part" / "thesis.tex").read_text() == "precious"


def test_writer_refuses_inputs_also_as_scratch_files(tmp_path: Path) -> None:
    part = tmp_path / "x.sdf.part"
    part.write_text("precious")
    with pytest.raises(InputError, match="it is the input"):
        StreamWriter(tmp_path / "x.sdf", COMMAND, inputs=[part], overwrite=True)


def test_writer_keeps_its_result_when_a_file_appears_meanwhile(tmp_path: Path) -> None:
    path = tmp_path / "x.sdf"
    writer = StreamWriter(path, COMMAND)
    write_one(writer)
    path.write_text("precious")
    with pytest.raises(InputError, match="exists and is no run of this command"):
        writer.finish()
    assert path.read_text() == "precious"
    again = StreamWriter(path, COMMAND, overwrite=True)
    assert again.position == (1, 0)
    again.finish()
    assert path.read_text().count("$$$$") == 2


@pytest.mark.parametrize("suffix", [".sdf", ".npz", ".traj", ".dcd"])
def test_writer_killed_at_any_step_goes_on_to_the_same_bytes(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / f"x{suffix}"

    def run() -> None:
        writer = StreamWriter(path, COMMAND)
        for k in range(writer.position[0], 2):
            writer.hold({"a": [k]})
            writer.flush()
            writer.write([(make_ensemble("imine"), 2 * k)], (k + 1, 0), {"done": k})
        writer.finish()

    whole, steps = same_when_killed_at_any_step(run, tmp_path, ("stream", "whole"), monkeypatch)
    assert sorted(whole) == sorted([path.name, *(["x.top.pdb"] if suffix == ".dcd" else [])])
    assert steps > 10


def test_stream_claims_every_sample_and_the_topology(tmp_path: Path) -> None:
    for name in ("x_0001.xtc", "x.top.pdb"):
        (tmp_path / name).write_text("precious")
        with pytest.raises(InputError, match=f"{name}' exists and is no run"):
            TrajectoryStream(tmp_path / "x.xtc", COMMAND, n=2, topology=True)
        (tmp_path / name).unlink()
    TrajectoryStream(tmp_path / "x.xtc", COMMAND, n=2, topology=True)


@pytest.mark.parametrize("suffix", WITHOUT_GRAPH)
def test_writer_leaves_a_topology_by_which_its_conformers_are_read(
    suffix: str, tmp_path: Path
) -> None:
    if suffix == ".h5md":
        pytest.importorskip("h5py")
    path, ensemble = tmp_path / f"x{suffix}", make_ensemble("R and Z")
    writer = StreamWriter(path, COMMAND)
    writer.write([(ensemble, 0)], (0, len(ensemble)), {})
    writer.finish()
    assert {file.name for file in tmp_path.iterdir()} == {"x.top.pdb", path.name}
    read = load(path, top=tmp_path / "x.top.pdb")
    assert read.molecule.numbers.tolist() == ensemble.molecule.numbers.tolist()
    assert read.molecule.key() == ensemble.molecule.key()
    np.testing.assert_allclose(read.positions_A, ensemble.positions_A, atol=1e-3)
    assert StreamWriter(path, COMMAND).finished, "the same command knows both files"


@pytest.mark.parametrize("suffix", WITHOUT_GRAPH)
def test_writer_refuses_a_topology_of_others_unless_it_may_overwrite(
    suffix: str, tmp_path: Path
) -> None:
    if suffix == ".h5md":
        pytest.importorskip("h5py")
    path, topology = tmp_path / f"x{suffix}", tmp_path / "x.top.pdb"
    topology.write_text("mine")
    with pytest.raises(InputError, match=r"x\.top\.pdb' exists and is no run of this command"):
        StreamWriter(path, COMMAND)
    with pytest.raises(InputError, match=r"would be written, and it is the input"):
        StreamWriter(path, COMMAND, inputs=[topology], overwrite=True)
    assert topology.read_text() == "mine"
    writer = StreamWriter(path, COMMAND, overwrite=True)
    writer.write([(make_ensemble("imine"), 0)], (0, 1), {})
    writer.finish()
    assert topology.read_text() != "mine"
    topology.write_text("changed since")
    with pytest.raises(InputError, match="exists and is no run of this command"):
        StreamWriter(path, COMMAND)


def test_cache_holds_only_the_latest_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(finished, "MAX_REMEMBERED", 3)
    for k in range(6):
        (tmp_path / f"{k}.sdf").write_text(str(k))
        finished.remember_finished([tmp_path / f"{k}.sdf"], "c", {})
    assert len(list((tmp_path / "equidrift" / "finished").iterdir())) == 3
    assert finished.recall_finished([tmp_path / "5.sdf"], "c") == {}


def test_writer_flushes_what_it_holds_by_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]
    monkeypatch.setattr("equidrift.files.stream.time", SimpleNamespace(monotonic=lambda: now[0]))
    writer = StreamWriter(tmp_path / "x.sdf", COMMAND)
    for now[0], size in ((9.9, 1), (10.1, 2), (19.9, 3), (20.2, 4)):
        writer.hold({"a": np.arange(size)})
        kept = StreamWriter(tmp_path / "x.sdf", COMMAND).held()
        assert (0 if kept is None else len(kept["a"])) == {1: 0, 2: 2, 3: 2, 4: 4}[size]
    now[0] = 25.0
    write_one(writer)
    assert StreamWriter(tmp_path / "x.sdf", COMMAND).held() is None, "of a window that is over"

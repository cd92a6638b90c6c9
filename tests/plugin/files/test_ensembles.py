"""Files: by suffix, refused before any work where they cannot be written, streamed so
that a run can go on.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from equidrift.errors import InputError, MissingDependencyError, UnknownNameError
from equidrift.files.ensembles import load, load_all, save
from equidrift.files.formats import check_output
from equidrift.files.npz import load_arrays, save_arrays
from equidrift.files.stream import StreamWriter
from equidrift.records import Ensemble
from equidrift.registry import ENSEMBLE_WRITERS
from tests.conftest import make_ensemble

COMMAND = {"inputs": ["CCO"], "n": 4}
TOLERANCE_A = {
    ".sdf": 1e-4,
    ".sdf.gz": 1e-4,
    ".pdb": 1e-3,
    ".xyz": 1e-6,
    ".extxyz": 1e-6,
    ".xtc": 1e-3,
    ".dcd": 1e-4,
    ".h5md": 1e-4,
}


@pytest.mark.parametrize("suffix", sorted(set(ENSEMBLE_WRITERS) - {".mol"}))
def test_every_format_is_read_by_its_host(suffix: str, tmp_path: Path) -> None:
    if suffix == ".h5md":
        pytest.importorskip("h5py")
    ensemble = make_ensemble("R and Z")
    path = tmp_path / f"out{suffix}"
    save(ensemble, path)
    if suffix in (".npz", ".sdf", ".sdf.gz", ".pdb"):
        positions = load(path).positions_A
    elif suffix in (".xyz", ".extxyz", ".traj"):
        import ase.io

        positions = np.array([atoms.positions for atoms in ase.io.read(path, ":")])
    else:
        import MDAnalysis

        universe = MDAnalysis.Universe.empty(ensemble.molecule.n_atoms, trajectory=True)
        universe.load_new(str(path))
        positions = np.array([universe.atoms.positions.copy() for _ in universe.trajectory])
    np.testing.assert_allclose(positions, ensemble.positions_A, atol=TOLERANCE_A.get(suffix, 0))


@pytest.mark.parametrize("suffix", [".npz", ".sdf"])
def test_graph_and_stereo_come_back(suffix: str, ensemble: Ensemble, tmp_path: Path) -> None:
    save(ensemble, tmp_path / f"out{suffix}")
    read = load(tmp_path / f"out{suffix}")
    assert read.molecule == ensemble.molecule or suffix == ".sdf"
    assert read.molecule.numbers.tolist() == ensemble.molecule.numbers.tolist()
    assert len(read.molecule.tetrahedral) == len(ensemble.molecule.tetrahedral) and len(
        read
    ) == len(ensemble)


def test_several_molecules(tmp_path: Path) -> None:
    first, second = make_ensemble("imine"), make_ensemble("nitro")
    writer = StreamWriter(tmp_path / "out.sdf", COMMAND)
    writer.write([(first, 0), (second, 0)], (2, 0), {})
    writer.finish()
    assert [len(ensemble) for ensemble in load_all(tmp_path / "out.sdf")] == [2, 2]
    with pytest.raises(
        InputError,
        match=r"holds several molecules; read it with equidrift\.files\.ensembles\.load_all",
    ):
        load(tmp_path / "out.sdf")


def test_broken_record_among_good_ones(tmp_path: Path) -> None:
    path = tmp_path / "in.sdf"
    save(make_ensemble("imine"), path)
    good = path.read_text().split("$$$$\n")[0]
    path.write_text("$$$$\n".join([good, good.replace(" C  ", " Xx ", 1), good, ""]))
    with pytest.raises(InputError, match="cannot read record 2 of"):
        list(load_all(path))
    problems: list[str] = []
    assert sum(len(ensemble) for ensemble in load_all(path, problems=problems)) == 2
    assert len(problems) == 1 and "record 2" in problems[0]


def test_flat_sdf_is_refused(tmp_path: Path) -> None:
    (tmp_path / "in.smi").write_text("CCO\n")
    with pytest.raises(
        InputError, match=r"record 1 .* has no 3D coordinates; sample conformers first"
    ):
        list(load_all(tmp_path / "in.smi"))


@pytest.mark.parametrize(
    ("name", "nearest"), [("x.sdff", ".sdf"), ("x.xzy", ".xyz"), ("x.nzp", ".npz")]
)
def test_unknown_suffix(name: str, nearest: str, tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match=f"unknown suffix .* Did you mean '{nearest}'"):
        check_output(tmp_path / name)
    with pytest.raises(UnknownNameError):
        save(make_ensemble("imine"), tmp_path / "no_suffix")


def test_unwritable_paths(tmp_path: Path) -> None:
    (tmp_path / "folder.sdf").mkdir()
    with pytest.raises(InputError, match="it is a folder"):
        check_output(tmp_path / "folder.sdf")
    with pytest.raises(InputError, match="there is no folder"):
        check_output(tmp_path / "missing" / "x.sdf")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="there is no folder"):
        check_output(tmp_path / "file" / "x.sdf")


def test_h5md_without_h5py(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("equidrift.files.formats.find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match=r'pip install "equidrift\[h5md\]"'):
        check_output(tmp_path / "x.h5md")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_read_only_folder(tmp_path: Path) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    with pytest.raises(InputError, match="it is not writable"):
        check_output(locked / "x.sdf")


def test_read_only_as_the_system_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(
        InputError, match="it is not writable; give a path in a folder you can write to"
    ):
        check_output(tmp_path / "x.sdf")


@pytest.mark.parametrize("suffix", [".sdf", ".extxyz", ".npz", ".traj", ".pdb", ".xtc"])
def test_broken_off_and_continued_gives_the_same_bytes(suffix: str, tmp_path: Path) -> None:
    ensemble = make_ensemble("imine")
    whole, parts = tmp_path / f"whole{suffix}", tmp_path / f"parts{suffix}"
    writer = StreamWriter(whole, COMMAND)
    for k in range(4):
        writer.write([(ensemble, 2 * k)], (0, 2 * k + 2), {"done": k})
    writer.finish()
    for k in range(4):
        writer = StreamWriter(parts, COMMAND)
        assert writer.position == (0, 2 * k) and writer.summary == ({"done": k - 1} if k else {})
        writer.write([(ensemble, 2 * k)], (0, 2 * k + 2), {"done": k})
        _tear(writer)
    StreamWriter(parts, COMMAND).finish()
    assert parts.read_bytes() == whole.read_bytes()
    names = {whole.name, parts.name}
    names |= {"whole.top.pdb", "parts.top.pdb"} if suffix == ".xtc" else set()
    assert {path.name for path in tmp_path.iterdir()} == names


def _tear(writer: StreamWriter) -> None:
    """What a kill in the middle of the next write leaves behind."""
    if writer.part.is_dir():
        (writer.part / "000099.npz").write_bytes(b"half")
        (writer.part / f"{writer.state['size']:06d}.npz").write_bytes(b"half")
    else:
        with open(writer.part, "ab") as stream:
            stream.write(b"half a record")


def test_journal_of_another_command(tmp_path: Path) -> None:
    path = tmp_path / "x.sdf"
    StreamWriter(path, COMMAND).write([(make_ensemble("imine"), 0)], (0, 2), {})
    with pytest.raises(InputError, match=r"unfinished run of another command .* --overwrite"):
        StreamWriter(path, {**COMMAND, "n": 5})
    fresh = StreamWriter(path, {**COMMAND, "n": 5}, overwrite=True)
    assert fresh.position == (0, 0) and not fresh.part.exists()


def test_damaged_journal(tmp_path: Path) -> None:
    path = tmp_path / "x.sdf"
    StreamWriter(path, COMMAND).write([(make_ensemble("imine"), 0)], (0, 2), {})
    (tmp_path / "x.sdf.journal").write_text("{")
    with pytest.raises(InputError, match=r"x\.sdf\.journal' is damaged: .* --overwrite$"):
        StreamWriter(path, COMMAND)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("position", [0, "x"], "position.1: input should be a valid integer"),
        ("position", [1], "position: list should have at least 2 items"),
        ("position", [-1, 0], "position.0: input should be greater than or equal to 0"),
        ("size", 1.5, "size: input should be a valid integer"),
        ("size", None, "size: input should be a valid integer"),
        ("summary", [], "summary: input should be a valid dictionary"),
        ("closing", "yes", "closing: input should be a valid boolean"),
        ("command", 7, "command: input should be a valid string"),
        ("speed", 7, "the field 'speed' is unknown"),
    ],
)
def test_journal_is_refused_by_file_and_field_when_a_field_is_tampered_with(
    field: str, value: object, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "x.sdf"
    writer = StreamWriter(path, COMMAND)
    writer.write([(make_ensemble("imine"), 0)], (0, 2), {})
    state = json.loads(writer.journal.read_text())
    writer.journal.write_text(json.dumps({**state, field: value}))
    with pytest.raises(InputError) as error:
        StreamWriter(path, COMMAND)
    told = str(error.value)
    assert message in told and "x.sdf.journal" in told and "\n" not in told
    assert StreamWriter(path, COMMAND, overwrite=True).position == (0, 0)


def test_held_window_is_made_anew_when_its_arrays_were_changed(tmp_path: Path) -> None:
    writer = StreamWriter(tmp_path / "x.sdf", COMMAND)
    arrays = {"meta": np.array("{}"), "x": np.arange(6.0).reshape(2, 3)}
    writer.hold(arrays)
    writer.flush()
    read = writer.held()
    assert read is not None and sorted(read) == ["meta", "x"]
    kept = load_arrays(writer.window)
    save_arrays(writer.window, {**kept, "x": kept["x"][:1]})
    assert writer.held() is None


def test_lost_part_starts_again(tmp_path: Path) -> None:
    path = tmp_path / "x.sdf"
    writer = StreamWriter(path, COMMAND)
    writer.write([(make_ensemble("imine"), 0)], (0, 2), {})
    assert json.loads(writer.journal.read_text())["size"] == writer.part.stat().st_size
    writer.part.unlink()
    assert StreamWriter(path, COMMAND).position == (0, 0)


def test_one_molecule_formats_refuse_more(tmp_path: Path) -> None:
    writer = StreamWriter(tmp_path / "x.npz", COMMAND)
    writer.write([(make_ensemble("imine"), 0), (make_ensemble("nitro"), 0)], (2, 0), {})
    with pytest.raises(InputError, match=r"a \.npz file holds one molecule, and there are 2"):
        writer.finish()

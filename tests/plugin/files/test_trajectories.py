"""Trajectories in files: every format there and back with its times, topologies, bad
files, and streams that can be broken off.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import units
from ase.md.verlet import VelocityVerlet
from hypothesis import given, settings
from hypothesis import strategies as st

import equidrift
from equidrift.adapters.ase.calculators import MMFF
from equidrift.engine.trajectories import Forecast, make_settings
from equidrift.errors import InputError, InputTypeError, MoleculeError, UnknownNameError
from equidrift.files.formats import WITHOUT_GRAPH
from equidrift.files.npz import load_arrays, save_arrays
from equidrift.files.topologies import load_topology, save_topology
from equidrift.files.trajectories import load_trajectory
from equidrift.files.trajectory_stream import TrajectoryStream, sample_paths
from equidrift.records import Molecule, Trajectory
from equidrift.registry import TRAJECTORY_WRITERS
from tests.conftest import MOLECULES, make_trajectory
from tests.doubles import Walker

TOLERANCE_A = {
    ".xtc": 2e-4,
    ".dcd": 1e-5,
    ".h5md": 1e-5,
    ".pdb": 1e-3,
    ".xyz": 1e-7,
    ".extxyz": 1e-7,
}
BOX = np.array([[25.0, 0, 0], [0, 26, 0], [3, -2, 27]])


@pytest.fixture
def topology(tmp_path: Path) -> Path:
    path = save_topology(make_trajectory(), tmp_path / "top.xtc")
    assert path is not None
    return path


@pytest.mark.parametrize("suffix", sorted(TRAJECTORY_WRITERS))
def test_every_format_comes_back_with_its_times(
    suffix: str, topology: Path, tmp_path: Path
) -> None:
    trajectory = make_trajectory()[4:]
    trajectory.save(tmp_path / f"t{suffix}")
    read = load_trajectory(
        tmp_path / f"t{suffix}", topology, dt_fs=10 if suffix == ".pdb" else None
    )
    np.testing.assert_allclose(
        read.positions_A, trajectory.positions_A, atol=TOLERANCE_A.get(suffix, 0)
    )
    np.testing.assert_allclose(
        read.time_fs - (read.time_fs[0] - 40 if suffix == ".pdb" else 0),
        trajectory.time_fs,
        rtol=1e-6,
    )
    assert read.box_A is None and (
        suffix == ".npz" or read.molecule.numbers.tolist() == trajectory.molecule.numbers.tolist()
    )


@pytest.mark.parametrize("suffix", sorted(set(TRAJECTORY_WRITERS) - set(WITHOUT_GRAPH)))
def test_these_formats_know_their_molecule(suffix: str, tmp_path: Path) -> None:
    trajectory = make_trajectory(MOLECULES["R and Z"])
    trajectory.save(tmp_path / f"t{suffix}")
    read = load_trajectory(tmp_path / f"t{suffix}", dt_fs=10)
    assert read.molecule.bonds.shape == trajectory.molecule.bonds.shape
    assert len(read.molecule.tetrahedral) == 1 and len(read.molecule.double_bonds) == 1
    assert suffix == ".pdb" or read.molecule == trajectory.molecule


@pytest.mark.parametrize("suffix", sorted(set(TRAJECTORY_WRITERS) - {".pdb"}))
def test_boxes_come_back_and_unwrap(suffix: str, topology: Path, tmp_path: Path) -> None:
    whole = make_trajectory()
    fractions = whole.positions_A @ np.linalg.inv(BOX)
    wrapped = whole.replace(positions_A=(fractions - np.floor(fractions)) @ BOX, box_A=BOX)
    assert np.abs(wrapped.positions_A - whole.positions_A).max() > 10
    wrapped.save(tmp_path / f"t{suffix}")
    read = load_trajectory(tmp_path / f"t{suffix}", topology)
    np.testing.assert_allclose(read.box_A, BOX, atol=1e-4)
    if suffix != ".npz":  # which keeps what it was given
        assert read.provenance["unwrapped_frames"] > 0
        inside = read.positions_A - read.positions_A.mean(axis=1, keepdims=True)
        np.testing.assert_allclose(
            inside, whole.positions_A - whole.positions_A.mean(axis=1, keepdims=True), atol=1e-3
        )
    assert len(equidrift.forecast(read, 2, model=Walker())[0]) == 2


def test_topology_may_be_a_file_a_smiles_or_an_object(topology: Path, tmp_path: Path) -> None:
    trajectory = make_trajectory()
    ensemble = trajectory[:1].to_ensemble()
    ensemble.save(tmp_path / "t.sdf")
    trajectory.save(tmp_path / "t.xtc")
    smiles = "CC(=O)Oc1ccccc1C(=O)O"
    for what in (
        topology,
        str(topology),
        tmp_path / "t.sdf",
        smiles,
        trajectory.molecule,
        ensemble.to_rdkit(),
        ensemble.to_ase()[0],
    ):
        read = load_trajectory(tmp_path / "t.xtc", what)
        assert read.molecule.bonds.shape == trajectory.molecule.bonds.shape and len(read) == 12
    assert load_trajectory(tmp_path / "t.xtc", smiles, stride=5).time_fs == pytest.approx(
        [0, 50, 100], rel=1e-6
    )


@pytest.mark.parametrize(
    ("path", "top", "options", "error", "message"),
    [
        ("none.xtc", "top.top.pdb", {}, InputError, "there is no file '.*none.xtc'"),
        ("t.gro", "top.top.pdb", {}, UnknownNameError, "unknown trajectory suffix '.gro'"),
        ("t.xtc", None, {}, InputError, "a .xtc file holds no bonds: give the topology too"),
        ("t.xtc", "none.pdb", {}, InputError, "there is no file '.*none.pdb'"),
        ("t.xtc", "two.sdf", {}, InputError, "holds 2 different molecules"),
        ("t.xtc", "bad.sdf", {}, InputError, "cannot read the topology"),
        ("t.xtc", "CCO", {}, MoleculeError, "has 21 atoms per frame, but the topology .* has 9"),
        ("t.xtc", "C(", {}, MoleculeError, "cannot read the SMILES"),
        ("t.xtc", 7, {}, InputTypeError, "expected a SMILES, Molecule"),
        (
            "t.extxyz",
            "OC(=O)c1ccccc1OC(C)=O",
            {},
            MoleculeError,
            "is C in .*come in another order; give a PDB or SDF in the trajectory's",
        ),
        ("t.xtc", "top.top.pdb", {"dt_fs": 0}, InputError, "dt_fs must be a time in fs above 0"),
        ("t.xtc", "top.top.pdb", {"dt_fs": "a"}, InputError, "dt_fs must be a time in fs above 0"),
        ("t.xtc", "top.top.pdb", {"stride": 0}, InputError, "stride must be 1 or more"),
        ("bare.xyz", None, {}, InputError, "holds no times; give dt_fs"),
        ("t.pdb", None, {}, InputError, "holds no times; give dt_fs"),
        ("torn.xtc", "top.top.pdb", {}, InputError, "cannot read '.*torn.xtc'"),
        ("torn.traj", "top.top.pdb", {}, InputError, "cannot read '.*torn.traj'"),
        ("torn.npz", None, {}, InputError, "truncated, damaged"),
        (
            "ensemble.npz",
            None,
            {},
            InputError,
            "expected 'equidrift-trajectory-1'; read it with equidrift.load",
        ),
        ("nm.dcd", "top.top.pdb", {}, InputError, "look like nm"),
    ],
)
def test_bad_files(
    path: str,
    top: Any,
    options: dict[str, Any],
    error: type[Exception],
    message: str,
    topology: Path,
    tmp_path: Path,
) -> None:
    trajectory = make_trajectory()
    for suffix in (".xtc", ".traj", ".npz", ".pdb", ".extxyz"):
        trajectory.save(tmp_path / f"t{suffix}")
    for suffix in (".xtc", ".traj", ".npz"):
        (tmp_path / f"torn{suffix}").write_bytes((tmp_path / f"t{suffix}").read_bytes()[:50])
    trajectory[:2].to_ensemble().save(tmp_path / "ensemble.npz")
    trajectory.replace(positions_A=0.1 * trajectory.positions_A, box_A=3 * np.eye(3)).save(
        tmp_path / "nm.dcd"
    )
    (tmp_path / "two.sdf").write_text("".join(_sdf(smiles) for smiles in ("CCO", "CCN")))
    (tmp_path / "bad.sdf").write_text("nonsense\n$$$$\n")
    (tmp_path / "bare.xyz").write_text("3\n\n" + "O 0 0 0\nH 0.96 0 0\nH -0.24 0.93 0\n")
    named = tmp_path / top if isinstance(top, str) and "." in top else top
    with pytest.raises(error, match=message):
        load_trajectory(tmp_path / path, named, **options)


def _sdf(smiles: str) -> str:
    from equidrift.adapters.rdkit.io import sdf_records

    return next(sdf_records(make_trajectory(smiles)[:1].to_ensemble()))


def test_load_tells_trajectories_from_ensembles(tmp_path: Path) -> None:
    make_trajectory().save(tmp_path / "t.npz")
    with pytest.raises(InputError, match=r"read it with equidrift\.load_trajectory"):
        equidrift.load(tmp_path / "t.npz")
    assert (
        equidrift.load_trajectory(tmp_path / "t.npz").positions_A.tobytes()
        == make_trajectory().positions_A.tobytes()
    )


def test_bad_outputs(tmp_path: Path) -> None:
    trajectory = make_trajectory()
    with pytest.raises(UnknownNameError, match=r"unknown suffix for a trajectory '.sdf'"):
        trajectory.save(tmp_path / "t.sdf")
    with pytest.raises(InputError, match="there is no folder"):
        trajectory.save(tmp_path / "none" / "t.xtc")


def test_ases_own_dynamics_is_read_with_its_time_step(tmp_path: Path) -> None:
    """A .traj of VelocityVerlet, which tells its step in its header; bonds are
    perceived.
    """
    atoms = make_trajectory("CCO")[:1].to_ase()[0]
    atoms.info.clear()
    atoms.calc = MMFF()
    VelocityVerlet(atoms, 0.5 * units.fs, trajectory=str(tmp_path / "md.traj"), loginterval=4).run(
        20
    )
    read = load_trajectory(tmp_path / "md.traj")
    assert (
        read.dt_fs == pytest.approx(2.0)
        and len(read) == 6
        and read.molecule.symbols[:3] == ["C", "C", "O"]
    )


def test_given_dt_wins_over_the_files() -> None:
    path = Path(__file__).parents[3] / "examples" / "data" / "aspirin.xtc"
    read = load_trajectory(path, path.with_suffix(".pdb"), dt_fs=5)
    assert read.dt_fs == pytest.approx(5) and read.time_fs[0] == pytest.approx(10)
    assert load_trajectory(path, path.with_suffix(".pdb")).dt_fs == pytest.approx(10, rel=1e-5)


def test_shipped_aspirin_is_sound() -> None:
    """40 frames, 10 fs apart, bonds whole, moving."""
    path = Path(__file__).parents[3] / "examples" / "data" / "aspirin.xtc"
    read = load_trajectory(path, path.with_suffix(".pdb"))
    assert len(read) == 40 and read.molecule == load_topology(path.with_suffix(".pdb"))
    check = Forecast(read, 1, make_settings("last-frame")).check
    assert (check(read.positions_A) == "").all() and np.abs(
        np.diff(read.positions_A, axis=0)
    ).max() > 0.02


def test_sample_paths() -> None:
    assert sample_paths("a/x.xtc", 1) == [Path("a/x.xtc")]
    assert [p.name for p in sample_paths("a/x.xtc", 3)] == [
        "x_0000.xtc",
        "x_0001.xtc",
        "x_0002.xtc",
    ]


@pytest.mark.long
@given(
    stops=st.lists(st.integers(0, 8), max_size=6),
    suffix=st.sampled_from([".npz", ".extxyz", ".dcd"]),
)
@settings(max_examples=12, deadline=None)
def test_a_stream_broken_off_anywhere_goes_on(
    stops: list[int], suffix: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("stream")
    made = make_settings(Walker(share=0.2), batch_size=2, chunk=3)
    job = Forecast(make_trajectory("CCO"), 8, made)
    for stop in stops:
        _streamed(job, folder / f"torn{suffix}", stop)
    assert _streamed(job, folder / f"torn{suffix}", None) and _streamed(
        job, folder / f"whole{suffix}", None
    )
    for k in range(3):
        assert (folder / f"torn_{k:04d}{suffix}").read_bytes() == (
            folder / f"whole_{k:04d}{suffix}"
        ).read_bytes()
    assert len(list(folder.iterdir())) == 6


def _streamed(job: Forecast, path: Path, stop: int | None) -> bool:
    """Stream three samples of a job, breaking off after `stop` chunks; whether it came
    to its end.
    """
    stream = TrajectoryStream(path, {"job": 1}, n=3)
    for k, chunk in enumerate(
        job.chunks(3, stream.position, stream.unfinished(job.settings.context))
    ):
        if k == stop:
            return False
        stream.add(chunk, job.position(chunk, 3), {})
    stream.close(3, job.trajectories)
    return True


def test_another_commands_stream_is_refused(tmp_path: Path) -> None:
    job = Forecast(make_trajectory("CCO"), 2, make_settings(Walker()))
    stream = TrajectoryStream(tmp_path / "x.xtc", {"seed": 1})
    stream.add(next(job.chunks(1)), (1, 0), {})
    with pytest.raises(InputError, match="unfinished run of another command"):
        TrajectoryStream(tmp_path / "x.xtc", {"seed": 2})
    assert TrajectoryStream(tmp_path / "x.xtc", {"seed": 2}, overwrite=True).position == (0, 0)


def _counts(n: int = 1, **fields: object) -> np.ndarray:
    return np.array(json.dumps([{"rejected": {}, "broken": {}, **fields}] * n))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"counts": np.array("{")}, "the array 'counts' is no JSON"),
        ({"counts": _counts(2)}, "counts: there are 2 for 1 samples"),
        ({"counts": _counts(rejected={"x": -1})}, "counts.0.rejected.x: input should be gr"),
        ({"counts": _counts(extra=1)}, "the field 'counts.0.extra' is unknown"),
        ({"counts": np.zeros(2)}, "the array 'counts' has the type float64"),
        ({"place": np.array([0])}, "place: expected the shape (2,), got (1,)"),
        ({"place": np.array([0, -3])}, "first_frame: input should be greater than or equal"),
        ({"place": None}, "arrays are missing (place)"),
        ({"positions_A": np.zeros((1, 2, 9))}, "positions_A: expected the shape (1, "),
        ({"positions_A": np.zeros((2, 2, 9, 3))}, "positions_A: expected the shape (1, "),
        ({"seeds": np.zeros((1, 1), int)}, "positions_A: expected the shape"),
    ],
)
def test_chunk_is_refused_by_file_and_field_when_an_array_is_tampered_with(
    change: dict[str, np.ndarray | None], message: str, tmp_path: Path
) -> None:
    job = Forecast(make_trajectory("CCO"), 2, make_settings(Walker()))
    stream = TrajectoryStream(tmp_path / "x.xtc", {"seed": 1})
    stream.add(next(job.chunks(1)), (1, 0), {})
    piece = stream.part / "000000.npz"
    changed = load_arrays(piece) | change
    save_arrays(piece, {name: array for name, array in changed.items() if array is not None})
    with pytest.raises(InputError) as error:
        list(TrajectoryStream(tmp_path / "x.xtc", {"seed": 1}).batches())
    told = str(error.value)
    assert message in told and "000000.npz" in told and "\n" not in told


def test_molecules_of_one_atom(tmp_path: Path) -> None:
    argon = Molecule(numbers=[18], bonds=np.zeros((0, 2)), bond_orders=[], formal_charges=[0])
    trajectory = Trajectory(
        argon, np.arange(4.0)[:, None, None] * 0.1 + np.zeros((4, 1, 3)), 10.0 * np.arange(4)
    )
    (made,) = equidrift.forecast(trajectory, 2, model="constant-velocity")
    np.testing.assert_allclose(made.positions_A[:, 0, 0], [0.4, 0.5])

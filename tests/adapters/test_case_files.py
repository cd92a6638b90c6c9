"""Small files that chemists have, each of a kind that was read wrongly once (issue 12, part D)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from equidrift.adapters.mda_universe import trajectory_of
from equidrift.errors import InputError
from equidrift.records import Ensemble, Trajectory
from equidrift.trajectory_formats import load_trajectory
from tests.conftest import make_ensemble

CASES = Path(__file__).parents[1] / "data" / "cases"
NPT = CASES / "T01-NPT-box-of-first-frame"
LAMMPS = CASES / "T03-LAMMPS-dcd-time"


# Boxes and times ---------------------------------------------------------------------------


def test_npt_trajectory_keeps_the_box_of_each_frame():
    read = load_trajectory(NPT / "npt.xtc", NPT / "base.pdb")
    edges = read.box_A[:, 0, 0]
    assert edges == pytest.approx(12.0 + 0.01 * np.arange(40), abs=1e-4)
    i, j = read.molecule.bonds.T
    lengths = np.linalg.norm(read.positions_A[:, i] - read.positions_A[:, j], axis=-1)
    assert np.ptp(lengths, axis=0).max() < 0.2


def npt_trajectory(n_frames: int = 4) -> Trajectory:
    ensemble = make_ensemble("anion")
    frames = np.repeat(ensemble.positions_A[:1], n_frames, axis=0)
    boxes = np.eye(3) * (20.0 + np.arange(n_frames))[:, None, None]
    boxes[:, 1, 0] = 3.0  # triclinic
    return Trajectory(ensemble.molecule, frames, 5.0 * np.arange(n_frames), boxes)


@pytest.mark.parametrize("suffix", ["xtc", "trr", "dcd", "nc", "npz", "traj", "extxyz"])
def test_box_of_each_frame_survives_a_file(tmp_path, suffix):
    given = npt_trajectory()
    path = tmp_path / f"run.{suffix}"
    if suffix in ("trr", "nc"):  # which MDAnalysis alone writes
        given.to_mdanalysis().atoms.write(str(path), frames="all")
    else:
        given.save(path)
    read = load_trajectory(path, given.molecule)
    assert np.abs(read.box_A - given.box_A).max() < 1e-3
    assert read.time_fs == pytest.approx(given.time_fs, abs=1e-3)


def test_box_of_each_frame_survives_a_universe():
    given = npt_trajectory()
    back = trajectory_of(given.to_mdanalysis())
    assert np.abs(back.box_A - given.box_A).max() < 1e-3


def test_box_of_each_frame_is_picked_with_the_frames():
    given = npt_trajectory()
    assert np.array_equal(given[2:].box_A, given.box_A[2:])
    assert given[[1]].box_A.shape == (1, 3, 3)


def test_boxes_must_be_one_per_frame():
    given = npt_trajectory()
    with pytest.raises(InputError, match=r"box_A has shape \(3, 3, 3\), expected \(4, 3, 3\)"):
        given.replace(box_A=given.box_A[:3])


def test_lammps_dcd_is_refused_without_its_time():
    with pytest.raises(InputError, match=r"does not tell the time .*LAMMPS.*--dt"):
        load_trajectory(LAMMPS / "lammps_real.dcd", LAMMPS / "base.pdb")
    read = load_trajectory(LAMMPS / "lammps_real.dcd", LAMMPS / "base.pdb", dt_fs=5.0)
    assert read.dt_fs == pytest.approx(5.0)


def test_lammps_dcd_in_a_universe_is_refused_without_its_time():
    read = load_trajectory(LAMMPS / "lammps_real.dcd", LAMMPS / "base.pdb", dt_fs=5.0)
    universe = read.to_mdanalysis()
    universe.load_new(str(LAMMPS / "lammps_real.dcd"))
    with pytest.raises(InputError, match="does not tell the time between its frames"):
        trajectory_of(universe)
    assert trajectory_of(universe, dt_fs=5.0).dt_fs == 5.0


@pytest.mark.parametrize("delta", [1.0, 0.5, 0.002, 2.0])
def test_dcd_is_refused_when_its_header_counts_in_another_unit(tmp_path, delta):
    import struct

    path = tmp_path / "other.dcd"
    npt_trajectory().save(path)
    raw = bytearray(path.read_bytes())
    raw[44:48] = struct.pack("<f", delta)
    path.write_bytes(raw)
    with pytest.raises(InputError, match="does not tell the time between its frames"):
        load_trajectory(path, npt_trajectory().molecule)


@pytest.mark.parametrize("step_fs", [0.25, 0.5, 1.0, 2.0, 4.0])
@pytest.mark.parametrize("every", [1, 5, 250])
def test_dcd_of_openmm_is_read_with_its_time(tmp_path, step_fs, every):
    from openmm import app, unit

    given = npt_trajectory()
    topology, positions = Ensemble(given.molecule, given.positions_A).to_openmm()
    with open(tmp_path / "run.dcd", "wb") as stream:
        file = app.DCDFile(stream, topology, step_fs * unit.femtosecond, interval=every)
        for frame in positions:
            file.writeModel(frame)
    read = load_trajectory(tmp_path / "run.dcd", given.molecule)
    assert read.dt_fs == pytest.approx(step_fs * every, rel=1e-5)

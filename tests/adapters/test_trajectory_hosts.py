"""Trajectories in MDAnalysis, ASE and OpenMM: frames written by us are read by each
with the right times and units.
"""

from __future__ import annotations

from pathlib import Path

import ase.io
import MDAnalysis as mda
import numpy as np
import openmm
import pytest
from MDAnalysis.analysis.base import AnalysisBase
from MDAnalysis.analysis.rms import RMSD
from openmm import app, unit

import equidrift
from equidrift.errors import InputError
from equidrift.files.topologies import save_topology
from equidrift.files.trajectories import load_trajectory
from tests.conftest import make_trajectory
from tests.doubles import Walker


class Radii(AnalysisBase):
    """Time and radius of gyration of each frame; picklable, so that it runs in
    parallel.
    """

    _analysis_algorithm_is_parallelizable = True

    @classmethod
    def get_supported_backends(cls):
        return ("serial", "multiprocessing")

    def __init__(self, atoms):
        super().__init__(atoms.universe.trajectory)
        self.atoms = atoms

    def _prepare(self):
        self.results.rows = []

    def _single_frame(self):
        self.results.rows.append((self._ts.time, self.atoms.radius_of_gyration()))

    def _get_aggregator(self):
        from MDAnalysis.analysis.results import ResultsGroup

        return ResultsGroup({"rows": ResultsGroup.flatten_sequence})


def test_samples_open_as_universes():
    trajectory = make_trajectory()
    for sample in equidrift.forecast(trajectory, 6, 2, model=Walker()):
        universe = sample.to_mdanalysis()
        assert (
            len(universe.trajectory) == 6
            and universe.trajectory.dt == pytest.approx(0.01)
            and universe.dimensions is None
        )
        assert [ts.time for ts in universe.trajectory] == pytest.approx(
            [0.12, 0.13, 0.14, 0.15, 0.16, 0.17]
        )
        assert universe.trajectory[3].time == pytest.approx(0.15)
        np.testing.assert_allclose(universe.atoms.positions, sample.positions_A[3], atol=1e-5)
        assert len(universe.bonds) == 21 and RMSD(universe).run().results.rmsd.shape == (6, 3)
        copy = universe.copy()
        assert [ts.time for ts in copy.trajectory] == [ts.time for ts in universe.trajectory]


def test_universe_has_the_box():
    box_A = np.array([[25.0, 0, 0], [0, 26, 0], [3, -2, 27]])
    universe = make_trajectory().replace(box_A=box_A).to_mdanalysis()
    np.testing.assert_allclose(
        mda.lib.mdamath.triclinic_vectors(universe.dimensions), box_A, atol=1e-4
    )


def test_analysis_runs_in_parallel(tmp_path):
    """In memory and from files, over two processes."""
    (sample,) = equidrift.forecast(make_trajectory(), 9, model=Walker())
    sample.save(tmp_path / "s.xtc")
    topology = save_topology(sample, tmp_path / "s.xtc")
    for universe in (sample.to_mdanalysis(), mda.Universe(str(topology), str(tmp_path / "s.xtc"))):
        serial = Radii(universe.atoms).run().results.rows
        parallel = Radii(universe.atoms).run(backend="multiprocessing", n_workers=2).results.rows
        np.testing.assert_allclose(parallel, serial, rtol=1e-6)
        np.testing.assert_allclose([row[0] for row in serial], sample.time_fs / 1000, rtol=1e-5)


@pytest.mark.parametrize("suffix", [".xtc", ".dcd", ".h5md"])
def test_mdanalysis_reads_our_files(suffix, tmp_path):
    (sample,) = equidrift.forecast(make_trajectory(), 5, model=Walker())
    sample.save(tmp_path / f"s{suffix}")
    universe = mda.Universe(
        str(save_topology(sample, tmp_path / f"s{suffix}")), str(tmp_path / f"s{suffix}")
    )
    assert len(universe.trajectory) == 5 and universe.trajectory.dt == pytest.approx(0.01, rel=1e-4)
    for ts, frame, time_fs in zip(
        universe.trajectory, sample.positions_A, sample.time_fs, strict=True
    ):
        assert ts.time == pytest.approx(time_fs / 1000, rel=1e-5)
        np.testing.assert_allclose(ts.positions, frame, atol=2e-4)


@pytest.mark.parametrize("suffix", [".traj", ".extxyz", ".xyz", ".npz", ".pdb"])
def test_ase_reads_our_files(suffix, tmp_path):
    (sample,) = equidrift.forecast(make_trajectory(), 5, model=Walker())
    sample.save(tmp_path / f"s{suffix}")
    images = ase.io.read(tmp_path / f"s{suffix}", ":")
    np.testing.assert_allclose(
        [atoms.positions for atoms in images],
        sample.positions_A,
        atol=1e-3 if suffix == ".pdb" else 1e-7,
    )
    assert images[0].get_chemical_formula() == "C9H8O4"
    if suffix != ".pdb":
        assert [atoms.info["time_fs"] for atoms in images] == pytest.approx(
            [120, 130, 140, 150, 160]
        )


def test_openmm_reads_our_files(tmp_path):
    """XTCFile and PDBFile, and a Simulation that goes on from the last frame."""
    (sample,) = equidrift.forecast(make_trajectory(), 5, model=Walker())
    sample.save(tmp_path / "s.xtc")
    sample.save(tmp_path / "models.pdb")
    pdb = app.PDBFile(str(save_topology(sample, tmp_path / "s.xtc")))
    models = app.PDBFile(str(tmp_path / "models.pdb"))
    assert (
        pdb.topology.getNumAtoms() == 21
        and len(list(pdb.topology.bonds())) == 21
        and models.getNumFrames() == 5
    )
    positions = models.getPositions(asNumpy=True, frame=4).value_in_unit(unit.angstrom)
    np.testing.assert_allclose(positions, sample.positions_A[4], atol=1e-3)
    simulation = app.Simulation(
        pdb.topology, equidrift.mmff_system(sample.molecule), openmm.VerletIntegrator(0.0005)
    )
    simulation.context.setPositions(sample.to_openmm()[1][-1])
    simulation.step(2)
    now = (
        simulation.context.getState(positions=True)
        .getPositions(asNumpy=True)
        .value_in_unit(unit.angstrom)
    )
    assert np.abs(now - sample.positions_A[-1]).max() < 0.05


@pytest.mark.parametrize("format", ["xtc", "dcd"])
def test_openmm_reporters_files_are_read(format, tmp_path):
    """A swarm's trajectory, 2 fs between frames: times, units and frames as OpenMM
    reported them.
    """
    ensemble = equidrift.sample("CCO", 1, model="etkdg", seed=1)
    result = equidrift.swarm(
        ensemble,
        time_ps=0.02,
        timestep_fs=0.5,
        interval_ps=0.002,
        output=tmp_path / "md",
        format=format,
    )
    read = load_trajectory(result.trajectories[0], result.topology)
    assert (
        len(read) == 10
        and read.dt_fs == pytest.approx(2.0, rel=1e-4)
        and read.time_fs[0] == pytest.approx(2.0, rel=1e-4)
    )
    bond = np.linalg.norm(read.positions_A[:, 0] - read.positions_A[:, 1], axis=-1)
    assert (np.abs(bond - 1.52) < 0.2).all() and read.box_A is None


def test_a_universe_needs_frames():
    with pytest.raises(InputError, match="no conformer"):
        make_trajectory()[:0].to_mdanalysis()


def test_paths_are_written_where_they_are_asked_for(tmp_path):
    trajectory = make_trajectory()
    for suffix in (".xtc", ".traj"):
        trajectory.save(str(tmp_path / f"s{suffix}"))
        assert Path(tmp_path / f"s{suffix}").is_file()

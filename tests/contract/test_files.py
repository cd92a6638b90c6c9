"""Every writer and reader of the registry under the one contract."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import MDAnalysis as mda

from equidrift.registry import ENSEMBLE_WRITERS, FRAME_READERS, TRAJECTORY_WRITERS
from tests.conftest import make_trajectory
from tests.contract.files import (
    EnsembleWriterContract,
    FrameReaderContract,
    TrajectoryWriterContract,
)

ALL = frozenset({"seeds", "energies_eV", "log_prob", "valid", "scores", "properties"})


class TestSdf(EnsembleWriterContract):
    suffix = ".sdf"


class TestSdfGz(EnsembleWriterContract):
    suffix = ".sdf.gz"


class TestMol(EnsembleWriterContract):
    """Of a single record nobody can tell whether a property is the sample's or the
    molecule's, and it comes back as the molecule's.
    """

    suffix, most = ".mol", 1
    lost: ClassVar[frozenset[str]] = frozenset({"properties"})


class TestPdb(EnsembleWriterContract):
    """Columns of a PDB file have no place for anything of the samples."""

    suffix, tolerance_A = ".pdb", 1e-3
    lost: ClassVar[frozenset[str]] = ALL


class TestXyz(EnsembleWriterContract):
    suffix = ".xyz"


class TestExtxyz(EnsembleWriterContract):
    suffix = ".extxyz"


class TestTraj(EnsembleWriterContract):
    suffix = ".traj"


class TestNpz(EnsembleWriterContract):
    suffix, tolerance_A = ".npz", 0.0


class Bare(EnsembleWriterContract):
    """Coordinates alone."""

    bare = True
    tolerance_A = 1e-2
    lost: ClassVar[frozenset[str]] = ALL


class TestXtc(Bare):
    suffix = ".xtc"


class TestDcd(Bare):
    suffix = ".dcd"


class TestH5md(Bare):
    suffix = ".h5md"


class TestTrajectoryXtc(TrajectoryWriterContract):
    suffix, tolerance_A = ".xtc", 1e-2


class TestTrajectoryDcd(TrajectoryWriterContract):
    suffix = ".dcd"


class TestTrajectoryH5md(TrajectoryWriterContract):
    suffix = ".h5md"


class TestTrajectoryTraj(TrajectoryWriterContract):
    suffix = ".traj"


class TestTrajectoryExtxyz(TrajectoryWriterContract):
    suffix = ".extxyz"


class TestTrajectoryXyz(TrajectoryWriterContract):
    suffix = ".xyz"


class TestTrajectoryPdb(TrajectoryWriterContract):
    suffix, tolerance_A, timed = ".pdb", 1e-3, False


class TestTrajectoryNpz(TrajectoryWriterContract):
    suffix, tolerance_A = ".npz", 0.0


class TestReadXtc(FrameReaderContract):
    suffix, tolerance_A = ".xtc", 1e-2


class TestReadDcd(FrameReaderContract):
    suffix = ".dcd"


class TestReadH5md(FrameReaderContract):
    suffix = ".h5md"


class TestReadTraj(FrameReaderContract):
    suffix = ".traj"


class TestReadExtxyz(FrameReaderContract):
    suffix = ".extxyz"


class TestReadXyz(FrameReaderContract):
    suffix = ".xyz"


class TestReadPdb(FrameReaderContract):
    suffix, tolerance_A = ".pdb", 1e-3


class Foreign(FrameReaderContract):
    """Formats that are read and not written."""

    def make(self, path: Path) -> None:
        universe = make_trajectory().to_mdanalysis()
        with mda.Writer(str(path), universe.atoms.n_atoms) as writer:
            for _ in universe.trajectory:
                writer.write(universe.atoms)


class TestReadTrr(Foreign):
    suffix = ".trr"


class TestReadNc(Foreign):
    suffix = ".nc"


class TestReadNcdf(Foreign):
    suffix = ".ncdf"


def suffixes(contract: type) -> set[str]:
    """Of the classes here that inherit a contract."""
    found = [value for value in globals().values() if isinstance(value, type)]
    return {made.suffix for made in found if issubclass(made, contract) and hasattr(made, "suffix")}


def test_every_writer_and_reader_of_the_registry_has_its_suite() -> None:
    assert suffixes(EnsembleWriterContract) == set(ENSEMBLE_WRITERS)
    assert suffixes(TrajectoryWriterContract) == set(TRAJECTORY_WRITERS)
    assert suffixes(FrameReaderContract) == set(FRAME_READERS)

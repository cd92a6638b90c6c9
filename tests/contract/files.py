"""What every writer and reader of files promises.

A test class inherits `EnsembleWriterContract`, `TrajectoryWriterContract` or
`FrameReaderContract`, gives the suffix of its format, and names what it loses.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

import equidrift
from equidrift.errors import EquidriftError, InputError
from equidrift.records import Ensemble, Trajectory
from equidrift.registry import (
    ENSEMBLE_WRITERS,
    FRAME_READERS,
    TRAJECTORY_WRITERS,
    resolve,
)
from tests.conftest import graph_key, make_trajectory
from tests.contract.host import ENSEMBLE_FIELDS, full_ensemble, same


class EnsembleWriterContract:
    """Inherit, give the suffix, and name what the format cannot carry."""

    suffix: ClassVar[str]
    most: ClassVar[int] = 2  # conformers a file holds
    bare: ClassVar[bool] = False  # whether the graph has to come from elsewhere
    tolerance_A: ClassVar[float] = 1e-4
    lost: ClassVar[frozenset[str]] = frozenset()

    def ensemble(self) -> Ensemble:
        return full_ensemble("centres")[: self.most]

    def write(self, ensemble: Ensemble, path: Path) -> None:
        resolve(ENSEMBLE_WRITERS[self.suffix])(ensemble, path)

    def read(self, path: Path) -> Ensemble:
        return equidrift.load(path, top=self.ensemble().molecule if self.bare else None)

    @pytest.fixture
    def back(self, tmp_path: Path) -> Ensemble:
        path = tmp_path / f"a{self.suffix}"
        self.write(self.ensemble(), path)
        return self.read(path)

    def test_graph_and_positions_come_back(self, back: Ensemble) -> None:
        ensemble = self.ensemble()
        assert graph_key(back.molecule) == graph_key(ensemble.molecule)
        np.testing.assert_allclose(
            back.positions_A, ensemble.positions_A, rtol=0, atol=self.tolerance_A
        )

    @pytest.mark.parametrize("field", ENSEMBLE_FIELDS)
    def test_field_of_the_samples_comes_back_or_is_named_as_lost(
        self, back: Ensemble, field: str
    ) -> None:
        kept = same(getattr(back, field), getattr(self.ensemble(), field))
        assert kept == (field not in self.lost)

    def test_one_file_is_written_and_nothing_beside_it(self, tmp_path: Path) -> None:
        self.write(self.ensemble(), tmp_path / f"a{self.suffix}")
        assert [path.name for path in tmp_path.iterdir()] == [f"a{self.suffix}"]

    def test_folder_that_is_not_there_is_an_input_error(self, tmp_path: Path) -> None:
        with pytest.raises(InputError):
            self.ensemble().save(tmp_path / "none" / f"a{self.suffix}")
        assert not list(tmp_path.iterdir())


class TrajectoryWriterContract:
    """Inherit, and give the suffix."""

    suffix: ClassVar[str]
    tolerance_A: ClassVar[float] = 1e-4
    timed: ClassVar[bool] = True  # whether the format holds times

    def trajectory(self) -> Trajectory:
        return make_trajectory()

    def write(self, trajectory: Trajectory, path: Path) -> None:
        resolve(TRAJECTORY_WRITERS[self.suffix])(trajectory, path)

    def read(self, path: Path) -> Trajectory:
        molecule = self.trajectory().molecule
        top: Any = None if self.suffix == ".npz" else molecule
        dt_fs = None if self.timed else self.trajectory().dt_fs
        return equidrift.load_trajectory(path, top, dt_fs=dt_fs)

    @pytest.fixture
    def back(self, tmp_path: Path) -> Trajectory:
        path = tmp_path / f"a{self.suffix}"
        self.write(self.trajectory(), path)
        return self.read(path)

    def test_frames_come_back(self, back: Trajectory) -> None:
        given = self.trajectory()
        assert np.array_equal(back.molecule.numbers, given.molecule.numbers)
        np.testing.assert_allclose(
            back.positions_A, given.positions_A, rtol=0, atol=self.tolerance_A
        )

    def test_spacing_in_time_comes_back(self, back: Trajectory) -> None:
        assert back.dt_fs == pytest.approx(self.trajectory().dt_fs, rel=1e-5)

    def test_trajectory_is_left_alone(self, tmp_path: Path) -> None:
        trajectory = self.trajectory()
        before = trajectory.positions_A.copy()
        self.write(trajectory, tmp_path / f"a{self.suffix}")
        assert np.array_equal(trajectory.positions_A, before)


class FrameReaderContract:
    """Inherit, give the suffix, and say how a file of it is made."""

    suffix: ClassVar[str]
    tolerance_A: ClassVar[float] = 1e-4

    def make(self, path: Path) -> None:
        """Write the frames of `make_trajectory`."""
        resolve(TRAJECTORY_WRITERS[self.suffix])(make_trajectory(), path)

    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        path = tmp_path / f"a{self.suffix}"
        self.make(path)
        return path

    def test_frames_have_their_shapes(self, path: Path) -> None:
        given = make_trajectory()
        positions_A, time_fs, boxes_A, numbers = resolve(FRAME_READERS[self.suffix])(path)
        np.testing.assert_allclose(positions_A, given.positions_A, rtol=0, atol=self.tolerance_A)
        assert time_fs is None or np.shape(time_fs) == (len(given),)
        assert boxes_A is None or np.shape(boxes_A) == (len(given), 3, 3)
        assert numbers is None or np.array_equal(numbers, given.molecule.numbers)

    def test_file_is_left_alone(self, path: Path) -> None:
        before = path.read_bytes()
        resolve(FRAME_READERS[self.suffix])(path)
        assert path.read_bytes() == before

    def test_rubbish_is_refused_by_name(self, path: Path) -> None:
        path.write_bytes(b"this is no trajectory\n" * 20)
        with pytest.raises(EquidriftError) as raised:
            equidrift.load_trajectory(path, make_trajectory().molecule)
        assert path.name in str(raised.value)

    def test_file_that_is_not_there_is_refused_by_name(self, tmp_path: Path) -> None:
        missing = tmp_path / f"missing{self.suffix}"
        with pytest.raises(EquidriftError, match=missing.name):
            equidrift.load_trajectory(missing, make_trajectory().molecule)

"""What the public functions of trajectories take and tell, whichever model draws."""

from __future__ import annotations

import logging
from typing import Any

import MDAnalysis as mda
import numpy as np
import pytest

import equidrift
from equidrift.api import forecast, interpolate, refine_trajectory
from equidrift.errors import (
    InputError,
    MoleculeError,
)
from equidrift.records import Trajectory
from tests.conftest import make_trajectory
from tests.doubles import Walker


def test_hosts_objects_are_taken() -> None:
    trajectory = make_trajectory()
    universe = trajectory.to_mdanalysis()
    for what in (universe, universe.atoms, trajectory.to_ase()):
        (sample,) = forecast(what, 3, model=Walker(), seed=1)
        np.testing.assert_allclose(sample.time_fs, [120, 130, 140], atol=1e-3)
        np.testing.assert_allclose(
            sample.positions_A,
            forecast(trajectory, 3, model=Walker(), seed=1)[0].positions_A,
            atol=1e-4,
        )
    with pytest.raises(InputError, match="hold no times"):
        images = trajectory.to_ase()
        del images[3].info["time_fs"]
        forecast(images, 3, model=Walker())
    with pytest.raises(InputError, match=r"no bonds|no elements|no formalcharges"):
        forecast(mda.Universe.empty(3, trajectory=True), 3, model=Walker())


def test_trajectory_record() -> None:
    trajectory = make_trajectory()
    assert (
        trajectory[2:5].time_fs.tolist() == [20, 30, 40]
        and len(trajectory[[1, 3]]) == 2
        and len(trajectory[-1]) == 1
    )
    assert trajectory.dt_fs == pytest.approx(10) and trajectory[::2].dt_fs == pytest.approx(20)
    assert "12 frames, 0 to 110 fs" in repr(trajectory) and "empty" in repr(trajectory[:0])
    assert len(trajectory.to_ensemble()) == 12
    topology, positions = trajectory.to_openmm()
    assert topology.getNumAtoms() == 21 and len(positions) == 12
    with pytest.raises(InputError, match="no time between frames"):
        trajectory[:1].dt_fs  # noqa: B018


def test_public_names() -> None:
    assert equidrift.forecast is forecast and equidrift.interpolate is interpolate
    assert equidrift.refine_trajectory is refine_trajectory and equidrift.Trajectory is Trajectory


def test_note_of_a_forecast_is_a_warning_a_log_record_and_in_the_provenance(
    caplog: pytest.LogCaptureFixture,
) -> None:
    trajectory = make_trajectory()
    sparse = trajectory.replace(time_fs=200.0 * np.arange(len(trajectory)))
    model = Walker()
    model.dt_range_fs = (1.0, 1000.0)
    with (
        caplog.at_level(logging.WARNING, "equidrift"),
        pytest.warns(UserWarning, match="repeating the last frame"),
    ):
        (sample,) = forecast(sparse, 2, model=model)
    assert [record.getMessage() for record in caplog.records] == sample.provenance["notes"]


@pytest.mark.parametrize("function", [forecast, interpolate, refine_trajectory])
def test_charge_of_another_molecule_is_refused_by_trajectory_functions(function: Any) -> None:
    arguments = (1,) if function is not refine_trajectory else ()
    with pytest.raises(MoleculeError, match=r"charge=\+1, but .* has charge \+0"):
        function(make_trajectory(), *arguments, model=Walker(), charge=1)


def test_charge_is_taken_for_frames_of_ase_without_bonds() -> None:
    trajectory = make_trajectory()
    images = trajectory.to_ase()
    bare = []
    for atoms in images:
        copy = atoms.copy()
        copy.info = {"time_fs": atoms.info["time_fs"]}
        bare.append(copy)
    (sample,) = forecast(bare, 2, model=Walker(), charge=0)
    assert sample.molecule.charge == 0 and sample.molecule.n_atoms == trajectory.molecule.n_atoms

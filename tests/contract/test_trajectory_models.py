"""Every trajectory model of the registry under the one contract, and the baselines'
rules.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from equidrift.errors import InputError
from equidrift.records import Molecule, Trajectory
from equidrift.registry import make_trajectory_model
from equidrift.testing.trajectory_model import TrajectoryModelContract
from equidrift.weights import find, weights_of
from tests.doubles import Walker


class TestLastFrame(TrajectoryModelContract):
    def make(self) -> Any:
        return make_trajectory_model("last-frame")


class TestConstantVelocity(TrajectoryModelContract):
    def make(self) -> Any:
        return make_trajectory_model("constant-velocity")


class TestDynamics(TrajectoryModelContract):
    def make(self) -> Any:
        return make_trajectory_model("md")


def shipped(name: str) -> None:
    """The wheel holds the weights of this model."""
    assert weights_of(find(name)) is not None


class TestDefault(TrajectoryModelContract):
    steps = 2

    def make(self) -> Any:
        shipped("trajectory")
        return make_trajectory_model("default")


class TestGeotdm(TrajectoryModelContract):
    steps = 5  # of 100: fewer leap too far for frames as wild as the suite's

    def make(self) -> Any:
        shipped("geotdm")
        return make_trajectory_model("geotdm")


class TestWalker(TrajectoryModelContract):
    """The double that the core is tested with must keep the contract too."""

    def make(self) -> Any:
        return Walker()


@pytest.mark.parametrize(
    ("name", "mask", "expected"),
    [
        ("last-frame", [1, 1, 0, 0], [0, 1, 1, 1]),
        ("last-frame", [0, 1, 0, 1], [1, 1, 1, 3]),
        ("constant-velocity", [1, 1, 0, 0], [0, 1, 2, 3]),
        ("constant-velocity", [1, 0, 0, 1], [0, 1, 2, 3]),
        ("constant-velocity", [0, 1, 1, 0], [0, 1, 2, 3]),
    ],
)
def test_baselines_fill_each_frame_by_its_rule(
    name: str, mask: list[int], expected: list[int]
) -> None:
    """A molecule that moves by 1 A a frame."""
    water = Molecule.from_smiles("O")
    frames = np.ones((4, 3, 3)) * np.arange(4)[:, None, None]
    frames[np.array(mask) == 0] = np.nan
    made = make_trajectory_model(name).complete(
        Trajectory(water, frames, np.arange(4)), np.array(mask, bool), np.arange(1)
    )
    assert made[0, :, 0, 0].tolist() == expected


def test_baseline_needs_frames() -> None:
    one = np.array([True, False])
    with pytest.raises(InputError, match="constant-velocity needs 2 given frames, and there are 1"):
        make_trajectory_model("constant-velocity").complete(
            Trajectory(Molecule.from_smiles("O"), np.zeros((2, 3, 3)), [0, 1]), one, one
        )

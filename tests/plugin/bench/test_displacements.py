"""Displacement errors, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from equidrift.bench.displacements import best_of, displacements, of_one


def test_displacements_are_means_over_samples_frames_and_nodes() -> None:
    truth = np.zeros((2, 3, 1, 2))  # two trajectories, three frames, one node
    made = np.zeros((2, 2, 3, 1, 2))  # two samples
    made[:, 0, :, 0, 0] = [[3.0, 0.0, 3.0], [0.0, 0.0, 6.0]]
    found = displacements(made, truth)
    assert found["ADE"].tolist() == pytest.approx([2.0, 0.0])
    assert found["FDE"].tolist() == pytest.approx([4.5, 0.0])
    assert displacements(made[0], truth)["FDE"].tolist() == pytest.approx([3.0, 0.0])
    assert of_one(made[:, 0], truth[0]) == pytest.approx({"ADE": 2.0, "FDE": 4.5})


def test_best_of_takes_the_least_of_each_by_itself() -> None:
    truth = np.zeros((1, 2, 2))
    made = np.zeros((2, 1, 2, 2))
    made[0, 0, :, 1], made[1, 0, :, 1] = [0.0, 4.0], [5.0, 1.0]
    found = best_of(made, truth)
    assert found["ADE"].tolist() == [2.0] and found["FDE"].tolist() == [1.0]

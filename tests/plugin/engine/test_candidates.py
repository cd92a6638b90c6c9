"""Which candidate each sample of a block takes."""

from __future__ import annotations

import numpy as np

from equidrift.engine.candidates import Pool, draw_pool, pick_lowest
from equidrift.engine.diversity import torsions
from equidrift.graph import Graph
from equidrift.records import Molecule
from tests.doubles import geometry

BUTANE = Molecule.from_smiles("CCCC")


def at(degrees: float) -> np.ndarray:
    """Butane with its middle torsion at an angle."""
    x = geometry(BUTANE)
    have = np.radians(torsions(BUTANE).angles_deg(x[None])[0, 0])
    moved = Graph(BUTANE.n_atoms, BUTANE.bonds).side(2, 1)
    axis = (x[2] - x[1]) / np.linalg.norm(x[2] - x[1])
    angle, arm = np.radians(degrees) - have, x[moved] - x[2]
    out = x.copy()
    out[moved] = (
        x[2]
        + arm * np.cos(angle)
        + np.cross(axis, arm) * np.sin(angle)
        + np.outer(arm @ axis, axis) * (1 - np.cos(angle))
    )
    return out


def picked(
    angles: list[float], energies: list[float], slots: list[int], count: int, mirror: bool = False
) -> tuple[list[int], list[float]]:
    pool = Pool(np.array([at(a) for a in angles]), np.array(energies), np.array(slots))
    rows, signs = pick_lowest(BUTANE, pool, count, mirror=mirror)
    return rows.tolist(), signs.tolist()


def test_lowest_new_candidates_are_taken_first_when_all_are_allowed() -> None:
    rows, signs = picked([180, 178, 65, -65], [0.0, 0.1, 0.3, 0.2], [0, 0, 0, 0], 4)
    assert rows == [0, 3, 2, 1], "what repeats a conformer comes last"
    assert signs == [1, 1, 1, 1]


def test_a_candidate_waits_for_its_sample_when_it_is_drawn_later() -> None:
    rows, _ = picked([65, 180, -65], [0.2, 0.0, 0.1], [0, 1, 2], 3)
    assert rows == [0, 1, 2]
    assert picked([65, 180, -65], [0.2, 0.0, 0.1], [0, 1, 2], 2)[0] == rows[:2]


def test_mirror_images_are_taken_only_when_they_are_offered() -> None:
    rows, signs = picked([65, 180], [0.0, 0.1], [0, 0], 3, mirror=True)
    assert sorted(zip(rows, signs, strict=True)) == [(0, -1.0), (0, 1.0), (1, 1.0)]
    assert picked([65, 180], [0.0, 0.1], [0, 0], 3)[0] == [0, 1, -1]


def test_unsound_candidates_are_never_taken() -> None:
    rows, _ = picked([180, 65], [np.inf, 0.5], [0, 0], 2)
    assert rows == [1, -1]


def test_a_pool_holds_each_samples_own_draw_and_grows_by_effort() -> None:
    asked: list[np.ndarray] = []

    def draw(seeds: np.ndarray) -> np.ndarray:
        asked.append(seeds)
        return np.zeros((len(seeds), 1, 3))

    made, slots = draw_pool(draw, 1 << 41, 5, 3)
    assert len(made) == 15 and np.bincount(slots).tolist() == [3] * 5
    np.testing.assert_array_equal(asked[0], (1 << 41) + np.arange(5))
    assert len(np.unique(np.concatenate(asked))) == 15

"""Which candidate each sample of a block takes."""

from __future__ import annotations

import numpy as np

from equidrift.engine.candidates import Pool, pick_lowest, seeds_of
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
    ranks = np.array(energies)
    pool = Pool(np.array([at(a) for a in angles]), ranks, ranks, np.array(slots))
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


def test_candidates_of_a_block_grow_by_effort_when_it_is_drawn_in_parts() -> None:
    seeds, slots = seeds_of(1 << 41, 0, 5, 3)
    assert np.bincount(slots).tolist() == [3] * 5 and len(np.unique(seeds)) == 15
    np.testing.assert_array_equal(seeds[:5], (1 << 41) + np.arange(5))
    parts = [seeds_of(1 << 41, begin, stop, 3) for begin, stop in ((0, 2), (2, 5))]
    pairs = {pair for part in parts for pair in zip(*(x.tolist() for x in part), strict=True)}
    assert pairs == set(zip(seeds.tolist(), slots.tolist(), strict=True))


def test_a_pool_is_in_the_order_of_drawing_when_it_has_grown() -> None:
    def pool(begin: int, stop: int) -> Pool:
        seeds, slots = seeds_of(0, begin, stop, 3)
        numbers = seeds.astype(float)
        return Pool(np.zeros((len(seeds), 1, 3)), numbers, numbers, slots)

    grown = pool(0, 2).grown(pool(2, 6))
    for count in (1, 2, 4, 6):
        np.testing.assert_array_equal(grown.for_slots(count).slot, pool(0, count).slot)
        np.testing.assert_array_equal(grown.for_slots(count).ranks_eV, pool(0, count).ranks_eV)

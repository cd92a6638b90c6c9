"""The table of alignment: what counts as found, and scans whose pose is known."""

from __future__ import annotations

import numpy as np
import pytest

from equidrift.adapters.rdkit.aligning import common_core
from equidrift.bench import align, align_clouds
from equidrift.models.rigid import rotations
from equidrift.records import Molecule

TOLUENE, ANISOLE = "Cc1ccccc1", "COc1ccccc1"


def test_common_core_is_the_ring_and_its_neighbour_in_every_symmetric_way() -> None:
    first, second = Molecule.from_smiles(TOLUENE), Molecule.from_smiles(ANISOLE)
    pairs = common_core(first, second)
    ring = {int(k) for k in np.flatnonzero(second.numbers == 6)} - {0}
    assert set(pairs[0, :, 1].tolist()) >= ring and len(pairs) >= 2
    assert (first.numbers[pairs[..., 0]] == 6).all()


def test_excess_is_none_for_the_best_fit_and_that_of_a_shift() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((6, 3))
    core = np.stack([np.arange(6), np.arange(6)], axis=1)[None]
    assert align.excess_A(x, x, core) == pytest.approx(0, abs=1e-9)
    assert align.excess_A(x + np.array([0, 0.7, 0]), x, core) == pytest.approx(0.7)
    swapped = core.copy()
    swapped[0, :2, 0] = [1, 0]
    order = [1, 0, 2, 3, 4, 5]
    both = np.concatenate([core, swapped])
    assert align.excess_A(x[order], x, both) == pytest.approx(0, abs=1e-9)


def test_methods_find_a_hidden_copy() -> None:
    copies = align.pairs_of([(TOLUENE, "CC(N)C(=O)NC")])["copies"]
    for name, method in align.METHODS.items():
        values = align.aligned_row(f"align-copies/{name}", copies, method)["values"]
        assert values["n"] == 2 and values["found"] == 100 and values["excess_A"] < 0.2


def test_pairs_of_the_table_share_a_core_of_half_their_atoms() -> None:
    for pair in align.ANALOGUES:
        first, second = (Molecule.from_smiles(smiles) for smiles in pair)
        heavy = min(np.count_nonzero(one.numbers > 1) for one in (first, second))
        assert common_core(first, second).shape[1] > heavy / 2


def test_mesh_draws_lie_on_its_triangles_and_normals_point_outwards() -> None:
    rng = np.random.default_rng(1)
    cube = np.array(
        [[[1, -1, -1], [1, 1, -1], [1, 0, 1.0]], [[-1, -1, -1], [-1, 1, -1], [-1, 0, 1]]]
    )
    points, normals = align_clouds.Mesh(cube).draw(200, rng)
    assert np.allclose(np.abs(points[:, 0]), 1) and np.abs(points[:, 1:]).max() <= 1
    assert np.allclose(normals, np.sign(points[:, :1]) * [1.0, 0, 0])
    assert (align_clouds.Mesh(cube).seen(50, np.array([1.0, 0, 0]), rng)[:, 0] > 0).all()


def test_true_pose_of_a_scan_has_no_error_and_another_one_its_own() -> None:
    model, scan, (turn, shift) = align_clouds.scanned(0.0, False, 3)
    placed = scan @ turn.T + shift
    nearest = np.sqrt(np.square(placed[:, None] - model).sum(-1).min(axis=1))
    assert nearest.max() < 0.3  # of a body two wide
    assert align_clouds.pose_errors((turn, shift), (turn, shift), model) == pytest.approx((0, 0, 0))
    by = rotations.exp(np.array([0, 0, np.radians(30)]))
    wrong = align_clouds.pose_errors((by @ turn, by @ shift), (turn, shift), model)
    assert wrong[0] == pytest.approx(30)
    off = align_clouds.pose_errors((turn, shift + np.array([1.0, 0, 0])), (turn, shift), model)
    size = align_clouds.diameter(model)
    assert off == pytest.approx((0, 1 / size, 1 / size), abs=1e-6)


@pytest.mark.long
def test_iterative_closest_points_end_at_a_pose_that_is_near() -> None:
    model, scan, truth = align_clouds.scanned(0.0, False, 0)
    turn, shift = align_clouds.icp(scan, model)
    _, _, add = align_clouds.pose_errors((turn, shift), truth, model)
    assert add < 0.1 and np.linalg.det(turn) == pytest.approx(1)


@pytest.mark.slow
def test_short_form_has_a_row_for_every_method_and_finds_whole_clouds() -> None:
    rows = {part["row"]: part["values"] for part in align.run()["rows"]}
    assert len(rows) == 12 and all(values["n"] >= 2 for values in rows.values())
    assert rows["cloud-whole/equidrift"]["found"] == 100
    assert rows["align-copies/equidrift"]["found"] == 100

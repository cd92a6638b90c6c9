"""Held atoms and distance bounds inside the networks: the Newton step, the refiner and
the generator.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from equidrift.checks.conditions import Known, make_conditions
from equidrift.models.conformers.held import turned_rows
from equidrift.models.conformers.sampler import load_conformer, load_refiner
from equidrift.models.shared.graph_codes import graph_codes, with_hydrogen_rows
from equidrift.models.shared.newton import Held, newton_step
from equidrift.records import Molecule
from equidrift.seeds import sample_seeds
from tests.models.networks import conformer, small_weights


def problem() -> tuple[torch.Tensor, ...]:
    """x, target, stiffness, anchor of a small least-squares problem in float64."""
    generator = torch.Generator().manual_seed(0)
    x = 2.0 * torch.randn(2, 6, 3, generator=generator, dtype=torch.float64)
    target = torch.rand(2, 6, 6, generator=generator, dtype=torch.float64) + 1.0
    stiffness = torch.rand(2, 6, 6, generator=generator, dtype=torch.float64)
    return (
        x,
        target + target.mT,
        stiffness + stiffness.mT,
        torch.rand(2, 6, generator=generator, dtype=torch.float64) + 0.1,
    )


def test_held_atoms_are_infinitely_stiff_anchors() -> None:
    x, target, stiffness, anchor = problem()
    mask = torch.tensor([[True, True, False, False, False, False], [False] * 6])
    made = newton_step(x, x, target, stiffness, anchor, Held(mask, x))
    assert torch.equal(made[mask], x[mask])
    free = newton_step(x, x, target, stiffness, anchor)
    torch.testing.assert_close(made[1], free[1], atol=1e-9, rtol=0)
    # the limit of stiff anchors; the floor of the matrix grows with them, so that they
    # must not be too stiff
    stiff = newton_step(x, x, target, stiffness, torch.where(mask, 1e4, anchor))
    assert (made - stiff).abs().max() < 2e-3 < (made - free)[0].abs().max()


def test_violated_bounds_pull_and_satisfied_ones_do_not() -> None:
    x, target, stiffness, anchor = problem()
    d = torch.cdist(x, x)
    none = Held(torch.zeros(2, 6, dtype=torch.bool), x, d - 1.0, d + 1.0)
    torch.testing.assert_close(
        newton_step(x, x, target, stiffness, anchor, none),
        newton_step(x, x, target, stiffness, anchor),
        atol=1e-9,
        rtol=0,
    )
    lower, upper = torch.zeros_like(d), torch.full_like(d, torch.inf)
    upper[:, 0, 1] = upper[:, 1, 0] = 2.0
    y = x
    for _ in range(6):
        y = newton_step(
            y, x, target, 0.01 * stiffness, 0.01 * anchor, Held(none.mask, x, lower, upper)
        )
    assert (torch.linalg.norm(y[:, 0] - y[:, 1], dim=-1) < 2.1).all() and (d[:, 0, 1] > 2.1).all()


def test_the_refiner_holds_atoms_and_moves_the_rest(tmp_path: Path) -> None:
    refiner = load_refiner(str(small_weights(tmp_path)))
    molecule, x = conformer("C[C@H](N)C(=O)O")
    other, y = conformer("CCO")
    known = [Known(molecule, np.array([0, 1, 3]), x[[0, 1, 3]]), Known(other)]
    jobs = [(molecule, np.stack([x, x])), (other, y[None])]
    moved, alone = refiner.refine_many(jobs, known=known), refiner.refine_many(jobs)
    np.testing.assert_array_equal(moved[0][:, [0, 1, 3]], np.stack([x, x])[:, [0, 1, 3]])
    assert np.abs(moved[0] - x).max() > 0.01 and np.abs(moved[0] - alone[0]).max() > 1e-3
    np.testing.assert_allclose(moved[1], alone[1], atol=1e-4)
    shift = np.array([5.0, -2.0, 1.0])
    far = [Known(molecule, np.array([0, 1, 3]), x[[0, 1, 3]] + shift), Known(other)]
    np.testing.assert_allclose(
        refiner.refine_many([(molecule, x[None] + shift), jobs[1]], known=far)[0][0],
        moved[0][0] + shift,
        atol=1e-4,
    )


def test_the_generator_holds_atoms(tmp_path: Path) -> None:
    molecule, x = conformer("C[C@H](N)C(=O)O")
    conditions = make_conditions(fix={k: x[k] + 4.0 for k in (0, 1, 3)})
    assert conditions is not None
    model = load_conformer(str(small_weights(tmp_path, "generate"))).conditioned(conditions)
    seeds = sample_seeds(0, 0, 5)
    made = model.sample(molecule, seeds, steps=5)
    np.testing.assert_array_equal(made[:, [0, 1, 3]], np.tile(x[[0, 1, 3]] + 4.0, (5, 1, 1)))
    np.testing.assert_allclose(
        model.sample(molecule, seeds[[3, 1]], steps=5), made[[3, 1]], atol=1e-4
    )
    assert np.abs(made[0] - made[1]).max() > 1e-3, "the rest differs from seed to seed"


def test_hydrogens_take_the_hand_that_is_held() -> None:
    molecule: Molecule
    molecule, x = conformer("CCO")
    codes = with_hydrogen_rows(graph_codes(molecule))

    def volumes(rows: np.ndarray, y: np.ndarray) -> np.ndarray:
        a, b, c, d = (y[rows[:, k]] for k in (1, 2, 3, 4))
        return np.einsum("ki,ki->k", a - d, np.cross(b - d, c - d))

    for y in (x, x * [1, 1, -1]):
        held = Known(molecule, np.arange(8), y[:8])
        assert (volumes(turned_rows(codes, held).tetrahedral, y) > 0).all()
    free = Known(molecule, np.array([2]), x[[2]])
    np.testing.assert_array_equal(turned_rows(codes, free).tetrahedral, codes.tetrahedral)

"""Losses and batches of the refiner and of the generator."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from equidrift.errors import InputError
from equidrift.geometry import align
from equidrift.graph import Graph
from equidrift.models.conformers.basins import basin_torsions, same_basin
from equidrift.models.conformers.data import ConformerSet
from equidrift.models.conformers.objective import Batches, geometry_loss, size_buckets
from equidrift.models.shared.graph_codes import graph_codes
from equidrift.records import Molecule
from tests.models.networks import conformer, small_set


def batches(
    sigma: tuple[float, float] | None = None, seed: int = 0, **options: dict[int, float]
) -> Batches:
    return Batches(
        small_set(),
        **{"atoms_per_batch": 30, "level_weights": {}, **options},
        seed=seed,
        sigma=sigma,
    )


def test_loss_is_zero_at_the_target_and_in_every_pose() -> None:
    example = batches()(0)
    q, _ = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(0)))
    q = q * torch.linalg.det(q)
    assert float(geometry_loss(example, example.target)) < 1e-5
    assert float(geometry_loss(example, example.target @ q)) < 1e-3
    noise = torch.randn(example.target.shape, generator=torch.Generator().manual_seed(1))
    noisy = example.target + 0.2 * noise * example.batch.mask[..., None]
    loss = float(geometry_loss(example, noisy))
    assert loss > 0.1
    example.target = (
        example.target @ q + torch.tensor([1.0, 2.0, 3.0]) * example.batch.mask[..., None]
    )
    assert float(geometry_loss(example, noisy)) == pytest.approx(loss, rel=1e-3)


@pytest.mark.parametrize("sigma", [None, (-0.3, 1.4)])
def test_batches_are_functions_of_the_step(sigma: tuple[float, float] | None) -> None:
    one, other = batches(sigma), batches(sigma)
    forward = [one(step) for step in range(8)]
    for step in (7, 0, 3):
        example = other(step)
        assert torch.equal(example.start, forward[step].start) and torch.equal(
            example.target, forward[step].target
        )
        assert (
            torch.equal(example.sigma, forward[step].sigma)
            and example.recycle == forward[step].recycle
        )
    assert not all(
        torch.equal(a.start, batches(sigma, seed=1)(k).start) for k, a in enumerate(forward[:3])
    )


def test_buckets_hold_every_conformer_once() -> None:
    data = small_set()
    buckets = size_buckets(data, 30)
    assert sorted(np.concatenate(buckets).tolist()) == list(range(len(data)))
    sizes = [[data.graphs[i].n_atoms for i in rows] for rows in buckets]
    assert all(len(rows) == 1 or max(rows) * len(rows) <= 30 for rows in sizes)


def test_level_weights() -> None:
    assert sum(len(batches(level_weights={2: 3.0})(k)) for k in range(3)) >= 3
    with pytest.raises(InputError, match="level_weights"):
        batches(level_weights={2: 0.0})


def starts_kept(smiles: str, starts: list[np.ndarray], target: np.ndarray) -> int:
    data = ConformerSet.empty()
    data.add(Molecule.from_smiles(smiles), "GFN2-xTB", target, starts)
    made = Batches(data, atoms_per_batch=100, seed=0, level_weights={}, sigma=None)
    return len(made.data.starts[0])


def turned(smiles: str, degrees: float, bond: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """A conformer, and it with what hangs on the second atom of a bond turned."""
    molecule, x = conformer(smiles)
    first, second = bond
    moved = Graph(molecule.n_atoms, molecule.bonds).side(second, first)
    axis = (x[second] - x[first]) / np.linalg.norm(x[second] - x[first])
    out = x.copy()
    turn = Rotation.from_rotvec(np.radians(degrees) * axis)
    out[moved] = turn.apply(x[moved] - x[second]) + x[second]
    return x, out


def test_a_start_in_the_same_basin_is_kept_whatever_its_rmsd() -> None:
    smiles = "CCCCCCOCCCCCC"
    x, far = turned(smiles, 50.0, (5, 6))
    rmsd = np.sqrt(np.square(align(far, x) - x).sum(1).mean())
    assert rmsd > 0.6, "the torsion test is needed where the RMSD misleads"
    assert starts_kept(smiles, [x, far], x) == 2


def test_a_start_of_another_basin_is_dropped_when_its_rmsd_is_small() -> None:
    x, other = turned("CCO", 110.0, (1, 2))  # the hydrogen of the hydroxyl alone
    assert np.sqrt(np.square(align(other, x) - x).sum(1).mean()) < 0.6
    assert starts_kept("CCO", [other], x) == 0


def test_a_turned_methyl_group_and_a_straight_bond_are_no_other_basin() -> None:
    molecule, x = conformer("CC#CC")
    far = x + 0.02 * np.random.default_rng(0).standard_normal(x.shape)
    assert starts_kept("CC#CC", [far], x) == 1
    rows = basin_torsions(graph_codes(Molecule.from_smiles("CC")))
    assert len(rows) == 0 and same_basin(rows, x, far)
    assert molecule.n_atoms == len(x)

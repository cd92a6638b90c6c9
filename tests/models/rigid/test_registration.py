"""Registration finds the pose that was hidden: of molecules beside Open3DAlign, of clouds
of points with noise, and of partial views.
"""

from __future__ import annotations

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import AllChem, rdMolAlign

from equidrift.errors import InputError
from equidrift.models.rigid import rotations
from equidrift.models.rigid.registration import register

SMILES = [
    "CC(C)Cc1ccc(cc1)[C@H](C)C(=O)O",
    "CCOC(=O)c1ccccc1N",
    "C[C@@H](N)C(=O)NCc1ccncc1",
    "OC[C@H]1OC(O)[C@H](O)[C@@H](O)[C@@H]1O",
    "CN1CCC[C@H]1c1cccnc1",
    "Clc1ccc(cc1)S(=O)(=O)NCC1CC1",
]


def hidden(x: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Points turned and shifted, in another order, and the order."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(x))
    return (x @ rotations.haar(1, rng)[0].T + rng.uniform(-20, 20, 3))[order], order


def heavy(smiles: str, seed: int, jitter_A: float) -> tuple[Chem.Mol, np.ndarray, np.ndarray]:
    """A molecule without hydrogens, its positions, and those of a slightly other shape."""
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    AllChem.EmbedMolecule(mol, randomSeed=seed + 1)
    mol = Chem.RemoveHs(mol)
    x = mol.GetConformer().GetPositions()
    other = x + jitter_A * np.random.default_rng(seed).standard_normal(x.shape)
    return mol, x, other


def test_molecules_are_found_again_as_often_as_by_open3dalign() -> None:
    """A hidden, slightly distorted copy: within .3 A of the best fit of known atoms."""
    ours = theirs = 0
    for seed, smiles in enumerate(SMILES):
        mol, x, distorted = heavy(smiles, seed, 0.1)
        moved, order = hidden(distorted, seed)
        numbers = np.array([atom.GetAtomicNum() for atom in mol.GetAtoms()])
        found = register(moved, x, kinds=(numbers[order], numbers))
        best = np.sqrt(0.1**2 * 3)
        rms = np.sqrt(np.square(found.placed(moved) - x[order]).sum(-1).mean())
        ours += rms < best + 0.3
        probe = Chem.RenumberAtoms(mol, order.tolist())
        for k, at in enumerate(moved):
            probe.GetConformer().SetAtomPosition(k, at.tolist())
        rdMolAlign.GetO3A(probe, mol).Align()
        placed = probe.GetConformer().GetPositions()
        theirs += np.sqrt(np.square(placed - x[order]).sum(-1).mean()) < best + 0.3
    assert ours >= theirs and ours == len(SMILES)


@pytest.mark.long
@pytest.mark.parametrize("noise", [0.0, 0.02])
def test_a_cloud_of_points_is_laid_onto_another_draw_of_its_surface(noise: float) -> None:
    """A surface of no symmetry, by 600 points of each of two draws, within .1."""
    rng = np.random.default_rng(7)

    def surface(n: int) -> np.ndarray:
        u = rng.standard_normal((n, 3))
        u /= np.linalg.norm(u, axis=1, keepdims=True)
        bumps = 1 + 0.3 * u[:, 0] * u[:, 1] + 0.25 * u[:, 2] ** 3 + 0.25 * u[:, 0]
        return u * bumps[:, None] * [1.0, 0.7, 0.5]

    turn, shift = rotations.haar(1, rng)[0], np.array([3.0, -2.0, 5.0])
    b = surface(600)
    a = (surface(600) - shift) @ turn + noise * rng.standard_normal((600, 3))
    found = register(a, b)
    away = found.placed(a) - (a @ turn.T + shift)
    assert np.sqrt(np.square(away).sum(-1).mean()) < 0.1  # of a body two wide
    assert found.distance < 0.1


def test_mirror_images_do_not_lie_on_each_other() -> None:
    _, x, _ = heavy(SMILES[2], 1, 0.0)
    same, mirror = register(x + 4, x), register(x * [1, 1, -1], x)
    assert same.similarity > 0.999
    assert mirror.similarity < 0.9
    assert np.linalg.det(mirror.rotation) == pytest.approx(1)


def test_the_same_seed_gives_the_same_pose_and_points_may_come_in_any_order() -> None:
    _, x, _ = heavy(SMILES[0], 0, 0.0)
    moved, order = hidden(x, 4)
    found = [register(moved, x), register(moved, x), register(moved[::-1], x)]
    assert np.array_equal(found[0].rotation, found[1].rotation)
    for each in found:
        assert np.abs(each.placed(moved) - x[order]).max() < 0.01


def test_what_is_no_set_of_points_is_refused() -> None:
    x = np.eye(3)
    with pytest.raises(InputError, match="a has 2 points"):
        register(x[:2], x)
    with pytest.raises(InputError, match=r"b must be finite, \(n, 3\)"):
        register(x, x * np.nan)
    with pytest.raises(InputError, match="kinds must be"):
        register(x, x, kinds=([1, 1], [1, 1, 1]))

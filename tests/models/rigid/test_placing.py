"""Poses in a pocket: energies are RDKit's, the lowest pose is found, and the chain is
exact against quadrature.
"""

from __future__ import annotations

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import AllChem, rdForceFieldHelpers

from equidrift.adapters.rdkit.mmff_interaction import interaction
from equidrift.adapters.rdkit.molecule import from_mol
from equidrift.errors import InputError
from equidrift.models.rigid import rotations
from equidrift.models.rigid.placing import Interaction, chain, place
from equidrift.montecarlo.basins import correlation_time
from equidrift.records import Molecule
from equidrift.units import BOLTZMANN_EV_PER_K, KCAL_MOL_PER_EV

CROWN = "C1COCCOCCOCCOCCOCCO1"  # 18-crown-6


def shaped(smiles: str, seed: int = 1) -> tuple[Chem.Mol, Molecule, np.ndarray]:
    """RDKit's Mol, the Molecule and positions (n, 3) of one conformer."""
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    AllChem.EmbedMolecule(mol, randomSeed=seed)
    rdForceFieldHelpers.MMFFOptimizeMolecule(mol)
    return mol, from_mol(mol), mol.GetConformer().GetPositions()


def energy_of(ligand: Molecule, pocket: Molecule, pocket_A: np.ndarray, radius_A: float):
    tables = interaction(ligand, pocket)
    return Interaction(pocket_A, *tables, pocket_A.mean(axis=0), radius_A)


def rdkit_energy(mol: Chem.Mol) -> float:
    properties = rdForceFieldHelpers.MMFFGetMoleculeProperties(mol)
    field = rdForceFieldHelpers.MMFFGetMoleculeForceField(
        mol, properties, nonBondedThresh=1e6, ignoreInterfragInteractions=False
    )
    return field.CalcEnergy() / KCAL_MOL_PER_EV


def test_interaction_energies_are_those_of_rdkit() -> None:
    """Of a donor of hydrogen bonds and acceptors, whose pairs have rules of their own."""
    mol, ligand, x = shaped("CC(=O)NCCO")
    host, pocket, pocket_A = shaped("OCC(=O)Nc1ccccn1", 3)
    energy, rng = energy_of(ligand, pocket, pocket_A, 20.0), np.random.default_rng(2)
    alone = rdkit_energy(mol) + rdkit_energy(host)
    for _ in range(5):
        pose = (x - x.mean(0)) @ rotations.haar(1, rng)[0].T + rng.uniform(-5, 5, 3)
        pose += pocket_A.mean(axis=0)
        both = Chem.CombineMols(mol, host)
        for k, at in enumerate(pose):
            both.GetConformer().SetAtomPosition(k, at.tolist())
        Chem.SanitizeMol(both)
        expected = rdkit_energy(both) - alone
        assert energy(pose) == pytest.approx(expected, rel=1e-4, abs=1e-4)


@pytest.mark.long
def test_the_lowest_pose_of_ammonium_is_in_the_ring_of_a_crown_ether() -> None:
    """Below every one of 3,000 random poses, and its hydrogens at the oxygens."""
    _, ligand, x = shaped("C[NH3+]")
    _, pocket, pocket_A = shaped(CROWN)
    energy = energy_of(ligand, pocket, pocket_A, 4.0)
    poses = place(energy, x[None], 5, starts=12, seed=3)
    assert (np.diff(poses.energies_eV) >= 0).all() and len(poses.energies_eV) > 1
    rng = np.random.default_rng(0)
    turns, away = rotations.haar(3000, rng), rng.uniform(-3, 3, (3000, 3))
    random = [
        energy((x - x.mean(0)) @ turn.T + energy.centre_A + at)
        for turn, at in zip(turns, away, strict=True)
    ]
    assert poses.energies_eV[0] < min(random)
    for pose in poses.positions_A:  # shapes stay
        distances = [np.linalg.norm(y[:, None] - y, axis=-1) for y in (pose, x)]
        np.testing.assert_allclose(*distances, atol=1e-8)
    oxygens = pocket_A[pocket.numbers == 8]
    hydrogens = poses.positions_A[0][[k for k in range(8) if _on_nitrogen(ligand, k)]]
    nearest = np.linalg.norm(hydrogens[:, None] - oxygens, axis=-1).min(axis=1)
    assert np.sort(nearest)[1] < 2.6  # two hydrogen bonds at least: crowns differ between RDKits


def _on_nitrogen(molecule: Molecule, atom: int) -> bool:
    pairs = molecule.bonds[(molecule.bonds == atom).any(axis=1)]
    return molecule.numbers[atom] == 1 and 7 in molecule.numbers[pairs.ravel()].tolist()


@pytest.mark.long
def test_a_chain_of_poses_has_the_mean_energy_of_quadrature() -> None:
    """An ion beside glycol, in a ball: three coordinates, on a grid."""
    ligand = Molecule.from_smiles("[K+]")
    _, pocket, pocket_A = shaped("OCCO")
    energy = energy_of(ligand, pocket, pocket_A, 5.0)
    axis = np.linspace(-5, 5, 41)
    grid = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3)
    grid = grid[np.linalg.norm(grid, axis=1) < 5.0] + energy.centre_A
    kelvin = 1500.0  # many places count
    u = np.array([energy(at[None]) for at in grid])
    w = np.exp((u.min() - u) / (BOLTZMANN_EV_PER_K * kelvin))
    start = grid[u.argmin()][None]
    found = chain(energy, start, 800, temperature_K=kelvin, seed=4)
    series = found.energies_eV
    error = series.std() * np.sqrt(float(correlation_time(series)) / len(series))
    assert abs(series.mean() - (w @ u) / w.sum()) < 4 * error + 0.005
    assert found.acceptance > 0.1 and len(series) == 800


@pytest.mark.long
def test_a_chain_asks_for_the_energy_of_each_place_once() -> None:
    """And the energies of its frames are those of the places they show."""
    ligand = Molecule.from_smiles("[K+]")
    _, pocket, pocket_A = shaped("OCCO")
    energy = energy_of(ligand, pocket, pocket_A, 5.0)
    asked: list[bytes] = []

    class Asked(Interaction):
        def __call__(self, positions_A: np.ndarray) -> float:
            asked.append(positions_A.tobytes())
            return super().__call__(positions_A)

    watched = Asked(**vars(energy))
    found = chain(watched, energy.centre_A[None] + [0.0, 0.0, 3.0], 20, seed=2)
    assert len(asked) == len(set(asked)) and len(asked) > 1000
    assert found.energies_eV.tolist() == [energy(x) for x in found.positions_A]


def test_a_chain_needs_a_start_in_the_ball() -> None:
    ligand = Molecule.from_smiles("[K+]")
    _, pocket, pocket_A = shaped("OCCO")
    energy = energy_of(ligand, pocket, pocket_A, 5.0)
    with pytest.raises(InputError, match="no finite energy"):
        chain(energy, np.full((1, 3), 50.0), 10)
    with pytest.raises(InputError, match="radius_A must be positive"):
        energy_of(ligand, pocket, pocket_A, 0.0)

"""A SMILES as the template of a geometry's bond orders: right where it fits, refused by
atom where it does not.
"""

from __future__ import annotations

from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from rdkit import Chem
from rdkit.Chem import AllChem

import equidrift
from equidrift.adapters.rdkit.molecule import to_mol
from equidrift.errors import InputError
from equidrift.files.ensembles import load
from equidrift.files.trajectories import load_trajectory
from equidrift.inputs import as_molecule
from equidrift.records import Molecule

SMILES = [
    "CC(=O)Oc1ccccc1C(=O)O",
    "C[N+](C)(C)CC(=O)[O-]",
    "O=[N+]([O-])c1ccc(Cl)cc1",
    "OC(=O)c1ccsc1",
    "NC(=[NH2+])c1ccccc1",
    "C[C@H](N)C(=O)O",
    "F/C=C/Cl",
    "CC(=O)[O-].[Na+]",
    "CC#CC=C",
]


def geometry(smiles: str, *, hydrogens: bool = True) -> Chem.Mol:
    """An embedded Mol, its atoms in an order that is not the SMILES'."""
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    assert AllChem.EmbedMolecule(mol, randomSeed=7) == 0
    x = mol.GetConformer().GetPositions()
    for k, part in enumerate(Chem.GetMolFrags(mol)):
        x[list(part)] += [6.0 * k, 0, 0]
    mol.GetConformer().SetPositions(x)
    mol = mol if hydrogens else Chem.RemoveAllHs(mol)
    order = np.random.default_rng(3).permutation(mol.GetNumAtoms())
    return Chem.RenumberAtoms(mol, order.tolist())


def pdb_of(mol: Chem.Mol, path: Path) -> Path:
    """As programs for docking write it: coordinates and elements, and no bond."""
    lines = [
        f"HETATM{k + 1:5d} {atom.GetSymbol() + str(k):<4s} LIG A   1    "
        f"{x:8.3f}{y:8.3f}{z:8.3f}  1.00  0.00          {atom.GetSymbol().upper():>2s}"
        for k, (atom, (x, y, z)) in enumerate(
            zip(mol.GetAtoms(), mol.GetConformer().GetPositions(), strict=True)
        )
    ]
    path.write_text("\n".join([*lines, "END", ""]))
    return path


def canonical(molecule: Molecule) -> str:
    return str(Chem.MolToSmiles(Chem.RemoveHs(to_mol(molecule))))


@pytest.mark.parametrize("hydrogens", [True, False], ids=["all-atom", "heavy-atom"])
@pytest.mark.parametrize("smiles", SMILES)
def test_pdb_without_bonds_is_read_by_its_smiles(
    smiles: str, hydrogens: bool, tmp_path: Path
) -> None:
    mol = geometry(smiles, hydrogens=hydrogens)
    path = pdb_of(mol, tmp_path / "x.pdb")
    ensemble = load(path, smiles=smiles)
    molecule, n = ensemble.molecule, mol.GetNumAtoms()
    assert canonical(molecule) == Chem.CanonSmiles(smiles) and molecule.smiles == smiles
    assert molecule.numbers[:n].tolist() == [atom.GetAtomicNum() for atom in mol.GetAtoms()]
    np.testing.assert_allclose(
        ensemble.positions_A[0, :n], mol.GetConformer().GetPositions(), atol=1e-3
    )
    if hydrogens:  # a trajectory needs every atom
        assert load_trajectory(path, smiles=smiles, dt_fs=1).molecule == molecule


@pytest.mark.parametrize("smiles", SMILES)
def test_xyz_and_atoms_are_read_by_their_smiles(smiles: str, tmp_path: Path) -> None:
    mol = geometry(smiles)
    atoms = Atoms([a.GetSymbol() for a in mol.GetAtoms()], mol.GetConformer().GetPositions())
    ase.io.write(tmp_path / "x.xyz", [atoms, atoms])
    read = load(tmp_path / "x.xyz", smiles=smiles)
    assert canonical(read.molecule) == Chem.CanonSmiles(smiles) and len(read) == 2
    assert as_molecule(atoms, smiles=smiles) == read.molecule
    trajectory = load_trajectory(tmp_path / "x.xyz", smiles=smiles, dt_fs=1)
    assert trajectory.molecule == read.molecule


@pytest.mark.parametrize(
    ("smiles", "template", "message"),
    [
        ("CCO", "CCN", r"lacks what is atom O\d of LIG 1 A .*; its atom 2 \(N\) is not in"),
        ("CCO", "CCCO", r"its atom \d \(C\) is not in the geometry; C3O1 without"),
        ("CC(=O)O", "CC(=O)[O-]", r"atom O\d of LIG 1 A .* has 1 hydrogen in the geometry, 0 in"),
        ("CC(=O)C", "CC(=C)O", "is not the molecule of this geometry"),
        ("C1CCCC1C", "C=CCCCC", "only the geometry has the bond C"),
        ("C[C@H](N)C(=O)O", "C[C@@H](N)C(=O)O", r"another stereo than this geometry at C\d+;"),
        ("F/C=C/Cl", r"F/C=C\Cl", r"another stereo than this geometry at C\d+=C\d+;"),
        ("CCO", "not a SMILES", "cannot read the SMILES"),
    ],
)
def test_pdb_is_refused_by_atom_when_the_smiles_is_of_another_molecule(
    smiles: str, template: str, message: str, tmp_path: Path
) -> None:
    path = pdb_of(geometry(smiles), tmp_path / "x.pdb")
    with pytest.raises(InputError, match=message):
        load(path, smiles=template)


def test_template_without_stereo_takes_it_from_the_geometry(tmp_path: Path) -> None:
    path = pdb_of(geometry("C[C@H](N)C(=O)O"), tmp_path / "x.pdb")
    molecule = load(path, smiles="CC(N)C(=O)O").molecule
    assert canonical(molecule) == Chem.CanonSmiles("C[C@H](N)C(=O)O")


def test_template_and_charge_must_agree(tmp_path: Path) -> None:
    mol = geometry("CC(=O)[O-]")
    path = pdb_of(mol, tmp_path / "x.pdb")
    assert load(path, smiles="CC(=O)[O-]", charge=-1).molecule.charge == -1
    with pytest.raises(InputError, match=r"the SMILES has the charge -1, and charge=\+1"):
        load(path, smiles="CC(=O)[O-]", charge=1)


def test_trajectory_takes_the_template_of_its_topology(tmp_path: Path) -> None:
    ensemble = equidrift.sample("CC(=O)C=C", 2, model="etkdg")
    ensemble.save(tmp_path / "x.xtc")
    mol = to_mol(ensemble.molecule, ensemble.positions_A[:1])
    top = pdb_of(mol, tmp_path / "top.pdb")
    read = load_trajectory(tmp_path / "x.xtc", top, dt_fs=1, smiles="CC(=O)C=C")
    assert read.molecule.bond_orders.tolist() == ensemble.molecule.bond_orders.tolist()
    assert load(tmp_path / "x.xtc", top=top, smiles="CC(=O)C=C").molecule == read.molecule


@pytest.mark.parametrize("suffix", [".sdf", ".npz"])
def test_template_is_refused_for_formats_that_hold_bonds(suffix: str, tmp_path: Path) -> None:
    equidrift.sample("CCO", 1, model="etkdg").save(tmp_path / f"x{suffix}")
    with pytest.raises(InputError, match=r"holds? .*bonds.*; smiles= \(--smiles\) is for"):
        load(tmp_path / f"x{suffix}", smiles="CCO")
    with pytest.raises(InputError, match="tells the bonds of a geometry, and a str has its own"):
        as_molecule("CCO", smiles="CCO")


def test_hydrogens_on_polar_atoms_alone_are_completed(tmp_path: Path) -> None:
    mol = Chem.RWMol(geometry("CC(N)C(=O)O"))
    drop = [
        atom.GetIdx()
        for atom in mol.GetAtoms()
        if atom.GetSymbol() == "H" and atom.GetNeighbors()[0].GetSymbol() == "C"
    ]
    for k in sorted(drop, reverse=True):
        mol.RemoveAtom(k)
    path = pdb_of(mol.GetMol(), tmp_path / "x.pdb")
    assert canonical(load(path, smiles="CC(N)C(=O)O").molecule.replace(tetrahedral=[])) == (
        Chem.CanonSmiles("CC(N)C(=O)O")
    )
    with pytest.raises(InputError, match="has 2 hydrogens in the geometry, 3 in the SMILES"):
        load(path, smiles="CC([NH3+])C(=O)[O-]")

"""Files through RDKit: one broken record costs only itself, what is written is read
back, every message has a way out.
"""

from __future__ import annotations

import re

import numpy as np
import pytest
from rdkit import Chem

from equidrift.adapters.rdkit import io as rdkit_io
from equidrift.adapters.rdkit.io import read_molecules, write_mol, write_pdb, write_sdf
from equidrift.errors import InputError, UnknownNameError
from equidrift.records import Molecule


def test_smi_gives_a_record_per_line_with_title_or_error(tmp_path):
    path = tmp_path / "some.smi"
    path.write_text("smiles name\nCCO  ethanol of mine\n\n# a comment\nC1CC\nCC\tethane\nO\n")
    records = list(read_molecules(path))
    assert [r.index for r in records] == [0, 1, 2, 3]
    assert [r.title for r in records] == ["ethanol of mine", "C1CC", "ethane", "O"]
    assert (
        records[0].molecule == Molecule.from_smiles("CCO") and records[0].molecule.smiles == "CCO"
    )
    assert records[1].molecule is None and "cannot read the SMILES 'C1CC'" in records[1].error
    assert all(r.positions_A is None for r in records) and records[3].error is None


@pytest.mark.parametrize("suffix", [".smi", ".smiles", ".txt", ".sdf", ".mol", ".pdb"])
def test_empty_file(tmp_path, suffix):
    path = tmp_path / f"empty{suffix}"
    path.write_text("")
    with pytest.raises(InputError, match=r"is empty; expected molecules"):
        read_molecules(path)


@pytest.mark.parametrize(("suffix", "text"), [(".smi", "\n#nothing\n"), (".sdf", "\n\n")])
def test_file_without_molecules(tmp_path, suffix, text):
    path = tmp_path / f"blank{suffix}"
    path.write_text(text)
    with pytest.raises(InputError, match=r"holds no molecule"):
        list(read_molecules(path))


def test_unknown_suffix_and_missing_file(tmp_path):
    with pytest.raises(
        UnknownNameError, match=re.escape("unknown suffix '.sdff'. Did you mean '.sdf'?")
    ):
        read_molecules(tmp_path / "a.sdff")
    with pytest.raises(InputError, match=r"there is no file"):
        read_molecules(tmp_path / "a.sdf")


def test_sdf_round_trip(ensemble, tmp_path):
    path = tmp_path / "out.sdf"
    write_sdf(ensemble, path)
    records = list(read_molecules(path))
    assert len(records) == 2 and all(r.error is None for r in records)
    for k, record in enumerate(records):
        assert record.title == ensemble.molecule.name == record.molecule.name
        assert record.molecule.smiles == ensemble.molecule.smiles
        assert_same_graph(record.molecule, ensemble.molecule)
        np.testing.assert_allclose(record.positions_A[0], ensemble.positions_A[k], atol=6e-5)


def assert_same_graph(a: Molecule, b: Molecule) -> None:
    """Equal up to the way stereo rows and aromatic bonds are written, atom order
    included.
    """
    assert (
        a.numbers.tolist() == b.numbers.tolist()
        and a.formal_charges.tolist() == b.formal_charges.tolist()
    )
    assert sorted(map(sorted, a.bonds.tolist())) == sorted(map(sorted, b.bonds.tolist()))
    assert canonical(a) == canonical(b)


def canonical(molecule: Molecule) -> str:
    from equidrift.adapters.rdkit.molecule import to_mol

    return Chem.MolToSmiles(to_mol(molecule))


def test_sdf_properties_and_pieces(chiral, tmp_path):
    whole, pieces = tmp_path / "whole.sdf", tmp_path / "pieces.sdf"
    write_sdf(chiral, whole)
    write_sdf(chiral[:1], pieces)
    write_sdf(chiral[1:], pieces, append=True, first_sample=1)
    assert whole.read_bytes() == pieces.read_bytes()
    mols = list(Chem.SDMolSupplier(str(whole), removeHs=False))
    assert [m.GetProp("_Name") for m in mols] == [chiral.molecule.name] * 2
    assert [m.GetProp("smiles") for m in mols] == [chiral.molecule.smiles] * 2
    assert [m.GetIntProp("sample") for m in mols] == [0, 1]
    assert [int(m.GetProp("seed")) for m in mols] == chiral.seeds.tolist()
    assert [m.GetDoubleProp("energy_eV") for m in mols] == [-1.25, 0.5]
    assert mols[1].GetProp("model") == "etkdg" and mols[1].GetDoubleProp("clash") == 1.5
    assert "log_prob" not in list(mols[0].GetPropNames())


def test_sdf_title_is_the_smiles_where_there_is_no_name(chiral, tmp_path):
    write_sdf(chiral.replace(molecule=chiral.molecule.replace(name="")), tmp_path / "a.sdf")
    assert (
        next(Chem.SDMolSupplier(str(tmp_path / "a.sdf"))).GetProp("_Name") == chiral.molecule.smiles
    )
    (first, _) = read_molecules(tmp_path / "a.sdf")
    assert (first.molecule.name, first.molecule.smiles) == ("", chiral.molecule.smiles)


def test_sdf_title_is_the_name_where_no_smiles_was_given(chiral, tmp_path):
    write_sdf(chiral.replace(molecule=chiral.molecule.replace(smiles="")), tmp_path / "a.sdf")
    mol = next(Chem.SDMolSupplier(str(tmp_path / "a.sdf")))
    assert mol.GetProp("_Name") == "R and Z" and Chem.CanonSmiles(
        mol.GetProp("smiles")
    ) == Chem.CanonSmiles(chiral.molecule.smiles)


def test_broken_record_among_good_ones(chiral, tmp_path):
    path = tmp_path / "some.sdf"
    write_sdf(chiral, path)
    good = path.read_text().split("$$$$\n")[0] + "$$$$\n"
    five_bonds = Chem.MolToMolBlock(
        Chem.MolFromSmiles("C(C)(C)(C)(C)C", sanitize=False), kekulize=False
    )
    no_atoms = "empty\n\n\n  0  0  0  0  0  0  0  0  0  0999 V2000\nM  END\n$$$$\n"
    broken = ["title\n\n\nnot a counts line\n$$$$\n", f"{five_bonds}$$$$\n", no_atoms]
    truncated = good[: len(good) // 3]
    path.write_text(good + broken[0] + good + broken[1] + broken[2] + good + truncated)
    records = list(read_molecules(path))
    assert [r.error is None for r in records] == [True, False, True, False, False, True, False]
    assert "counts line" in records[1].error and records[1].title == "title"
    assert "valence" in records[3].error and "no atoms" in records[4].error
    assert all((r.molecule is None) == (r.error is not None) for r in records)


def test_flat_sdf_has_no_positions_but_stereo(tmp_path):
    mol = Chem.MolFromSmiles("C[C@H](N)C(=O)O")
    from rdkit.Chem import rdDepictor

    rdDepictor.Compute2DCoords(mol)
    Chem.MolToMolFile(mol, str(tmp_path / "flat.mol"))
    (record,) = read_molecules(tmp_path / "flat.mol")
    assert record.positions_A is None and record.molecule.n_atoms == 13
    assert canonical(record.molecule) == canonical(Molecule.from_smiles("C[C@H](N)C(=O)O"))


def test_mol_round_trip(ensemble, tmp_path):
    write_mol(ensemble[1], tmp_path / "a.mol")
    (record,) = read_molecules(tmp_path / "a.mol")
    assert_same_graph(record.molecule, ensemble.molecule)
    np.testing.assert_allclose(record.positions_A[0], ensemble.positions_A[1], atol=6e-5)


def test_mol_holds_one_conformer(chiral, tmp_path):
    with pytest.raises(InputError, match=r"holds one conformer, the ensemble has 2; write \.sdf"):
        write_mol(chiral, tmp_path / "a.mol")


def test_pdb_round_trip(ensemble, tmp_path):
    write_pdb(ensemble, tmp_path / "a.pdb")
    (record,) = read_molecules(tmp_path / "a.pdb")
    assert record.error is None
    assert_same_graph(record.molecule, ensemble.molecule)
    np.testing.assert_allclose(record.positions_A, ensemble.positions_A, atol=6e-4)


def test_pdb_keeps_names(chiral, tmp_path):
    n = chiral.molecule.n_atoms
    names = tuple(f"A{k}" for k in range(n))
    named = chiral.molecule.replace(
        atom_names=names, residue_names=("LIG",) * n, residue_ids=(7,) * n
    )
    write_pdb(chiral.replace(molecule=named), tmp_path / "a.pdb")
    (record,) = read_molecules(tmp_path / "a.pdb")
    assert record.molecule.atom_names == names and record.molecule.residue_names == ("LIG",) * n
    assert record.molecule.residue_ids == (7,) * n


def without_bonds(path, drop_charges=True, drop_hydrogens=False):
    lines = [line for line in path.read_text().splitlines() if not line.startswith("CONECT")]
    lines = [line[:78] if drop_charges else line for line in lines]
    if drop_hydrogens:
        lines = [line for line in lines if line[76:78].strip() != "H"]
    path.write_text("\n".join(lines))


def test_pdb_without_bonds_is_perceived(tmp_path):
    from tests.conftest import make_ensemble

    ensemble = make_ensemble("ibuprofen")
    write_pdb(ensemble, tmp_path / "a.pdb")
    without_bonds(tmp_path / "a.pdb")
    (record,) = read_molecules(tmp_path / "a.pdb")
    assert_same_graph(record.molecule, ensemble.molecule)
    assert record.positions_A.shape == ensemble.positions_A.shape


def test_pdb_of_an_ion_needs_its_charge(tmp_path):
    from tests.conftest import make_ensemble

    ensemble = make_ensemble("anion")
    write_pdb(ensemble, tmp_path / "a.pdb")
    without_bonds(tmp_path / "a.pdb")
    (record,) = read_molecules(tmp_path / "a.pdb")
    assert "charge -1 would fit" in record.error
    (record,) = read_molecules(tmp_path / "a.pdb", charge=-1)
    assert_same_graph(record.molecule, ensemble.molecule)


def test_pdb_with_neither_hydrogens_nor_bonds(tmp_path):
    from tests.conftest import make_ensemble

    write_pdb(make_ensemble("ibuprofen"), tmp_path / "a.pdb")
    without_bonds(tmp_path / "a.pdb", drop_hydrogens=True)
    (record,) = read_molecules(tmp_path / "a.pdb")
    assert "neither hydrogens nor bond orders" in record.error
    (tmp_path / "b.pdb").write_text("REMARK nothing here\nEND\n")
    (record,) = read_molecules(tmp_path / "b.pdb")
    assert "no readable ATOM" in record.error


def test_peptide_pdb_without_hydrogens(tmp_path):
    mol = Chem.MolFromSequence("GA")
    from rdkit.Chem import rdDistGeom

    full = Chem.AddHs(mol, addResidueInfo=True)
    rdDistGeom.EmbedMolecule(full, randomSeed=1)
    Chem.MolToPDBFile(Chem.RemoveHs(full), str(tmp_path / "a.pdb"), flavor=2)
    (record,) = read_molecules(tmp_path / "a.pdb")
    assert record.error is None and record.molecule.n_atoms == full.GetNumAtoms()
    assert (
        set(record.molecule.residue_names) == {"GLY", "ALA"}
        and np.isfinite(record.positions_A).all()
    )


@pytest.mark.parametrize("write", [write_sdf, write_pdb, lambda e, p: write_mol(e[0], p)])
def test_unwritable_path_and_nan(chiral, tmp_path, write):
    with pytest.raises(
        InputError, match=r"cannot write .*give a path in a folder you can write to"
    ):
        write(chiral, tmp_path / "no" / "such.sdf")
    broken = chiral.replace(positions_A=np.full_like(chiral.positions_A, np.nan))
    with pytest.raises(InputError, match=r"ensemble\[ensemble.valid\]"):
        write(broken, tmp_path / "a.sdf")


def test_readers_and_record_are_streams(tmp_path, monkeypatch):
    """A file of any length is read one entry at a time."""
    path = tmp_path / "a.smi"
    path.write_text("C\n" * 1000)
    seen = []
    original = rdkit_io._from_smiles
    monkeypatch.setattr(rdkit_io, "_from_smiles", lambda *a: seen.append(a) or original(*a))
    stream = read_molecules(path)
    next(stream), next(stream)
    assert len(seen) == 2

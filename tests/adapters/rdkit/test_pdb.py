"""PDB files that chemists have: every atom read, charges from the hydrogens, or a
refusal.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import rdDistGeom

from equidrift.adapters.rdkit.carried import ensemble_of
from equidrift.adapters.rdkit.io import read_molecules, write_pdb
from equidrift.adapters.rdkit.molecule import to_mol
from equidrift.records import Ensemble, Molecule
from tests.adapters.rdkit.pdb_files import canonical
from tests.conftest import graph_key, make_ensemble

CASES = Path(__file__).parents[2] / "data" / "cases"


def case(name: str) -> list:
    (path,) = CASES.glob(f"*/{name}")
    return list(read_molecules(path))


def n_records(path: Path) -> int:
    """ATOM and HETATM records of the first model."""
    text = path.read_text().split("ENDMDL")[0]
    return sum(line.startswith(("ATOM", "HETATM")) for line in text.splitlines())


CHLORIDE = "C[C@H](O)C(=O)NCc1cccc(Cl)c1"


@pytest.mark.parametrize("name", ["noH_altB_cl.pdb", "noH_altBC_cl.pdb"])
def test_atom_with_alternative_locations_alone_is_kept(name, caplog):
    (record,) = case(name)
    assert record.error is None
    assert sorted(record.molecule.symbols).count("Cl") == 1
    assert Chem.MolFromSmiles(canonical(record.molecule)).GetNumAtoms() == 14
    assert ("1 of 15 atoms left out" in caplog.text) == (name == "noH_altBC_cl.pdb")


def test_the_location_with_the_highest_occupancy_is_taken(tmp_path):
    (path,) = CASES.glob("*/noH_altBC_cl.pdb")
    lines = path.read_text().splitlines()
    places = [k for k, line in enumerate(lines) if line[12:15] == "CL1"]
    lines[places[0]] = lines[places[0]][:54] + "  0.30" + lines[places[0]][60:]
    lines[places[1]] = lines[places[1]][:54] + "  0.70" + lines[places[1]][60:]
    wanted = [float(lines[places[1]][k : k + 8]) for k in (30, 38, 46)]
    (tmp_path / "a.pdb").write_text("\n".join(lines))
    (record,) = read_molecules(tmp_path / "a.pdb")
    (chlorine,) = np.flatnonzero(record.molecule.numbers == 17)
    assert record.positions_A[0, chlorine].tolist() == wanted


@pytest.mark.parametrize("name", ["noH_noEl_cl.pdb", "noelem.pdb"])
def test_name_that_may_be_two_elements_is_refused(name):
    (record,) = case(name)
    assert "line 12: the atom 'CL1' of LIG has no element in columns 77-78" in record.error
    assert "may be C or Cl" in record.error


def test_elements_come_from_names_when_these_allow_one(tmp_path):
    ensemble = make_ensemble("ibuprofen")
    write_pdb(ensemble, tmp_path / "a.pdb")
    lines = [
        line[:76] if line.startswith("HETATM") else line
        for line in (tmp_path / "a.pdb").read_text().splitlines()
    ]
    (tmp_path / "a.pdb").write_text("\n".join(lines))
    (record,) = read_molecules(tmp_path / "a.pdb")
    assert graph_key(record.molecule) == graph_key(ensemble.molecule)


@pytest.mark.parametrize(
    ("field", "text", "message"),
    [
        (slice(30, 38), "   0.0x0", "coordinates .* in columns 31 to 54"),
        (slice(30, 38), "     nan", "NaN or infinite"),
        (slice(76, 78), "Qq", "'QQ' in columns 77-78, which is no element"),
        (slice(22, 26), "  x!", "the residue number"),
    ],
)
def test_record_that_breaks_the_format_is_refused(tmp_path, field, text, message):
    write_pdb(make_ensemble("R and Z")[0], tmp_path / "a.pdb")
    lines = (tmp_path / "a.pdb").read_text().splitlines()
    k = next(k for k, line in enumerate(lines) if line.startswith("HETATM"))
    lines[k] = lines[k][: field.start] + text + lines[k][field.stop :]
    (tmp_path / "a.pdb").write_text("\n".join(lines))
    (record,) = read_molecules(tmp_path / "a.pdb")
    assert record.molecule is None
    import re

    assert re.search(message, record.error), record.error


def test_chains_and_insertion_codes_are_kept():
    (record,) = case("gly_icode.pdb")
    molecule = record.molecule
    assert set(molecule.insertion_codes) == {"", "A", "B"} and molecule.charge == 0
    topology, _ = Ensemble(molecule, record.positions_A).to_openmm()
    residues = [(r.name, r.id, r.insertionCode.strip()) for r in topology.residues()]
    assert residues == [
        ("ACE", "51", ""),
        ("GLY", "52", "A"),
        ("GLY", "52", "B"),
        ("NME", "53", ""),
    ]
    (record,) = case("ala2_chains.pdb")
    assert set(record.molecule.chain_ids) == {"B"}


@pytest.mark.long
@pytest.mark.parametrize("name", ["gly_icode.pdb", "ala2_chains.pdb", "pep_KE.pdb", "pep_HID.pdb"])
def test_openmm_finds_its_templates_for_what_was_read(name):
    from openmm import app

    (record,) = case(name)
    ensemble = Ensemble(record.molecule, record.positions_A)
    topology, _ = ensemble.to_openmm()
    system = app.ForceField("amber14-all.xml").createSystem(topology)
    assert system.getNumParticles() == record.molecule.n_atoms


def test_models_of_different_molecules_are_entries_of_their_own():
    first, second = case("models_diff.pdb")
    assert (canonical(first.molecule), canonical(second.molecule)) == ("CCO", "CCCO")
    assert len(first.positions_A) == len(second.positions_A) == 1


def pdb_of_models(path: Path, smiles: list[str], keep: tuple[str, ...] = ()) -> None:
    """A PDB file with a MODEL of each molecule, atoms named alike."""
    models = []
    for k, text in enumerate(smiles, 1):
        mol = Chem.AddHs(Chem.MolFromSmiles(text))
        rdDistGeom.EmbedMolecule(mol, randomSeed=5)
        ensemble = Ensemble(Molecule.from_smiles(text), mol.GetConformer().GetPositions()[None])
        write_pdb(ensemble, path)
        lines = path.read_text().splitlines(keepends=True)
        atoms = [line for line in lines if line.startswith(("HETATM", *keep))]
        models.append(f"MODEL {k:8d}\n{''.join(atoms)}ENDMDL\n")
    path.write_text("".join([*models, "END\n"]))


@pytest.mark.parametrize(
    "smiles",
    [
        ["CCCO", "CC(C)O"],
        ["C[C@H](F)Cl", "C[C@@H](F)Cl"],
        [r"C/C=C\F", "C/C=C/F"],
        ["C1CC1C", "CC=CC"],
    ],
)
def test_isomers_among_models_are_entries_of_their_own(tmp_path, smiles):
    pdb_of_models(tmp_path / "a.pdb", smiles)
    records = list(read_molecules(tmp_path / "a.pdb"))
    read = {canonical(record.molecule) for record in records}
    wanted = {Chem.CanonSmiles(text) for text in smiles}
    assert read == wanted or read.issubset(
        wanted | {Chem.CanonSmiles("C/C=C/C"), Chem.CanonSmiles(r"C/C=C\C")}
    )
    assert len(records) == len(smiles)


def test_models_of_different_molecules_with_shared_bond_records_are_refused(tmp_path):
    pdb_of_models(tmp_path / "a.pdb", ["CCO", "CCCO"])
    text = (tmp_path / "a.pdb").read_text().replace("END\n", "", 0)
    (tmp_path / "a.pdb").write_text(text.removesuffix("END\n") + "CONECT    1    2\nEND\n")
    (record,) = read_molecules(tmp_path / "a.pdb")
    assert "2 different molecules, and the CONECT records do not say whose" in record.error


def test_open_stereo_of_our_own_file_stays_one_molecule(tmp_path):
    frames = []
    for smiles in ("C[C@H](F)Cl", "C[C@@H](F)Cl"):
        mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
        rdDistGeom.EmbedMolecule(mol, randomSeed=5)
        frames.append(mol.GetConformer().GetPositions())
    given = Ensemble(Molecule.from_smiles("CC(F)Cl"), np.array(frames))
    write_pdb(given, tmp_path / "a.pdb")
    (record,) = read_molecules(tmp_path / "a.pdb")
    assert len(record.positions_A) == 2 and len(record.molecule.tetrahedral) == 0


@pytest.mark.parametrize(
    ("name", "smiles"),
    [
        ("pep_AA.pdb", "C[C@H]([NH3+])C(=O)N[C@@H](C)C(=O)[O-]"),
        ("pep_KE.pdb", "[NH3+]CCCC[C@H]([NH3+])C(=O)N[C@@H](CCC(=O)[O-])C(=O)[O-]"),
        ("zwit_noconect.pdb", "[NH3+]CC(=O)[O-]"),
    ],
)
def test_zwitterion_has_the_charges_of_its_hydrogens(name, smiles):
    (record,) = case(name)
    assert record.error is None
    assert canonical(record.molecule) == Chem.CanonSmiles(smiles)


@pytest.mark.parametrize("name", ["capped_HID.pdb", "pep_HID.pdb"])
def test_histidine_with_hydrogen_on_delta_is_neutral(name):
    (path,) = CASES.glob(f"*/{name}")
    (record,) = case(name)
    ring = to_mol(record.molecule)
    assert record.molecule.charge == 0 and record.molecule.n_atoms == n_records(path)
    (match,) = ring.GetSubstructMatches(Chem.MolFromSmarts("c1[nX3;H1]cnc1"))
    assert all(record.molecule.formal_charges[k] == 0 for k in match)


@pytest.mark.long
@pytest.mark.parametrize(
    ("sequence", "charge"),
    [("AAA", 0), ("AFS", 0), ("ADA", -1), ("AKA", 1), ("GGG", 0), ("RPW", 1), ("HCY", 0)],
)
def test_peptide_of_openmms_modeller_has_the_charges_of_its_hydrogens(
    modeller_pdb, sequence, charge
):
    from openmm import app

    path = modeller_pdb(sequence)
    (record,) = read_molecules(path)
    assert record.error is None
    molecule = record.molecule
    assert molecule.charge == charge and molecule.n_atoms == n_records(path)
    assert molecule.multiplicity == 1 and len(molecule.tetrahedral) >= sequence.count("A")
    heavy = Chem.RemoveHs(to_mol(molecule))
    wanted = Chem.MolFromSequence(sequence)
    for mol in (heavy, wanted):
        for atom in mol.GetAtoms():
            atom.SetFormalCharge(0)
            atom.SetNoImplicit(False)
            atom.SetNumExplicitHs(0)
    assert heavy.GetNumBonds() == wanted.GetNumBonds()
    topology, _ = Ensemble(molecule, record.positions_A).to_openmm()
    app.ForceField("amber14-all.xml").createSystem(topology)


@pytest.mark.long
def test_charge_that_the_hydrogens_deny_is_refused(modeller_pdb):
    (record,) = read_molecules(modeller_pdb("AKA"), charge=0)
    assert "charge" in record.error and record.molecule is None
    (record,) = read_molecules(modeller_pdb("AKA"), charge=1)
    assert record.molecule.charge == 1


def test_peptide_that_lost_a_hydrogen_is_refused(tmp_path, modeller_pdb):
    lines = modeller_pdb("AAA").read_text().splitlines()
    lost = next(k for k, line in enumerate(lines) if line[12:16].strip() == "HB1")
    (tmp_path / "a.pdb").write_text("\n".join(lines[:lost] + lines[lost + 1 :]))
    (record,) = read_molecules(tmp_path / "a.pdb")
    assert "check that every hydrogen is there" in record.error


def zwitterion(sequence: str) -> Ensemble:
    """An RDKit peptide as a user makes it: hydrogens added last, without residues."""
    mol = Chem.RWMol(Chem.MolFromSequence(sequence))
    for atom in mol.GetAtoms():
        name = atom.GetPDBResidueInfo().GetName().strip()
        if name == "OXT":
            atom.SetFormalCharge(-1)
        if name == "N" and atom.GetPDBResidueInfo().GetResidueNumber() == 1:
            atom.SetFormalCharge(1)
    Chem.SanitizeMol(mol)
    full = Chem.AddHs(mol)
    rdDistGeom.EmbedMolecule(full, randomSeed=3)
    return ensemble_of(full)


@pytest.mark.parametrize("sequence", ["AAA", "AFS", "GWN"])
def test_openmm_finds_its_templates_for_an_rdkit_peptide(sequence):
    from openmm import app

    ensemble = zwitterion(sequence)
    topology, (positions,) = ensemble.to_openmm()
    assert [r.name for r in topology.residues()] == [
        Chem.MolFromSequence(letter).GetAtomWithIdx(0).GetPDBResidueInfo().GetResidueName()
        for letter in sequence
    ]
    system = app.ForceField("amber14-all.xml").createSystem(topology)
    assert system.getNumParticles() == ensemble.molecule.n_atoms
    from openmm import unit

    x = np.array(positions.value_in_unit(unit.angstrom))
    for bond in topology.bonds():
        assert np.linalg.norm(x[bond.atom1.index] - x[bond.atom2.index]) < 2.0
    names = [atom.name for atom in topology.atoms() if atom.residue.index == 1]
    assert "CA" in names and "H" in names and len(set(names)) == len(names)


def test_peptide_is_written_in_atom_records_with_chain_and_columns(tmp_path):
    ensemble = zwitterion("AG")
    write_pdb(ensemble, tmp_path / "a.pdb")
    lines = [line for line in (tmp_path / "a.pdb").read_text().splitlines() if "ALA" in line]
    assert lines and all(line.startswith("ATOM  ") and line[21] == "A" for line in lines)
    assert {line[12:16] for line in lines} >= {" N  ", " CA ", " HA ", " HB1"}
    (record,) = read_molecules(tmp_path / "a.pdb")
    assert graph_key(record.molecule) == graph_key(ensemble.molecule)


@pytest.mark.parametrize(
    "name", ["gly_icode.pdb", "ala2_chains.pdb", "pep_KE.pdb", "capped_HID.pdb"]
)
def test_pdb_file_survives_being_read_and_written(tmp_path, name):
    (record,) = case(name)
    write_pdb(Ensemble(record.molecule, record.positions_A), tmp_path / "a.pdb")
    (again,) = read_molecules(tmp_path / "a.pdb")
    assert again.molecule == record.molecule
    for label in ("atom_names", "residue_names", "residue_ids", "chain_ids", "insertion_codes"):
        assert getattr(again.molecule, label) == getattr(record.molecule, label), label
    assert np.array_equal(again.positions_A, record.positions_A)


def test_molecule_that_a_pdb_file_cannot_hold_is_refused(tmp_path):
    from equidrift.errors import InputError

    ensemble = make_ensemble("anion")
    n = ensemble.molecule.n_atoms
    far = ensemble.replace(positions_A=ensemble.positions_A + 1e4)
    long = ensemble.replace(molecule=ensemble.molecule.replace(chain_ids=("AB",) * n))
    many = ensemble.replace(molecule=ensemble.molecule.replace(residue_ids=(10_000,) * n))
    for broken in (far, long, many):
        with pytest.raises(InputError, match="a PDB file cannot hold this molecule"):
            write_pdb(broken, tmp_path / "a.pdb")

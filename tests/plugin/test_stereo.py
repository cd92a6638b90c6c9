"""What is done with stereo that an input leaves open."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from rdkit import Chem

import equidrift
from equidrift.errors import InputError, MoleculeError, UnknownNameError
from equidrift.files.ensembles import load_all
from equidrift.files.plain import molecule_from_dict, molecule_to_dict
from equidrift.fragments import largest_fragment
from equidrift.records import Ensemble, Molecule
from equidrift.residues import reordered
from equidrift.scale.many import Sampled
from equidrift.stereo import isomers_of
from tests.commands import Cli, caller

OPEN = "CC(O)C(F)CC"  # two open centres: four isomers
HALF = "C[C@H](O)C(F)CC"


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Cli:
    """Run a command in an empty folder; its exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    return caller(monkeypatch, capsys)


def stereo_in_space(ensemble: Ensemble) -> set[str]:
    """The SMILES that RDKit reads from the coordinates."""
    mol, found = ensemble.to_rdkit(), set()
    for conformer in mol.GetConformers():
        Chem.AssignStereochemistryFrom3D(mol, conformer.GetId(), replaceExistingTags=True)
        found.add(Chem.MolToSmiles(Chem.RemoveHs(mol)))
    return found


def test_open_stereo_is_refused_when_required() -> None:
    with pytest.raises(MoleculeError, match=r"C1, C3 open.*stereo='enumerate'"):
        equidrift.sample(OPEN, stereo="require", model="etkdg")
    made = equidrift.sample("C[C@H](O)[C@H](F)CC", stereo="require", model="etkdg")
    assert len(made) == 1


@pytest.mark.parametrize(
    ("smiles", "isomers", "noted"),
    [
        ("C[C@H](F)Cl |&1:1|", 2, "the stereo at C1 is a racemate"),
        ("C[C@H](F)Cl |o1:1|", 2, "the stereo at C1 is one enantiomer or the other"),
        ("C[C@H](F)[C@@H](Br)Cl |&1:1,3|", 2, "the stereo at C1, C3 is a racemate"),
        ("C[C@H](F)[C@@H](Br)Cl |&1:1,o2:3|", 4, "the stereo at C1 is a racemate"),
        ("C[C@H](F)Cl |a:1|", 1, ""),
    ],
)
def test_relative_stereo_is_noted_enumerated_and_refused(
    smiles: str, isomers: int, noted: str
) -> None:
    molecule = Molecule.from_smiles(smiles)
    made = [entry.ensemble for entry in _each_isomer(smiles)]
    assert len(made) == isomers
    for ensemble in made:
        assert ensemble is not None and "notes" not in ensemble.provenance
        assert stereo_in_space(ensemble) == {Chem.CanonSmiles(ensemble.molecule.smiles)}
    assert len({ensemble.molecule.smiles for ensemble in made if ensemble}) == isomers
    notes = equidrift.sample(molecule, 1, model="etkdg").provenance.get("notes", ())
    assert len(notes) == len({group for _, group, _ in molecule.stereo_groups.tolist()})
    assert all("enumerate" in note for note in notes) and noted in " ".join(notes)
    if noted:
        with pytest.raises(MoleculeError, match="leaves the stereo of C1"):
            isomers_of(molecule, "require")


def test_relative_stereo_survives_a_file_a_new_order_and_a_salt() -> None:
    molecule = Molecule.from_smiles("Cl.C[C@H](N)[C@@H](Br)Cl |&1:2,o2:4|")
    rows = molecule.stereo_groups.tolist()
    assert sorted((centre, both) for centre, _, both in rows) == [(2, 1), (4, 0)]
    assert molecule_from_dict(molecule_to_dict(molecule)).stereo_groups.tolist() == rows
    order = np.arange(molecule.n_atoms)[::-1]
    turned = reordered(molecule, order).stereo_groups
    assert (order[turned[:, 0]] == molecule.stereo_groups[:, 0]).all()
    part = largest_fragment(molecule)
    assert part.stereo_groups[:, 0].tolist() == [row[0] - 1 for row in rows]


def _each_isomer(smiles: str) -> list[Sampled]:
    return list(equidrift.sample_many([smiles], 1, stereo="enumerate", model="etkdg"))


def test_isomers_are_molecules_of_their_own_when_enumerated() -> None:
    molecule = Molecule.from_smiles(OPEN, name="mine")
    isomers = isomers_of(molecule, "enumerate")
    assert [isomer.name for isomer in isomers] == ["mine-1", "mine-2", "mine-3", "mine-4"]
    assert len({isomer.smiles for isomer in isomers}) == 4
    assert len({isomer.key() for isomer in isomers}) == 4
    assert all(isomer.numbers.tolist() == molecule.numbers.tolist() for isomer in isomers)
    assert len(isomers_of(Molecule.from_smiles(HALF), "enumerate")) == 2
    (alone,) = isomers_of(Molecule.from_smiles("CCO"), "enumerate")
    assert alone == Molecule.from_smiles("CCO")
    with pytest.raises(MoleculeError, match="128 stereoisomers, and 32 are made at most"):
        isomers_of(Molecule.from_smiles("C" + "C(F)" * 7 + "O"), "enumerate")


def test_conformers_have_the_stereo_of_their_isomer_when_enumerated() -> None:
    entries = list(equidrift.sample_many([(OPEN, "mine")], 2, stereo="enumerate", model="etkdg"))
    assert [entry.name for entry in entries] == ["mine-1", "mine-2", "mine-3", "mine-4"]
    for entry in entries:
        assert entry.ensemble is not None and len(entry.ensemble) == 2
        assert stereo_in_space(entry.ensemble) == {entry.ensemble.molecule.smiles}
    with pytest.raises(InputError, match=r"4 stereoisomers.*sample_many"):
        equidrift.sample(OPEN, stereo="enumerate", model="etkdg")
    with pytest.raises(UnknownNameError):
        equidrift.sample(OPEN, stereo="all", model="etkdg")


def test_command_writes_a_record_of_each_isomer(cli: Cli) -> None:
    Path("in.smi").write_text(f"{OPEN} mine\nCCO ethanol\n")
    asked = ("--model", "etkdg", "-n", 2, "--stereo", "enumerate", "-o")
    assert cli("sample", "in.smi", *asked, "out.sdf")[0] == 0
    names = [ensemble.molecule.name for ensemble in load_all("out.sdf")]
    assert names == ["mine-1", "mine-2", "mine-3", "mine-4", "ethanol"]
    code, _, err = cli("sample", OPEN, *asked, "out.npz")
    assert code == 2 and "may make several molecules" in err
    asked = ("--model", "etkdg", "--stereo", "require", "-o", "b.sdf")
    code, out, err = cli("sample", "in.smi", *asked)
    assert code == 1 and "leaves the stereo of C1, C3 open" in " ".join((out + err).split())

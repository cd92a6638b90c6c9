"""Everything that comes in goes out: names, properties, isotopes and atom maps, through
every format that is written and read.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rdkit import Chem

import equidrift
from equidrift import registry
from equidrift.adapters.rdkit.etkdg import ETKDG
from equidrift.adapters.rdkit.io import read_molecules
from equidrift.cli.main import run as main
from equidrift.errors import InputError
from equidrift.files.ensembles import load, load_all
from equidrift.files.inputs import read_inputs
from equidrift.records import TITLE, Ensemble, Molecule
from equidrift.registry import ENSEMBLE_WRITERS
from equidrift.text import one_line, split_smiles
from tests.doubles import Unmoved

CASES = Path(__file__).parents[1] / "data" / "cases"
# open centre, aziridine and bridgehead nitrogen, chirality by deuterium, ions, stereo
# of every kind, isotopes
SMILES = (
    "CC(F)Cl",
    "CC1CN1CCO",
    "C1CN2CCC1CC2",
    "C[C@H]([2H])O",
    "[2H]C([2H])([2H])O",
    "[13CH3]C(=O)[O-]",
    r"C[C@H](F)/C=C\Br",
    "CC[S@](=O)C",
    "C[C@H](O)[C@@H](O)C",
    "CC(O)C(F)C",
    "O=[N+]([O-])c1ccccc1",
    "[NH3+][C@@H](CO)C(=O)[O-]",
    "c1ccc2[nH]ccc2c1",
    "C[C@@H](N)C(=O)N[C@H](C)C(=O)O",
    "CN1C=NC2=C1C(=O)N(C(=O)N2C)C",
)
WITH_GRAPH = (".sdf", ".sdf.gz", ".mol", ".xyz", ".extxyz", ".traj", ".npz")
WITHOUT_GRAPH = (".xtc", ".dcd", ".h5md")
# what a file's coordinates are rounded to, A
ROUNDED_A = {
    ".sdf": 6e-5,
    ".sdf.gz": 6e-5,
    ".mol": 6e-5,
    ".xyz": 1e-8,
    ".extxyz": 1e-8,
    ".traj": 0.0,
    ".npz": 0.0,
}
ROUNDED_A |= {".xtc": 6e-5, ".dcd": 4e-6, ".h5md": 4e-6}


def run(arguments: list[str]) -> int:
    """The exit code of the command."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["equidrift", *arguments])
        try:
            main()
        except SystemExit as stop:
            return int(stop.code or 0)
    return 0


def made(smiles: str, n: int = 3, **fields) -> Ensemble:
    molecule = Molecule.from_smiles(smiles).replace(**fields)
    seeds = np.arange(1, n + 1)
    return Ensemble(
        molecule, ETKDG().sample(molecule, seeds), seeds=seeds, provenance={"model": "etkdg"}
    )


def conformers(smiles: str, suffix: str, **fields) -> Ensemble:
    return made(smiles, 1 if suffix == ".mol" else 3, **fields)


@pytest.mark.parametrize("suffix", WITH_GRAPH)
@pytest.mark.parametrize("smiles", SMILES)
def test_file_gives_back_one_molecule_with_its_name_and_properties(suffix, smiles, tmp_path):
    ensemble = conformers(
        smiles,
        suffix,
        name="compound 1 batch A",
        properties={"IC50 (nM)": "7.2", "vendor": "Z 12\nb"},
    )
    ensemble.save(tmp_path / f"a{suffix}")
    again = load(tmp_path / f"a{suffix}")
    assert again.molecule.key() == ensemble.molecule.key() or _canonical(
        again.molecule
    ) == _canonical(ensemble.molecule)
    assert len(again.molecule.tetrahedral) == len(ensemble.molecule.tetrahedral)
    assert (again.molecule.name, again.molecule.smiles) == ("compound 1 batch A", smiles)
    assert dict(again.molecule.properties) == {"IC50 (nM)": "7.2", "vendor": "Z 12\nb"}
    assert again.molecule.isotopes.tolist() == ensemble.molecule.isotopes.tolist()
    assert again.seeds.tolist() == ensemble.seeds.tolist() and again.provenance["model"] == "etkdg"
    np.testing.assert_allclose(
        again.positions_A, ensemble.positions_A, atol=ROUNDED_A[suffix], rtol=0
    )


def _canonical(molecule: Molecule) -> str:
    from equidrift.adapters.rdkit.molecule import to_mol

    return Chem.MolToSmiles(to_mol(molecule))


@pytest.mark.parametrize("suffix", WITHOUT_GRAPH)
def test_trajectory_file_is_read_with_its_topology(suffix, tmp_path):
    ensemble = made("C[C@H](F)O", name="x")
    ensemble.save(tmp_path / f"a{suffix}")
    again = load(tmp_path / f"a{suffix}", top="C[C@H](F)O")
    assert again.molecule == ensemble.molecule
    np.testing.assert_allclose(
        again.positions_A, ensemble.positions_A, atol=ROUNDED_A[suffix], rtol=0
    )
    with pytest.raises(InputError, match="give the topology too"):
        load(tmp_path / f"a{suffix}")


def test_every_format_that_is_written_is_in_these_tests():
    assert set(ENSEMBLE_WRITERS) == {*WITH_GRAPH, *WITHOUT_GRAPH, ".pdb"}


@pytest.mark.parametrize("suffix", [suffix for suffix in WITH_GRAPH if suffix != ".mol"])
def test_properties_of_conformers_stay_with_their_conformers(suffix, tmp_path):
    ensemble = made("CCO").replace(
        properties={"pose": ["a", "b", "c"], TITLE: ["t1", "t2", "t3"]},
        energies_eV=[0.0, -1.0, 2.0],
        scores={"my score": [1.0, 2.5, -3.0]},
    )
    ensemble.save(tmp_path / f"a{suffix}")
    again = load(tmp_path / f"a{suffix}")
    assert dict(again.properties) == dict(ensemble.properties)
    assert again.energies_eV.tolist() == [0.0, -1.0, 2.0] and again.scores["my score"].tolist() == [
        1.0,
        2.5,
        -3.0,
    ]


def test_two_entries_of_one_molecule_keep_their_names(tmp_path):
    for name in ("a", "b"):
        made("CCO", 2, name=name, properties={"id": name}).save(tmp_path / f"{name}.sdf")
    both = tmp_path / "both.sdf"
    both.write_text((tmp_path / "a.sdf").read_text() + (tmp_path / "b.sdf").read_text())
    assert [(e.molecule.name, e.molecule.properties["id"], len(e)) for e in load_all(both)] == [
        ("a", "a", 2),
        ("b", "b", 2),
    ]


def test_record_whose_geometry_was_changed_is_not_taken_for_its_smiles(tmp_path):
    ensemble = made("C[C@H](F)Cl", 1)
    ensemble.replace(positions_A=ensemble.positions_A * [1, 1, -1]).save(tmp_path / "a.sdf")
    again = load(tmp_path / "a.sdf")
    assert again.molecule == Molecule.from_smiles("C[C@@H](F)Cl") and again.molecule.smiles == ""
    assert again.molecule.properties["smiles"] == "C[C@H](F)Cl"


def test_user_field_with_the_name_of_one_of_ours_is_kept_beside_it(tmp_path):
    made("CCO", 1, properties={"model": "from a vendor", "seed": "none"}).save(tmp_path / "a.sdf")
    mol = next(Chem.SDMolSupplier(str(tmp_path / "a.sdf")))
    assert (mol.GetProp("input_model"), mol.GetProp("model")) == ("from a vendor", "etkdg")
    assert mol.GetProp("input_seed") == "none"


TEXT = st.text(
    st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Zl", "Zp")), max_size=30
).map(str.strip)


@pytest.mark.long
@pytest.mark.parametrize("suffix", WITH_GRAPH)
@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(name=TEXT, value=TEXT)
def test_any_name_and_value_survive(suffix, name, value, tmp_path):
    molecule = Molecule.from_smiles("[2H]O", name=name).replace(properties={"field": value})
    Ensemble(molecule, [[[0.0, 0, 0], [1, 0, 0], [0, 1, 0]]]).save(tmp_path / f"a{suffix}")
    again = load(tmp_path / f"a{suffix}").molecule
    plain = suffix in (".sdf", ".sdf.gz", ".mol")
    assert (
        again.name == (one_line(name) if plain else name)
        and again.isotopes.tolist() == molecule.isotopes.tolist()
    )
    assert again.properties["field"].strip() == value


@pytest.mark.parametrize(
    ("line", "smiles", "name"),
    [
        ("CCO compound 1 batch A", "CCO", "compound 1 batch A"),
        ("CCO\tid-7\t8.1", "CCO", "id-7\t8.1"),
        ("C[C@H](F)Cl |o1:1| trans racemate", "C[C@H](F)Cl |o1:1|", "trans racemate"),
        ("C[C@H](F)Cl |o1:1|", "C[C@H](F)Cl |o1:1|", ""),
        ("CC |$a b;$|  x", "CC |$a b;$|", "x"),
        ("CCO |a", "CCO", "|a"),
        ("CCO", "CCO", ""),
    ],
)
def test_cxsmiles_is_no_name(line, smiles, name, tmp_path):
    assert split_smiles(line) == (smiles, name)
    (tmp_path / "in.smi").write_text(f"{line}\n")
    if "$" not in line:
        (record,) = read_molecules(tmp_path / "in.smi")
        assert (record.molecule.smiles, record.molecule.name) == (smiles, one_line(name))


def test_names_and_fields_that_are_not_utf_8_are_read(tmp_path):
    (tmp_path / "in.smi").write_bytes("CCO éthanol\n".encode("cp1252"))
    assert next(iter(read_molecules(tmp_path / "in.smi"))).molecule.name == "éthanol"
    made("CCO", 1, name="N", properties={"lieu": "X"}).save(tmp_path / "a.sdf")
    (tmp_path / "a.sdf").write_bytes(
        (tmp_path / "a.sdf").read_text().replace("\nX\n", "\nÖrebro\n").encode("cp1252")
    )
    assert load(tmp_path / "a.sdf").molecule.properties["lieu"] == "Örebro"


# The cases ----------------------------------------------------------------------------


def sampled(case: str, tmp_path: Path, file: str = "in.smi") -> list[Chem.Mol]:
    out = tmp_path / "out.sdf"
    assert (
        run(["sample", str(CASES / case / file), "-n", "2", "--model", "etkdg", "-o", str(out)])
        == 0
    )
    return list(Chem.SDMolSupplier(str(out), removeHs=False))


def test_names_of_a_smi_are_the_titles_of_the_sdf(tmp_path):
    mols = sampled("C15-names-lost", tmp_path)
    assert [mol.GetProp("_Name") for mol in mols] == ["compound 1 batch A"] * 2 + ["compound-2"] * 2
    assert [mol.GetProp("smiles") for mol in mols] == ["CCO"] * 2 + ["CCN"] * 2


def test_isotopes_reach_the_mol_block_and_hold_stereo(tmp_path):
    mols = sampled("C14-isotopes", tmp_path)[::2]
    assert [
        [atom.GetIsotope() for atom in mol.GetAtoms() if atom.GetIsotope()] for mol in mols
    ] == [[2, 2, 2], [2], [13]]
    Chem.AssignStereochemistryFrom3D(mols[1])
    assert Chem.MolToSmiles(Chem.RemoveHs(mols[1])) == Chem.CanonSmiles("C[C@H]([2H])O")


@pytest.mark.parametrize(
    ("file", "isotopes"), [("Dsym.sdf", [2, 2, 2]), ("iso.sdf", [2, 2, 2, 13])]
)
def test_isotopes_of_an_sdf_are_read(file, isotopes, tmp_path):
    mols = sampled("C14-isotopes", tmp_path, file)
    assert sorted(atom.GetIsotope() for atom in mols[0].GetAtoms() if atom.GetIsotope()) == isotopes


@pytest.mark.parametrize("command", ["sample", "refine"])
def test_fields_of_an_sdf_pass_through(command, tmp_path, monkeypatch):
    file, out = CASES / "F12-sdf-fields-dropped" / "names.sdf", tmp_path / "out.sdf"
    monkeypatch.setitem(registry.REFINERS, "refine", "tests.doubles:Unmoved")
    arguments = {"sample": ["-n", "1", "--model", "etkdg"], "refine": []}[command]
    assert run([command, str(file), *arguments, "-o", str(out)]) == 0
    first, second = Chem.SDMolSupplier(str(out))
    assert (first.GetProp("ID"), first.GetProp("pIC50"), second.GetProp("ID")) == (
        "ABC-001",
        "7.2",
        "ABC-002",
    )
    assert (first.GetProp("_Name"), second.GetProp("_Name")) == (
        "ligand A  (batch 7)",
        "éthanol №2",
    )
    assert first.GetProp("model") == {"sample": "etkdg", "refine": "unmoved"}[command]


def test_rdkit_mol_keeps_its_properties_on_the_way_through(tmp_path):
    mol = Chem.MolFromSmiles("[CH3:7][13CH2]O")
    mol.SetProp("_Name", "seven")
    mol.SetDoubleProp("pKa", 15.9)
    out = equidrift.sample(mol, 1, model="etkdg").to_rdkit()
    assert (out.GetProp("_Name"), out.GetProp("pKa")) == ("seven", "15.9")
    assert [atom.GetAtomMapNum() for atom in out.GetAtoms()][:3] == [7, 0, 0]
    assert [atom.GetIsotope() for atom in out.GetAtoms()][:3] == [0, 13, 0]


def test_atom_maps_reach_the_sdf(tmp_path):
    made("[CH3:7][CH2:2]O", 1).save(tmp_path / "a.sdf")
    assert load(tmp_path / "a.sdf").molecule.atom_maps.tolist()[:3] == [7, 2, 0]


def test_plain_xyz_of_conformers_is_refined(tmp_path, monkeypatch):
    """As crest writes it: several conformers, the energy as comment, nothing about
    bonds.
    """
    ensemble = made("CC(=O)Nc1ccccc1", 3)
    lines = []
    for k, frame in enumerate(ensemble.positions_A):
        lines += [str(len(frame)), f"        -29.{k}5647123"]
        lines += [
            f" {symbol:2} {x:20.10f} {y:20.10f} {z:20.10f}"
            for symbol, (x, y, z) in zip(ensemble.molecule.symbols, frame, strict=True)
        ]
    (tmp_path / "crest_conformers.xyz").write_text("\n".join(lines) + "\n")
    monkeypatch.setitem(registry.REFINERS, "refine", "tests.doubles:Unmoved")
    assert (
        run(["refine", str(tmp_path / "crest_conformers.xyz"), "-o", str(tmp_path / "x.sdf")]) == 0
    )
    mols = list(Chem.SDMolSupplier(str(tmp_path / "x.sdf")))
    assert {Chem.MolToSmiles(mol) for mol in mols} == {Chem.CanonSmiles("CC(=O)Nc1ccccc1")} and len(
        mols
    ) == 3
    assert [mol.GetProp("comment") for mol in mols] == [f"-29.{k}5647123" for k in range(3)]


def test_model_of_a_refined_record_is_the_refiner(tmp_path):
    ensemble = made("CCO", 1)
    refined = equidrift.refine(ensemble, model=Unmoved())
    assert (refined.provenance["model"], refined.provenance["input_model"]) == ("unmoved", "etkdg")
    given = equidrift.refine(ensemble.replace(provenance={"model": "given"}), model=Unmoved())
    assert given.provenance["model"] == "unmoved" and "input_model" not in given.provenance


def test_isotopes_have_their_masses_in_ase_and_openmm():
    from openmm import unit

    ensemble = made("[2H]C([2H])([2H])[13CH2]O", 1)
    heavy = {2: 2.0141, 13: 13.00335}
    wanted = [heavy.get(k, 0.0) for k in ensemble.molecule.isotopes.tolist()]
    masses = ensemble.to_ase()[0].get_masses()
    system = equidrift.mmff_system(ensemble.molecule)
    particles = [
        system.getParticleMass(k).value_in_unit(unit.dalton)
        for k in range(system.getNumParticles())
    ]
    universe = ensemble.to_mdanalysis().atoms.masses
    for found in (masses, particles, universe):
        assert [abs(m - w) < 1e-3 for m, w in zip(found, wanted, strict=True) if w] == [True] * 4
    assert abs(particles[0] - 2.0141) < 1e-3 and abs(particles[-1] - 1.008) < 1e-2


def test_entries_of_a_file_carry_what_the_file_says():
    entries = list(read_inputs([str(CASES / "F12-sdf-fields-dropped" / "names.sdf")]))
    assert [dict(entry.molecule.properties) for entry in entries] == [
        {"ID": "ABC-001", "pIC50": "7.2"},
        {"ID": "ABC-002"},
    ]
    assert json.dumps([entry.molecule.name for entry in entries])


SMALL_FILES = [
    ("crlf", "CCO ethanol one\r\nCCN amine\r\n", [("CCO", "ethanol one"), ("CCN", "amine")]),
    ("mark of utf-8", "\ufeffCCO ethanol\n", [("CCO", "ethanol")]),
    ("unicode", "CCO \u03b2-\u540d\n", [("CCO", "\u03b2-\u540d")]),
    ("same name", "CCO a\nCCN a\n", [("CCO", "a"), ("CCN", "a")]),
    ("no name", "CCO \nCCN\n", [("CCO", ""), ("CCN", "")]),
    ("long name", f"CCO {'x' * 3000}\n", [("CCO", "x" * 3000)]),
    ("tab", "CCO\tof a table\n", [("CCO", "of a table")]),
    ("atom label", "CCO |$;;R$| labelled\n", [("CCO", "labelled")]),
]


@pytest.mark.parametrize(
    ("text", "expected"), [f[1:] for f in SMALL_FILES], ids=[f[0] for f in SMALL_FILES]
)
def test_names_of_a_small_smi_are_read_as_they_stand(tmp_path, text, expected):
    path = tmp_path / "a.smi"
    path.write_bytes(text.encode())
    records = list(read_molecules(path))
    assert [record.error for record in records] == [None] * len(expected)
    molecules = [record.molecule for record in records]
    assert [(m.smiles.split()[0], m.name) for m in molecules] == expected

"""Receptors in PDB files: what they hold, what is left out and told, messages."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from rdkit import Chem

from equidrift.adapters.rdkit.receptor import read_places, read_receptor
from equidrift.adapters.rdkit.residue_bonds import of_template
from equidrift.errors import EquidriftError
from equidrift.records import Molecule
from tests.adapters.rdkit.pdb_files import canonical

Pdb = Callable[..., Path]
ATOM = "HETATM{:5d} {:<4s} {:>3s} B{:4d}    {:8.3f}{:8.3f}{:8.3f}  1.00  0.00          {:>2s}"


def records(path: Path) -> list[str]:
    """The lines of a file up to its end, without CONECT."""
    lines = path.read_text().splitlines()
    return [line for line in lines if line.startswith(("ATOM", "HETATM"))]


def hetero(residue: str, name: str, x: float, symbol: str, number: int = 301) -> str:
    return ATOM.format(9000, name, residue, number, x, 0.0, 0.0, symbol)


def written(folder: Path, lines: list[str]) -> Path:
    path = folder / "receptor.pdb"
    path.write_text("\n".join([*lines, "END", ""]))
    return path


def charges(molecule: Molecule) -> dict[str, int]:
    """Formal charge by residue number, residue and atom, where it is not 0."""
    labels = zip(
        molecule.residue_ids or (),
        molecule.residue_names or (),
        molecule.atom_names or (),
        molecule.formal_charges.tolist(),
        strict=True,
    )
    return {f"{k} {residue} {name.strip()}": q for k, residue, name, q in labels if q}


def test_a_charged_protein_in_water_is_read() -> None:
    app = pytest.importorskip("openmm.app")
    found, notes = read_receptor(f"{app.__path__[0]}/data/test.pdb")
    molecule = found.molecule
    assert (molecule.n_atoms, molecule.charge) == (582, 2)
    assert notes == ("left out of the pocket: 2 x Cl (an ion of the solution), 2761 x water",)
    of = [next(iter(key.split()[1:2])) for key in charges(molecule)]
    assert {name: of.count(name) for name in ("LYS", "ARG", "ASP", "GLU")} == {
        "LYS": 5,
        "ARG": 1,
        "ASP": 2,
        "GLU": 2,
    }


def test_hydrogens_are_added_as_at_ph_7(tmp_path: Path, modeller_pdb: Pdb) -> None:
    given = records(modeller_pdb("GKDREW"))
    whole, notes = read_receptor(written(tmp_path, given))
    assert notes == ()
    bare = [line for line in given if line[76:78].strip() != "H"]
    found, notes = read_receptor(written(tmp_path, bare))
    assert "no hydrogens: they are added" in notes[0] and "pH 7" in notes[0]
    assert canonical(found.molecule) == canonical(whole.molecule)
    expected = {"1 GLY N": 1, "2 LYS NZ": 1, "3 ASP OD2": -1, "4 ARG NH2": 1}
    expected |= {"5 GLU OE2": -1, "6 TRP OXT": -1}
    assert charges(found.molecule) == expected


def moved(line: str, to: np.ndarray) -> str:
    """A record with its atom elsewhere."""
    return f"{line[:30]}{to[0]:8.3f}{to[1]:8.3f}{to[2]:8.3f}{line[54:]}"


def places(lines: list[str]) -> np.ndarray:
    return np.array([[float(line[k : k + 8]) for k in (30, 38, 46)] for line in lines])


def test_a_contact_is_no_bond_and_a_stretched_bond_is_one(
    tmp_path: Path, modeller_pdb: Pdb
) -> None:
    """Programs that build missing side chains leave them on others (posebusters' 1ia1)."""
    given = records(modeller_pdb("GKDREW"))
    bare = [line for line in given if line[76:78].strip() != "H"]
    whole, _ = read_receptor(written(tmp_path, bare))
    (nz,) = (k for k, line in enumerate(bare) if line[12:20] == " NZ  LYS")
    (od1,) = (k for k, line in enumerate(bare) if line[12:20] == " OD1 ASP")
    x = places(bare)
    out = x[od1] - x.mean(0)
    broken = [*bare]
    broken[nz] = moved(bare[nz], x[od1] + 1.4 * out / np.linalg.norm(out))
    found, _ = read_receptor(written(tmp_path, broken))
    assert canonical(found.molecule) == canonical(whole.molecule)


def test_chains_that_lie_on_each_other_stay_two(tmp_path: Path, modeller_pdb: Pdb) -> None:
    given = records(modeller_pdb("GKDREW"))
    apart, near = (
        [
            moved(line[:21] + "Z" + line[22:], x + shift)
            for line, x in zip(given, places(given), strict=True)
        ]
        for shift in ([0.0, 0.0, 90.0], [0.0, 1.6, 0.0])
    )
    for keep in (lambda _: True, lambda line: line[76:78].strip() != "H"):
        two, on_each_other = (
            read_receptor(written(tmp_path, list(filter(keep, [*given, *second]))))[0].molecule
            for second in (apart, near)
        )
        assert canonical(on_each_other) == canonical(two)


def test_a_file_that_makes_no_molecule_names_an_atom(tmp_path: Path, modeller_pdb: Pdb) -> None:
    given = [line for line in records(modeller_pdb("GKDREW")) if line[76:78].strip() != "H"]
    x = places(given)
    (cb,) = (k for k, line in enumerate(given) if line[12:20] == " CB  LYS")
    strange = [
        f"{line[:12]} X{k} {line[16:30]}{at[0]:8.3f}{at[1]:8.3f}{at[2]:8.3f}{line[54:]}"
        for k, (line, at) in enumerate((given[cb], x[cb] + shift) for shift in np.eye(3) * 1.2)
    ]
    with pytest.raises(EquidriftError, match=r"do not make a molecule at .*LYS 2"):
        read_receptor(written(tmp_path, [*given, *strange]))


@pytest.mark.parametrize(
    ("letters", "flavour"), [("ARNDCQEGHKLMFPSTWYV", 0), ("ACGU", 2), ("ACGT", 6)]
)
def test_templates_have_the_bonds_of_rdkits_sequences(letters: str, flavour: int) -> None:
    """But isoleucine's, whose CD1 RDKit bonds to CG2; orders up to those of resonance."""
    for letter in letters:
        mol = Chem.MolFromSequence(letter, flavor=flavour)
        names = [atom.GetPDBResidueInfo().GetName().strip() for atom in mol.GetAtoms()]
        bonds = of_template(mol.GetAtomWithIdx(0).GetPDBResidueInfo().GetResidueName().strip())
        ours = Chem.RWMol(mol)
        for bond in mol.GetBonds():
            ends = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()
            ours.RemoveBond(*ends)
            ours.AddBond(*ends, bonds[frozenset(names[k] for k in ends)])
        for atom in ours.GetAtoms():
            atom.SetIsAromatic(False)
            atom.SetNoImplicit(False)
            atom.SetNumExplicitHs(0)
        Chem.SanitizeMol(ours)
        assert flat(ours) == flat(mol)
        count = sum(pair <= set(names) for pair in bonds)
        assert count == mol.GetNumBonds()


def flat(mol: Chem.Mol) -> str:
    return str(Chem.MolToSmiles(mol, isomericSmiles=False))


def test_what_is_left_out_is_told_with_its_reason(tmp_path: Path, modeller_pdb: Pdb) -> None:
    lines = [
        *records(modeller_pdb("GKDREW")),
        hetero("HOH", "O", 40.0, "O", 301),
        hetero("HOH", "O", 44.0, "O", 302),
        hetero("NA", "NA", 48.0, "NA", 303),
        hetero("ZN", "ZN", 52.0, "ZN", 304),
        hetero("LIG", "C1", 60.0, "C", 305),
        hetero("LIG", "C2", 61.4, "C", 305),
        hetero("XFE", "FE", 70.0, "FE", 306),
        hetero("XFE", "C", 72.0, "C", 306),
        hetero("MOH", "C", 80.0, "C", 307),
        hetero("MOH", "O", 81.4, "O", 307),
        *(ATOM.format(9000, f"H{k}", "MOH", 307, *at, "H") for k, at in enumerate(METHYL)),
    ]
    found, notes = read_receptor(written(tmp_path, lines))
    assert notes == (
        "left out of the pocket: 2 x water, Na (an ion of the solution), XFE 306 B (bonds of Fe "
        "cannot be told), LIG 305 B (without hydrogens, so that its bonds cannot be told)",
    )
    names = found.molecule.residue_names or ()
    assert names.count("MOH") == 6 and charges(found.molecule)["304 ZN ZN"] == 2
    at = found.positions_A[0][names.index("ZN")]
    np.testing.assert_allclose(at, [52.0, 0.0, 0.0])


# of methanol, with carbon at x = 80 and oxygen at 81.4
METHYL = [(79.6, 1.02, 0.0), (79.6, -0.51, 0.88), (79.6, -0.51, -0.88), (81.7, 0.9, 0.0)]


def test_a_hydrogen_is_bonded_to_the_nearest_heavy_atom(tmp_path: Path, modeller_pdb: Pdb) -> None:
    """Two hydrogens of a methyl group as near as .6 A, as preparation programs leave them."""
    lines = records(modeller_pdb("AAA"))
    first, second = (
        next(
            k for k, line in enumerate(lines) if line[12:16].strip() == name and "ALA A   2" in line
        )
        for name in ("HB1", "HB2")
    )
    places = [
        np.array([float(lines[k][at : at + 8]) for at in (30, 38, 46)]) for k in (first, second)
    ]
    axis = (places[1] - places[0]) / np.linalg.norm(places[1] - places[0])
    x = places[0] + 0.6 * axis
    lines[second] = lines[second][:30] + "".join(f"{v:8.3f}" for v in x) + lines[second][54:]
    found, _ = read_receptor(written(tmp_path, lines))
    whole, _ = read_receptor(modeller_pdb("AAA"))
    assert canonical(found.molecule) == canonical(whole.molecule)


def test_one_location_and_one_model_are_taken(tmp_path: Path, modeller_pdb: Pdb) -> None:
    lines = records(modeller_pdb("AAA"))
    model = ["MODEL        1", *lines, "ENDMDL", "MODEL        2", *lines, "ENDMDL"]
    found, notes = read_receptor(written(tmp_path, model))
    assert notes == ("of the 2 MODELs of the pocket's file the first is taken",)
    both = [line[:16] + location + line[17:] for line in lines for location in "AB"]
    located, notes = read_receptor(written(tmp_path, both))
    assert notes == () and canonical(located.molecule) == canonical(found.molecule)


@pytest.mark.parametrize(
    ("lost", "message"),
    [
        (("HE1", "TRP"), r"missing in the pocket's residues: NE1 of TRP 6 A .* would be an anion"),
        (("HB2", "ASP"), r"missing in the pocket's residues: .* of ASP 3 A .*PDBFixer"),
    ],
)
def test_a_residue_that_lacks_a_hydrogen_is_named(
    tmp_path: Path, modeller_pdb: Pdb, lost: tuple[str, str], message: str
) -> None:
    lines = records(modeller_pdb("GKDREW"))
    kept = [line for line in lines if (line[12:16].strip(), line[17:20]) != lost]
    assert len(kept) == len(lines) - 1
    with pytest.raises(EquidriftError, match=message):
        read_receptor(written(tmp_path, kept))


def test_what_cannot_be_read_says_why(tmp_path: Path, modeller_pdb: Pdb) -> None:
    bare = [line for line in records(modeller_pdb("AAA")) if line[76:78].strip() != "H"]
    strange = [line.replace("ALA A   2", "XYZ A   2") for line in bare]
    with pytest.raises(EquidriftError, match=r"XYZ 2 A is no standard residue.*add hydrogens by"):
        read_receptor(written(tmp_path, strange))
    with pytest.raises(EquidriftError, match="no readable ATOM or HETATM record"):
        read_receptor(written(tmp_path, ["REMARK nothing"]))
    path = tmp_path / "two.smi"
    path.write_text("CCO\nCO\n")
    with pytest.raises(EquidriftError, match=r"holds 2 entries.*split the file"):
        read_receptor(path)
    path.write_text("CCO\n")
    with pytest.raises(EquidriftError, match=r"holds 1 entry.*no coordinates"):
        read_receptor(path)


def test_places_of_a_ligand_need_no_bonds(tmp_path: Path) -> None:
    """Acetate without hydrogens or charges."""
    atoms = [(0.0, "C"), (1.5, "C"), (2.1, "O"), (2.2, "O")]
    lines = [hetero("ACT", f"{symbol}{k}", x, symbol) for k, (x, symbol) in enumerate(atoms)]
    found = read_places(written(tmp_path, lines))
    np.testing.assert_allclose(found[:, 0], [x for x, _ in atoms])


@pytest.mark.skipif(find_spec("openmmtools") is None, reason="openmmtools brings the file")
@pytest.mark.slow
def test_a_kinase_as_pdbfixer_leaves_it_is_read() -> None:
    """Src's kinase: 4,427 atoms, whose hydrogens were placed and not relaxed."""
    import openmmtools

    path = Path(openmmtools.__file__).parent / "data/src-implicit/1yi6-pdbfixer.pdb"
    found, notes = read_receptor(path)
    assert (found.molecule.n_atoms, found.molecule.charge, notes) == (4427, -6, ())

"""Cores and restraints: what is matched, what is refused, and in which words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rdkit import Chem
from rdkit.Geometry import Point3D

import equidrift
from equidrift.checks.bounds import smoothed
from equidrift.checks.conditions import Known, make_conditions
from equidrift.errors import InputError, InputTypeError, UnknownNameError
from equidrift.geometry import superposed
from equidrift.records import Molecule
from tests.doubles import geometry

PHENOL, XYLENOL = Molecule.from_smiles("Oc1ccccc1"), Molecule.from_smiles("CCOc1ccccc1")
ALANINE = Molecule.from_smiles("C[C@H](N)C(=O)O")


def mol_of(molecule: Molecule) -> Chem.Mol:
    from equidrift.adapters.rdkit.molecule import to_mol

    return to_mol(molecule, geometry(molecule)[None])


def known(molecule: Molecule, **what: Any) -> Known:
    conditions = make_conditions(**what)
    assert conditions is not None
    return conditions.of(molecule)


def at(
    molecule: Molecule, atoms: list[int], moved: dict[int, float] | None = None
) -> dict[int, Any]:
    """{atom: coordinates}, some of them moved along x."""
    return {k: geometry(molecule)[k] + np.array([(moved or {}).get(k, 0.0), 0, 0]) for k in atoms}


def test_a_core_is_matched_with_its_hydrogens_but_not_where_it_grows(tmp_path: Path) -> None:
    Chem.MolToMolFile(mol_of(PHENOL), str(tmp_path / "core.sdf"))
    for core in (mol_of(PHENOL), str(tmp_path / "core.sdf"), tmp_path / "core.sdf"):
        told = known(XYLENOL, fix=core)
        elements = [XYLENOL.symbols[k] for k in told.atoms]
        assert sorted(elements) == ["C"] * 6 + ["H"] * 5 + ["O"] and 2 in told.atoms, (
            "the hydroxyl hydrogen is where the core grows"
        )
        np.testing.assert_allclose(told.positions_A[0], geometry(PHENOL)[0], atol=1e-3)


def test_a_pdb_without_bond_orders_and_hydrogens(tmp_path: Path) -> None:
    heavy = Chem.RemoveHs(mol_of(ALANINE))
    for bond in heavy.GetBonds():
        bond.SetBondType(Chem.BondType.SINGLE)
    path = tmp_path / "ligand.pdb"
    path.write_text(
        "\n".join(
            line for line in Chem.MolToPDBBlock(heavy).splitlines() if not line.startswith("CONECT")
        )
    )
    told = known(ALANINE, fix=path)
    np.testing.assert_array_equal(np.sort(told.atoms), np.arange(6))
    np.testing.assert_allclose(
        told.positions_A[np.argsort(told.atoms)], geometry(ALANINE)[:6], atol=2e-3
    )  # C=O and C-O are told by length


def test_smarts_indices_points_and_given_matches() -> None:
    x = geometry(PHENOL)
    told = known(XYLENOL, fix=("c1ccccc1", x[1:7]))
    np.testing.assert_array_equal(np.sort(told.atoms), np.arange(3, 9))
    told = known(XYLENOL, fix=(mol_of(PHENOL), {0: 2, 1: 3}))
    np.testing.assert_array_equal(told.atoms, [2, 3])
    np.testing.assert_allclose(known(PHENOL, fix={0: Point3D(*x[0])}).positions_A, x[:1])


def test_ambiguous_matches_are_told() -> None:
    told = known(
        Molecule.from_smiles("Oc1ccc(CCc2ccccc2)cc1"), fix=("c1ccccc1", geometry(PHENOL)[1:7])
    )
    assert "2 different ways" in told.note or "different ways; atoms" in told.note
    assert known(PHENOL, fix=("c1ccccc1", geometry(PHENOL)[1:7])).note != "", (
        "a ring can be turned against the hydroxyl"
    )
    assert known(PHENOL, fix=("Oc1ccccc1", geometry(PHENOL)[:7])).note == "", (
        "a mirror plane makes no difference"
    )


def test_stereo_chooses_among_matches_and_contradictions_are_refused() -> None:
    other = Molecule.from_smiles("C[C@@H](N)C(=O)O")
    with pytest.raises(InputError, match="stereocentre 1 has the other chirality"):
        known(ALANINE, fix=at(other, [0, 1, 2, 3, 8]))
    with pytest.raises(InputError, match=r"only in a way.*stereocentre 1 has the other chirality"):
        known(ALANINE, fix=mol_of(other))
    with pytest.raises(InputError, match="stereocentre 1"):
        known(ALANINE, fix=at(other, [0, 1, 2, 3]))  # three neighbours tell where the fourth is
    assert len(known(ALANINE, fix=at(other, [0, 1, 2])).atoms) == 3
    cis, trans = Molecule.from_smiles("F/C=C\\F"), Molecule.from_smiles("F/C=C/F")
    with pytest.raises(
        InputError, match="double bond 1=2 is cis or twisted in the core, and trans"
    ):
        known(trans, fix=at(cis, [0, 1, 2, 3]))
    with pytest.raises(InputError, match="double bond 1=2"):
        known(trans, fix=at(cis, [1, 2, 4, 5]))  # by its hydrogens


BUTANE = Molecule.from_smiles("CCCC")


@pytest.mark.parametrize(
    ("molecule", "fix", "message"),
    [
        (BUTANE, {}, "holds no atom"),
        (BUTANE, at(BUTANE, list(range(14))), "holds all 14 atoms"),
        (BUTANE, {14: (0, 0, 0)}, "names atom 14"),
        (BUTANE, {0: (0, 0, np.nan)}, "NaN or infinite"),
        (BUTANE, {0: (0, 0)}, r"shape \(1, 2\), expected \(1, 3\)"),
        (BUTANE, at(BUTANE, [0, 1], {1: 9.0}), "the bond 0-1"),
        (BUTANE, {0: (0, 0, 0), 2: (0.5, 0, 0)}, "not bonded, but only 0.50 A apart"),
        (BUTANE, {0: (0, 0, 0), 3: (9, 0, 0)}, "reach \\d\\.\\d\\d A at most"),
        (BUTANE, ("[#8]", [(0, 0, 0)]), "no substructure"),
        (BUTANE, ("CC", [(0, 0, 0)]), "2 atoms, but 1 row of"),
        (BUTANE, ("C(", [(0, 0, 0)]), "cannot read the SMARTS"),
        (BUTANE, "nowhere.sdf", "there is no file"),
        (PHENOL, (mol_of(BUTANE), {0: 0}), "a C, to atom 0 .* a O"),
        (PHENOL, (mol_of(BUTANE), {99: 0}), "core atom 99"),
        (PHENOL, (mol_of(BUTANE), {}), "is empty"),
        (PHENOL, Chem.MolFromSmiles("CC"), "0 conformers in 3D"),
    ],
)
def test_cores_that_cannot_be(molecule: Molecule, fix: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        known(molecule, fix=fix)


@pytest.mark.parametrize(
    "fix", [3, {0.5: (0, 0, 0)}, {0: "here"}, ("CC", {0: 1}), (mol_of(BUTANE), [1, 2])]
)
def test_cores_of_another_kind(fix: Any) -> None:
    with pytest.raises(InputTypeError, match="fix"):
        known(BUTANE, fix=fix)


def test_files_that_hold_no_core(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="suffix of a core"):
        make_conditions(fix="core.xyz")
    block = Chem.MolToMolBlock(mol_of(BUTANE))
    (tmp_path / "two.sdf").write_text(f"{block}$$$$\n{block}$$$$\n")
    with pytest.raises(InputError, match="holds 2 entries"):
        make_conditions(fix=tmp_path / "two.sdf")
    (tmp_path / "bad.sdf").write_text("nothing\n")
    with pytest.raises(InputError, match="cannot read a core"):
        make_conditions(fix=tmp_path / "bad.sdf")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([(0, 0, 1, 2)], "two different atoms"),
        ([(0, 20, 1, 2)], "names atom 20"),
        ([(0, 3, 3, 2)], "lower <= upper"),
        ([(0, 3, np.nan, 2)], "lower <= upper"),
        ([(0, 3, 2, 3), (3, 0, 4, 5)], "two restraints on atoms 0 and 3 contradict"),
        (
            [(0, 3, 8, 9)],
            "contradict each other or the molecule: atoms 0 and 3 .* leave at most \\d\\.\\d\\d A",
        ),
        ([(0, 3, 0.0, 1.2)], "leave at least"),
        ([(0, 1, 1)], r"a restraint is \(i, j"),
        ([], "holds no restraint"),
    ],
)
def test_restraints_that_cannot_be(rows: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        known(BUTANE, restrain=rows)


def test_restraints_contradict_through_triangles_and_fixed_atoms() -> None:
    decane = Molecule.from_smiles("C" * 10)
    with pytest.raises(InputError, match="contradict"):
        known(decane, restrain=[(0, 9, 2.0, 3.0), (0, 5, 2.0, 3.0), (5, 9, 6.5, 9.0)])
    x = geometry(decane)
    apart = float(np.linalg.norm(x[0] - x[9]))
    with pytest.raises(InputError, match="contradict"):
        known(decane, fix={0: x[0], 9: x[9]}, restrain=[(0, 9, apart + 1, apart + 2)])
    assert (
        len(known(decane, fix={0: x[0], 9: x[9]}, restrain=[(0, 9, apart - 1, apart + 2)]).pairs)
        == 1
    )


def test_restraint_files(tmp_path: Path) -> None:
    path = tmp_path / "noe.txt"
    path.write_text("# i j lower upper\n0 3  2.5 4.0  # a comment\n\n1,2,1.4,1.6\n")
    np.testing.assert_allclose(known(BUTANE, restrain=path).upper_A, [4.0, 1.6])
    path.write_text("0 3 near\n")
    with pytest.raises(InputError, match="line 1 of"):
        make_conditions(restrain=path)
    with pytest.raises(InputError, match="there is no restraint file"):
        make_conditions(restrain=tmp_path / "none.txt")
    with pytest.raises(InputError, match="restraint_tolerance_A"):
        make_conditions(restrain=[(0, 3, 1, 4)], tolerance_A=-1.0)


def test_fingerprints_tell_requests_apart() -> None:
    x = geometry(PHENOL)
    requests = [
        {"fix": {0: x[0]}},
        {"fix": {0: x[1]}},
        {"fix": {1: x[0]}},
        {"fix": mol_of(PHENOL)},
        {"restrain": [(0, 3, 1, 4)]},
    ]
    prints = [make_conditions(**request).fingerprint() for request in requests]  # type: ignore[union-attr]
    assert len(set(prints)) == len(prints)
    again = [make_conditions(**request).fingerprint() for request in requests]  # type: ignore[union-attr]
    assert prints == again


@settings(max_examples=30, deadline=None)
@given(st.integers(3, 12), st.integers(0, 2**32 - 1))
def test_smoothed_bounds_keep_every_geometry_inside(n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n, 3)) * 3
    d = np.linalg.norm(x[:, None] - x[None], axis=-1)
    loose = np.where(rng.random((n, n)) < 0.5, 1e3, 0.5)
    loose = np.maximum(loose, loose.T) * (1 - np.eye(n))
    lower, upper = smoothed(np.maximum(d - loose, 0.0), d + loose)
    assert (lower <= d + 1e-9).all() and (d <= upper + 1e-9).all()
    assert (upper[:, None] <= upper[:, :, None] + upper[None].transpose(0, 2, 1) + 1e-9).all(), (
        "triangles hold"
    )
    again = smoothed(lower, upper)
    np.testing.assert_allclose(again[1], upper, atol=1e-9)


def test_mirror_images_only_of_planar_cores_and_superposition() -> None:
    x = geometry(XYLENOL)
    flat, solid = (
        known(XYLENOL, fix=at(XYLENOL, [3, 4, 5, 6, 7, 8])),
        known(BUTANE, fix=at(BUTANE, [0, 1, 4, 5])),
    )
    image = flat.mirrored(x)
    assert image is not None and solid.mirrored(geometry(BUTANE)) is None
    np.testing.assert_allclose(image[flat.atoms], flat.positions_A)
    own, other = (np.linalg.norm(y[:, None] - y[None], axis=-1) for y in (x, image))
    np.testing.assert_allclose(own, other, atol=0.1)
    turn = np.linalg.qr(np.random.default_rng(0).standard_normal((3, 3)))[0]
    turn[:, 0] *= np.sign(np.linalg.det(turn))
    moved = x @ turn + 3.0
    np.testing.assert_allclose(superposed(moved, moved[:5], x[:5]), x, atol=1e-9)
    np.testing.assert_allclose(flat.placed(moved[None])[0], x, atol=1e-9)


@pytest.mark.parametrize("smiles", ["CCO", "CC(=O)O", "CN", "CS", "CCP"])
def test_core_is_taken_when_it_lacks_the_hydrogens_of_its_heteroatoms(smiles: str) -> None:
    molecule = Molecule.from_smiles(smiles)
    x = equidrift.sample(molecule, 1, model="etkdg-mmff").positions_A[0]
    heavy = np.flatnonzero(molecule.numbers > 1)
    assert len(Known(molecule, heavy, x[heavy]).atoms) == len(heavy)

"""Checks on molecules and on conformers."""

from __future__ import annotations

import numpy as np
import pytest

import equidrift
from equidrift.checks.bond_lengths import references_A
from equidrift.checks.cumulenes import cumulated_bonds
from equidrift.checks.geometry import (
    BOND_LENGTH,
    CLASH,
    DOUBLE_BOND,
    NO_COORDINATES,
    TETRAHEDRAL,
    GeometryCheck,
    check_geometry,
    check_supported,
)
from equidrift.errors import InputError, MoleculeError
from equidrift.records import Ensemble, Molecule
from tests.conftest import make_ensemble


@pytest.mark.parametrize(
    ("smiles", "message"),
    [
        ("CCO.O", "2 fragments.*largest-fragment"),
        ("[Na+].CC(=O)[O-]", "2 fragments"),
        ("C[CH2]", "is a radical.*Add the missing hydrogen"),
        ("[O][O]", "is a radical"),
        ("C[Se]C", "unsupported element Se; supported are H B C N O F Si P S Cl Br I"),
        ("C" * 70, "too many atoms: at most 200"),
        ("[O-]P([O-])(=O)OP([O-])(=O)OP([O-])(=O)[O-]", "charge out of range: -4 to \\+4"),
        ("OC1C2C3OC2C[H+]13O", "a hydrogen .atom 7. with 4 bonds"),
    ],
)
def test_unsupported_molecule_is_refused_with_the_reason(smiles: str, message: str) -> None:
    with pytest.raises(MoleculeError, match=message):
        check_supported(Molecule.from_smiles(smiles))


def test_no_atoms_refused() -> None:
    with pytest.raises(MoleculeError, match="no atoms"):
        check_supported(Molecule([], [], [], []))


@pytest.mark.parametrize(
    "smiles",
    [
        "CCO",
        "C[NH3+]",
        "CC(=O)[O-]",
        "OB(O)c1ccccc1",
        "C[Si](C)(C)C",
        "CI",
        "CBr",
        "[C-]#[O+]",
        "[H][H]",
    ],
)
def test_supported_molecule_passes(smiles: str) -> None:
    check_supported(Molecule.from_smiles(smiles))


def test_a_model_may_know_other_elements() -> None:
    molecule = Molecule.from_smiles("C[Se]C")
    check_supported(molecule, elements=None)
    with pytest.raises(MoleculeError, match="unsupported element O"):
        check_supported(Molecule.from_smiles("CO"), elements=(1, 6))


def test_embedded_conformers_pass(ensemble: Ensemble) -> None:
    assert check_geometry(ensemble.molecule, ensemble.positions_A).tolist() == [""] * len(ensemble)


def test_mirror_images_fail_where_there_is_a_centre(ensemble: Ensemble) -> None:
    reasons = check_geometry(ensemble.molecule, ensemble.positions_A * [-1, 1, 1])
    assert reasons.tolist() == [TETRAHEDRAL if len(ensemble.molecule.tetrahedral) else ""] * len(
        ensemble
    )


def test_each_reason() -> None:
    ensemble = make_ensemble("E alkene")
    good = ensemble.positions_A[0]
    molecule = ensemble.molecule
    flipped = molecule.replace(
        double_bonds=molecule.double_bonds * [1, 1, 1, 1, 0] + [0, 0, 0, 0, 1]
    )
    assert check_geometry(
        molecule, [good, np.full_like(good, np.nan), 2 * good, 0.5 * good]
    ).tolist() == [
        "",
        NO_COORDINATES,
        BOND_LENGTH,
        BOND_LENGTH,
    ]
    assert check_geometry(flipped, [good]).tolist() == [DOUBLE_BOND]


def test_atoms_on_top_of_each_other_are_a_clash() -> None:
    molecule = Molecule([6, 6, 6, 6], [(0, 1), (1, 2), (2, 3)], [1, 1, 1], [0] * 4)
    open_chain = np.array([[0, 0, 0], [1.5, 0, 0], [2.2, 1.4, 0], [3.7, 1.4, 0]])
    closed = np.array([[0, 0, 0], [1.5, 0, 0], [1.5, 1.5, 0], [0.2, 1.3, 0]])
    assert check_geometry(molecule, 0.95 * np.array([open_chain, closed])).tolist() == ["", CLASH]


def test_flat_centre_is_no_centre() -> None:
    ensemble = make_ensemble("R centre")
    centre, a, b, c, _ = ensemble.molecule.tetrahedral[0]
    flat = ensemble.positions_A[0].copy()
    flat[:, 2] = 0
    check = GeometryCheck(ensemble.molecule)
    assert check._tetrahedral(flat[None]).all()
    assert len({centre, a, b, c}) == 4


def test_shape_is_checked() -> None:
    ensemble = make_ensemble("imine")
    with pytest.raises(InputError, match="positions_A has shape"):
        check_geometry(ensemble.molecule, ensemble.positions_A[0])
    assert check_geometry(ensemble.molecule, ensemble.positions_A[:0]).shape == (0,)


def test_invariant_under_rigid_motion(ensemble: Ensemble) -> None:
    rng = np.random.default_rng(0)
    turn = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    turn *= np.sign(np.linalg.det(turn))
    assert (check_geometry(ensemble.molecule, ensemble.positions_A @ turn + 7) == "").all()


@pytest.mark.parametrize(
    "smiles", ["CI", "C[Si](C)(C)C", "CP(C)C", "CB(O)O", "CS(C)(=O)=O", "[H][H]", "CSSC"]
)
def test_check_geometry_rejects_a_bond_when_it_leaves_its_reference_window(smiles: str) -> None:
    molecule = Molecule.from_smiles(smiles)
    check, references = GeometryCheck(molecule), references_A(molecule)
    np.testing.assert_allclose(check.shortest_A, 0.90 * references[:, 0])
    np.testing.assert_allclose(check.longest_A, 1.12 * references[:, 1])
    start = equidrift.sample(molecule, 1, model="etkdg").positions_A[0]
    ends = np.bincount(molecule.bonds.ravel())
    leaves = [k for k, (i, j) in enumerate(molecule.bonds.tolist()) if 1 in (ends[i], ends[j])]
    assert leaves
    for k in leaves:
        i, j = sorted(molecule.bonds[k].tolist(), key=lambda atom: -ends[atom])  # j is the end
        way = (start[j] - start[i]) / np.linalg.norm(start[j] - start[i])
        shortest, longest = check.shortest_A[k], check.longest_A[k]
        for length, inside in (
            (shortest - 0.005, False),
            (shortest + 0.005, True),
            (longest - 0.005, True),
            (longest + 0.005, False),
        ):
            x = start.copy()
            x[j] = start[i] + length * way
            assert (check(x[None])[0] != BOND_LENGTH) == inside, (k, length)


@pytest.mark.parametrize(
    ("smiles", "planar"), [("FC=C=CF", [False]), ("CN=C=NC", [False]), ("CC=C=C=CC", [True])]
)
def test_check_geometry_knows_the_twist_of_cumulated_bonds(smiles: str, planar: list[bool]) -> None:
    assert cumulated_bonds(Molecule.from_smiles(smiles))[1].tolist() == planar
    assert not len(cumulated_bonds(Molecule.from_smiles("CC=CC=CC"))[0])

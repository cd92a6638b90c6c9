"""Conformers that no network refines: bonds as GFN2-xTB has them, and flat boron."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import equidrift
from equidrift.adapters.rdkit.conditions import relaxed_around
from equidrift.adapters.rdkit.etkdg import ETKDG
from equidrift.adapters.rdkit.relaxing import field_relax
from equidrift.adapters.rdkit.tethers import FLAT_DEG, near_references
from equidrift.checks.bond_lengths import references_A
from equidrift.checks.geometry import check_geometry
from equidrift.checks.known import Known
from equidrift.geometry import dihedrals
from equidrift.records import Molecule


def relaxed(molecule: Molecule, count: int = 2) -> np.ndarray:
    return field_relax(molecule, ETKDG().sample(molecule, np.arange(count)))[0]


Move = Callable[[Molecule, np.ndarray], np.ndarray]


def held_relaxed(molecule: Molecule, positions_A: np.ndarray) -> np.ndarray:
    """`relaxed_around` one atom that is held."""
    held = Known(molecule, atoms=np.array([0]), positions_A=np.zeros((1, 3)))
    return relaxed_around(molecule, positions_A, held)[0]


def field_relaxed(molecule: Molecule, positions_A: np.ndarray) -> np.ndarray:
    return field_relax(molecule, positions_A)[0]


def beyond_A(molecule: Molecule, positions_A: np.ndarray) -> np.ndarray:
    """How far each bond (k, m) is outside its references."""
    i, j = molecule.bonds.T
    lengths = np.linalg.norm(positions_A[:, i] - positions_A[:, j], axis=-1)
    shortest, longest = references_A(molecule).T
    return np.nan_to_num(np.maximum(np.maximum(shortest - lengths, lengths - longest), 0.0))


@pytest.mark.parametrize("smiles", ["C[Si](C)(C)OC", "COB(OC)C1CC1", "C[B-](F)(F)F", "CCI"])
def test_bonds_are_nearer_to_their_references_and_nothing_else_breaks(smiles: str) -> None:
    molecule = Molecule.from_smiles(smiles)
    before = relaxed(molecule)
    after = near_references(molecule, before)
    assert beyond_A(molecule, before).max() > 0.01
    assert beyond_A(molecule, after).max() < 0.5 * beyond_A(molecule, before).max()
    assert (check_geometry(molecule, after) == "").all()


def test_trigonal_boron_is_flat_with_its_oxygens_when_uff_had_turned_them() -> None:
    molecule = Molecule.from_smiles("COB(OC)C1CC1")  # C0 O1 B2 O3 C4 C5
    torsions = np.array([[0, 1, 2, 3], [0, 1, 2, 5], [4, 3, 2, 1], [4, 3, 2, 5]])

    def from_flat_deg(positions_A: np.ndarray) -> np.ndarray:
        angles = np.abs(np.degrees(dihedrals(positions_A, torsions)))
        return np.minimum(angles, 180.0 - angles)

    before = relaxed(molecule)
    assert from_flat_deg(before).max() > 45.0
    assert from_flat_deg(near_references(molecule, before)).max() < FLAT_DEG + 10.0


def test_conformers_that_are_missing_stay_so() -> None:
    molecule = Molecule.from_smiles("CCI")
    x = relaxed(molecule)
    x[0] = np.nan
    made = near_references(molecule, x)
    assert np.isnan(made[0]).all() and np.isfinite(made[1]).all()


@pytest.mark.parametrize("move", [near_references, held_relaxed, field_relaxed])
@pytest.mark.parametrize("smiles", ["CCI", "CCO"])
def test_nothing_is_moved_where_every_conformer_is_missing(move: Move, smiles: str) -> None:
    molecule = Molecule.from_smiles(smiles)
    missing = np.full((2, molecule.n_atoms, 3), np.nan)
    assert np.isnan(move(molecule, missing)).all() and len(move(molecule, missing[:0])) == 0


def test_default_says_so_when_it_takes_bonds_from_the_references() -> None:
    ensemble = equidrift.sample("COB(OC)C1CC1", 2, num_threads=1)
    assert not ensemble.scores["refined"].any()
    assert "bonds within the GFN2-xTB references" in ensemble.provenance["note"]
    plain = equidrift.sample("COB(OC)C1CC1", 2, model="etkdg", relax="none").positions_A
    assert (
        beyond_A(ensemble.molecule, ensemble.positions_A).max()
        < beyond_A(ensemble.molecule, plain).max()
    )

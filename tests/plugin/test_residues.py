"""Residues: kept whole, named as PDB names them, in the columns of a PDB file."""

from __future__ import annotations

import numpy as np
import pytest

from equidrift.records import LABELS, Molecule
from equidrift.residues import (
    hydrogen_names,
    name_column,
    record_types,
    reordered,
    residue_order,
)


def test_residue_order_puts_hydrogens_back_when_they_come_last():
    molecule = Molecule.from_smiles("CO.O").replace(
        residue_names=("MEO", "MEO", "HOH", "MEO", "MEO", "MEO", "MEO", "HOH", "HOH"),
        residue_ids=(1, 1, 2, 1, 1, 1, 1, 2, 2),
    )
    assert residue_order(molecule).tolist() == [0, 1, 3, 4, 5, 6, 2, 7, 8]
    whole = reordered(molecule, residue_order(molecule))
    assert whole.residue_ids == (1,) * 6 + (2,) * 3
    assert whole.symbols == ["C", "O", "H", "H", "H", "H", "O", "H", "H"]
    assert np.array_equal(residue_order(whole), np.arange(9))


@pytest.mark.parametrize(("label", "values"), [("chain_ids", "AAB"), ("insertion_codes", "ABA")])
def test_residue_order_tells_residues_apart_when_only_one_label_differs(label, values):
    water = Molecule([8, 8, 8], [], [], [0, 0, 0], residue_ids=(1, 1, 1), **{label: tuple(values)})
    pieces = reordered(water, residue_order(water))
    assert sorted(getattr(pieces, label)) == sorted(values)
    assert getattr(pieces, label) == tuple("AAB")


def test_reordered_moves_every_label():
    fields = {
        "atom_names": ("A", "B"),
        "residue_names": ("R", "S"),
        "residue_ids": (1, 2),
        "chain_ids": ("X", "Y"),
        "insertion_codes": ("", "A"),
    }
    assert set(fields) == set(LABELS)
    turned = reordered(Molecule([6, 8], [(0, 1)], [1.0], [0, 0], **fields), [1, 0])
    for name, values in fields.items():
        assert getattr(turned, name) == values[::-1]


@pytest.mark.parametrize(
    ("owner", "count", "residue", "names"),
    [
        ("CA", 1, "ALA", ["HA"]),
        ("CA", 2, "GLY", ["HA2", "HA3"]),
        ("CB", 3, "ALA", ["HB1", "HB2", "HB3"]),
        ("N", 3, "ALA", ["H1", "H2", "H3"]),
        ("ND2", 2, "ASN", ["HD21", "HD22"]),
        ("C5'", 2, "DA", ["H5'", "H5''"]),
    ],
)
def test_hydrogen_names_are_those_of_pdb_files(owner, count, residue, names):
    assert hydrogen_names(owner, count, residue) == names


def test_name_column_aligns_the_element():
    columns = {"CA": "C", "CL1": "Cl", "HG11": "H", "N": "N"}
    assert [name_column(*item) for item in columns.items()] == [" CA ", "CL1 ", "HG11", " N  "]


def test_record_types_are_atom_in_polymers():
    molecule = Molecule([6, 6, 8], [], [], [0, 0, 0], residue_names=("ALA", "LIG", "HOH"))
    assert record_types(molecule) == ["ATOM", "HETATM", "HETATM"]

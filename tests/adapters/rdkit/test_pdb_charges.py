"""Charges of what a PDB file holds, from its hydrogens."""

from __future__ import annotations

from pathlib import Path

import pytest

from equidrift.adapters.rdkit.io import read_molecules, write_pdb
from tests.adapters.rdkit.pdb_files import canonical
from tests.conftest import make_ensemble


def test_refine_and_sample_take_the_charge_of_a_ligand(tmp_path):
    """Of acetate without charges in its PDB, as many programs write it."""
    from equidrift.files.ensembles import load
    from equidrift.files.inputs import read_inputs

    write_pdb(make_ensemble("anion"), tmp_path / "a.pdb")
    lines = (tmp_path / "a.pdb").read_text().splitlines()
    kept = [line[:78] for line in lines if not line.startswith(("CONECT", "REMARK"))]
    (tmp_path / "a.pdb").write_text("\n".join(kept))
    assert load(tmp_path / "a.pdb", charge=-1).molecule.charge == -1
    (entry,) = read_inputs([str(tmp_path / "a.pdb")], charge=-1)
    assert entry.molecule.charge == -1
    (entry,) = read_inputs([str(tmp_path / "a.pdb")])
    assert "charge -1 would fit" in str(entry.molecule)


@pytest.mark.parametrize(
    ("sequence", "name"),
    [("AAA", "H"), ("ASA", "HG"), ("ATA", "HG1"), ("AYA", "HH"), ("ACA", "HG")],
)
def test_residue_that_lost_an_acidic_hydrogen_is_refused(tmp_path, modeller_pdb, sequence, name):
    lines = modeller_pdb(sequence).read_text().splitlines()
    lost = next(
        k
        for k, line in enumerate(lines)
        if line[12:16].strip() == name and line[22:26].strip() == "2"
    )
    (tmp_path / "a.pdb").write_text("\n".join(lines[:lost] + lines[lost + 1 :]))
    (record,) = read_molecules(tmp_path / "a.pdb")
    assert record.molecule is None and "would be an anion" in record.error


def without_charges(path: Path) -> None:
    """Drop CONECT, REMARK and the charges, as many programs do not write them."""
    lines = [
        line for line in path.read_text().splitlines() if not line.startswith(("CONECT", "REMARK"))
    ]
    path.write_text("\n".join(line[:78] for line in lines))


def test_ligand_that_is_a_cation_has_the_charge_of_its_hydrogens(tmp_path):
    given = make_ensemble("cation")
    write_pdb(given, tmp_path / "a.pdb")
    without_charges(tmp_path / "a.pdb")
    (record,) = read_molecules(tmp_path / "a.pdb")
    assert canonical(record.molecule) == canonical(given.molecule)

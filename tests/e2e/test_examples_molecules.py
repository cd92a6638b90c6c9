"""The examples of new molecules run as a user would run them, from committed weights."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import ase.db
import ase.io
import pytest
from rdkit import Chem

from equidrift.weights import find, weights_of
from tests.models.molecules.spectral import weights_like_joint

EXAMPLES = Path(__file__).parents[2] / "examples"


def ran(name: str, folder: Path, needs: tuple[str, ...], *arguments: object) -> list[str]:
    missing = [weights for weights in needs if weights_of(find(weights)) is None]
    assert not missing, "the wheel holds the weights that examples need"
    example = EXAMPLES / name
    assert len(example.read_text().splitlines()) <= 40
    done = subprocess.run(
        [sys.executable, example, *map(str, arguments)],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.long
def test_new_molecules_run_in_openmm(tmp_path: Path) -> None:
    lines = ran("11_new_molecules_to_openmm.py", tmp_path, ("joint",), 3)
    assert lines[0].startswith("3 molecules of ") and len(lines) == 4
    assert all(abs(float(re.findall(r"(-?[\d.]+) kcal/mol", line)[0])) < 500 for line in lines[1:])
    mols = list(Chem.SDMolSupplier(str(tmp_path / "new.sdf"), removeHs=False))
    assert len({Chem.MolToSmiles(mol) for mol in mols}) == 3 and all(
        mol.GetConformer().Is3D() for mol in mols
    )


@pytest.mark.long
def test_molecules_with_a_gap_end_in_a_database(tmp_path: Path) -> None:
    lines = ran("12_gap_target_to_ase_db.py", tmp_path, ("joint", "properties"), 3)
    rows = list(ase.db.connect(tmp_path / "gap.db").select())
    assert len(rows) == 3 == len(lines) and sum(abs(row.gap_eV - 7.0) for row in rows) < 6.0
    assert all(row.data["info"]["scores"]["gap_eV"] == row.gap_eV for row in rows)


@pytest.mark.long
def test_a_group_is_replaced_and_the_best_runs_in_openmm(tmp_path: Path) -> None:
    lines = ran("21_replace_a_group.py", tmp_path, ("joint",), 2)
    assert lines[0].startswith("Cc1ccc(F)cc1, fluorine replaced") and len(lines) == 4
    core = Chem.MolFromSmarts("[CH3]c1[cH][cH]c(*)[cH][cH]1")
    for line in lines[1:]:
        assert Chem.MolFromSmiles(line.split(":")[0]).HasSubstructMatch(core)
    assert abs(float(re.findall(r"(-?[\d.]+) kcal/mol", lines[-1])[0])) < 500


@pytest.mark.long
def test_molecules_for_a_spectrum_end_in_ase(tmp_path: Path) -> None:
    weights = weights_like_joint(tmp_path)
    lines = ran("23_molecules_for_a_spectrum.py", tmp_path, ("joint", "spectra"), weights, 2)
    assert lines[0].startswith("2 molecules; the likeliest is ")
    assert -1 <= float(lines[1].split()[-1]) <= 1
    candidates = ase.io.read(tmp_path / "candidates.traj", ":")
    assert len(candidates) == 2 and Chem.MolFromSmiles(lines[0].split()[-1]) is not None


@pytest.mark.long
def test_molecules_for_a_pocket_end_in_docking_scores(tmp_path: Path) -> None:
    lines = ran("22_molecules_for_a_pocket.py", tmp_path, ("joint",), 2)
    scores = [ast.literal_eval(line.split(" ", 1)[1]) for line in lines]
    ours = [one["vina_terms_kcal_mol"] for one in scores]
    assert len(lines) == 2 and ours == sorted(ours) and all(-12 < value < -1 for value in ours)
    assert all(one["strain_kcal_mol"] >= 0 for one in scores)
    if find_spec("vina") is None:
        pytest.skip("AutoDock Vina is not installed (extra vina): its scores are not seen")
    for one in scores:  # rigid, on Vina's grid
        assert one["vina_kcal_mol"] == pytest.approx(one["vina_terms_kcal_mol"], abs=1.0)

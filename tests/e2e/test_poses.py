"""equidrift align and equidrift place as a user runs them."""

from __future__ import annotations

import json
from contextlib import chdir
from pathlib import Path
from typing import Any

import numpy as np
from rdkit import Chem
from rdkit.Chem import AllChem
from typer.testing import CliRunner

import equidrift
from equidrift.cli.main import build
from equidrift.models.rigid import rotations


def run(*arguments: str, folder: Path, code: int = 0) -> Any:
    with chdir(folder):
        done = CliRunner().invoke(build(), list(arguments))
    assert done.exit_code == code, (done.output, done.exception)
    return done


def written(folder: Path, name: str, smiles: str, seed: int = 1) -> np.ndarray:
    """An SDF of one conformer, and its positions."""
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    AllChem.EmbedMolecule(mol, randomSeed=seed)
    with Chem.SDWriter(str(folder / name)) as writer:
        writer.write(mol)
    return mol.GetConformer().GetPositions()


def test_align_lays_each_molecule_of_a_file_onto_the_first_of_another(tmp_path):
    x = written(tmp_path, "b.sdf", "CC(C)Cc1ccc(cc1)[C@H](C)C(=O)O")
    rng = np.random.default_rng(0)
    ensemble = equidrift.load(tmp_path / "b.sdf")
    moved = x @ rotations.haar(1, rng)[0].T + 10
    ensemble.replace(positions_A=moved[None]).save(tmp_path / "a.sdf")
    written(tmp_path, "c.sdf", "CCc1ccc(cc1)C(C)C(=O)N")
    (tmp_path / "both.sdf").write_text(
        (tmp_path / "a.sdf").read_text() + (tmp_path / "c.sdf").read_text()
    )
    done = run("align", "both.sdf", "b.sdf", "-o", "out.sdf", "--json", folder=tmp_path)
    first, second = json.loads(done.stdout)["aligned"]
    assert first["similarity"] > 0.999 and 0.4 < second["similarity"] < 0.999
    poses = list(Chem.SDMolSupplier(str(tmp_path / "out.sdf"), removeHs=False))
    placed = poses[0].GetConformer().GetPositions()
    assert np.abs(placed - x).max() < 0.05 and len(poses) == 2
    assert float(poses[0].GetProp("similarity")) > 0.999
    refused = run("align", "both.sdf", "b.sdf", "-o", "b.sdf", folder=tmp_path, code=2)
    assert "is the input" in " ".join(f"{refused.output} {refused.exception}".split())


def test_align_lays_points_onto_points(tmp_path):
    b = np.random.default_rng(1).standard_normal((40, 3)) * [3, 2, 1]
    a = b @ rotations.haar(1, np.random.default_rng(2))[0].T - 4
    np.save(tmp_path / "a.npy", a)
    np.savetxt(tmp_path / "b.csv", b, delimiter=",")
    run("align", "a.npy", "b.csv", "-o", "out.csv", folder=tmp_path)
    placed = np.loadtxt(tmp_path / "out.csv", delimiter=",")
    np.testing.assert_allclose(placed, b, atol=0.01)
    done = run("align", "a.npy", "b.csv", "-o", "out.sdf", folder=tmp_path, code=2)
    assert "points onto points" in f"{done.output} {done.exception}".replace(
        "are laid onto points", "points onto points"
    )


def test_place_writes_poses_and_an_exact_chain(tmp_path):
    x = written(tmp_path, "crown.sdf", "C1COCCOCCOCCOCCOCCO1")
    common = ["C[NH3+]", "--pocket", "crown.sdf", "--conformers", "1", "--starts", "4"]
    done = run("place", *common, "-n", "2", "-o", "p.sdf", "--json", folder=tmp_path)
    summary = json.loads(done.stdout)
    poses = list(Chem.SDMolSupplier(str(tmp_path / "p.sdf"), removeHs=False))
    assert 1 <= len(poses) == summary["poses"] <= 2
    assert summary["interaction_kcal_mol"][0] < -20
    away = poses[0].GetConformer().GetPositions().mean(axis=0) - x.mean(axis=0)
    assert np.linalg.norm(away) < 4.0
    chained = run("place", *common, "--chain", "20", "-o", "c.sdf", folder=tmp_path)
    assert "20 frames of an exact chain" in chained.stdout
    assert len(list(Chem.SDMolSupplier(str(tmp_path / "c.sdf")))) == 20
    wrong = run("place", *common, "--centre", "1,2", "-o", "d.sdf", folder=tmp_path, code=2)
    assert "three numbers" in " ".join(f"{wrong.output} {wrong.exception}".split())

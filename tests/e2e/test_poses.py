"""equidrift align and equidrift place as a user runs them."""

from __future__ import annotations

import json
from contextlib import chdir
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import AllChem
from typer.testing import CliRunner

import equidrift
from equidrift.cli.main import build
from equidrift.engine.conformers import sample_molecule
from equidrift.errors import InputError
from equidrift.models.rigid import rotations
from equidrift.peptides import capped_peptide


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


@pytest.mark.long
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


def test_place_tells_what_of_a_receptor_it_leaves_out(tmp_path):
    sample_molecule(capped_peptide("G"), 1, model="etkdg", seed=3).save(tmp_path / "pocket.pdb")
    lines = (tmp_path / "pocket.pdb").read_text().splitlines()
    atoms = [line for line in lines if line.startswith(("ATOM", "HETATM"))]
    water = "HETATM  900  O   HOH B   9      20.000   0.000   0.000  1.00  0.00           O"
    (tmp_path / "pocket.pdb").write_text("\n".join([*atoms, water, "END", ""]))
    options = ["--pocket", "pocket.pdb", "--conformers", "1", "--starts", "1", "-n", "1"]
    done = run("place", "C[NH3+]", *options, "-o", "p.sdf", folder=tmp_path)
    assert "  note: left out of the pocket: water" in done.stdout
    with pytest.warns(UserWarning, match="left out of the pocket: water"):
        equidrift.place("CO", tmp_path / "pocket.pdb", 1, starts=1, conformers=1)


@pytest.mark.long
def test_place_and_align_in_python_are_what_the_commands_write(tmp_path):
    written(tmp_path, "crown.sdf", "C1COCCOCCOCCOCCOCCO1")
    written(tmp_path, "ligand.sdf", "C[NH3+]", 2)
    options = ["--starts", "2", "--radius", "3", "-n", "2"]
    run("place", "ligand.sdf", "--pocket", "crown.sdf", *options, "-o", "p.npz", folder=tmp_path)
    ligand, crown = (equidrift.load(tmp_path / name) for name in ("ligand.sdf", "crown.sdf"))
    poses = equidrift.place(ligand, crown, 2, starts=2, radius_A=3.0)
    stored = equidrift.load(tmp_path / "p.npz")
    np.testing.assert_allclose(poses.positions_A, stored.positions_A, atol=1e-3)
    run("align", "ligand.sdf", "crown.sdf", "-o", "a.npz", folder=tmp_path)
    laid = equidrift.align(ligand, crown)
    stored = equidrift.load(tmp_path / "a.npz")
    np.testing.assert_allclose(laid.positions_A, stored.positions_A, atol=1e-3)
    with pytest.raises(InputError, match="centre_A must be three finite numbers"):
        equidrift.place(ligand, crown, centre_A=[0.0, np.nan, 1.0])
    two = crown[np.array([0, 0])]
    with pytest.raises(InputError, match="2 conformers, and one is wanted"):
        equidrift.place(ligand, two)


@pytest.mark.slow
def test_a_pocket_of_a_protein_is_read_from_pdb_with_its_charges(tmp_path):
    """Asp, Trp and Lys with caps: energies are those of the peptide's own graph, and an
    ammonium ion ends at the carboxylate, not at the other ammonium.
    """
    molecule = capped_peptide("DWK")
    pocket = sample_molecule(molecule, 1, model="etkdg", seed=3)
    pocket.save(tmp_path / "pocket.pdb")
    ligand = equidrift.sample("C[NH3+]", 1, model="etkdg")
    options = {"starts": 3, "radius_A": 9.0, "seed": 2}
    read, known = (
        equidrift.place(ligand, what, 1, **options) for what in (tmp_path / "pocket.pdb", pocket)
    )
    energies = [found.scores["interaction_kcal_mol"][0] for found in (read, known)]
    assert energies[0] == pytest.approx(energies[1], abs=1.0)  # .001 A of the columns
    labels = list(zip(molecule.residue_names, molecule.atom_names, strict=True))
    nitrogen = known.positions_A[0][known.molecule.numbers == 7][0]
    away = {
        label: np.linalg.norm(pocket.positions_A[0][k] - nitrogen) for k, label in enumerate(labels)
    }
    acid = min(away["ASP", "OD1"], away["ASP", "OD2"])
    assert acid < 4.0 < away["LYS", "NZ"]

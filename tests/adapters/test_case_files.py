"""Small files that chemists have, each of a kind that was read wrongly once (issue 12,
part D).
"""

from __future__ import annotations

from pathlib import Path

import MDAnalysis as mda
import numpy as np
import pytest
from rdkit import Chem

from equidrift.adapters.ase.atoms import from_atoms
from equidrift.adapters.mdanalysis.universe import from_universe, trajectory_of
from equidrift.adapters.rdkit.io import read_molecules
from equidrift.adapters.rdkit.molecule import to_mol
from equidrift.errors import InputError, MoleculeError
from equidrift.files.trajectories import load_trajectory
from equidrift.records import Ensemble, Trajectory
from tests.conftest import make_ensemble

CASES = Path(__file__).parents[1] / "data" / "cases"
NPT = CASES / "T01-NPT-box-of-first-frame"
LAMMPS = CASES / "T03-LAMMPS-dcd-time"


# Boxes and times ----------------------------------------------------------------------


def test_npt_trajectory_keeps_the_box_of_each_frame():
    read = load_trajectory(NPT / "npt.xtc", NPT / "base.pdb")
    edges = read.box_A[:, 0, 0]
    assert edges == pytest.approx(12.0 + 0.01 * np.arange(40), abs=1e-4)
    i, j = read.molecule.bonds.T
    lengths = np.linalg.norm(read.positions_A[:, i] - read.positions_A[:, j], axis=-1)
    assert np.ptp(lengths, axis=0).max() < 0.2


def npt_trajectory(n_frames: int = 4) -> Trajectory:
    ensemble = make_ensemble("anion")
    frames = np.repeat(ensemble.positions_A[:1], n_frames, axis=0)
    boxes = np.eye(3) * (20.0 + np.arange(n_frames))[:, None, None]
    boxes[:, 1, 0] = 3.0  # triclinic
    return Trajectory(ensemble.molecule, frames, 5.0 * np.arange(n_frames), boxes)


@pytest.mark.parametrize("suffix", ["xtc", "trr", "dcd", "nc", "npz", "traj", "extxyz"])
def test_box_of_each_frame_survives_a_file(tmp_path, suffix):
    given = npt_trajectory()
    path = tmp_path / f"run.{suffix}"
    if suffix in ("trr", "nc"):  # which MDAnalysis alone writes
        given.to_mdanalysis().atoms.write(str(path), frames="all")
    else:
        given.save(path)
    read = load_trajectory(path, given.molecule)
    assert np.abs(read.box_A - given.box_A).max() < 1e-3
    assert read.time_fs == pytest.approx(given.time_fs, abs=1e-3)


def test_box_of_each_frame_survives_a_universe():
    given = npt_trajectory()
    back = trajectory_of(given.to_mdanalysis())
    assert np.abs(back.box_A - given.box_A).max() < 1e-3


def test_box_of_each_frame_is_picked_with_the_frames():
    given = npt_trajectory()
    assert np.array_equal(given[2:].box_A, given.box_A[2:])
    assert given[[1]].box_A.shape == (1, 3, 3)


def test_boxes_must_be_one_per_frame():
    given = npt_trajectory()
    with pytest.raises(InputError, match=r"box_A has shape \(3, 3, 3\), expected \(4, 3, 3\)"):
        given.replace(box_A=given.box_A[:3])


def test_lammps_dcd_is_refused_without_its_time():
    with pytest.raises(InputError, match=r"does not tell the time .*LAMMPS.*--dt"):
        load_trajectory(LAMMPS / "lammps_real.dcd", LAMMPS / "base.pdb")
    read = load_trajectory(LAMMPS / "lammps_real.dcd", LAMMPS / "base.pdb", dt_fs=5.0)
    assert read.dt_fs == pytest.approx(5.0)


def test_lammps_dcd_in_a_universe_is_refused_without_its_time():
    read = load_trajectory(LAMMPS / "lammps_real.dcd", LAMMPS / "base.pdb", dt_fs=5.0)
    universe = read.to_mdanalysis()
    universe.load_new(str(LAMMPS / "lammps_real.dcd"))
    with pytest.raises(InputError, match="does not tell the time between its frames"):
        trajectory_of(universe)
    assert trajectory_of(universe, dt_fs=5.0).dt_fs == 5.0


@pytest.mark.parametrize("delta", [1.0, 0.5, 0.002, 2.0])
def test_dcd_is_refused_when_its_header_counts_in_another_unit(tmp_path, delta):
    import struct

    path = tmp_path / "other.dcd"
    npt_trajectory().save(path)
    raw = bytearray(path.read_bytes())
    raw[44:48] = struct.pack("<f", delta)
    path.write_bytes(raw)
    with pytest.raises(InputError, match="does not tell the time between its frames"):
        load_trajectory(path, npt_trajectory().molecule)


@pytest.mark.parametrize("step_fs", [0.25, 0.5, 1.0, 2.0, 4.0])
@pytest.mark.parametrize("every", [1, 5, 250])
def test_dcd_of_openmm_is_read_with_its_time(tmp_path, step_fs, every):
    from openmm import app, unit

    given = npt_trajectory()
    topology, positions = Ensemble(given.molecule, given.positions_A).to_openmm()
    with open(tmp_path / "run.dcd", "wb") as stream:
        file = app.DCDFile(stream, topology, step_fs * unit.femtosecond, interval=every)
        for frame in positions:
            file.writeModel(frame)
    read = load_trajectory(tmp_path / "run.dcd", given.molecule)
    assert read.dt_fs == pytest.approx(step_fs * every, rel=1e-5)


# Perception ---------------------------------------------------------------------------


def case_atoms(name: str, **options):
    from ase.io import read

    (path,) = list(CASES.glob(f"*/{name}"))
    return read(path, **options)


def canonical(molecule) -> str:
    return Chem.CanonSmiles(Chem.MolToSmiles(Chem.RemoveHs(to_mol(molecule))))


@pytest.mark.parametrize(
    ("name", "smiles"),
    [("thiophenecarboxylic.xyz", "O=C(O)c1cccs1"), ("rhodanine.xyz", "O=C1CSC(=S)N1")],
)
def test_sulfur_heterocycle_is_perceived_without_charges(name, smiles):
    assert canonical(from_atoms(case_atoms(name))) == Chem.CanonSmiles(smiles)


def test_comment_charge_minus_1_is_read_as_an_anion():
    atoms = case_atoms("cp_anion.xyz", format="extxyz")
    assert atoms.info["charge"] is True  # as ASE reads "charge -1"
    assert from_atoms(atoms).charge == -1


def test_comment_charge_0_is_read_as_neutral(tmp_path):
    from ase.build import molecule
    from ase.io import read

    molecule("CH4").write(tmp_path / "a.xyz", format="xyz", comment="charge 0")
    assert from_atoms(read(tmp_path / "a.xyz", format="extxyz")).charge == 0


@pytest.mark.parametrize("comment", ["charge 1 2", "charge"])
def test_comment_is_refused_when_its_charge_cannot_be_told(tmp_path, comment):
    from ase.build import molecule
    from ase.io import read

    molecule("CH4").write(tmp_path / "a.xyz", format="xyz", comment=comment)
    with pytest.raises(InputError, match="write 'charge=-1' there"):
        from_atoms(read(tmp_path / "a.xyz", format="extxyz"))


def test_partial_charges_may_be_rounded():
    assert from_atoms(case_atoms("ethanol_mulliken.extxyz")).charge == 0


@pytest.mark.parametrize("total", [0.4, 1.3, float("nan")])
def test_partial_charges_are_refused_when_they_sum_to_no_whole_number(total):
    atoms = case_atoms("ethanol_mulliken.extxyz")
    atoms.set_initial_charges(np.full(len(atoms), total / len(atoms)))
    with pytest.raises(InputError, match="must be a whole number"):
        from_atoms(atoms)


def rdkit_universe(smiles: str) -> mda.Universe:
    from rdkit.Chem import rdDistGeom

    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    assert rdDistGeom.EmbedMolecule(mol, randomSeed=1) == 0
    return mda.Universe(mol)


@pytest.mark.parametrize("smiles", ["CC(=O)[O-]", "C[NH3+]", "[NH3+]CC(=O)[O-]", "C[N+](=O)[O-]"])
def test_universe_without_formal_charges_gets_them_from_its_bonds(smiles):
    molecule = from_universe(rdkit_universe(smiles)).molecule
    assert canonical(molecule) == Chem.CanonSmiles(smiles) and molecule.multiplicity == 1


def test_universe_is_refused_when_its_charges_make_a_radical():
    universe = rdkit_universe("CC(=O)[O-]")
    universe.add_TopologyAttr("formalcharges", [0] * 7)
    with pytest.raises(
        MoleculeError, match=r"charge \+0 of atom 3 \(O\) does not fit .*set the charges to"
    ):
        from_universe(universe)
    universe.atoms.formalcharges = [0, 0, 0, -1, 0, 0, 0]  # as the message says
    assert from_universe(universe).molecule.charge == -1


def test_hints_for_a_universe_can_be_followed():
    given = make_ensemble("R and Z")
    universe = mda.Universe.empty(given.molecule.n_atoms, trajectory=True)
    universe.atoms.positions = given.positions_A[0]
    with pytest.raises(InputError, match=r"add_TopologyAttr\('elements', \['C', 'H', \.\.\.\]\)"):
        from_universe(universe)
    universe.add_TopologyAttr("elements", given.molecule.symbols)
    assert canonical(from_universe(universe).molecule) == canonical(given.molecule)
    pairs = [tuple(pair) for pair in given.molecule.bonds.tolist()]
    universe.add_TopologyAttr("bonds", pairs)
    assert canonical(from_universe(universe).molecule) == canonical(given.molecule)
    universe.del_TopologyAttr("bonds")
    orders = given.molecule.bond_orders.tolist()
    universe.add_TopologyAttr(mda.core.topologyattrs.Bonds(pairs, order=["odd", *orders[1:]]))
    with pytest.raises(
        InputError, match=r"order 'odd'.*topologyattrs\.Bonds\(pairs, order=orders\)"
    ):
        from_universe(universe)
    universe.del_TopologyAttr("bonds")
    universe.add_TopologyAttr(mda.core.topologyattrs.Bonds(pairs, order=orders))
    assert canonical(from_universe(universe).molecule) == canonical(given.molecule)


def test_forecast_and_interpolation_keep_boxes_that_change():
    from equidrift.api import forecast, interpolate

    given = npt_trajectory(6)
    (ahead,) = forecast(given, 3, model="last-frame")
    assert np.abs(ahead.box_A - given.box_A[-1]).max() < 1e-9
    (between,) = interpolate(given, 1, model="constant-velocity")
    assert between.box_A.shape == (11, 3, 3)
    assert np.abs(between.box_A[::2] - given.box_A).max() < 1e-9


# Drawings that say they are 3D --------------------------------------------------------


@pytest.mark.parametrize("name", ["flat_ach_allH_flag3d.sdf", "flat_unspec_allH_flag3d.sdf"])
def test_drawing_flagged_3d_is_refused(name):
    (path,) = CASES.glob(f"*/{name}")
    (record,) = read_molecules(path)
    assert (
        record.molecule is None and "a flat drawing, though they are said to be 3D" in record.error
    )


@pytest.mark.parametrize("hydrogens", [True, False])
def test_drawing_is_refused_in_any_plane_and_format(tmp_path, hydrogens):
    from rdkit.Chem import rdDepictor

    mol = Chem.MolFromSmiles("CC(C)CC(N)C(=O)O")
    mol = Chem.AddHs(mol) if hydrogens else mol
    rdDepictor.Compute2DCoords(mol)
    x = mol.GetConformer().GetPositions() @ np.linalg.qr(np.arange(9.0).reshape(3, 3) ** 2 + 1)[0]
    mol.GetConformer().SetPositions(x)
    mol.GetConformer().Set3D(True)
    Chem.MolToMolFile(mol, str(tmp_path / "a.sdf"))
    Chem.MolToPDBFile(mol, str(tmp_path / "a.pdb"))
    for suffix in ("sdf", "pdb"):
        (record,) = read_molecules(tmp_path / f"a.{suffix}")
        assert record.molecule is None and record.error


@pytest.mark.parametrize("smiles", ["c1ccccc1", "C=C", "O=C=O", "O", "NC=O", "c1ccc2[nH]ccc2c1"])
def test_molecule_that_is_flat_by_nature_is_read(tmp_path, smiles):
    from rdkit.Chem import AllChem

    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    AllChem.EmbedMolecule(mol, randomSeed=2)
    AllChem.MMFFOptimizeMolecule(mol, maxIters=2000)
    Chem.MolToMolFile(mol, str(tmp_path / "a.sdf"))
    (record,) = read_molecules(tmp_path / "a.sdf")
    assert record.error is None and record.positions_A is not None

"""Files of other programs that these tests make themselves: boxes that change, times of
.dcd files, residues with insertion codes.
"""

from __future__ import annotations

from pathlib import Path

import MDAnalysis as mda
import numpy as np
import pytest
from MDAnalysis.lib.formats.libdcd import DCDFile
from numpy.typing import NDArray

import equidrift
from equidrift.adapters.mdanalysis.universe import from_universe
from equidrift.adapters.rdkit.io import read_molecules, write_pdb
from equidrift.files.trajectories import load_trajectory
from equidrift.inputs import from_openmm
from equidrift.records import Ensemble, Molecule
from tests.conftest import graph_key, make_ensemble

AKMA_PS = 0.04888821  # CHARMM's unit of time
CELLS = {
    "orthorhombic": (30.0, 24.0, 21.0, 90.0, 90.0, 90.0),
    "monoclinic": (30.0, 24.0, 21.0, 90.0, 75.0, 90.0),
    "truncated octahedron": (27.0, 27.0, 27.0, 70.5288, 109.4712, 70.5288),
    "rhombic dodecahedron": (27.0, 27.0, 27.0, 60.0, 60.0, 90.0),
}
RESIDUES = [("A", 51, ""), ("A", 52, "A"), ("A", 52, "B"), ("A", 52, "C"), ("A", 53, "")]


def frames(n_frames: int = 5) -> tuple[Molecule, NDArray[np.float64]]:
    ensemble = make_ensemble("anion")
    return ensemble.molecule, np.repeat(ensemble.positions_A[:1], n_frames, axis=0)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("suffix", ["xtc", "trr", "nc", "dcd"])
def test_cell_that_changes_is_read_as_mdanalysis_wrote_it(
    cell: str, suffix: str, tmp_path: Path
) -> None:
    molecule, positions_A = frames()
    universe = Ensemble(molecule, positions_A[:1]).to_mdanalysis()
    cells = [np.array(CELLS[cell]) * ([1 + 0.01 * k] * 3 + [1] * 3) for k in range(5)]
    with mda.Writer(str(tmp_path / f"a.{suffix}"), molecule.n_atoms, dt=0.5) as writer:
        for k, (frame_A, dimensions) in enumerate(zip(positions_A, cells, strict=True)):
            universe.atoms.positions = frame_A
            universe.dimensions = dimensions
            universe.trajectory.ts.time, universe.trajectory.ts.frame = 0.5 * k, k
            writer.write(universe.atoms)
    read = load_trajectory(tmp_path / f"a.{suffix}", molecule)
    wanted = [mda.lib.mdamath.triclinic_vectors(one, dtype=np.float64) for one in cells]
    assert read.box_A is not None and read.box_A.shape == (5, 3, 3)
    assert np.abs(read.box_A - wanted).max() < 2e-3
    assert read.dt_fs == pytest.approx(500.0, rel=1e-4)


def test_trajectory_has_no_box_when_a_frame_has_none(tmp_path: Path) -> None:
    molecule, positions_A = frames()
    universe = Ensemble(molecule, positions_A[:1]).to_mdanalysis()
    with mda.Writer(str(tmp_path / "a.xtc"), molecule.n_atoms) as writer:
        for k in range(3):
            universe.dimensions = None if k == 1 else CELLS["orthorhombic"]
            universe.trajectory.ts.time = float(k)
            writer.write(universe.atoms)
    assert load_trajectory(tmp_path / "a.xtc", molecule).box_A is None


@pytest.mark.parametrize("step_fs", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("every", [1, 100])
@pytest.mark.parametrize("start", [0, 5000])
@pytest.mark.parametrize("charmm", [True, False], ids=["charmm", "x-plor"])
def test_dcd_of_charmm_namd_and_xplor_is_read_with_its_time(
    step_fs: float, every: int, start: int, charmm: bool, tmp_path: Path
) -> None:
    molecule, positions_A = frames()
    with DCDFile(str(tmp_path / "a.dcd"), "w") as file:
        file.write_header(
            remarks="REMARKS CREATED BY NAMD",
            natoms=molecule.n_atoms,
            istart=start,
            nsavc=every,
            delta=step_fs * 1e-3 / AKMA_PS,
            is_periodic=int(charmm),  # MDAnalysis writes X-PLOR's form if not
        )
        for frame_A in positions_A.astype(np.float32):
            file.write(frame_A, np.zeros(6, np.float32))
    read = load_trajectory(tmp_path / "a.dcd", molecule)
    assert read.dt_fs == pytest.approx(step_fs * every, rel=1e-5)


def inserted() -> Ensemble:
    """Ala3 in caps whose residues are numbered 51, 52A, 52B, 52C, 53."""
    peptide = equidrift.sample(
        "CC(=O)N[C@@H](C)C(=O)N[C@@H](C)C(=O)N[C@@H](C)C(=O)NC", 1, model="etkdg"
    )
    molecule = peptide.molecule
    bonded: dict[int, list[int]] = {k: [] for k in range(molecule.n_atoms)}
    for i, j in molecule.bonds.tolist():
        bonded[i].append(j)
        bonded[j].append(i)
    nitrogens = [k for k, z in enumerate(molecule.numbers.tolist()) if z == 7]
    residue = np.full(molecule.n_atoms, -1)
    for number, start in enumerate([0, *nitrogens]):  # a residue ends before the next nitrogen
        stack = [start]
        while stack:
            k = stack.pop()
            if residue[k] < 0 and (k == start or k not in nitrogens):
                residue[k] = number
                stack += bonded[k]
    names = ("ACE", "ALA", "ALA", "ALA", "NME")
    labelled = molecule.replace(
        atom_names=tuple(f"{symbol}{k}" for k, symbol in enumerate(molecule.symbols)),
        residue_names=tuple(names[r] for r in residue),
        chain_ids=tuple(RESIDUES[r][0] for r in residue),
        residue_ids=tuple(RESIDUES[r][1] for r in residue),
        insertion_codes=tuple(RESIDUES[r][2] for r in residue),
    )
    return peptide.replace(molecule=labelled)


def labels(molecule: Molecule) -> list[tuple[str, int, str]]:
    assert molecule.chain_ids and molecule.residue_ids and molecule.insertion_codes
    rows = zip(molecule.chain_ids, molecule.residue_ids, molecule.insertion_codes, strict=True)
    return list(dict.fromkeys(rows))


def test_insertion_codes_survive_a_pdb_of_ours_npz_and_every_host(tmp_path: Path) -> None:
    peptide = inserted()
    assert sorted(labels(peptide.molecule)) == RESIDUES
    write_pdb(peptide, tmp_path / "a.pdb")
    (record,) = read_molecules(tmp_path / "a.pdb")
    assert record.molecule is not None
    assert sorted(labels(record.molecule)) == RESIDUES
    assert graph_key(record.molecule) == graph_key(peptide.molecule)
    peptide.save(tmp_path / "a.npz")
    assert labels(equidrift.load(tmp_path / "a.npz").molecule) == labels(peptide.molecule)
    assert labels(from_universe(peptide.to_mdanalysis()).molecule) == labels(peptide.molecule)
    again = from_openmm(*peptide.to_openmm())
    assert labels(again.molecule) == labels(peptide.molecule)
    assert labels(equidrift.refine(peptide.to_rdkit()).molecule) == labels(peptide.molecule)


def test_insertion_codes_of_a_pdb_read_by_mdanalysis_are_kept(tmp_path: Path) -> None:
    write_pdb(inserted(), tmp_path / "a.pdb")
    universe = mda.Universe(str(tmp_path / "a.pdb"))
    assert sorted(labels(from_universe(universe).molecule)) == RESIDUES

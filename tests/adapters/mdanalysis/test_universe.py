"""Ensembles as Universes: graph, frames and files; the way back; and the ASE converter."""

from __future__ import annotations

import pickle
import warnings

import MDAnalysis as mda
import numpy as np
import pytest
from MDAnalysis.analysis import rms

from equidrift.adapters.ase.atoms import from_atoms
from equidrift.adapters.mdanalysis.universe import from_universe, to_universe, write_trajectory
from equidrift.errors import InputError, InputTypeError, MissingDependencyError, UnknownNameError
from tests.conftest import graph_key, make_ensemble


def test_universe_of_an_ensemble(ensemble):
    universe = mda.Universe(ensemble)
    molecule = ensemble.molecule
    assert universe.atoms.elements.tolist() == molecule.symbols == universe.atoms.types.tolist()
    assert universe.atoms.formalcharges.tolist() == molecule.formal_charges.tolist()
    assert {tuple(sorted(bond.indices.tolist())): bond.order for bond in universe.bonds} == {
        (min(i, j), max(i, j)): order
        for (i, j), order in zip(
            molecule.bonds.tolist(), molecule.bond_orders.tolist(), strict=True
        )
    }
    assert (universe.atoms.masses > 1).all() and len(set(universe.atoms.names)) == molecule.n_atoms
    assert universe.residues.resnames.tolist() == ["MOL"] and len(universe.trajectory) == 2
    for ts, frame in zip(universe.trajectory, ensemble.positions_A, strict=True):
        np.testing.assert_allclose(ts.positions, frame, atol=1e-5)


def test_round_trip(ensemble):
    universe = to_universe(ensemble)
    universe.trajectory[1]
    back = from_universe(universe)
    assert universe.trajectory.frame == 1
    assert graph_key(back.molecule) == graph_key(ensemble.molecule)
    np.testing.assert_array_equal(back.seeds, ensemble.seeds)
    np.testing.assert_array_equal(back.energies_eV, ensemble.energies_eV)
    assert back.log_prob is None


def test_one_conformer_and_one_atom():
    single = make_ensemble("anion")[1]
    assert len(mda.Universe(single).trajectory) == 1
    np.testing.assert_allclose(
        from_universe(mda.Universe(single)).positions_A, single.positions_A, atol=1e-5
    )


def test_coordinates_are_a_copy(chiral):
    universe = mda.Universe(chiral)
    before = chiral.positions_A.copy()
    universe.atoms.translate([1, 2, 3])
    universe.trajectory.coordinate_array[:] = 0
    np.testing.assert_array_equal(chiral.positions_A, before)


def test_copies_and_pickles_keep_frames_and_data(chiral):
    universe = mda.Universe(chiral)
    for other in (universe.copy(), pickle.loads(pickle.dumps(universe))):
        assert (
            other.trajectory[1].data["energy_eV"] == 0.5
            and other.trajectory[1].data["seed"] == chiral.seeds[1]
        )
        np.testing.assert_array_equal(
            other.trajectory.coordinate_array, universe.trajectory.coordinate_array
        )


def test_lists_of_files_still_chain(chiral, tmp_path):
    """An Ensemble is no chain of files; a list of them stays one."""
    write_trajectory(chiral, tmp_path / "a.xtc", topology=tmp_path / "a.pdb")
    universe = mda.Universe(tmp_path / "a.pdb", [tmp_path / "a.xtc", tmp_path / "a.xtc"])
    assert len(universe.trajectory) == 4


def test_universe_has_the_residues_of_the_molecule(chiral):
    n = chiral.molecule.n_atoms
    named = chiral.molecule.replace(
        atom_names=tuple(f"N{k}" for k in range(n)),
        residue_names=("AAA",) * 4 + ("BBB",) * (n - 4),
        residue_ids=(3,) * 4 + (8,) * (n - 4),
    )
    universe = mda.Universe(chiral.replace(molecule=named))
    assert (
        universe.residues.resids.tolist() == [3, 8]
        and universe.select_atoms("resname AAA").n_atoms == 4
    )
    back = from_universe(universe).molecule
    assert (back.atom_names, back.residue_names, back.residue_ids) == (
        named.atom_names,
        named.residue_names,
        named.residue_ids,
    )


@pytest.mark.parametrize(("suffix", "atol"), [("xtc", 1.1e-4), ("dcd", 1e-5)])
def test_trajectory_files(chiral, tmp_path, suffix, atol):
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        write_trajectory(chiral, tmp_path / f"a.{suffix}", topology=tmp_path / "a.pdb")
    universe = mda.Universe(tmp_path / "a.pdb", tmp_path / f"a.{suffix}")
    np.testing.assert_allclose(
        [ts.positions.copy() for ts in universe.trajectory], chiral.positions_A, rtol=0, atol=atol
    )
    assert len(universe.bonds) == len(chiral.molecule.bonds)


def test_saved_by_suffix_and_written_by_mdanalysis(chiral, tmp_path):
    chiral.save(tmp_path / "a.dcd")
    chiral.to_mdanalysis().atoms.write(tmp_path / "a.pdb", frames="all")
    assert len(mda.Universe(tmp_path / "a.pdb", tmp_path / "a.dcd").trajectory) == 2
    assert len(mda.Universe(tmp_path / "a.pdb").trajectory) == 2


def test_h5md_needs_h5py(chiral, tmp_path):
    try:
        import h5py  # noqa: F401
    except ImportError:
        with pytest.raises(MissingDependencyError, match=r"pip install h5py"):
            write_trajectory(chiral, tmp_path / "a.h5md")
    else:
        write_trajectory(chiral, tmp_path / "a.h5md", topology=tmp_path / "a.pdb")
        assert len(mda.Universe(tmp_path / "a.pdb", tmp_path / "a.h5md").trajectory) == 2


def test_analysis_runs(chiral):
    result = rms.RMSD(mda.Universe(chiral), select="not element H").run().results.rmsd
    assert result.shape == (2, 3) and result[0, 2] < 1e-5


def test_ase_converter(ensemble):
    universe = mda.Universe(ensemble)
    universe.trajectory[1]
    atoms = universe.atoms.convert_to.ase()
    assert graph_key(from_atoms(atoms)) == graph_key(ensemble.molecule)
    np.testing.assert_allclose(atoms.positions, ensemble.positions_A[1], atol=1e-5)


def test_ase_converter_of_a_part_and_of_a_box(chiral):
    universe = mda.Universe(chiral)
    part = universe.select_atoms("element C Br").convert_to("ASE")
    assert sorted(set(part.symbols)) == ["Br", "C"] and "equidrift" not in part.info
    universe.dimensions = [10, 11, 12, 90, 90, 90]
    boxed = universe.atoms.convert_to.ase()
    assert boxed.cell.lengths().tolist() == [10, 11, 12] and boxed.pbc.all()


def test_fragment_of_a_larger_universe():
    a, b = make_ensemble("anion"), make_ensemble("R and Z")
    both = mda.Merge(a.to_mdanalysis().atoms, b.to_mdanalysis().atoms)
    part = from_universe(both.atoms[: a.molecule.n_atoms])
    assert graph_key(part.molecule) == graph_key(a.molecule)
    universe = mda.Universe(b)
    with pytest.raises(InputError, match=r"bonds lead out of the group"):
        from_universe(universe.atoms[:3])


def test_what_is_missing_is_named():
    empty = mda.Universe.empty(2, trajectory=True)
    empty.atoms.positions = np.array([[0, 0, 0], [0, 0, 0.74]])
    for read in (from_universe, lambda universe: universe.atoms.convert_to.ase()):
        with pytest.raises(
            InputError, match=r"no elements; set them.*add_TopologyAttr\('elements'"
        ):
            read(empty)
    empty.add_TopologyAttr("elements", ["H", "Qq"])
    with pytest.raises(InputError, match=r"element 'Qq'"):
        from_universe(empty)
    with pytest.raises(InputError, match=r"element 'Qq'"):
        empty.atoms.convert_to.ase()
    empty.atoms.elements = ["H", "H"]
    assert sorted(from_universe(empty).molecule.bonds[0].tolist()) == [0, 1]


def test_rdkit_bond_orders_are_understood():
    """A Universe that MDAnalysis made from an RDKit Mol lacks formal charges only."""
    ensemble = make_ensemble("nitro")
    universe = mda.Universe(ensemble.to_rdkit())
    universe.add_TopologyAttr("formalcharges", ensemble.molecule.formal_charges)
    assert graph_key(from_universe(universe).molecule) == graph_key(ensemble.molecule)


def test_bad_input(chiral, tmp_path):
    with pytest.raises(InputTypeError, match=r"expected an Ensemble or a Trajectory, not str"):
        to_universe("CCO")
    with pytest.raises(
        InputTypeError, match=r"expected an MDAnalysis Universe or AtomGroup, not str"
    ):
        from_universe("CCO")
    with pytest.raises(InputError, match=r"no conformer, and a Universe needs a frame"):
        mda.Universe(chiral[:0])
    with pytest.raises(
        UnknownNameError, match=r"unknown trajectory suffix '\.xtcc'. Did you mean '\.xtc'"
    ):
        write_trajectory(chiral, tmp_path / "a.xtcc")
    with pytest.raises(InputError, match=r"there is no such folder"):
        write_trajectory(chiral, tmp_path / "no" / "a.xtc")
    with pytest.raises(InputError, match=r"cannot write"):
        (tmp_path / "b.dcd").mkdir()
        write_trajectory(chiral, tmp_path / "b.dcd")

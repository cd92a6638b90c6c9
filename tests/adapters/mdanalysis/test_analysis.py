"""An analysis in MDAnalysis' manner over the conformers of a Universe."""

from __future__ import annotations

import MDAnalysis as mda
import numpy as np
import pytest
from rdkit.Chem import rdMolAlign, rdMolTransforms

import equidrift
from equidrift.adapters.mdanalysis.analysis import ConformerAnalysis
from equidrift.errors import InputError, InputTypeError


@pytest.fixture(scope="module")
def ensemble():
    return equidrift.sample("CC(C)Cc1ccc(cc1)[C@@H](C)C(=O)O", 4, model="etkdg", seed=1)


@pytest.fixture(scope="module")
def results(ensemble):
    return ConformerAnalysis(ensemble.to_mdanalysis()).run().results


def test_torsions_are_rdkits(ensemble, results):
    mol = ensemble.to_rdkit()
    expected = [
        [
            rdMolTransforms.GetDihedralDeg(mol.GetConformer(k), *map(int, atoms))
            for atoms in results.torsion_atoms
        ]
        for k in range(len(ensemble))
    ]
    assert results.torsions_deg.shape == (4, 4)
    off = (results.torsions_deg - expected + 180) % 360 - 180
    assert np.abs(off).max() < 0.01


def test_rmsd_is_rdkits_of_the_heavy_atoms(ensemble, results):
    from rdkit import Chem

    mol = Chem.RemoveHs(ensemble.to_rdkit())
    same = [(k, k) for k in range(mol.GetNumAtoms())]
    expected = [rdMolAlign.AlignMol(mol, mol, k, 0, atomMap=same) for k in range(1, 4)]
    np.testing.assert_allclose(results.rmsd_A, [0.0, *expected], atol=1e-3)


def test_frames_are_those_that_run_is_given(ensemble, results):
    universe = ensemble.to_mdanalysis()
    some = ConformerAnalysis(universe).run(start=1, step=2).results
    np.testing.assert_allclose(some.torsions_deg, results.torsions_deg[1::2])
    np.testing.assert_allclose(some.rgyr_A, results.rgyr_A[1::2])


def test_broken_frame_has_its_reason(ensemble):
    positions = ensemble.positions_A.copy()
    positions[2] *= 2.0
    results = (
        ConformerAnalysis(ensemble.replace(positions_A=positions).to_mdanalysis()).run().results
    )
    assert [bool(reason) for reason in results.reasons] == [False, False, True, False]


def test_atoms_without_bonds_or_elements_are_refused():
    universe = mda.Universe.empty(3, trajectory=True)
    with pytest.raises(InputError, match="elements"):
        ConformerAnalysis(universe)
    universe.add_TopologyAttr("elements", ["O", "H", "H"])
    with pytest.raises(InputError):
        ConformerAnalysis(universe)
    with pytest.raises(InputTypeError, match="to_mdanalysis"):
        ConformerAnalysis("CCO")

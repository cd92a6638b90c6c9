"""Sampling around held atoms and within distance bounds, by every model that can,
through the engine.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import rdDistGeom
from rdkit.Geometry import Point3D

import equidrift
from equidrift.adapters.rdkit.conditions import relax_held, restrained_bounds
from equidrift.adapters.rdkit.embed import embed_molecule_confs
from equidrift.adapters.rdkit.etkdg import ETKDG
from equidrift.adapters.rdkit.molecule import to_mol
from equidrift.adapters.rdkit.relaxing import mmff_relax
from equidrift.checks.conditions import MOVED, RESTRAINT, Known, make_conditions
from equidrift.checks.geometry import check_geometry
from equidrift.engine.chain import Chain
from equidrift.errors import InputError, MoleculeError, NoValidSamplesError, UnknownNameError
from equidrift.records import Molecule
from equidrift.seeds import sample_seeds
from tests.doubles import geometry

IBUPROFEN = Molecule.from_smiles("CC(C)Cc1ccc(cc1)[C@@H](C)C(=O)O")
BUTANOL = Molecule.from_smiles("CCCCO")
CORES = {
    "one atom": [3],
    "two atoms": [3, 4],
    "ring": [4, 5, 6, 7, 8, 9],
    "not planar": [0, 1, 2, 3, 4, 5, 9],
    "stereocentre": [8, 10, 11, 12, 26],
}


def held(molecule: Molecule, atoms: list[int], scale: float = 1.0) -> dict[int, Any]:
    return {k: scale * geometry(molecule)[k] + 2.0 for k in atoms}


@pytest.mark.parametrize("model", ["etkdg-mmff", "chain"])
@pytest.mark.parametrize("core", CORES)
def test_held_atoms_stay_and_the_rest_is_valid(core: str, model: str) -> None:
    fix = held(IBUPROFEN, CORES[core])
    made: Any = Chain(refiner=None, num_threads=1) if model == "chain" else model
    ensemble = equidrift.sample(IBUPROFEN, 4, model=made, fix=fix, seed=1)
    x = ensemble.positions_A
    assert np.abs(x[:, list(fix)] - np.array(list(fix.values()))).max() < 1e-3
    assert (check_geometry(IBUPROFEN, x) == "").all() and ensemble.provenance[
        "fixed_atoms"
    ] == list(fix)
    away = np.linalg.norm(x[0] - x[1:], axis=-1).max()
    assert away > 0.5, "the rest is sampled"


def test_a_core_that_is_no_minimum_works() -> None:
    fix = held(IBUPROFEN, CORES["ring"] + [3], scale=1.04)
    ensemble = equidrift.sample(IBUPROFEN, 2, model="etkdg-mmff", fix=fix)
    np.testing.assert_allclose(ensemble.positions_A[0, list(fix)], list(fix.values()), atol=1e-3)


def test_a_sample_is_a_function_of_its_seed_alone() -> None:
    conditions = make_conditions(fix=held(BUTANOL, [0, 1, 2, 5, 6]))
    assert conditions is not None
    model, seeds = Chain(refiner=None, num_threads=1).conditioned(conditions), sample_seeds(3, 0, 8)
    whole = model.sample(BUTANOL, seeds)
    for rows in ([5], [7, 2]):
        np.testing.assert_allclose(model.sample(BUTANOL, seeds[rows]), whole[rows], atol=1e-6)
    fix = held(BUTANOL, [0, 1, 2])
    one, more = (
        equidrift.sample(BUTANOL, n, model="etkdg-mmff", fix=fix, batch_size=b)
        for n, b in ((5, 2), (7, 128))
    )
    np.testing.assert_allclose(one.positions_A, more.positions_A[:5], atol=1e-6)
    assert one.provenance["conditions"] == more.provenance["conditions"]


def test_relaxation_holds_the_atoms_too() -> None:
    fix = held(BUTANOL, [0, 1, 2])
    ensemble = equidrift.sample(BUTANOL, 2, model="etkdg-mmff", fix=fix, relax="mmff")
    np.testing.assert_allclose(
        ensemble.positions_A[:, [0, 1, 2]], np.tile(list(fix.values()), (2, 1, 1)), atol=1e-3
    )
    conditions = make_conditions(fix=fix)
    assert conditions is not None and ensemble.energies_eV is not None
    known = conditions.of(BUTANOL)
    _, energies = mmff_relax(BUTANOL, ensemble.positions_A, 0)
    np.testing.assert_allclose(ensemble.energies_eV, energies, atol=1e-6)
    start = known.placed(geometry(BUTANOL)[None])
    moved, lower = mmff_relax(BUTANOL, start, known=known)
    assert (
        lower[0] < mmff_relax(BUTANOL, start, 0)[1][0]
        and np.abs(moved - start)[0, [0, 1, 2]].max() == 0
    )


def test_what_mmff_cannot_type_is_relaxed_by_uff() -> None:
    borane = Molecule.from_smiles("CCCB(O)O")
    conditions = make_conditions(fix=held(borane, [0, 1]))
    assert conditions is not None
    made = (
        Chain(refiner=None, num_threads=1)
        .conditioned(conditions)
        .sample(borane, sample_seeds(0, 0, 2))
    )
    assert (check_geometry(borane, made) == "").all()
    with pytest.raises(MoleculeError, match="MMFF94"):
        mmff_relax(borane, made, known=conditions.of(borane))


def test_restraints_are_satisfied_and_reported() -> None:
    decane = Molecule.from_smiles("C" * 10)
    rows = [(0, 9, 3.5, 4.5), (0, 4, 4.5, 9.0)]
    ensemble = equidrift.sample(decane, 4, model="etkdg-mmff", restrain=rows)
    d = np.linalg.norm(ensemble.positions_A[:, [0, 0]] - ensemble.positions_A[:, [9, 4]], axis=-1)
    assert (d[:, 0] < 4.6).all() and (d[:, 0] > 3.4).all() and (d[:, 1] > 4.4).all()
    missed = np.maximum(np.maximum([3.5, 4.5] - d, d - [4.5, 9.0]), 0)
    np.testing.assert_allclose(ensemble.scores["restraint_violation_A"], missed.max(1), atol=1e-9)
    np.testing.assert_array_equal(ensemble.scores["restraints_satisfied"], (missed <= 1e-3).sum(1))
    assert ensemble.provenance["restraints"] == 2
    free = equidrift.sample(decane, 4, model="etkdg-mmff").positions_A
    assert np.linalg.norm(free[:, 0] - free[:, 9], axis=-1).min() > 4.6, "free samples do not"


def test_restraints_and_held_atoms_together() -> None:
    hexane = Molecule.from_smiles("CCCCCC")
    ensemble = equidrift.sample(
        hexane, 3, model="etkdg-mmff", fix=held(hexane, [0, 1, 2]), restrain=[(0, 5, 4.0, 5.0)]
    )
    d = np.linalg.norm(ensemble.positions_A[:, 0] - ensemble.positions_A[:, 5], axis=-1)
    assert (d > 3.9).all() and (d < 5.1).all()
    known = make_conditions(fix=held(hexane, [0, 1, 2]), restrain=[(0, 5, 4.0, 5.0)]).of(hexane)  # type: ignore[union-attr]
    bounds = restrained_bounds(to_mol(hexane), known)
    assert bounds is not None and bounds[0, 5] <= 5.0 + 1e-6 and bounds[5, 0] >= 4.0 - 1e-6
    assert abs(bounds[0, 1] - bounds[1, 0]) < 1e-6


def test_samples_that_miss_are_rejected_by_reason() -> None:
    known = Known(
        BUTANOL,
        np.array([0]),
        np.zeros((1, 3)),
        np.array([[0, 4]]),
        np.array([2.0]),
        np.array([3.0]),
    )
    x = np.stack([geometry(BUTANOL)] * 2)
    x -= x[:, :1]
    x[1] += 0.01
    assert known.reasons(x, np.array(["", ""], "U20")).tolist() == [RESTRAINT, MOVED]
    with pytest.raises(NoValidSamplesError, match="hold fewer atoms, widen the restraints"):
        equidrift.sample(
            "CC#CC", 1, model="etkdg-mmff", restrain=[(0, 3, 3.0, 3.2)], max_attempts=2
        )


def test_models_that_cannot_are_refused() -> None:
    with pytest.raises(InputError, match="'se3-distance' cannot hold atoms"):
        equidrift.sample("CCO", 1, model="se3-distance", fix={0: (0, 0, 0)})
    with pytest.raises(InputError, match="the fixed coordinates do not fit"):
        equidrift.sample("CCO", 1, model="etkdg", fix={0: (0, 0, 0), 1: (9, 0, 0)})


def test_an_embedding_without_the_core_is_pulled_into_place() -> None:
    """Where RDKit cannot embed with the map, the force field must do: here the map is
    withheld.
    """
    known = make_conditions(fix=held(BUTANOL, [0, 1, 2])).of(BUTANOL)  # type: ignore[union-attr]
    raw = known.placed(ETKDG().sample(BUTANOL, np.array([5])))
    moved, _ = relax_held(to_mol(BUTANOL, raw), known, 1000, "MMFF94")
    assert (check_geometry(BUTANOL, moved) == "").all()


def test_rdkit_manner() -> None:
    mol = Chem.AddHs(Chem.MolFromSmiles("CCCCO"))
    rdDistGeom.EmbedMolecule(mol, randomSeed=2)
    core = {k: mol.GetConformer().GetAtomPosition(k) for k in range(3)}
    ids = embed_molecule_confs(mol, 2, model="etkdg-mmff", randomSeed=1, coordMap=core)
    for i in ids:
        for k, point in core.items():
            assert (
                isinstance(point, Point3D)
                and point.Distance(mol.GetConformer(i).GetAtomPosition(k)) < 1e-3
            )


def test_ase_manner() -> None:
    from equidrift.adapters.ase.generator import ConformerGenerator

    fix = held(BUTANOL, [0, 1, 2])
    generator = ConformerGenerator(model="etkdg-mmff", n=2, fix=fix)
    first, again = generator.generate("CCCCO"), generator.generate("CCCCO")
    np.testing.assert_allclose(first[1].positions[:3], list(fix.values()), atol=1e-3)
    np.testing.assert_array_equal(first[0].positions, again[0].positions)
    assert (
        generator.set(fix=fix) == {}
        and list(generator.set(fix=held(BUTANOL, [0, 1]))) == ["fix"]
        and generator.ensemble is None
    )
    with pytest.raises(UnknownNameError, match="fixx"):
        ConformerGenerator(fixx=fix)

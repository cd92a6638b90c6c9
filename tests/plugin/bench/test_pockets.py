"""Rows of molecules for pockets: what counts as one energy, what is compared, what is near."""

from __future__ import annotations

import math

import numpy as np
import pytest

from equidrift.bench import pockets
from equidrift.bench.machine import silent
from equidrift.bench.pockets import COMPLEXES, CountedPocket, near, pocket_rows, summary
from equidrift.checks.molecule import Raw
from equidrift.errors import MissingDependencyError
from equidrift.records import Ensemble, Molecule
from equidrift.vina import Pocket, kinds_of
from tests.doubles import geometry


def system(smiles: str) -> Raw:
    molecule = Molecule.from_smiles(smiles)
    return molecule, geometry(molecule)


def test_a_counted_pocket_scores_as_a_pocket_and_counts_atoms() -> None:
    molecule, x = system("OCCc1ccccc1")
    rows, kinds = kinds_of(molecule)
    parts = x[rows], kinds, np.zeros(3), 4.0
    counted, plain = CountedPocket(*parts), Pocket(*parts)
    other, at = kinds_of(system("CCO")[0])
    places = system("CCO")[1][other] + 5.0
    np.testing.assert_array_equal(counted.pairs(places, at)[0], plain.pairs(places, at)[0])
    assert counted.counted == [3]
    counted.near(9.0).pairs(np.zeros((2, 5, 1, 3)) + 6.0, kinds)  # of a batch, for each kind
    assert counted.counted == [3 + 2 * 5 * len(kinds)]


def test_the_mean_is_of_all_molecules_and_its_error_within_pockets() -> None:
    one = {"score": np.array([1.0, 3.0]), "heavy_atoms": np.array([8.0, 9.0])}
    other = {"score": np.array([11.0, np.nan]), "heavy_atoms": np.array([9.0, 9.0])}
    values = summary("pocket/x", [one, other])["values"]
    assert values["score"] == 5.0 and values["n"] == 4 and values["pockets"] == 2
    assert values["score_se"] == pytest.approx(math.sqrt(2.0 / 1 / 3))


def test_near_keeps_residues_whole() -> None:
    molecule = system("CCCCCCCC")[0]
    heavy = int((molecule.numbers != 1).sum())
    ids = np.arange(molecule.n_atoms) // 2
    labelled = molecule.replace(
        smiles="",
        residue_ids=ids,
        residue_names=["ALA"] * len(ids),
        chain_ids=["A"] * len(ids),
        atom_names=[f"X{k}" for k in range(len(ids))],
    )
    x = np.arange(len(ids), dtype=float)[:, None] * [3.0, 0.0, 0.0]
    found = near(Ensemble(labelled, x[None]), x[0], 7.0)  # atoms 0, 1 and 2
    assert found.positions_A[0, :, 0].tolist() == [0.0, 3.0, 6.0, 9.0] and heavy > 4


def test_without_posebusters_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pockets, "find_spec", lambda _: None)
    with pytest.raises(MissingDependencyError, match="posebusters"):
        pocket_rows([], 1, map, silent)


@pytest.mark.slow
def test_rows_of_a_complex(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two minutes: docking has at least the energies of guiding, and all is judged."""
    pytest.importorskip("posebusters")
    monkeypatch.setattr(pockets, "COMPLEXES", COMPLEXES[2:3])
    rows = pocket_rows([system("OCCC1CC1"), system("NC(=O)c1ccoc1")], 2, map, silent)
    values = {str(one["row"]): one["values"] for one in rows}
    assert list(values) == ["pocket/guided", "pocket/then-docked", "pocket/qm9", "pocket/ligand"]
    guided, docked = values["pocket/guided"], values["pocket/then-docked"]
    assert docked["descents"] > guided["descents"]
    assert docked["atoms_scored"] > 0.95 * guided["atoms_scored"]
    for one in (guided, docked, values["pocket/qm9"]):
        assert one["vina_terms_kcal_mol"] < -1 and one["strain_kcal_mol"] >= 0
        assert 0 <= one["posebusters"] <= 100 and one["n"] == 2
    assert values["pocket/ligand"]["vina_terms_kcal_mol"] < -7

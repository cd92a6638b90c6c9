"""Each metric of generated molecules on a case worked by hand, and on one in which it
must fail.
"""

from __future__ import annotations

import numpy as np
import pytest

from equidrift.bench.molecule_metrics import (
    busted,
    distributions,
    relaxation,
    stability,
    total_variation,
    validity,
    wasserstein,
)
from equidrift.checks.molecule import Raw
from equidrift.errors import InputError
from equidrift.records import Molecule
from tests.doubles import geometry, spoilt


def raw(smiles: str, scale: float = 1.0) -> Raw:
    molecule = Molecule.from_smiles(smiles)
    return molecule.replace(
        tetrahedral=np.zeros((0, 5)), double_bonds=np.zeros((0, 5)), smiles=""
    ), scale * geometry(molecule)


def broken(smiles: str, fault: str) -> Raw | None:
    return spoilt(*raw(smiles), fault)


def test_stability_of_four_samples() -> None:
    values = stability([raw("C"), raw("C", 1.3), broken("C", "radical"), None])
    atoms = 5 + 5 + 4
    assert (
        values["atom_stability"] == pytest.approx(100 * (atoms - 1) / atoms)
        and values["molecule_stability"] == 50.0
    )
    assert values["edm_stability"] == 25.0 and values["edm_atom_stability"] == pytest.approx(
        100 * (5 + 3) / atoms
    )
    assert values["connected"] == 75.0
    assert stability([broken("CO", "apart")])["connected"] == 0.0
    assert stability([]) == dict.fromkeys(values, 0.0)


def test_the_two_stabilities_disagree_where_they_should() -> None:
    zwitterion = stability([raw("C[N+](C)(C)CC(=O)[O-]")])
    assert zwitterion["molecule_stability"] == 100.0 and zwitterion["edm_stability"] == 0.0
    stretched = stability([raw("CC", 1.15)])
    assert stretched["molecule_stability"] == 100.0 and stretched["edm_stability"] == 0.0
    assert (
        stability([raw("c1ccoc1")])["molecule_stability"] == 100.0
    )  # aromatic bonds are Kekulised first


def test_validity_uniqueness_novelty() -> None:
    samples = [
        raw("CCO"),
        raw("CCO"),
        raw("CCN"),
        raw("CO", 1.6),
        broken("CCO", "radical"),
        broken("CCO", "charged"),
        None,
    ]
    values, draws = validity(samples, {"CCO", "CCC"})
    assert [draw.reason for draw in draws] == [
        "",
        "",
        "",
        "bond length",
        "open shell",
        "net charge",
        "no molecule",
    ]
    assert values["valid"] == pytest.approx(400 / 7) and values["sound"] == pytest.approx(300 / 7)
    assert values["valid_unique"] == pytest.approx(300 / 7) and values["novel"] == pytest.approx(
        200 / 3
    )
    assert "novel" not in validity(samples)[0]


def test_mirror_images_are_two_molecules() -> None:
    molecule, x = raw("C[C@H](O)C#N")
    values, _ = validity([(molecule, x), (molecule, x * [1, 1, -1])], {"C[C@H](O)C#N"})
    assert values["valid_unique"] == 100.0 and values["novel"] == 50.0


def test_distances_of_distributions() -> None:
    assert wasserstein([0, 1, 2], [1, 2, 3]) == pytest.approx(1.0)
    assert wasserstein([0, 0], [0, 4]) == pytest.approx(2.0) and wasserstein([5], [5]) == 0.0
    assert (
        total_variation([0, 1], [0, 1]) == 0.0
        and total_variation([0.0], [1.0]) == 1.0
        and total_variation([3], [3]) == 0.0
    )
    assert total_variation([0, 0, 0, 1], [0, 1, 1, 1]) == pytest.approx(0.5)
    for bad in ([], [np.nan], [np.inf]):
        with pytest.raises(InputError, match="finite ones"):
            wasserstein(bad, [1.0])


def test_wasserstein_is_scipys() -> None:
    from scipy.stats import wasserstein_distance

    rng = np.random.default_rng(0)
    for _ in range(5):
        a, b = rng.normal(size=rng.integers(1, 30)), rng.normal(1, 2, size=rng.integers(1, 30))
        assert wasserstein(a, b) == pytest.approx(wasserstein_distance(a, b))


def test_distributions_leave_out_what_is_missing() -> None:
    values = distributions(
        {"MW": np.array([1.0, np.nan]), "energy": np.array([np.nan])},
        {"MW": np.array([3.0]), "energy": np.ones(2)},
    )
    assert values == {"MW_W": 2.0, "MW_TV": 1.0}


def test_relaxation_and_posebusters() -> None:
    pytest.importorskip("tblite")
    pytest.importorskip("posebusters")
    sound, bent = raw("CO"), raw("CO", 1.08)
    near, far = relaxation([sound]), relaxation([bent])
    assert (
        near["relaxed"] == 1
        and near["relax_kcal_mol"] < far["relax_kcal_mol"]
        and near["relax_rmsd_A"] < far["relax_rmsd_A"]
    )
    assert relaxation([]) == {} and busted([]) == {}
    found = busted([raw("CO"), raw("CO", 1.5)])
    assert found["posebusters"] == 50.0 and found["busted"] == 2

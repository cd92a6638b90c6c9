"""Every test of a graph against a molecule made so that it must fail."""

from __future__ import annotations

import numpy as np
import pytest

from equidrift.adapters.rdkit.etkdg import ETKDG
from equidrift.checks.valency import (
    DISCONNECTED,
    NET_CHARGE,
    OPEN_SHELL,
    VALENCY,
    atoms_stable,
    edm_atoms_stable,
    edm_orders,
    graph_problem,
    is_stable,
    open_shell,
)
from equidrift.errors import InputError
from equidrift.graph import fragments
from equidrift.records import Molecule
from tests.doubles import geometry, spoilt


def graph(
    numbers: list[int], bonds: list[tuple[int, int, float]], charges: list[int] | None = None
) -> Molecule:
    pairs = np.array([bond[:2] for bond in bonds], int).reshape(-1, 2)
    return Molecule(
        np.array(numbers),
        pairs,
        np.array([b[2] for b in bonds]),
        np.array(charges or [0] * len(numbers)),
    )


METHANE = graph([6, 1, 1, 1, 1], [(0, k, 1) for k in range(1, 5)])


def test_sound_molecules_are_stable() -> None:
    assert is_stable(METHANE) and graph_problem(METHANE) == ""
    assert graph_problem(Molecule.from_smiles("C[N+](=O)[O-]")) == ""
    assert graph_problem(Molecule.from_smiles("[NH3+]CC([O-])=O")) == ""


def test_a_radical_is_not_stable_though_lenient_tables_allow_its_carbon() -> None:
    methyl = graph([6, 1, 1, 1], [(0, k, 1) for k in range(1, 4)])
    assert atoms_stable(methyl).tolist() == [False, True, True, True]
    assert open_shell(methyl) and graph_problem(methyl) == OPEN_SHELL


def test_a_carbene_has_paired_electrons_and_still_no_valence() -> None:
    carbene = graph([6, 1, 1], [(0, 1, 1), (0, 2, 1)])
    assert not open_shell(carbene) and graph_problem(carbene) == VALENCY


def test_a_biradical_is_caught_by_its_valences() -> None:
    trimethylene = graph(
        [6, 6, 6] + [1] * 6, [(0, 1, 1), (1, 2, 1)] + [(k // 2, 3 + k, 1) for k in range(6)]
    )
    assert not open_shell(trimethylene) and graph_problem(trimethylene) == VALENCY
    assert int((~atoms_stable(trimethylene)).sum()) == 2


def test_charges_must_fit_bonds() -> None:
    ammonium = graph([7, 1, 1, 1, 1], [(0, k, 1) for k in range(1, 5)], [1, 0, 0, 0, 0])
    assert is_stable(ammonium) and graph_problem(ammonium) == NET_CHARGE
    uncharged = graph([7, 1, 1, 1, 1], [(0, k, 1) for k in range(1, 5)])
    assert not is_stable(uncharged) and graph_problem(uncharged) == OPEN_SHELL
    swapped = graph([8, 1, 1], [(0, 1, 1), (0, 2, 1)], [1, -1, 0])
    assert graph_problem(swapped) == VALENCY


def test_fragments_are_counted_and_more_than_one_is_a_problem() -> None:
    two = graph([1, 1, 9, 1], [(0, 1, 1), (2, 3, 1)])
    assert fragments(two).tolist() == [0, 0, 1, 1] and graph_problem(two) == DISCONNECTED
    long = graph([1] * 6, [(5, 4, 1), (4, 3, 1), (3, 2, 1), (1, 0, 1)])
    assert fragments(long).tolist() == [0, 0, 1, 1, 1, 1]
    assert graph_problem(graph([], [])) == DISCONNECTED


def test_aromatic_bonds_need_a_kekule_structure() -> None:
    benzene = Molecule.from_smiles("c1ccccc1")
    assert (benzene.bond_orders == 1.5).any() and not is_stable(benzene)


@pytest.mark.parametrize(
    ("fault", "problem"),
    [
        ("radical", OPEN_SHELL),
        ("charged", NET_CHARGE),
        ("apart", DISCONNECTED),
        ("valency", VALENCY),
    ],
)
def test_spoilt_molecules(fault: str, problem: str) -> None:
    molecule = Molecule.from_smiles("CC(O)CN")
    made = spoilt(molecule, geometry(molecule), fault)
    assert made is not None and graph_problem(made[0]) == problem


def test_edm_reads_orders_from_distances() -> None:
    for smiles, i, j, order in (("C=C", 0, 1, 2), ("C#N", 0, 1, 3), ("CO", 0, 1, 1)):
        molecule = Molecule.from_smiles(smiles)
        positions = ETKDG().sample(molecule, np.array([0]))[0]
        assert edm_orders(molecule.numbers, positions)[i, j] == order
        assert edm_atoms_stable(molecule.numbers, positions).all()


def test_edm_fails_what_is_stretched_and_what_bears_a_charge() -> None:
    ethane = Molecule.from_smiles("CC")
    positions = ETKDG().sample(ethane, np.array([0]))[0]
    assert (
        edm_atoms_stable(ethane.numbers, positions).all()
        and not edm_atoms_stable(ethane.numbers, 1.15 * positions).all()
    )
    zwitterion = Molecule.from_smiles("C[N+](C)(C)C")
    assert is_stable(zwitterion)
    stable = edm_atoms_stable(zwitterion.numbers, geometry(zwitterion))
    assert not stable[zwitterion.numbers == 7].any()  # four bonds, and EDM knows no charge


def test_edm_refuses_other_elements() -> None:
    with pytest.raises(InputError, match="not S; judge such molecules by their explicit bonds"):
        edm_orders(np.array([16, 1]), np.zeros((2, 3)))

"""Vina's published terms against values computed by hand, their slopes, and AutoDock Vina
itself where it is installed.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

import equidrift
from equidrift.errors import InputError
from equidrift.records import Ensemble, Molecule
from equidrift.vina import Kinds, Pocket, kinds_of, pair_terms, rotors
from tests.doubles import geometry


def term(d: float, *, hydrophobic: bool = False, bonded: bool = False) -> float:
    """The energy of a pair whose surfaces are d apart, radii 1.9 and 1.7 A."""
    energy, _ = pair_terms(
        np.array(3.6 + d), np.array(3.6), np.array(hydrophobic), np.array(bonded)
    )
    return float(energy)


@pytest.mark.parametrize(
    ("d", "kinds", "expected"),
    [
        # steric terms alone: -.0356 e^-(2d)^2 - .00516 e^-((d-3)/2)^2 + .84 d^2 (d < 0)
        (0.0, {}, -0.0356 - 0.00516 * math.exp(-2.25)),
        (3.0, {}, -0.00516 - 0.0356 * math.exp(-36.0)),
        (1.0, {}, -0.0356 * math.exp(-4.0) - 0.00516 * math.exp(-1.0)),
        (-1.0, {}, 0.840 - 0.0356 * math.exp(-4.0) - 0.00516 * math.exp(-4.0)),
        # hydrophobic: 1 below .5, 0 above 1.5, half at 1
        (0.5, {"hydrophobic": True}, -0.0351 - 0.0356 / math.e - 0.00516 * math.exp(-1.5625)),
        (1.0, {"hydrophobic": True}, -0.01755 - 0.0356 * math.exp(-4) - 0.00516 * math.exp(-1)),
        (1.5, {"hydrophobic": True}, -0.0356 * math.exp(-9.0) - 0.00516 * math.exp(-0.5625)),
        # hydrogen bonds: 1 below -.7, 0 above 0, half at -.35
        (
            -0.35,
            {"bonded": True},
            -0.2935 + 0.84 * 0.1225 - 0.0356 * math.exp(-0.49) - 0.00516 * math.exp(-2.805625),
        ),
        (0.0, {"bonded": True}, -0.0356 - 0.00516 * math.exp(-2.25)),
        (4.5, {}, 0.0),  # 8.1 A apart
    ],
)
def test_terms_are_those_of_the_paper(d: float, kinds: dict[str, bool], expected: float) -> None:
    assert term(d, **kinds) == pytest.approx(expected, abs=1e-9)


def test_slopes_are_those_of_the_energies() -> None:
    r = np.linspace(1.5, 7.9, 130) + 1e-3  # off the corners of the pieces
    for hydrophobic in (False, True):
        for bonded in (False, True):
            flags = np.full(r.shape, hydrophobic), np.full(r.shape, bonded)
            sums = np.full(r.shape, 3.6)
            above, below = (pair_terms(r + h, sums, *flags)[0] for h in (1e-6, -1e-6))
            slope = pair_terms(r, sums, *flags)[1]
            np.testing.assert_allclose(slope, (above - below) / 2e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("smiles", "hydrophobic", "donors", "acceptors", "turning"),
    [
        ("CCO", [0], [2], [2], 0),
        ("CC(=O)NC", [0], [3], [2], 0),  # an amide's bond is no rotor
        ("c1ccncc1", [1], [], [3], 0),
        ("CCCCF", [0, 1, 2, 4], [], [], 2),
        ("CN(C)C", [], [], [1], 0),
        ("C[NH3+]", [], [1], [], 0),
        ("CN(C)C=O", [], [], [4], 0),  # its lone pair is spread
    ],
)
def test_kinds_of_atoms(
    smiles: str, hydrophobic: list[int], donors: list[int], acceptors: list[int], turning: int
) -> None:
    molecule = Molecule.from_smiles(smiles)
    rows, kinds = kinds_of(molecule)
    if smiles == "c1ccncc1":
        hydrophobic = [0, 1, 5]
    assert rows[kinds.hydrophobic].tolist() == hydrophobic
    assert rows[kinds.donor].tolist() == donors and rows[kinds.acceptor].tolist() == acceptors
    assert rotors(molecule) == turning


def test_an_element_without_a_radius_is_refused() -> None:
    with pytest.raises(InputError, match="no radius for Si; it knows H C N O"):
        kinds_of(Molecule.from_smiles("C[SiH3]"))


def pocket_of(smiles: str, apart_A: float = 0.0) -> tuple[Ensemble, Pocket]:
    molecule = Molecule.from_smiles(smiles)
    x = geometry(molecule) + apart_A
    rows, kinds = kinds_of(molecule)
    return Ensemble(molecule, x[None]), Pocket(x[rows], kinds, x.mean(0), 4.0)


def test_scores_sum_pairs_and_divide_by_rotors() -> None:
    _, pocket = pocket_of("OCC(=O)Nc1ccccn1")
    butane = Molecule.from_smiles("CCCCF")
    x = geometry(butane) + np.array([0.0, 0.0, 5.0])
    rows, kinds = kinds_of(butane)
    total = 0.0
    for i, row in enumerate(rows):
        for j, place in enumerate(pocket.positions_A):
            one, other = kinds.take(np.array([i])), pocket.kinds.take(np.array([j]))
            total += float(
                pair_terms(
                    np.linalg.norm(x[row] - place)[None],
                    one.radii_A + other.radii_A,
                    one.hydrophobic & other.hydrophobic,
                    one.donor & other.acceptor | one.acceptor & other.donor,
                )[0][0]
            )
    assert total < -0.1
    assert pocket.score(butane, x) == pytest.approx(total / (1 + 2 * 0.0585))


def test_gradients_are_those_of_the_energies_for_atoms_and_for_kinds_at_a_place() -> None:
    _, pocket = pocket_of("OCC(=O)Nc1ccccn1")
    rng = np.random.default_rng(3)
    x = rng.normal(size=(2, 3, 1, 3)) * 3 + pocket.centre_A
    kinds = Kinds(
        np.array([1.9, 1.7]),
        np.array([True, False]),
        np.array([0, 1], bool),
        np.array([0, 1], bool),
    )
    energy, gradient = pocket.pairs(x, kinds)
    assert energy.shape == (2, 3, 2) and gradient.shape == (2, 3, 2, 3)
    for axis in range(3):
        h = np.eye(3)[axis] * 1e-6
        slope = (pocket.pairs(x + h, kinds)[0] - pocket.pairs(x - h, kinds)[0]) / 2e-6
        np.testing.assert_allclose(gradient[..., axis], slope, atol=1e-5)
    near = pocket.near(3.0)
    assert 0 < len(near.positions_A) == len(near.kinds) < len(pocket.kinds)


def test_autodock_vina_gives_the_same_score() -> None:
    """For a few rigid poses, to its grid of .375 A; the weights of its code have a digit
    more than the paper's.
    """
    pytest.importorskip("vina", reason="AutoDock Vina is not installed (extra vina)")
    from equidrift.adapters.vina.scoring import score

    crown = equidrift.sample("C1COCCOCCOCCOCCOCCO1", 1, model="etkdg-mmff")
    rows, kinds = kinds_of(crown.molecule)
    pocket = Pocket(crown.positions_A[0][rows], kinds, crown.positions_A[0].mean(0), 4.0)
    ligand = Molecule.from_smiles("C[NH3+]")
    for k in range(3):
        x = geometry(ligand) - geometry(ligand).mean(0) + pocket.centre_A + [0.0, 0.0, 2.5 + k]
        ours = pocket.score(ligand, x)
        assert score(crown, ligand, x) == pytest.approx(ours, abs=0.03 + 0.05 * abs(ours))

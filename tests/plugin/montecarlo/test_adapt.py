"""Fitting before production: which moves are chosen, and frames whose torsions are
drawn anew.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from equidrift.errors import InputError, UnknownNameError
from equidrift.models.torsions.sampler import load_torsion
from equidrift.montecarlo.adapt import MEANINGS, Still, adapt, described
from equidrift.montecarlo.heat_bath import HeatBathProposer
from equidrift.montecarlo.metropolis import Statistics
from equidrift.montecarlo.recycling import recycled
from equidrift.montecarlo.turns import TurnTerms
from equidrift.records import Molecule
from equidrift.registry import PROPOSERS
from equidrift.torsions import TorsionTree
from equidrift.units import BOLTZMANN_EV_PER_K
from tests.plugin.montecarlo.test_metropolis import (
    BUTANE,
    TREE,
    energy,
    energy_of,
    expected,
    p_value,
)

KELVIN = 1 / BOLTZMANN_EV_PER_K  # kT is one unit of energy
NONE = np.zeros(0)
TERMS = TurnTerms(
    4,
    "mmff",
    np.zeros((0, 2), int),
    NONE,
    NONE,
    NONE,
    np.array([[0, 1, 2, 3]]),
    np.array([1]),
    np.zeros(1),
    np.ones(1),
)
CARBONS = Molecule(
    numbers=np.full(4, 6),
    bonds=np.array([(0, 1), (1, 2), (2, 3)]),
    bond_orders=np.ones(3),
    formal_charges=np.zeros(4, np.int64),
)


def frames_of(phi: np.ndarray) -> np.ndarray:
    return TREE.set_torsions(BUTANE, phi[:, None])


@pytest.mark.long
def test_recycled_frames_keep_equilibrium_and_mend_what_is_missing():
    rng = np.random.default_rng(0)
    grid = np.linspace(-np.pi, np.pi, 4001)
    phi = rng.choice(grid, 1500, p=np.exp(-energy_of(grid)) / np.exp(-energy_of(grid)).sum())
    again = TREE.torsions(recycled(frames_of(phi), TREE, energy, temperature_K=KELVIN))[:, 0]
    assert (again != phi).mean() > 0.5
    assert p_value(again) > 0.01
    lacking = phi[phi > 0]
    mended = TREE.torsions(
        recycled(frames_of(lacking), TREE, energy, temperature_K=KELVIN, draws=16)
    )[:, 0]
    truth = expected()[:12].sum()
    assert (
        abs((mended < 0).mean() - truth) < 0.5 * truth
    )  # a few draws near the missing wells have the weight of all of them


def test_frames_whose_energy_fails_are_not_taken():
    def failing(x: np.ndarray) -> float:
        return math.nan if TREE.torsions(x)[0] < 0 else energy(x)

    phi = np.random.default_rng(1).uniform(0.1, 3.0, 200)
    assert (
        TREE.torsions(recycled(frames_of(phi), TREE, failing, temperature_K=KELVIN))[:, 0] >= 0
    ).all()


def accepting(share: float):
    """A host that accepts this share of heat-bath moves and keeps its place."""
    calls = []

    def advance(proposer, n):
        calls.append((type(proposer).__name__, n))
        return np.repeat(BUTANE[None], n, axis=0), Statistics(
            proposed=100, accepted=round(100 * share)
        )

    return advance, calls


def test_a_good_surrogate_is_kept_and_a_bad_one_only_explores():
    advance, calls = accepting(0.9)
    made = adapt(advance, CARBONS, TREE, "torsion", 200, temperature_K=300.0, terms=TERMS)
    assert isinstance(made.proposer, HeatBathProposer) and made.report["chosen"] == "heat-bath"
    assert {name for name, _ in calls} == {"HeatBathProposer"}
    advance, calls = accepting(0.1)
    made = adapt(advance, CARBONS, TREE, "torsion", 200, temperature_K=300.0, terms=TERMS)
    assert not isinstance(made.proposer, HeatBathProposer)
    assert calls[0][0] == "HeatBathProposer" and calls[1][0] == "Alternating"


def test_nothing_to_propose_and_unknown_kinds():
    advance, _ = accepting(0.5)
    assert isinstance(adapt(advance, CARBONS, TREE, "none", 0, temperature_K=300.0).proposer, Still)
    with pytest.raises(UnknownNameError, match="heat-bath"):
        adapt(advance, CARBONS, TREE, "heatbath", 200, temperature_K=300.0)
    with pytest.raises(InputError, match="needed to fit"):
        adapt(advance, CARBONS, TREE, "mixture", 20, temperature_K=300.0)


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (1, "a Fourier table of 1 torsion, no"),
        (2, "a Fourier table of 2 torsions, no"),
        (3, "diffusion on the torus of 3"),
        (5, "a Fourier table of 2 torsions of 5"),
    ],
)
def test_a_torsion_proposer_says_whether_it_is_a_table_or_a_diffusion(size, words):
    n = size + 3
    tree = TorsionTree(n, [(k, k + 1) for k in range(n - 1)], [(k, k + 1) for k in range(1, n - 2)])
    assert words in described(load_torsion(tree=tree, weights=None))
    assert set(MEANINGS) == {*PROPOSERS, "none"}

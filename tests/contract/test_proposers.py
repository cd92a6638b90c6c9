"""Every proposer with a plain form under the one contract."""

from __future__ import annotations

import numpy as np

from equidrift.adapters.openmm.terms import turn_terms
from equidrift.models.rigid.body import RigidBody
from equidrift.models.rigid.mixture import PoseMixture
from equidrift.models.rigid.proposer import LocalRigidProposer, RigidProposer
from equidrift.models.torsions.sampler import load_torsion
from equidrift.montecarlo.heat_bath import HeatBathProposer
from equidrift.montecarlo.proposals import (
    LocalTorsionProposer,
    TorsionProposer,
    histogram_proposer,
    mixture_proposer,
    uniform_proposer,
)
from equidrift.protocols import Proposer
from equidrift.registry import STORED_PROPOSERS
from equidrift.testing.proposer import KT_EV, ProposerContract
from tests.toy_chain import START, TREE, chain


def frames() -> np.ndarray:
    """(40, 5, 3) states of the toy chain, in A."""
    phi = np.random.default_rng(0).uniform(-np.pi, np.pi, (40, TREE.n_torsions))
    return TREE.set_torsions(START, phi)


class ToyContract(ProposerContract):
    """On the chain of five sites."""

    def start_A(self) -> np.ndarray:
        return START.copy()


class TestUniform(ToyContract):
    def make(self) -> Proposer:
        return uniform_proposer(TREE)


class TestUniformBlocks(ToyContract):
    def make(self) -> Proposer:
        return uniform_proposer(TREE, block_size=1)


class TestHistogram(ToyContract):
    def make(self) -> Proposer:
        return histogram_proposer(TREE, frames())


class TestMixture(ToyContract):
    def make(self) -> Proposer:
        return mixture_proposer(TREE, frames(), components=4)


class TestLocal(ToyContract):
    def make(self) -> Proposer:
        return LocalTorsionProposer(TREE, 0.4)


class TestHeatBath(ToyContract):
    def make(self) -> Proposer:
        terms = turn_terms(chain())
        assert terms is not None
        return HeatBathProposer(TREE, terms)


class TestTorsion(ToyContract):
    def make(self) -> Proposer:
        return load_torsion(tree=TREE, weights=None, positions_A=frames(), kT_eV=KT_EV)


class TestRigid(ToyContract):
    """Three of the sites, as if no bond tied them."""

    def make(self) -> Proposer:
        return RigidProposer(
            RigidBody(START, [0, 1, 2], [3, 4]), PoseMixture.ball(np.zeros(3), 6.0)
        )


class TestSmallRigidSteps(ToyContract):
    def make(self) -> Proposer:
        return LocalRigidProposer([0, 1, 2])


def test_every_stored_kind_but_those_of_trained_weights_has_its_suite() -> None:
    """`boltzmann` and `torsions-all` need weights; their suites stand in
    tests/models/boltzmann and tests/models/torsions/test_distance_flow.py.
    """
    made = {
        test().make().to_dict()["proposer"]
        for test in (
            TestUniform,
            TestLocal,
            TestHeatBath,
            TestTorsion,
            TestRigid,
            TestSmallRigidSteps,
        )
    }
    assert made == set(STORED_PROPOSERS) - {"boltzmann", "torsions-all"}
    assert isinstance(TestMixture().make(), TorsionProposer)

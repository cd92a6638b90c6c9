"""What every exact proposer promises.

A test class inherits `ProposerContract` and says how its proposer is made.
"""

from __future__ import annotations

import json

import numpy as np
import pytest

from equidrift.montecarlo.proposals import proposer_from_dict
from equidrift.protocols import (
    BatchedProposer,
    IndependentProposer,
    Proposer,
    StorableProposer,
)
from equidrift.testing.random_state import global_random_state_kept
from equidrift.testing.suite import Suite
from equidrift.units import BOLTZMANN_EV_PER_K

KT_EV = BOLTZMANN_EV_PER_K * 300


class ProposerContract(Suite):
    """Inherit, and override `make` and `start_A`."""

    def start_A(self) -> np.ndarray:
        """A state (n_atoms, 3) in A."""
        raise NotImplementedError

    def test_protocol_is_kept_without_anything_filled_in(self, model: Proposer) -> None:
        assert isinstance(model, Proposer) and model.exact
        assert isinstance(model.name, str) and model.name

    def test_proposal_has_the_shape_of_the_state_and_a_density(self, model: Proposer) -> None:
        x = self.start_A()
        made = model.propose(x, kT_eV=KT_EV, rng=np.random.default_rng(1))
        assert made.positions_A.shape == x.shape and np.isfinite(made.positions_A).all()
        assert made.log_q_ratio is not None and not np.isnan(made.log_q_ratio)

    def test_state_is_left_alone_when_proposing(self, model: Proposer) -> None:
        x = self.start_A()
        before = x.copy()
        model.propose(x, kT_eV=KT_EV, rng=np.random.default_rng(1))
        assert np.array_equal(x, before)

    def test_same_stream_gives_the_same_proposal(self, model: Proposer) -> None:
        one, two = (
            model.propose(self.start_A(), kT_eV=KT_EV, rng=np.random.default_rng(5))
            for _ in range(2)
        )
        assert np.array_equal(one.positions_A, two.positions_A)
        assert one.log_q_ratio == two.log_q_ratio

    def test_global_random_state_is_left_alone(self, model: Proposer) -> None:
        with global_random_state_kept():
            model.propose(self.start_A(), kT_eV=KT_EV, rng=np.random.default_rng(1))

    def test_rigid_parts_stay_rigid_when_torsions_are_turned(self, model: Proposer) -> None:
        if model.tree is None:
            pytest.skip("it moves more than torsions")
        x = self.start_A()
        made = model.propose(x, kT_eV=KT_EV, rng=np.random.default_rng(2))
        i, j = model.tree.bonds.T
        lengths = [np.linalg.norm(y[i] - y[j], axis=1) for y in (x, made.positions_A)]
        np.testing.assert_allclose(lengths[0], lengths[1], atol=1e-9)

    def test_ratios_of_independent_proposals_are_differences_of_log_q(
        self, model: Proposer
    ) -> None:
        if not isinstance(model, IndependentProposer):
            pytest.skip("its proposals depend on the state")
        rng = np.random.default_rng(3)
        for made in model.propose_independent(self.start_A(), 4, kT_eV=KT_EV, rng=rng):
            if "log_q" in made.info:
                wanted = made.info["log_q_current"] - made.info["log_q"]
                assert made.log_q_ratio == pytest.approx(wanted, abs=1e-9)

    def test_a_batch_gives_a_proposal_for_each_state(self, model: Proposer) -> None:
        if not isinstance(model, BatchedProposer):
            pytest.skip("it takes one state at a time")
        x = np.repeat(self.start_A()[None], 3, axis=0)
        made = model.propose_many(x, kT_eV=KT_EV, rng=np.random.default_rng(4))
        assert [proposal.positions_A.shape for proposal in made] == [x.shape[1:]] * 3

    def test_plain_form_makes_the_same_proposals(self, model: Proposer) -> None:
        assert isinstance(model, StorableProposer)
        again = proposer_from_dict(json.loads(json.dumps(model.to_dict())))
        one, two = (
            made.propose(self.start_A(), kT_eV=KT_EV, rng=np.random.default_rng(6))
            for made in (model, again)
        )
        np.testing.assert_allclose(one.positions_A, two.positions_A, atol=1e-9)
        assert one.log_q_ratio == pytest.approx(two.log_q_ratio, abs=1e-9)

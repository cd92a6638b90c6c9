"""Proposers of the benchmark that begin with frames of long dynamics."""

from __future__ import annotations

import numpy as np
import pytest

from equidrift.bench.sampling import Alanine
from equidrift.bench.sampling_run import fitted


@pytest.mark.long
@pytest.mark.parametrize("kind", ["histogram", "torsion"])
def test_proposers_are_fitted_to_given_frames(kind: str) -> None:
    peptide = Alanine.make()
    phi = np.random.default_rng(0).uniform(-np.pi, np.pi, (80, 2))
    frames_A = peptide.tree.set_torsions(peptide.positions_A, phi)
    proposer, adapt_s = fitted(
        peptide.simulation(),
        peptide.molecule,
        peptide.tree,
        kind,
        cycles=2,
        n_proposals=2,
        frames_A=frames_A,
    )
    made = proposer.propose(peptide.positions_A, kT_eV=0.0259, rng=np.random.default_rng(1))
    assert made.log_q_ratio is not None and np.isfinite(made.log_q_ratio) and adapt_s > 0

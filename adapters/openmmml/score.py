"""The score as an openmmml potential, `MLPotential("equidrift-score")`: walk-jump
sampling, no force field; see `equidrift.score`.

openmmml imports this module for every user of any potential: the standard library and
openmmml only.
"""

from __future__ import annotations

from equidrift.adapters.openmmml.whole import WholeMoleculeImpl, WholeMoleculeImplFactory


class ScorePotentialImpl(WholeMoleculeImpl):
    """Adds the score as a PythonForce: smoothed walk-jump dynamics of a generative
    model, **not** Boltzmann's, with no energy.

    Options, of `MLPotential` or `createSystem`: sigma_A, temperature_K, model;
    formal_charges for topologies without them.
    """

    force = "score_force"
    whole = (
        "the score is of a whole molecule, and a mixed system would weigh it against a potential"
    )


class ScorePotentialImplFactory(WholeMoleculeImplFactory):
    """Found by openmmml through its entry point."""

    impl = ScorePotentialImpl

"""The score as an openmmml potential, `MLPotential("equidrift-score")`: walk-jump
sampling, no force field; see `equidrift.score`.

openmmml imports this module for every user of any potential: the standard library and
openmmml only.
"""

from __future__ import annotations

from typing import Any

from openmmml.mlpotential import MLPotentialImplFactory

from equidrift.adapters.openmmml.whole import WholeMoleculeImpl


class ScorePotentialImplFactory(MLPotentialImplFactory):
    """Makes the implementation; options of `MLPotential` are kept for `createSystem`."""

    def createImpl(
        self,
        name: str,  # noqa: ARG002 - openmmml's signature
        **args: Any,
    ) -> ScorePotentialImpl:
        """Called by openmmml."""
        return ScorePotentialImpl(args)


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

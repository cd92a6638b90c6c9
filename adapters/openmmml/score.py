"""The score as an openmmml potential, `MLPotential("equidrift-score")`: walk-jump
sampling, no force field; see `equidrift.score`.

openmmml imports this module for every user of any potential: the standard library and
openmmml only.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from openmmml.mlpotential import MLPotentialImpl, MLPotentialImplFactory

from equidrift.registry import host_function


class ScorePotentialImplFactory(MLPotentialImplFactory):
    """Makes the implementation; options of `MLPotential` are kept for `createSystem`."""

    def createImpl(
        self,
        name: str,  # noqa: ARG002 - openmmml's signature
        **args: Any,
    ) -> ScorePotentialImpl:
        """Called by openmmml."""
        return ScorePotentialImpl(args)


class ScorePotentialImpl(MLPotentialImpl):
    """Adds the score as a PythonForce: smoothed walk-jump dynamics of a generative
    model, **not** Boltzmann's, with no energy.

    Options, of `MLPotential` or `createSystem`: sigma_A, temperature_K, model;
    formal_charges for topologies without them.
    """

    def __init__(self, options: dict[str, Any]) -> None:
        self.options = {key: value for key, value in options.items() if key != "modelPath"}

    def addForces(
        self, topology: Any, system: Any, atoms: Iterable[int] | None, forceGroup: int, **args: Any
    ) -> None:
        """Called by openmmml's createSystem.

        Raises
        ------
        InputError
            for a part of a topology, or one whose bonds have no orders.
        """
        from equidrift.errors import InputError
        from equidrift.inputs import from_openmm

        if atoms is not None and sorted(atoms) != list(range(topology.getNumAtoms())):
            raise InputError(
                "the score is of a whole molecule, and a mixed system would weigh it against a "
                "potential; leave atoms out"
            )
        options = {**self.options, **args}
        molecule = from_openmm(topology, formal_charges=options.pop("formal_charges", None))
        force = host_function("openmm", "score_force")(molecule, **options)
        force.setForceGroup(forceGroup)
        system.addForce(force)

"""Potentials of openmmml that are a force of ours on one whole molecule.

openmmml imports what builds on this for every user of any potential: the standard
library and openmmml only.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

from openmmml.mlpotential import MLPotentialImpl, MLPotentialImplFactory

from equidrift.registry import host_function


class WholeMoleculeImpl(MLPotentialImpl):
    """Adds a PythonForce of the molecule of a whole topology.

    Options, of `MLPotential` or `createSystem`: those of the force; formal_charges for
    topologies without them.
    """

    force: ClassVar[str]  # name of the host function (molecule, **options) that makes it
    whole: ClassVar[str]  # why it is not of a part of a system

    def __init__(self, options: dict[str, Any]) -> None:
        self.options = {key: value for key, value in options.items() if key != "modelPath"}

    def addForces(
        self, topology: Any, system: Any, atoms: Iterable[int] | None, forceGroup: int, **args: Any
    ) -> None:
        """Called by openmmml's createSystem.

        Raises
        ------
        InputError
            For a part of a topology, or one whose bonds have no orders; MoleculeError
            for a molecule that the model does not know.
        """
        from equidrift.errors import InputError
        from equidrift.inputs import from_openmm

        if atoms is not None and sorted(atoms) != list(range(topology.getNumAtoms())):
            raise InputError(f"{self.whole}; leave atoms out")
        options = {**self.options, **args}
        molecule = from_openmm(topology, formal_charges=options.pop("formal_charges", None))
        force = host_function("openmm", self.force)(molecule, **options)
        force.setForceGroup(forceGroup)
        system.addForce(force)


class WholeMoleculeImplFactory(MLPotentialImplFactory):
    """Makes the implementation `impl`; options of `MLPotential` are kept for
    `createSystem`.
    """

    impl: ClassVar[type[WholeMoleculeImpl]]

    def createImpl(
        self,
        name: str,  # noqa: ARG002 - openmmml's signature
        **args: Any,
    ) -> WholeMoleculeImpl:
        """Called by openmmml."""
        return self.impl(args)

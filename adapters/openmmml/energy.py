"""The learned energy as an openmmml potential, `MLPotential("equidrift-conformer-energy")`:
GFN2-xTB-like, of one molecule in vacuum.

openmmml imports this module for every user of any potential: the standard library and
openmmml only.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from openmmml.mlpotential import MLPotentialImpl, MLPotentialImplFactory

from equidrift.registry import host_function


class EnergyPotentialImplFactory(MLPotentialImplFactory):
    """Makes the implementation; options of `MLPotential` are kept for `createSystem`."""

    def createImpl(
        self,
        name: str,  # noqa: ARG002 - openmmml's signature
        **args: Any,
    ) -> EnergyPotentialImpl:
        """Called by openmmml."""
        return EnergyPotentialImpl(args)


class EnergyPotentialImpl(MLPotentialImpl):
    """Adds the learned energy of a whole topology, one molecule, as a PythonForce.

    Options, of `MLPotential` or `createSystem`: weights (the name of the energy, or a
    path); formal_charges for topologies without them.
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
            For a part of a topology, or one whose bonds have no orders; MoleculeError
            for a molecule that the energy does not know.
        """
        from equidrift.errors import InputError
        from equidrift.inputs import from_openmm

        if atoms is not None and sorted(atoms) != list(range(topology.getNumAtoms())):
            raise InputError(
                "the learned energy is of a whole molecule in vacuum, not of a part of a "
                "system; leave atoms out"
            )
        options = {**self.options, **args}
        molecule = from_openmm(topology, formal_charges=options.pop("formal_charges", None))
        force = host_function("openmm", "energy_force")(molecule, **options)
        force.setForceGroup(forceGroup)
        system.addForce(force)

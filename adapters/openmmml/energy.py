"""The learned energy as an openmmml potential, `MLPotential("equidrift-conformer-energy")`:
GFN2-xTB-like, of one molecule in vacuum.

openmmml imports this module for every user of any potential: the standard library and
openmmml only.
"""

from __future__ import annotations

from typing import Any

from openmmml.mlpotential import MLPotentialImplFactory

from equidrift.adapters.openmmml.whole import WholeMoleculeImpl


class EnergyPotentialImplFactory(MLPotentialImplFactory):
    """Makes the implementation; options of `MLPotential` are kept for `createSystem`."""

    def createImpl(
        self,
        name: str,  # noqa: ARG002 - openmmml's signature
        **args: Any,
    ) -> EnergyPotentialImpl:
        """Called by openmmml."""
        return EnergyPotentialImpl(args)


class EnergyPotentialImpl(WholeMoleculeImpl):
    """Adds the learned energy of a whole topology, one molecule, as a PythonForce.

    Options, of `MLPotential` or `createSystem`: weights (the name of the energy, or a
    path); formal_charges for topologies without them.
    """

    force = "energy_force"
    whole = "the learned energy is of a whole molecule in vacuum, not of a part of a system"

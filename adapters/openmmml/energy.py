"""The learned energy as an openmmml potential, `MLPotential("equidrift-conformer-energy")`:
GFN2-xTB-like, of one molecule in vacuum.

openmmml imports this module for every user of any potential: the standard library and
openmmml only.
"""

from __future__ import annotations

from equidrift.adapters.openmmml.whole import WholeMoleculeImpl, WholeMoleculeImplFactory


class EnergyPotentialImpl(WholeMoleculeImpl):
    """Adds the learned energy of a whole topology, one molecule, as a PythonForce.

    Options, of `MLPotential` or `createSystem`: weights (the name of the energy, or a
    path); formal_charges for topologies without them.
    """

    force = "energy_force"
    whole = "the learned energy is of a whole molecule in vacuum, not of a part of a system"


class EnergyPotentialImplFactory(WholeMoleculeImplFactory):
    """Found by openmmml through its entry point."""

    impl = EnergyPotentialImpl

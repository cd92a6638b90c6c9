"""Small molecules in a box of water: Topology, System and start, ready to simulate."""

from __future__ import annotations

import openmm
from openmm import app, unit

from equidrift.adapters.openmm.templates import MMFFTemplateGenerator
from equidrift.adapters.openmm.topology import positions_A_of, to_topology
from equidrift.geometry import Floats
from equidrift.records import Molecule
from equidrift.units import NM_PER_A

CUTOFF_NM = 0.9
_FILES = ("amber14-all.xml", "amber14/tip3p.xml")


def in_water(
    what: Molecule | app.Topology, positions_A: Floats, waters: int
) -> tuple[app.Topology, openmm.System, Floats]:
    """Topology, System and positions_A (n, 3) of a molecule in a cube of TIP3P water.

    PME with a cutoff of 9 A, bonds of hydrogen constrained.

    Parameters
    ----------
    what : Molecule or app.Topology
        A Molecule gets MMFF94's parameters, a Topology those of amber14.
    positions_A : (n_atoms, 3) array
        Of its atoms, which come first in the result.
    waters : int
        How many water molecules are added.
    """
    field = app.ForceField(*_FILES)
    if isinstance(what, Molecule):
        field.registerTemplateGenerator(MMFFTemplateGenerator(what).generator)
        what = to_topology(what)
    modeller = app.Modeller(what, positions_A * NM_PER_A * unit.nanometer)
    modeller.addSolvent(field, model="tip3p", numAdded=waters)
    system = field.createSystem(
        modeller.topology,
        nonbondedMethod=app.PME,
        nonbondedCutoff=CUTOFF_NM * unit.nanometer,
        constraints=app.HBonds,
    )
    placed = positions_A_of(modeller.positions, system.getNumParticles())[0]
    return modeller.topology, system, placed

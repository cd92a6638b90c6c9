"""The molecule of a Universe, or of whole molecules in one."""

from __future__ import annotations

from typing import Any

import MDAnalysis as mda
import numpy as np
from MDAnalysis.guesser.tables import masses as MASSES
from numpy.typing import NDArray

from equidrift.errors import InputError
from equidrift.records import ORDERS, SYMBOLS, Molecule
from equidrift.registry import host_function

USUAL_AMU = 1e-6  # a mass this near to MDAnalysis' own is the element's
NO_ELEMENTS = (
    "the Universe has no elements; set them, one symbol per atom: "
    "universe.add_TopologyAttr('elements', ['C', 'H', ...])"
)

# label of a Molecule -> (attribute of an AtomGroup, if the Universe has it; its kind)
LABELS: dict[str, tuple[str, type[str] | type[int]]] = {
    "atom_names": ("names", str),
    "residue_names": ("resnames", str),
    "residue_ids": ("resids", int),
    "chain_ids": ("chainIDs", str),
    "insertion_codes": ("icodes", str),
}


def graph_of(atoms: mda.AtomGroup) -> tuple[Molecule, bool]:
    """(graph without stereo, unknown orders 0; whether its formal charges are known)."""
    if not hasattr(atoms, "elements"):
        raise InputError(NO_ELEMENTS)
    place = {index: k for k, index in enumerate(atoms.indices.tolist())}
    bonds, orders = [], []
    for bond in atoms.bonds if hasattr(atoms, "bonds") else ():
        i, j = (place.get(index) for index in bond.indices.tolist())
        if i is None or j is None:
            raise InputError(
                "bonds lead out of the group; give whole molecules: atoms.fragments, or the "
                "Universe"
            )
        bonds.append((i, j))
        orders.append(_order(bond.order))
    charged = hasattr(atoms, "formalcharges")
    charges = np.array(atoms.formalcharges if charged else np.zeros(len(atoms)), np.int64)
    numbers = np.array([number_of(element) for element in atoms.elements], np.int64)
    molecule = Molecule(
        numbers=numbers,
        isotopes=_isotopes(atoms, numbers),
        bonds=np.array(bonds, np.int64).reshape(-1, 2),
        bond_orders=np.array(orders),
        formal_charges=charges,
    )
    labels = {
        label: tuple(map(kind, getattr(atoms, attribute)))
        for label, (attribute, kind) in LABELS.items()
        if hasattr(atoms, attribute)
    }
    return molecule.replace(**labels), charged


def _isotopes(atoms: mda.AtomGroup, numbers: NDArray[np.int64]) -> NDArray[np.int64]:
    """Mass numbers of the atoms whose masses are those of one isotope, 0 for others.

    MDAnalysis' own masses of the elements, and means that are no isotope's, are 0.
    """
    if not hasattr(atoms, "masses"):
        return np.zeros(len(numbers), np.int64)
    masses = np.asarray(atoms.masses, np.float64)
    usual = np.array([MASSES.get(SYMBOLS[z].upper(), 0.0) for z in numbers.tolist()])
    found: NDArray[np.int64] = host_function("rdkit", "isotopes_of_masses")(numbers, masses)
    # the mean of fluorine or sodium is the mass of its one isotope, and says nothing
    return np.where(np.abs(masses - usual) < USUAL_AMU, 0, found)


def complete(molecule: Molecule, frame_A: NDArray[np.float64], charged: bool) -> Molecule:
    """The molecule with what a Universe does not have: RDKit's work, reached by the
    core.
    """
    found: Molecule = host_function("rdkit", "complete")(molecule, frame_A, charged)
    return found


def number_of(element: str) -> int:
    """The atomic number of a symbol, in whatever case."""
    symbol = str(element).capitalize()
    if symbol not in SYMBOLS[1:]:
        raise InputError(
            f"the Universe has an atom of element {element!r}; set universe.atoms.elements to "
            "symbols such as 'C'"
        )
    return SYMBOLS.index(symbol)


def _order(order: Any) -> float:
    """A bond order as MDAnalysis and its sources write it: a number, "ar", or None: 0."""
    if order is None:
        return 0.0
    if order in ("ar", "AR"):
        return 1.5
    if order in ("am", "AM"):  # an amide, in MOL2 files
        return 1.0
    try:
        number = float(order)
    except (TypeError, ValueError):
        number = -1.0
    if number not in ORDERS:
        raise InputError(
            f"the Universe has a bond of order {order!r}; orders 1, 2, 3 or 1.5 are needed. Set "
            "them: universe.del_TopologyAttr('bonds'), then universe.add_TopologyAttr("
            "MDAnalysis.core.topologyattrs.Bonds(pairs, order=orders)); or without orders: "
            "universe.add_TopologyAttr('bonds', pairs), and they are taken from the geometry"
        )
    return number

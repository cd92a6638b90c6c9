"""MMFF94 for OpenMM: the parameter record, and the function that joins RDKit's
parameters with OpenMM's forces.

The record carries MMFF's own published units (millidyne, A, degrees, kcal/mol), so that
its numbers can be held against the tables of Halgren, J. Comput. Chem. 17, 490 (1996)
and RDKit's getters; the OpenMM adapter converts once, through `equidrift.units`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from equidrift.errors import InputError, UnknownNameError
from equidrift.records import Frozen, Molecule
from equidrift.registry import host_function
from equidrift.text import counted

if TYPE_CHECKING:
    import openmm
    from rdkit import Chem

VARIANTS = ("MMFF94", "MMFF94s")
CONSTRAINTS = ("HBonds",)
# OpenMM's expressions (nm, kJ/mol) of the pair terms: by them a System is known as MMFF94's
VDW_EXPRESSION = "epsilon*(1.07/(x + 0.07))^7*(1.12/(x^7 + 0.12) - 2); x = r/rstar"
COULOMB_EXPRESSION = "qq/(r + 0.005)"  # buffered by 0.05 A

# index field -> (atoms per row, columns that must have as many rows)
_TABLES = {
    "bonds": (2, ("bond_k_mdyn_per_A", "bond_r0_A")),
    "angles": (3, ("angle_k_mdyn_A_per_rad2", "angle_theta0_deg", "angle_linear")),
    "stretch_bends": (
        3,
        ("stretch_bend_k_mdyn_per_rad", "stretch_bend_r0_A", "stretch_bend_theta0_deg"),
    ),
    "out_of_planes": (4, ("out_of_plane_k_mdyn_A_per_rad2",)),
    "torsions": (4, ("torsion_V_kcal_mol",)),
    "pairs": (2, ("pair_r_star_A", "pair_epsilon_kcal_mol", "pair_is_14")),
}


@dataclass(frozen=True, eq=False)
class MMFFParameters(Frozen):
    """Every parameter of MMFF94 or MMFF94s for one molecule (dielectric constant 1, no
    cut-off).

    Parameters
    ----------
    variant : {"MMFF94", "MMFF94s"}
        Which of the two.
    numbers : (n,) array of int
        Atomic numbers.
    types : (n,) array of int
        Numeric MMFF atom types.
    charges_e : (n,) array
        MMFF partial charges.
    bonds : (b, 2) array of int
        Atoms; `bond_k_mdyn_per_A` (b,) and `bond_r0_A` (b,).
    angles : (a, 3) array of int
        Atoms, centre in the middle; `angle_k_mdyn_A_per_rad2` (a,), `angle_theta0_deg`
        (a,) and `angle_linear` (a,) bool: the cosine form belongs there, and theta0
        does not enter.
    stretch_bends : (s, 3) array of int
        Atoms i-j-k; `stretch_bend_k_mdyn_per_rad` (s, 2) for the stretches of i-j and
        of k-j, their reference lengths `stretch_bend_r0_A` (s, 2), and
        `stretch_bend_theta0_deg` (s,).
    out_of_planes : (o, 4) array of int
        Atoms, the trigonal centre second; `out_of_plane_k_mdyn_A_per_rad2` (o,) counts
        for each of the three angles.
    torsions : (t, 4) array of int
        Atoms; `torsion_V_kcal_mol` (t, 3) holds V1, V2, V3.
    pairs : (p, 2) array of int
        Every pair three or more bonds apart, or in different fragments; `pair_r_star_A`
        (p,) and `pair_epsilon_kcal_mol` (p,) with the donor-acceptor scaling applied,
        `pair_is_14` (p,) bool: exactly three bonds apart.
    isotope_masses_amu : (n,) array
        Masses of atoms that are of one isotope, 0 for the others; empty for all of that
        kind.

    Raises
    ------
    InputError
        If lengths or indices do not fit.
    """

    variant: str
    numbers: NDArray[np.int64]
    types: NDArray[np.int64]
    charges_e: NDArray[np.float64]
    bonds: NDArray[np.int64]
    bond_k_mdyn_per_A: NDArray[np.float64]
    bond_r0_A: NDArray[np.float64]
    angles: NDArray[np.int64]
    angle_k_mdyn_A_per_rad2: NDArray[np.float64]
    angle_theta0_deg: NDArray[np.float64]
    angle_linear: NDArray[np.bool_]
    stretch_bends: NDArray[np.int64]
    stretch_bend_k_mdyn_per_rad: NDArray[np.float64]
    stretch_bend_r0_A: NDArray[np.float64]
    stretch_bend_theta0_deg: NDArray[np.float64]
    out_of_planes: NDArray[np.int64]
    out_of_plane_k_mdyn_A_per_rad2: NDArray[np.float64]
    torsions: NDArray[np.int64]
    torsion_V_kcal_mol: NDArray[np.float64]
    pairs: NDArray[np.int64]
    pair_r_star_A: NDArray[np.float64]
    pair_epsilon_kcal_mol: NDArray[np.float64]
    pair_is_14: NDArray[np.bool_]
    isotope_masses_amu: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))

    def __post_init__(self) -> None:
        check_variant(self.variant)
        for name, column in self.named(("types", "charges_e")).items():
            if len(column) != self.n_atoms:
                raise InputError(
                    f"{name} has {counted(len(column), 'entry')} for "
                    f"{counted(self.n_atoms, 'atom')}"
                )
        for name, (width, columns) in _TABLES.items():
            index = self.named([name])[name]
            if index.ndim != 2 or index.shape[1] != width:
                raise InputError(f"{name} has shape {index.shape}, expected (any, {width})")
            if index.size and not (index.min() >= 0 and index.max() < self.n_atoms):
                raise InputError(f"{name} names an atom outside 0 to {self.n_atoms - 1}")
            for label, column in self.named(columns).items():
                if len(column) != len(index):
                    raise InputError(
                        f"{label} has {counted(len(column), 'row')}, but {name} has {len(index)}"
                    )
        for value in vars(self).values():
            if isinstance(value, np.ndarray):
                value.setflags(write=False)

    @property
    def n_atoms(self) -> int:
        """Atoms, hydrogens included."""
        return len(self.numbers)


def placed(
    parts: Sequence[tuple[MMFFParameters, NDArray[np.int64]]], n_atoms: int
) -> MMFFParameters:
    """The parameters of molecules that stand among others in one system.

    No pair of atoms of different molecules is among `pairs`.

    Parameters
    ----------
    parts : sequence of (MMFFParameters, (n,) int64 array)
        At least one molecule, all of one variant, each with the places in the system of
        its atoms.
    n_atoms : int
        Of the whole system; atoms of no part have number, type and charge 0.
    """
    columns: dict[str, NDArray[Any]] = {}
    for name in ("numbers", "types", "charges_e"):
        column = np.zeros(n_atoms, getattr(parts[0][0], name).dtype)
        for part, places in parts:
            column[places] = getattr(part, name)
        columns[name] = column
    for index, (_, of_index) in _TABLES.items():
        columns[index] = np.concatenate([places[getattr(part, index)] for part, places in parts])
        for name in of_index:
            columns[name] = np.concatenate([getattr(part, name) for part, _ in parts])
    return MMFFParameters(variant=parts[0][0].variant, **columns)


def check_variant(variant: str) -> str:
    """Return `variant`, or raise `UnknownNameError` with the nearest known one."""
    if variant not in VARIANTS:
        raise UnknownNameError("MMFF variant", str(variant), VARIANTS)
    return variant


def as_molecule(what: Molecule | Chem.Mol | str) -> Molecule:
    """A Molecule from a Molecule, a SMILES or an RDKit Mol (missing hydrogens are added
    after the atoms given).

    Raises
    ------
    MoleculeError, InputTypeError
        If RDKit cannot read it, or it is none of the three.
    """
    if isinstance(what, Molecule):
        return what
    reader = "from_smiles" if isinstance(what, str) else "from_mol"
    molecule: Molecule = host_function("rdkit", reader)(what)
    return molecule


def mmff_parameters(what: Molecule | Chem.Mol | str, variant: str = "MMFF94") -> MMFFParameters:
    """RDKit's MMFF parameters of a molecule as arrays.

    Parameters
    ----------
    what : Molecule, RDKit Mol or str
        The molecule, or its SMILES.
    variant : {"MMFF94", "MMFF94s"}
        "MMFF94s" is for flat conjugated nitrogens.

    Raises
    ------
    MoleculeError
        For radicals and for atoms that MMFF has no type or parameter for; the message
        names them.
    UnknownNameError
        For another variant.
    """
    check_variant(variant)
    molecule = as_molecule(what)
    mol = host_function("rdkit", "to_mol")(molecule)
    parameters: MMFFParameters = host_function("rdkit", "parameters")(mol, variant)
    if not molecule.isotopes.any():
        return parameters
    masses = host_function("rdkit", "isotope_masses_amu")(molecule)
    return dataclasses.replace(
        parameters, isotope_masses_amu=np.where(molecule.isotopes > 0, masses, 0.0)
    )


def mmff_system(
    what: Molecule | Chem.Mol | str,
    variant: str = "MMFF94",
    *,
    constraints: str | None = None,
    hydrogenMass_amu: float | None = None,
) -> openmm.System:
    """An OpenMM System that is MMFF94 for any molecule RDKit can type; its energies are
    RDKit's.

    Parameters
    ----------
    what : Molecule, RDKit Mol or str
        The molecule, or its SMILES. Particles come in its atom order, hydrogens that
        were missing after the others.
    variant : {"MMFF94", "MMFF94s"}
        "MMFF94s" is for flat conjugated nitrogens.
    constraints : {"HBonds"}, optional
        Bonds to hydrogen are held at MMFF's reference lengths, and lose their
        stretching term.
    hydrogenMass_amu : float, optional
        Mass of each hydrogen bonded to a heavy atom, taken from that atom; None keeps
        the element's.

    Returns
    -------
    openmm.System
        in the gas phase, without cut-off; one named force and force group a term; no
        barostat, thermostat or motion remover.

    Raises
    ------
    MoleculeError
        For radicals and for atoms that MMFF has no type or parameter for; the message
        names them.
    InputError
        For another variant or kind of constraint, or a hydrogen mass that leaves an
        atom none.

    Examples
    --------
    >>> import equidrift
    >>> equidrift.mmff_system("CCO").getNumParticles()
    9
    """
    if constraints is not None and constraints not in CONSTRAINTS:
        raise UnknownNameError("kind of constraint", str(constraints), (*CONSTRAINTS, "None"))
    parameters = mmff_parameters(what, variant)
    options: dict[str, Any] = {"constraints": constraints, "hydrogenMass_amu": hydrogenMass_amu}
    return host_function("openmm", "to_system")(parameters, **options)

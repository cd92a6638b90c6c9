"""The molecular graph that every host and model shares."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equidrift.errors import InputError, InputTypeError
from equidrift.frozen import Frozen, frozen_array, texts_by_name
from equidrift.shown import Tabled
from equidrift.text import MAX_LABEL, MAX_NAME, MAX_SMILES, check_text, counted

_TABLE = (
    "X H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga "
    "Ge As Se Br Kr Rb Sr Y Zr Nb Mo Tc Ru Rh Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd "
    "Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu Hf Ta W Re Os Ir Pt Au Hg Tl Pb Bi Po At Rn"
)
SYMBOLS = _TABLE.split()  # by atomic number; X is none

# what a Molecule may hold per atom beside its graph
LABELS = ("atom_names", "residue_names", "residue_ids", "chain_ids", "insertion_codes")
MAX_ISOTOPE, MAX_ATOM_MAP = 999, 999_999
MAX_CHARGE = 20  # of an atom, either sign
MAX_MULTIPLICITY = 99
ORDERS = (0.0, 1.0, 1.5, 2.0, 3.0)


@dataclass(frozen=True, eq=False)
class Molecule(Tabled, Frozen):
    """A molecular graph with every hydrogen explicit, in the caller's atom order.

    Parameters
    ----------
    numbers : (n,) array of int
        Atomic numbers.
    bonds : (m, 2) array of int
        Atom indices.
    bond_orders : (m,) array
        1, 2, 3 or 1.5 (aromatic); 0 for a dative or unknown bond.
    formal_charges : (n,) array of int
        In elementary charges.
    tetrahedral : (k, 5) array of int
        Rows `(centre, a, b, c, d)`: the signed volume (r_a - r_d) . ((r_b - r_d) x (r_c
        - r_d)) is positive; d is the centre itself when it has three neighbours and a
        lone pair.
    double_bonds : (k, 5) array of int
        Rows `(a, i, j, b, cis)`: along a-i=j-b the dihedral is 0 (cis = 1) or 180
        degrees (cis = 0).
    multiplicity : int
        Spin multiplicity 2S+1.
    name, smiles : str
        As the user gave them; either may be empty.
    isotopes : (n,) array of int
        Mass numbers, 0 for the natural mixture; empty for all of that kind.
    atom_maps : (n,) array of int
        The user's numbers of atoms (`[CH3:1]`), 0 for none; empty for no numbers.
    properties : mapping
        What else came with the molecule, such as the fields of its SDF record: text by
        name.
    axial : (k, 5) array of int
        Rows `(a, i, j, b, positive)`: about the axis i...j, a hindered single bond, the
        dihedral a-i-j-b is between 0 and 180 degrees (positive = 1) or between -180 and
        0 (positive = 0).
    stereo_groups : (k, 3) array of int
        Rows `(centre, group, both)` of centres (for an axis of `axial`, one of its two
        ends) whose chirality holds only relative to the others of their group: of the
        group both forms are meant (both = 1, a racemate, `|&1:...|`) or one that is not
        known (both = 0, `|o1:...|`).
    atom_names, residue_names, residue_ids : sequence, optional
        One entry per atom.
    chain_ids, insertion_codes : sequence of str, optional
        One entry per atom; "" is a blank. Residue 52A has the id 52 and the insertion
        code "A".

    Raises
    ------
    InputError
        If shapes or indices do not fit.

    Examples
    --------
    >>> import equidrift
    >>> ethanol = equidrift.Molecule.from_smiles("CCO")
    >>> ethanol.n_atoms, ethanol.charge, ethanol.symbols[:3]
    (9, 0, ['C', 'C', 'O'])
    """

    numbers: NDArray[np.int64]
    bonds: NDArray[np.int64]
    bond_orders: NDArray[np.float64]
    formal_charges: NDArray[np.int64]
    tetrahedral: NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, 5), np.int64))
    double_bonds: NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, 5), np.int64))
    multiplicity: int = 1
    name: str = ""
    smiles: str = ""
    isotopes: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    atom_maps: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    properties: Mapping[str, str] = field(default_factory=dict)
    atom_names: tuple[str, ...] | None = None
    residue_names: tuple[str, ...] | None = None
    residue_ids: tuple[int, ...] | None = None
    chain_ids: tuple[str, ...] | None = None
    insertion_codes: tuple[str, ...] | None = None
    axial: NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, 5), np.int64))
    stereo_groups: NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, 3), np.int64))

    def __post_init__(self) -> None:
        self._check_graph()
        self._check_chemistry()
        self._check_labels()
        self._set("properties", MappingProxyType(texts_by_name(self.properties, "properties")))

    def _set(self, field: str, value: object) -> None:
        object.__setattr__(self, field, value)

    def _check_graph(self) -> None:
        """Shapes, and indices of atoms."""
        self._set("numbers", frozen_array(self.numbers, np.int64, (None,), "numbers"))
        n = len(self.numbers)
        self._set("bonds", frozen_array(self.bonds, np.int64, (None, 2), "bonds"))
        m = len(self.bonds)
        self._set("bond_orders", frozen_array(self.bond_orders, np.float64, (m,), "bond_orders"))
        charges = frozen_array(self.formal_charges, np.int64, (n,), "formal_charges")
        self._set("formal_charges", charges)
        for label, rows in self.named(("tetrahedral", "double_bonds", "axial")).items():
            self._set(label, frozen_array(rows, np.int64, (None, 5), label))
        groups = frozen_array(self.stereo_groups, np.int64, (None, 3), "stereo_groups")
        self._set("stereo_groups", groups)
        for label, index in (
            ("bonds", self.bonds),
            ("tetrahedral", self.tetrahedral),
            ("double_bonds", self.double_bonds[:, :4]),
            ("axial", self.axial[:, :4]),
            ("stereo_groups", self.stereo_groups[:, :1]),
        ):
            if index.size and (index.min() < 0 or index.max() >= n):
                raise InputError(
                    f"{label} names atom {int(index.max())}, but the molecule has "
                    f"{counted(n, 'atom')} "
                    f"(0 to {n - 1})"
                )

    def _check_chemistry(self) -> None:
        """Elements, isotopes, charges, orders and multiplicity."""
        n = len(self.numbers)
        if n and not (self.numbers.min() >= 1 and self.numbers.max() < len(SYMBOLS)):
            raise InputError(
                f"numbers must be atomic numbers 1 to {len(SYMBOLS) - 1}, got "
                f"{sorted(set(self.numbers.tolist()))}"
            )
        for label, value, most in (
            ("isotopes", self.isotopes, MAX_ISOTOPE),
            ("atom_maps", self.atom_maps, MAX_ATOM_MAP),
        ):
            array = frozen_array(value if len(value) else np.zeros(n), np.int64, (n,), label)
            if n and not (array.min() >= 0 and array.max() <= most):
                odd = array.min() if array.min() < 0 else array.max()
                raise InputError(f"{label} must be 0 to {most}, not {odd}")
            self._set(label, array)
        self._set("multiplicity", _checked_multiplicity(self.multiplicity))
        known = np.isin(self.bond_orders, ORDERS)
        if not known.all():
            odd = min(self.bond_orders[~known].tolist())
            raise InputError(
                f"bond_orders must be {', '.join(f'{o:g}' for o in ORDERS)}, not {odd:g}"
            )
        if n and np.abs(self.formal_charges).max() > MAX_CHARGE:
            raise InputError(
                f"formal_charges must be -{MAX_CHARGE} to {MAX_CHARGE}, not "
                f"{np.abs(self.formal_charges).max()}"
            )
        if self.double_bonds.size and not np.isin(self.double_bonds[:, 4], (0, 1)).all():
            raise InputError("double_bonds must say 1 (cis) or 0 (trans) in their last column")

    def _check_labels(self) -> None:
        """Names, and the labels of atoms."""
        n = len(self.numbers)
        check_text(self.name, "name", MAX_NAME, lines=True)
        check_text(self.smiles, "smiles", MAX_SMILES)
        for label, value in self.named(LABELS).items():
            if value is None:
                continue
            if len(value) != n:
                raise InputError(
                    f"{label} has {counted(len(value), 'entry')} for {counted(n, 'atom')}"
                )
            self._set(label, tuple(value))
            for text in set(value) if label != "residue_ids" else ():
                check_text(text, label, MAX_LABEL)
        if self.residue_ids is not None:
            ids = frozen_array(self.residue_ids, np.int64, (n,), "residue_ids")
            self._set("residue_ids", tuple(ids.tolist()))
            if n and max(map(abs, self.residue_ids)) >= 2**31:
                raise InputError(
                    f"residue_ids must fit into 32 bits, not {max(map(abs, self.residue_ids))}"
                )

    @property
    def n_atoms(self) -> int:
        """Atoms, hydrogens included."""
        return len(self.numbers)

    @property
    def charge(self) -> int:
        """Total charge in elementary charges."""
        return int(self.formal_charges.sum())

    @property
    def symbols(self) -> list[str]:
        """The element's symbol of each atom."""
        return [SYMBOLS[z] for z in self.numbers]

    @property
    def has_hand(self) -> bool:
        """Whether its stereo tells it from its mirror image."""
        return bool(len(self.tetrahedral) or len(self.axial))

    def key(self) -> tuple[Any, ...]:
        """What decides whether two molecules are the same graph in the same atom order,
        stereo and isotopes included.

        Returns
        -------
        tuple
            Equal for equal molecules, and hashable.

        Examples
        --------
        >>> import equidrift
        >>> read = equidrift.Molecule.from_smiles
        >>> read("CCO").key() == read("CCO", name="ethanol").key()
        True
        """
        bonds = sorted(
            (min(i, j), max(i, j), o)
            for (i, j), o in zip(self.bonds.tolist(), self.bond_orders.tolist(), strict=True)
        )
        stereo = (
            tuple(map(tuple, self.tetrahedral.tolist())),
            tuple(map(tuple, self.double_bonds.tolist())),
            *map(tuple, self.axial.tolist()),
        )
        isotopes = tuple(self.isotopes.tolist()) if self.isotopes.any() else ()
        return (
            tuple(self.numbers.tolist()),
            tuple(bonds),
            tuple(self.formal_charges.tolist()),
            self.multiplicity,
            stereo,
            isotopes,
        )

    def entry(self) -> tuple[Any, ...]:
        """What decides whether two molecules are the same entry of a library: graph,
        name, SMILES, maps and properties.

        Returns
        -------
        tuple
            `key` and the rest; equal for equal entries, and hashable.

        Examples
        --------
        >>> import equidrift
        >>> alcohol = equidrift.Molecule.from_smiles("CCO")
        >>> alcohol.entry() == alcohol.replace(name="ethanol").entry()
        False
        """
        return (
            self.key(),
            self.name,
            self.smiles,
            tuple(self.atom_maps.tolist()),
            tuple(sorted(self.properties.items())),
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Molecule) and self.key() == other.key()

    def __hash__(self) -> int:
        return hash(self.key())

    def __repr__(self) -> str:
        told = self.name or self.smiles or "?"
        return f"Molecule({told}, {counted(self.n_atoms, 'atom')}, charge {self.charge:+d})"

    @classmethod
    def from_smiles(cls, smiles: str, name: str = "") -> Molecule:
        """Read a SMILES; hydrogens are added after the heavy atoms.

        Parameters
        ----------
        smiles : str
            The molecule.
        name : str
            For files and messages.

        Raises
        ------
        MoleculeError
            For what cannot be read, or is not supported.

        Examples
        --------
        >>> import equidrift
        >>> equidrift.Molecule.from_smiles("CC(=O)[O-]").charge
        -1
        """
        from equidrift.registry import host_function

        molecule: Molecule = host_function("rdkit", "from_smiles")(smiles, name=name)
        return molecule


def _checked_multiplicity(multiplicity: int) -> int:
    if isinstance(multiplicity, bool) or not isinstance(multiplicity, int | np.integer):
        raise InputTypeError(f"multiplicity must be an integer, not {multiplicity!r}")
    if not 1 <= multiplicity <= MAX_MULTIPLICITY:
        raise InputError(f"multiplicity must be 1 to {MAX_MULTIPLICITY}, not {multiplicity}")
    return int(multiplicity)

"""QM9 as molecules: atoms, bonds, formal charges, B3LYP geometries and the twelve
properties, in flat arrays.

The arrays are packed once by `tools/make_molecules.py` from `qm9_130831.npz`. Molecules
are held out as everywhere in the package; those of the training part are in disjoint
halves, so that a network which judges properties (half b) never saw what a conditioned
generator learnt from (half a), as in EDM's protocol (Hoogeboom et al., ICML 2022,
section 5.2).
"""

from __future__ import annotations

import os
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from equidrift.checks.targets import ALIASES
from equidrift.errors import InputError
from equidrift.files.data import data_or_here
from equidrift.records import Molecule

__all__ = [
    "ALIASES",
    "COLUMNS",
    "ELEMENTS",
    "PROPERTIES",
    "QM9",
    "SPLITS",
    "USUAL",
    "cache_file",
    "find_qm9",
    "half_of",
    "load_qm9",
]

# name (its unit last) -> (name in qm9_130831.npz, factor from its unit)
HARTREE_EV = 27.211386245988
COLUMNS = {
    "mu_D": ("Dipole_debye", 1.0),
    "alpha_bohr3": ("Polarizability_bohr3", 1.0),
    "homo_eV": ("HOMO_au", HARTREE_EV),
    "lumo_eV": ("LUMO_au", HARTREE_EV),
    "gap_eV": ("HOMO_LUMO_gap_au", HARTREE_EV),
    "r2_bohr2": ("R2_bohr2", 1.0),
    "zpve_eV": ("ZPVE_au", HARTREE_EV),
    "u0_eV": ("InternalEnergy_0K_au", HARTREE_EV),
    "u298_eV": ("InternalEnergy_298K_au", HARTREE_EV),
    "h298_eV": ("Enthalphy_298K_au", HARTREE_EV),
    "g298_eV": ("GibbsFreeEnergy_298K_au", HARTREE_EV),
    "cv_cal_mol_K": ("Heatcapacity_Cv_cal_mol_K", 1.0),
}
PROPERTIES = tuple(COLUMNS)
USUAL = (
    "alpha_bohr3",
    "gap_eV",
    "homo_eV",
    "lumo_eV",
    "mu_D",
    "cv_cal_mol_K",
)  # the six of EDM's table
ELEMENTS = (1, 6, 7, 8, 9)
FILE = "qm9_molecules.npz"
SPLITS = ("train", "val", "test")
_SALT = "half/"


def half_of(key: str) -> str:
    """'a' (generators) or 'b' (the judge of properties) for the key of a training
    molecule; see `held_out` for the key.
    """
    return "ab"[zlib.crc32((_SALT + key).encode()) % 2]


@dataclass(frozen=True, eq=False)
class Packed:
    """What flat arrays of molecules have in common: molecule k has the atoms
    offset[k]:offset[k+1] and the bonds bond_offset[k]:bond_offset[k+1].

    positions_A float32 (rows, 3). bonds uint8 (bonds, 2), atoms counted within their
    molecule; bond_orders uint8 (bonds,): 1, 2 or 3, Kekulised. smiles (n,); split
    uint8 (n,): index into `SPLITS`.
    """

    positions_A: NDArray[np.float32]
    offset: NDArray[np.int64]
    bonds: NDArray[np.uint8]
    bond_orders: NDArray[np.uint8]
    bond_offset: NDArray[np.int64]
    smiles: NDArray[np.str_]
    split: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.smiles)

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Atoms of each molecule."""
        return np.diff(self.offset)


@dataclass(frozen=True, eq=False)
class QM9(Packed):
    """QM9's molecules with their properties.

    The positions have a row per atom, of B3LYP/6-31G(2df,p); the smiles are RDKit's
    without stereo and explicit hydrogens, the key of the split. numbers uint8 and
    formal_charges int8 (atoms,); aromatic bool (bonds,). index (n,): QM9's number.
    props float64 (n, 12) in the order and units of `PROPERTIES`; half_b bool (n,).
    """

    numbers: NDArray[np.uint8]
    formal_charges: NDArray[np.int8]
    aromatic: NDArray[np.bool_]
    index: NDArray[np.int64]
    props: NDArray[np.float64]
    half_b: NDArray[np.bool_]

    def rows(self, split: str, half: str | None = None) -> NDArray[np.int64]:
        """Indices of the molecules of a part ('train', 'val', 'test'), of one half
        ('a', 'b') of it where that is given.
        """
        chosen = self.split == SPLITS.index(split)
        if half is not None:
            chosen &= self.half_b == (half == "b")
        return np.flatnonzero(chosen)

    def positions(self, k: int) -> NDArray[np.float64]:
        """positions_A (n_atoms, 3) of molecule k."""
        return self.positions_A[self.offset[k] : self.offset[k + 1]].astype(np.float64)

    def molecule(self, k: int) -> Molecule:
        """Molecule k, without stereo tags."""
        atoms, bonds = (
            slice(self.offset[k], self.offset[k + 1]),
            slice(self.bond_offset[k], self.bond_offset[k + 1]),
        )
        return Molecule(
            numbers=self.numbers[atoms].astype(np.int64),
            bonds=self.bonds[bonds].astype(np.int64),
            bond_orders=self.bond_orders[bonds].astype(np.float64),
            formal_charges=self.formal_charges[atoms].astype(np.int64),
            smiles=str(self.smiles[k]),
        )


def find_qm9(path: Path | str | None = None) -> Path:
    """The packed file: `path`, or the first there is of EQUIDRIFT_DATA's and the
    cache's. Raises `InputError` where there is none.
    """
    places = [Path(path)] if path is not None else [data_or_here() / FILE, cache_file()]
    for place in places:
        if place.is_file():
            return place
    raise InputError(
        f"there is no {' nor '.join(map(str, places))}; make it "
        "from qm9_130831.npz (PyPI package qm9pack) with "
        "`python tools/make_molecules.py --qm9 qm9_130831.npz "
        f"--out {places[-1]}`, which takes a few minutes"
    )


def cache_file() -> Path:
    """Where the packed file is put by default."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "equidrift" / FILE


def load_qm9(path: Path | str | None = None) -> QM9:
    """Read the packed file; see `find_qm9` for where it is looked for, and for errors."""
    with np.load(find_qm9(path), allow_pickle=False) as data:
        return QM9(**{key: data[key] for key in data.files})

"""The records that flow between hosts and models: Molecule, Ensemble, Trajectory, Proposal. Immutable; A, eV, fs, K."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from equidrift.errors import InputError

if TYPE_CHECKING:
    import ase
    import MDAnalysis
    from rdkit import Chem

SYMBOLS = (
    "X H He Li Be B C N O F Ne Na Mg Al Si P S Cl Ar K Ca Sc Ti V Cr Mn Fe Co Ni Cu Zn Ga Ge As Se Br Kr Rb Sr Y Zr Nb Mo Tc Ru Rh "
    "Pd Ag Cd In Sn Sb Te I Xe Cs Ba La Ce Pr Nd Pm Sm Eu Gd Tb Dy Ho Er Tm Yb Lu Hf Ta W Re Os Ir Pt Au Hg Tl Pb Bi Po At Rn"
).split()

# what a Molecule may hold per atom beside its graph
LABELS = ("atom_names", "residue_names", "residue_ids", "chain_ids", "insertion_codes")


def _frozen(value: ArrayLike, dtype: Any, shape: tuple[int | None, ...], name: str) -> NDArray[Any]:
    """A read-only copy of `value` with the given dtype; `None` in `shape` matches any length."""
    array = np.array(value, dtype=dtype)
    if array.size == 0 and len(shape) > 1:
        array = array.reshape([length or 0 for length in shape])
    if array.ndim != len(shape) or any(want is not None and have != want for have, want in zip(array.shape, shape)):
        wanted = "(" + ", ".join("any" if s is None else str(s) for s in shape) + ")"
        raise InputError(f"{name} has shape {array.shape}, expected {wanted}")
    array.setflags(write=False)
    return array


@dataclass(frozen=True, eq=False)
class Molecule:
    """A molecular graph with every hydrogen explicit, in the caller's atom order.

    Parameters
    ----------
    numbers : (n,) atomic numbers.
    bonds : (m, 2) atom indices.
    bond_orders : (m,) 1, 2, 3 or 1.5 (aromatic); 0 for a dative or unknown bond.
    formal_charges : (n,) in elementary charges.
    tetrahedral : (k, 5) rows `(centre, a, b, c, d)`: the signed volume (r_a - r_d) . ((r_b - r_d) x (r_c - r_d)) is positive;
        d is the centre itself when it has three neighbours and a lone pair.
    double_bonds : (k, 5) rows `(a, i, j, b, cis)`: along a-i=j-b the dihedral is 0 (cis = 1) or 180 degrees (cis = 0).
    multiplicity : spin multiplicity 2S+1.
    name, smiles : as the user gave them; `smiles` may be empty.
    atom_names, residue_names, residue_ids : optional, one per atom.
    chain_ids, insertion_codes : optional, one per atom; "" is a blank. Residue 52A has the
        id 52 and the insertion code "A".

    Raises
    ------
    InputError
        where shapes or indices do not fit.
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
    atom_names: tuple[str, ...] | None = None
    residue_names: tuple[str, ...] | None = None
    residue_ids: tuple[int, ...] | None = None
    chain_ids: tuple[str, ...] | None = None
    insertion_codes: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        n = len(self.numbers)
        fix = object.__setattr__
        fix(self, "numbers", _frozen(self.numbers, np.int64, (None,), "numbers"))
        fix(self, "bonds", _frozen(self.bonds, np.int64, (None, 2), "bonds"))
        fix(self, "bond_orders", _frozen(self.bond_orders, np.float64, (len(self.bonds),), "bond_orders"))
        fix(self, "formal_charges", _frozen(self.formal_charges, np.int64, (n,), "formal_charges"))
        fix(self, "tetrahedral", _frozen(self.tetrahedral, np.int64, (None, 5), "tetrahedral"))
        fix(self, "double_bonds", _frozen(self.double_bonds, np.int64, (None, 5), "double_bonds"))
        for label, index in (("bonds", self.bonds), ("tetrahedral", self.tetrahedral), ("double_bonds", self.double_bonds[:, :4])):
            if index.size and (index.min() < 0 or index.max() >= n):
                raise InputError(f"{label} names atom {int(index.max())}, but the molecule has {n} atoms (0 to {n - 1})")
        if n and not (1 <= self.numbers.min() and self.numbers.max() < len(SYMBOLS)):
            raise InputError(f"numbers must be atomic numbers 1 to {len(SYMBOLS) - 1}, got {sorted(set(self.numbers.tolist()))}")
        for label in LABELS:
            value = getattr(self, label)
            if value is not None:
                if len(value) != n:
                    raise InputError(f"{label} has {len(value)} entries for {n} atoms")
                fix(self, label, tuple(value))

    @property
    def n_atoms(self) -> int:
        return len(self.numbers)

    @property
    def charge(self) -> int:
        """Total charge in elementary charges."""
        return int(self.formal_charges.sum())

    @property
    def symbols(self) -> list[str]:
        return [SYMBOLS[z] for z in self.numbers]

    def replace(self, **changes: Any) -> Molecule:
        """A copy with some fields changed."""
        return dataclasses.replace(self, **changes)

    def key(self) -> tuple[Any, ...]:
        """What decides whether two molecules are the same graph in the same atom order, stereo included."""
        bonds = sorted((min(i, j), max(i, j), o) for (i, j), o in zip(self.bonds.tolist(), self.bond_orders.tolist()))
        stereo = (tuple(map(tuple, self.tetrahedral.tolist())), tuple(map(tuple, self.double_bonds.tolist())))
        return (tuple(self.numbers.tolist()), tuple(bonds), tuple(self.formal_charges.tolist()), self.multiplicity, stereo)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Molecule) and self.key() == other.key()

    def __hash__(self) -> int:
        return hash(self.key())

    def __repr__(self) -> str:
        return f"Molecule({self.name or self.smiles or '?'}, {self.n_atoms} atoms, charge {self.charge:+d})"

    @classmethod
    def from_smiles(cls, smiles: str, name: str = "") -> Molecule:
        """Read a SMILES; hydrogens are added behind the heavy atoms. Raises `MoleculeError` for what cannot be read."""
        from equidrift.registry import resolve

        molecule: Molecule = resolve("equidrift.adapters.rdkit_molecule:from_smiles")(smiles, name=name)
        return molecule


@dataclass(frozen=True, eq=False)
class Ensemble:
    """Conformers of one molecule.

    positions_A float64 (n_samples, n_atoms, 3); seeds int64 (n_samples,); log_prob and energies_eV (n_samples,) or None;
    valid bool (n_samples,); scores: further numbers a sample, by name; provenance: model, weights hash, options, versions.
    """

    molecule: Molecule
    positions_A: NDArray[np.float64]
    seeds: NDArray[np.int64] | None = None
    log_prob: NDArray[np.float64] | None = None
    energies_eV: NDArray[np.float64] | None = None
    valid: NDArray[np.bool_] | None = None
    scores: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        fix = object.__setattr__
        fix(self, "positions_A", _frozen(self.positions_A, np.float64, (None, self.molecule.n_atoms, 3), "positions_A"))
        n = len(self.positions_A)
        fix(self, "seeds", _frozen(np.arange(n) if self.seeds is None else self.seeds, np.int64, (n,), "seeds"))
        fix(self, "valid", _frozen(np.ones(n, bool) if self.valid is None else self.valid, bool, (n,), "valid"))
        for label in ("log_prob", "energies_eV"):
            if getattr(self, label) is not None:
                fix(self, label, _frozen(getattr(self, label), np.float64, (n,), label))
        scores = {key: _frozen(value, np.float64, (n,), f"scores[{key!r}]") for key, value in self.scores.items()}
        fix(self, "scores", MappingProxyType(scores))
        fix(self, "provenance", MappingProxyType(dict(self.provenance)))

    def __len__(self) -> int:
        return len(self.positions_A)

    def __getitem__(self, index: Any) -> Ensemble:
        """The samples that `index` (int, slice, mask or list) picks, as an Ensemble."""
        pick = np.arange(len(self))[index]
        pick = np.atleast_1d(pick)
        return dataclasses.replace(
            self,
            positions_A=self.positions_A[pick],
            seeds=self.seeds[pick] if self.seeds is not None else None,
            log_prob=None if self.log_prob is None else self.log_prob[pick],
            energies_eV=None if self.energies_eV is None else self.energies_eV[pick],
            valid=self.valid[pick] if self.valid is not None else None,
            scores={key: value[pick] for key, value in self.scores.items()},
        )

    def __repr__(self) -> str:
        return f"Ensemble({self.molecule!r}, {len(self)} conformers, model {self.provenance.get('model', '?')})"

    def replace(self, **changes: Any) -> Ensemble:
        """A copy with some fields changed."""
        return dataclasses.replace(self, **changes)

    def save(self, path: Any) -> None:
        """Write to a file; the suffix picks the format (see `equidrift.formats.WRITERS`)."""
        from equidrift.formats import save

        save(self, path)

    def to_ase(self) -> list[ase.Atoms]:
        """One `ase.Atoms` a conformer."""
        from equidrift.registry import resolve

        images: list[ase.Atoms] = resolve("equidrift.adapters.ase_atoms:to_atoms")(self)
        return images

    def to_rdkit(self) -> Chem.Mol:
        """An RDKit Mol with one conformer a sample."""
        from equidrift.registry import resolve

        return resolve("equidrift.adapters.rdkit_molecule:to_mol")(self.molecule, self.positions_A)

    def to_openmm(self) -> tuple[Any, list[Any]]:
        """(Topology, [positions Quantity a conformer])."""
        from equidrift.registry import resolve

        topology: tuple[Any, list[Any]] = resolve("equidrift.adapters.openmm_state:to_openmm")(self)
        return topology

    def to_mdanalysis(self) -> MDAnalysis.Universe:
        """A Universe whose frames are the conformers."""
        from equidrift.registry import resolve

        return resolve("equidrift.adapters.mda_universe:to_universe")(self)


@dataclass(frozen=True, eq=False)
class Trajectory:
    """Frames of one molecule: positions_A (n_frames, n_atoms, 3) and time_fs (n_frames,).

    box_A is None, (3, 3) for a box that every frame has, or (n_frames, 3, 3) for one that
    changes; its rows are the cell's vectors. provenance: model, seeds, options, `exact`,
    versions.
    """

    molecule: Molecule
    positions_A: NDArray[np.float64]
    time_fs: NDArray[np.float64]
    box_A: NDArray[np.float64] | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        fix = object.__setattr__
        fix(self, "positions_A", _frozen(self.positions_A, np.float64, (None, self.molecule.n_atoms, 3), "positions_A"))
        fix(self, "time_fs", _frozen(self.time_fs, np.float64, (len(self.positions_A),), "time_fs"))
        if self.box_A is not None:
            one = np.ndim(self.box_A) == 2
            shape = (3, 3) if one else (len(self.positions_A), 3, 3)
            fix(self, "box_A", _frozen(self.box_A, np.float64, shape, "box_A"))
        fix(self, "provenance", MappingProxyType(dict(self.provenance)))

    def __len__(self) -> int:
        return len(self.positions_A)

    def __getitem__(self, index: Any) -> Trajectory:
        """The frames that `index` (int, slice, mask or list) picks, as a Trajectory."""
        pick = np.atleast_1d(np.arange(len(self))[index])
        box_A = self.box_A
        if box_A is not None and box_A.ndim == 3:
            box_A = box_A[pick]
        positions_A, time_fs = self.positions_A[pick], self.time_fs[pick]
        return self.replace(positions_A=positions_A, time_fs=time_fs, box_A=box_A)

    def __repr__(self) -> str:
        span = f"{self.time_fs[0]:g} to {self.time_fs[-1]:g} fs" if len(self) else "empty"
        return f"Trajectory({self.molecule!r}, {len(self)} frames, {span}, model {self.provenance.get('model', '?')})"

    @property
    def boxes_A(self) -> NDArray[np.float64] | None:
        """The box of each frame, (n_frames, 3, 3), or None."""
        if self.box_A is None:
            return None
        return np.broadcast_to(self.box_A, (len(self), 3, 3))

    @property
    def dt_fs(self) -> float:
        """Mean time between frames. Raises `InputError` for a single frame, which has none."""
        if len(self) < 2:
            raise InputError(f"{self!r} has no time between frames; give at least two frames")
        return float(self.time_fs[-1] - self.time_fs[0]) / (len(self) - 1)

    def replace(self, **changes: Any) -> Trajectory:
        """A copy with some fields changed."""
        return dataclasses.replace(self, **changes)

    def to_ensemble(self) -> Ensemble:
        """The frames as conformers; times and box are left behind."""
        return Ensemble(self.molecule, self.positions_A, provenance=self.provenance)

    def save(self, path: Any) -> None:
        """Write to a file; the suffix picks the format (see `equidrift.trajectory_formats.WRITERS`)."""
        from equidrift.trajectory_formats import save_trajectory

        save_trajectory(self, path)

    def to_ase(self) -> list[ase.Atoms]:
        """One `ase.Atoms` a frame, the time in `info["time_fs"]`."""
        from equidrift.registry import resolve

        images: list[ase.Atoms] = resolve("equidrift.adapters.ase_atoms:trajectory_to_atoms")(self)
        return images

    def to_openmm(self) -> tuple[Any, list[Any]]:
        """(Topology, [positions Quantity a frame])."""
        return self.to_ensemble().to_openmm()

    def to_mdanalysis(self) -> MDAnalysis.Universe:
        """A Universe whose frames, times and box are the trajectory's."""
        from equidrift.registry import resolve

        return resolve("equidrift.adapters.mda_universe:to_universe")(self)


@dataclass(frozen=True)
class Proposal:
    """A proposed configuration and log q(x | x') - log q(x' | x), None where the proposer has no density.

    `info` says how it was made, for statistics: `torsions` (indices of those moved), `kind`, and for proposals whose density does not
    depend on the current torsions `log_q` (of the proposed state) and `log_q_current`, so that hosts can draw them ahead.
    """

    positions_A: NDArray[np.float64]
    log_q_ratio: float | None
    info: Mapping[str, Any] = field(default_factory=dict)

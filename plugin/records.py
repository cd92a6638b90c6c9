"""The records that flow between hosts and models: Molecule, Ensemble, Trajectory,
Proposal. Immutable; A, eV, fs, K.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from equidrift.errors import InputError, InputTypeError
from equidrift.text import MAX_LABEL, MAX_NAME, MAX_SMILES, MAX_VALUE, check_text
from equidrift.units import KCAL_MOL_PER_EV

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


TITLE = "_Name"  # among the properties of conformers: the titles, where each has its own
MAX_ISOTOPE, MAX_ATOM_MAP = 999, 999_999
MAX_CHARGE = 20  # of an atom, either sign
MAX_MULTIPLICITY = 99
ORDERS = (0.0, 1.0, 1.5, 2.0, 3.0)


class Frozen:
    """What immutable dataclasses share: they pickle and copy by their fields, so that
    arrays stay read-only and mappings work.
    """

    def __reduce__(self) -> tuple[Any, ...]:
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.init}  # type: ignore[arg-type]
        plain = {
            name: dict(value) if isinstance(value, MappingProxyType) else value
            for name, value in fields.items()
        }
        return _rebuilt, (type(self), plain)


def _rebuilt(kind: type[Any], fields: dict[str, Any]) -> Any:
    return kind(**fields)


def _frozen(value: ArrayLike, dtype: Any, shape: tuple[int | None, ...], name: str) -> NDArray[Any]:
    """A read-only copy of `value` with the given dtype; `None` in `shape` matches any
    length.
    """
    try:
        array = np.array(value, dtype=dtype)
        if dtype is np.int64 and not np.array_equal(array, np.asarray(value)):
            raise ValueError("not whole numbers")
    except (TypeError, ValueError, OverflowError) as error:
        wanted = {np.int64: "whole numbers", np.float64: "numbers"}.get(dtype, "True and False")
        raise InputError(f"{name} must be {wanted} in an array: {error}") from error
    if array.size == 0 and len(shape) > 1:
        array = array.reshape([length or 0 for length in shape])
    if array.ndim != len(shape) or any(
        want is not None and have != want for have, want in zip(array.shape, shape)
    ):
        wanted = "(" + ", ".join("any" if s is None else str(s) for s in shape) + ")"
        raise InputError(f"{name} has shape {array.shape}, expected {wanted}")
    array.setflags(write=False)
    return array


def _texts(properties: Any, what: str) -> dict[str, str]:
    """Properties by name, as text; numbers are written as Python writes them."""
    if not isinstance(properties, Mapping):
        raise InputTypeError(
            f"{what} must be a mapping of names to text, not {type(properties).__name__}"
        )
    texts = {}
    for name, value in properties.items():
        check_text(name, f"a name in {what}", MAX_NAME)
        text = value if isinstance(value, str) else str(value)
        texts[name] = check_text(text, f"{what}[{name!r}]", MAX_VALUE, lines=True)
    return texts


@dataclass(frozen=True, eq=False)
class Molecule(Frozen):
    """A molecular graph with every hydrogen explicit, in the caller's atom order.

    Parameters
    ----------
    numbers : (n,) atomic numbers.
    bonds : (m, 2) atom indices.
    bond_orders : (m,) 1, 2, 3 or 1.5 (aromatic); 0 for a dative or unknown bond.
    formal_charges : (n,) in elementary charges.
    tetrahedral : (k, 5) rows `(centre, a, b, c, d)`: the signed volume (r_a - r_d) .
        ((r_b - r_d) x (r_c - r_d)) is positive; d is the centre itself when it has
        three neighbours and a lone pair.
    double_bonds : (k, 5) rows `(a, i, j, b, cis)`: along a-i=j-b the dihedral is 0 (cis
        = 1) or 180 degrees (cis = 0).
    multiplicity : spin multiplicity 2S+1.
    name, smiles : as the user gave them; either may be empty.
    isotopes : (n,) mass numbers, 0 for the natural mixture; empty for all of that kind.
    atom_maps : (n,) the user's numbers of atoms (`[CH3:1]`), 0 for none; empty for no
        numbers.
    properties : what else came with the molecule, such as the fields of its SDF record:
        text by name.
    axial : (k, 5) rows `(a, i, j, b, positive)`: about the axis i...j, a hindered single
        bond, the dihedral a-i-j-b is between 0 and 180 degrees (positive = 1) or
        between -180 and 0 (positive = 0).
    atom_names, residue_names, residue_ids : optional, one per atom.
    chain_ids, insertion_codes : optional, one per atom; "" is a blank. Residue 52A has
        the id 52 and the insertion code "A".

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
    isotopes: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    atom_maps: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    properties: Mapping[str, str] = field(default_factory=dict)
    atom_names: tuple[str, ...] | None = None
    residue_names: tuple[str, ...] | None = None
    residue_ids: tuple[int, ...] | None = None
    chain_ids: tuple[str, ...] | None = None
    insertion_codes: tuple[str, ...] | None = None
    axial: NDArray[np.int64] = field(default_factory=lambda: np.zeros((0, 5), np.int64))

    def __post_init__(self) -> None:
        fix = object.__setattr__
        fix(self, "numbers", _frozen(self.numbers, np.int64, (None,), "numbers"))
        n = len(self.numbers)
        fix(self, "bonds", _frozen(self.bonds, np.int64, (None, 2), "bonds"))
        fix(
            self,
            "bond_orders",
            _frozen(self.bond_orders, np.float64, (len(self.bonds),), "bond_orders"),
        )
        fix(self, "formal_charges", _frozen(self.formal_charges, np.int64, (n,), "formal_charges"))
        fix(self, "tetrahedral", _frozen(self.tetrahedral, np.int64, (None, 5), "tetrahedral"))
        fix(self, "double_bonds", _frozen(self.double_bonds, np.int64, (None, 5), "double_bonds"))
        fix(self, "axial", _frozen(self.axial, np.int64, (None, 5), "axial"))
        for label, index in (
            ("bonds", self.bonds),
            ("tetrahedral", self.tetrahedral),
            ("double_bonds", self.double_bonds[:, :4]),
            ("axial", self.axial[:, :4]),
        ):
            if index.size and (index.min() < 0 or index.max() >= n):
                raise InputError(
                    f"{label} names atom {int(index.max())}, but the molecule has {n} atoms (0 to {n - 1})"
                )
        if n and not (1 <= self.numbers.min() and self.numbers.max() < len(SYMBOLS)):
            raise InputError(
                f"numbers must be atomic numbers 1 to {len(SYMBOLS) - 1}, got {sorted(set(self.numbers.tolist()))}"
            )
        for label in LABELS:
            value = getattr(self, label)
            if value is not None:
                if len(value) != n:
                    raise InputError(f"{label} has {len(value)} entries for {n} atoms")
                fix(self, label, tuple(value))
        self._check_more(n)

    def _check_more(self, n: int) -> None:
        """The fields that are no part of the graph."""
        fix = object.__setattr__
        for label, most in (("isotopes", MAX_ISOTOPE), ("atom_maps", MAX_ATOM_MAP)):
            value = getattr(self, label)
            array = _frozen(value if len(value) else np.zeros(n), np.int64, (n,), label)
            if n and not (0 <= array.min() and array.max() <= most):
                raise InputError(
                    f"{label} must be 0 to {most}, not {array.min() if array.min() < 0 else array.max()}"
                )
            fix(self, label, array)
        if isinstance(self.multiplicity, bool) or not isinstance(
            self.multiplicity, int | np.integer
        ):
            raise InputTypeError(f"multiplicity must be an integer, not {self.multiplicity!r}")
        if not 1 <= self.multiplicity <= MAX_MULTIPLICITY:
            raise InputError(
                f"multiplicity must be 1 to {MAX_MULTIPLICITY}, not {self.multiplicity}"
            )
        fix(self, "multiplicity", int(self.multiplicity))
        if self.bond_orders.size and not np.isin(self.bond_orders, ORDERS).all():
            odd = sorted(set(self.bond_orders[~np.isin(self.bond_orders, ORDERS)].tolist()))
            raise InputError(
                f"bond_orders must be {', '.join(f'{o:g}' for o in ORDERS)}, not {odd[0]:g}"
            )
        if n and np.abs(self.formal_charges).max() > MAX_CHARGE:
            raise InputError(
                f"formal_charges must be -{MAX_CHARGE} to {MAX_CHARGE}, not {np.abs(self.formal_charges).max()}"
            )
        if self.double_bonds.size and not np.isin(self.double_bonds[:, 4], (0, 1)).all():
            raise InputError("double_bonds must say 1 (cis) or 0 (trans) in their last column")
        check_text(self.name, "name", MAX_NAME, lines=True)
        check_text(self.smiles, "smiles", MAX_SMILES)
        for label in LABELS:
            for text in set(getattr(self, label) or ()) if label != "residue_ids" else ():
                check_text(text, label, MAX_LABEL)
        if self.residue_ids is not None:
            fix(
                self,
                "residue_ids",
                tuple(_frozen(self.residue_ids, np.int64, (n,), "residue_ids").tolist()),
            )
            if n and max(map(abs, self.residue_ids)) >= 2**31:
                raise InputError(
                    f"residue_ids must fit into 32 bits, not {max(map(abs, self.residue_ids))}"
                )
        fix(self, "properties", MappingProxyType(_texts(self.properties, "properties")))

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

    @property
    def has_hand(self) -> bool:
        """Whether its stereo tells it from its mirror image."""
        return bool(len(self.tetrahedral) or len(self.axial))

    def key(self) -> tuple[Any, ...]:
        """What decides whether two molecules are the same graph in the same atom order,
        stereo and isotopes included.
        """
        bonds = sorted(
            (min(i, j), max(i, j), o)
            for (i, j), o in zip(self.bonds.tolist(), self.bond_orders.tolist())
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
        return f"Molecule({self.name or self.smiles or '?'}, {self.n_atoms} atoms, charge {self.charge:+d})"

    @classmethod
    def from_smiles(cls, smiles: str, name: str = "") -> Molecule:
        """Read a SMILES; hydrogens are added behind the heavy atoms.

        Raises `MoleculeError` for what cannot be read.
        """
        from equidrift.registry import resolve

        molecule: Molecule = resolve("equidrift.adapters.rdkit.molecule:from_smiles")(
            smiles, name=name
        )
        return molecule


def _columns(properties: Any, n: int) -> dict[str, tuple[str, ...]]:
    """Properties of n samples: name -> n texts."""
    columns = {}
    if not isinstance(properties, Mapping):
        raise InputTypeError(
            f"properties must be a mapping of names to texts, not {type(properties).__name__}"
        )
    for name, texts in properties.items():
        if isinstance(texts, str) or len(texts) != n:
            raise InputError(
                f"properties[{name!r}] must hold {n} texts, one a sample, not {texts!r:.40}"
            )
        what = f"properties[{check_text(name, 'a name in properties', MAX_NAME)!r}]"
        columns[name] = tuple(check_text(str(text), what, MAX_VALUE, lines=True) for text in texts)
    return columns


@dataclass(frozen=True, eq=False)
class Ensemble(Frozen):
    """Conformers of one molecule.

    positions_A float64 (n_samples, n_atoms, 3); seeds int64 (n_samples,); log_prob and
    energies_eV (n_samples,) or None; valid bool (n_samples,); scores: further numbers a
    sample, by name; provenance: model, weights hash, options, versions; properties:
    text by name that came with each sample and is not the same for all, such as the
    fields of an SDF file (what is the same is in `molecule.properties`); the titles of
    the samples, where they differ, under "_Name".
    """

    molecule: Molecule
    positions_A: NDArray[np.float64]
    seeds: NDArray[np.int64] | None = None
    log_prob: NDArray[np.float64] | None = None
    energies_eV: NDArray[np.float64] | None = None
    valid: NDArray[np.bool_] | None = None
    scores: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    properties: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        fix = object.__setattr__
        fix(
            self,
            "positions_A",
            _frozen(self.positions_A, np.float64, (None, self.molecule.n_atoms, 3), "positions_A"),
        )
        n = len(self.positions_A)
        fix(
            self,
            "seeds",
            _frozen(np.arange(n) if self.seeds is None else self.seeds, np.int64, (n,), "seeds"),
        )
        fix(
            self,
            "valid",
            _frozen(np.ones(n, bool) if self.valid is None else self.valid, bool, (n,), "valid"),
        )
        for label in ("log_prob", "energies_eV"):
            if getattr(self, label) is not None:
                fix(self, label, _frozen(getattr(self, label), np.float64, (n,), label))
        scores = {
            key: _frozen(value, np.float64, (n,), f"scores[{key!r}]")
            for key, value in self.scores.items()
        }
        fix(self, "scores", MappingProxyType(scores))
        fix(self, "provenance", MappingProxyType(dict(self.provenance)))
        fix(self, "properties", MappingProxyType(_columns(self.properties, n)))

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
            properties={
                key: [texts[k] for k in pick.tolist()] for key, texts in self.properties.items()
            },
        )

    def __repr__(self) -> str:
        return f"Ensemble({self.molecule!r}, {len(self)} conformers, model {self.provenance.get('model', '?')})"

    def replace(self, **changes: Any) -> Ensemble:
        """A copy with some fields changed."""
        return dataclasses.replace(self, **changes)

    def save(self, path: Any) -> None:
        """Write to a file; the suffix picks the format (see
        `equidrift.registry.ENSEMBLE_WRITERS`).
        """
        from equidrift.files.ensembles import save

        save(self, path)

    def to_ase(self) -> list[ase.Atoms]:
        """One `ase.Atoms` a conformer."""
        from equidrift.registry import resolve

        images: list[ase.Atoms] = resolve("equidrift.adapters.ase.atoms:to_atoms")(self)
        return images

    def to_rdkit(self) -> Chem.Mol:
        """An RDKit Mol with one conformer a sample; name, isotopes, atom maps and the
        molecule's properties are in it.
        """
        from equidrift.registry import resolve

        return resolve("equidrift.adapters.rdkit.molecule:labelled_mol")(
            self.molecule, self.positions_A
        )

    def to_openmm(self) -> tuple[Any, list[Any]]:
        """(Topology, [positions Quantity a conformer])."""
        from equidrift.registry import resolve

        topology: tuple[Any, list[Any]] = resolve("equidrift.adapters.openmm.topology:to_openmm")(
            self
        )
        return topology

    def to_mdanalysis(self) -> MDAnalysis.Universe:
        """A Universe whose frames are the conformers."""
        from equidrift.registry import resolve

        return resolve("equidrift.adapters.mdanalysis.universe:to_universe")(self)


@dataclass(frozen=True, eq=False)
class Trajectory(Frozen):
    """Frames of one molecule: positions_A (n_frames, n_atoms, 3) and time_fs
    (n_frames,).

    box_A is None, (3, 3) for a box that every frame has, or (n_frames, 3, 3) for one
    that changes; its rows are the cell's vectors. provenance: model, seeds, options,
    `exact`, versions.
    """

    molecule: Molecule
    positions_A: NDArray[np.float64]
    time_fs: NDArray[np.float64]
    box_A: NDArray[np.float64] | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        fix = object.__setattr__
        fix(
            self,
            "positions_A",
            _frozen(self.positions_A, np.float64, (None, self.molecule.n_atoms, 3), "positions_A"),
        )
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
        """Mean time between frames.

        Raises `InputError` for a single frame, which has none.
        """
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
        """Write to a file; the suffix picks the format (see
        `equidrift.registry.TRAJECTORY_WRITERS`).
        """
        from equidrift.files.trajectories import save_trajectory

        save_trajectory(self, path)

    def to_ase(self) -> list[ase.Atoms]:
        """One `ase.Atoms` a frame, the time in `info["time_fs"]`."""
        from equidrift.registry import resolve

        images: list[ase.Atoms] = resolve("equidrift.adapters.ase.frames:trajectory_to_atoms")(self)
        return images

    def to_openmm(self) -> tuple[Any, list[Any]]:
        """(Topology, [positions Quantity a frame])."""
        return self.to_ensemble().to_openmm()

    def to_mdanalysis(self) -> MDAnalysis.Universe:
        """A Universe whose frames, times and box are the trajectory's."""
        from equidrift.registry import resolve

        return resolve("equidrift.adapters.mdanalysis.universe:to_universe")(self)


@dataclass(frozen=True)
class Proposal(Frozen):
    """A proposed configuration and log q(x | x') - log q(x' | x), None where the
    proposer has no density.

    `info` says how it was made, for statistics: `torsions` (indices of those moved),
    `kind`, and for proposals whose density does not depend on the current torsions
    `log_q` (of the proposed state) and `log_q_current`, so that hosts can draw them
    ahead.
    """

    positions_A: NDArray[np.float64]
    log_q_ratio: float | None
    info: Mapping[str, Any] = field(default_factory=dict)


def with_relative_energies(ensemble: Ensemble) -> Ensemble:
    """The ensemble with `scores["relative_energy_kcal_mol"]`, over its lowest
    conformer, where it has energies.
    """
    energies = ensemble.energies_eV
    if energies is None or not np.isfinite(energies).any():
        return ensemble
    relative = (energies - np.nanmin(energies)) * KCAL_MOL_PER_EV
    return ensemble.replace(scores={**ensemble.scores, "relative_energy_kcal_mol": relative})


def joined(parts: Sequence[Ensemble]) -> Ensemble:
    """Ensembles of one molecule, one behind the other; counts of draws and rejections
    add up.
    """
    if len(parts) == 1:
        return parts[0]
    rejected: Counter[str] = Counter()
    for part in parts:
        rejected.update(part.provenance.get("rejected", {}))
    drawn = sum(part.provenance.get("drawn", len(part)) for part in parts)
    arrays: dict[str, Any] = {"positions_A": np.concatenate([part.positions_A for part in parts])}
    for name in ("seeds", "valid", "log_prob", "energies_eV"):
        columns = [getattr(part, name) for part in parts]
        arrays[name] = (
            None if any(column is None for column in columns) else np.concatenate(columns)
        )
    arrays["scores"] = {
        key: np.concatenate([part.scores[key] for part in parts]) for key in parts[0].scores
    }
    arrays["properties"] = joined_properties(parts)
    counts: dict[str, Any] = {"drawn": drawn, "rejected": dict(sorted(rejected.items()))}
    if all("kept_input" in part.provenance for part in parts):  # of a refinement
        kept = sum((Counter(part.provenance["kept_input"]) for part in parts), Counter[str]())
        counts |= {"kept_input": dict(sorted(kept.items()))}
        counts |= {"refined": sum(part.provenance["refined"] for part in parts)}
    elif all("refined" in part.provenance for part in parts):  # of a sampling chain
        counts |= {"refined": sum(part.provenance["refined"] for part in parts)}
    return with_relative_energies(
        parts[0].replace(**arrays, provenance={**parts[0].provenance, **counts})
    )


def joined_properties(parts: Sequence[Ensemble]) -> dict[str, list[str]]:
    """The properties of the samples of all parts; empty text where a part has none of a
    name.
    """
    names = list(dict.fromkeys(name for part in parts for name in part.properties))
    return {
        name: [text for part in parts for text in part.properties.get(name, ("",) * len(part))]
        for name in names
    }


@dataclass(frozen=True, eq=False)
class Chunk:
    """Frames of some samples: positions_A (n_samples, n_frames, n_atoms, 3) from
    `first_sample` and `first_frame` on.

    seeds (n_samples,) made them; rejected counts draws by reason; broken (n_samples,)
    counts kept frames that fail a check, by reason.
    """

    first_sample: int
    first_frame: int
    positions_A: NDArray[np.float64]
    seeds: NDArray[np.int64]
    rejected: tuple[Counter[str], ...]
    broken: tuple[Counter[str], ...]

    @property
    def n_frames(self) -> int:
        """Frames drawn: all samples together."""
        return int(self.positions_A.shape[0] * self.positions_A.shape[1])

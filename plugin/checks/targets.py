"""Targets and fragments of a request for new molecules, checked before anything is
drawn.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from equidrift.checks.goals import GRAPH_PROPERTIES, Goal, goals_of
from equidrift.checks.molecule import Raw
from equidrift.checks.valency import VALENCES
from equidrift.errors import InputError, InputTypeError, UnknownNameError
from equidrift.notes import warn
from equidrift.protocols import MoleculeModel
from equidrift.records import SYMBOLS, Ensemble, Molecule
from equidrift.registry import host_function

ALIASES = {"dipole_D": "mu_D", "alpha": "alpha_bohr3", "cv": "cv_cal_mol_K"}


# (what a target should be, how it follows from others, tolerance), if all of them are given
_RELATIONS = (
    ("gap_eV", {"lumo_eV": 1.0, "homo_eV": -1.0}, 0.0, 0.05),
    ("h298_eV", {"u298_eV": 1.0}, 0.02569, 0.005),  # kT at 298.15 K
)


_ORDERED = (
    ("homo_eV", "lumo_eV"),
    ("u0_eV", "u298_eV"),
    ("g298_eV", "h298_eV"),
)  # the first is below the second


_TOO_CLOSE_A = 0.6


def check_targets(
    targets: Mapping[str, Any], model: MoleculeModel, *, force: bool = False
) -> dict[str, float]:
    """Targets by their own names, in the order of the names.

    Parameters
    ----------
    targets : mapping
        Property (or its alias) -> value, the unit ending the name.
    model : MoleculeModel
        Its `properties` tell the ranges it was trained on.
    force : bool
        Only warn of a value outside the range.

    Raises
    ------
    UnknownNameError
        For another property, with the nearest one.
    InputError, InputTypeError
        For a value that is no finite number or out of range, a property given twice, or
        values that contradict each other.
    """
    known, name = model.properties, model.name
    if targets and not known:
        raise InputError(
            f"the model {name!r} takes no property targets; leave them out, or use another model, "
            "such as 'default'"
        )
    wanted: dict[str, float] = {}
    for given, value in targets.items():
        label = ALIASES.get(given, given)
        if label not in known:
            raise UnknownNameError(
                "property",
                str(given),
                [
                    *known,
                    *(alias for alias, own in ALIASES.items() if own in known),
                    *GRAPH_PROPERTIES,
                ],
            )
        if isinstance(value, bool) or not isinstance(value, int | float | np.number):
            raise InputTypeError(
                f"the target of {given} must be a number, not {value!r}; say {given}=7.0"
            )
        if label in wanted:
            raise InputError(
                f"{label} has two targets, {wanted[label]:g} and {value:g} (as {given}); give one "
                "of them"
            )
        _check_range(given, float(value), known[label], force)
        wanted[label] = float(value)
    _check_agreement(wanted)
    return dict(sorted(wanted.items()))


@dataclass(frozen=True)
class Wishes:
    """The targets of a run: what the model aims at, and the goals that its molecules
    are chosen by.
    """

    aims: dict[str, float]
    goals: tuple[Goal, ...]
    others: dict[str, float]

    @property
    def told(self) -> dict[str, float | str]:
        """All of them as they were asked for, in the order of their names."""
        told: dict[str, float | str] = {**self.others, **{g.name: g.told for g in self.goals}}
        return dict(sorted(told.items()))


def check_wishes(
    targets: Mapping[str, Any], model: MoleculeModel, *, force: bool = False
) -> Wishes:
    """Targets of the model's properties, and goals for those of the graph.

    A goal that the model was trained on steers it as well. Errors are those of
    `check_targets`, and of `Goal.of`.

    Parameters
    ----------
    targets : mapping
        Property -> value; of the graph's properties also "max", "min", "<90", ">20".
    model : MoleculeModel
        Its `properties` tell what it can aim at.
    force : bool
        Only warn of a value outside the range.
    """
    goals, others = goals_of(targets)
    values = {g.name: g.value for g in goals if g.kind == "=" and g.name in model.properties}
    aims = check_targets({**others, **values}, model, force=force) if others or values else {}
    numbers = {name: value for name, value in aims.items() if name not in values}
    for goal in goals:
        aim = goal.aim(model.properties[goal.name]) if goal.name in model.properties else None
        if aim is not None:
            aims[goal.name] = aim
    return Wishes(dict(sorted(aims.items())), goals, numbers)


def _check_range(name: str, value: float, limits: tuple[float, float], force: bool) -> None:
    if not math.isfinite(value):
        raise InputError(f"the target of {name} must be a finite number, not {value}")
    if limits[0] <= value <= limits[1]:
        return
    if not force:
        raise InputError(
            f"{_outside(name, value, limits)}; give a value in that range, or force=True "
            "(--force) to try all the same"
        )
    warn(_far(name, value, limits), "checks", stacklevel=4)


def _outside(name: str, value: float, limits: tuple[float, float]) -> str:
    return (
        f"the target {name}={value:g} lies outside what the model was trained on, "
        f"{limits[0]:.4g} to {limits[1]:.4g}"
    )


def _far(name: str, value: float, limits: tuple[float, float]) -> str:
    return f"{_outside(name, value, limits)}; the molecules may be far from it"


def far_targets(wanted: Mapping[str, float], model: MoleculeModel) -> tuple[str, ...]:
    """A note for each target that lies outside what the model was trained on.

    Parameters
    ----------
    wanted : mapping of str to float
        Of `check_targets`.
    model : MoleculeModel
        Aims at them.
    """
    known = model.properties
    return tuple(
        _far(name, value, known[name])
        for name, value in wanted.items()
        if not known[name][0] <= value <= known[name][1]
    )


def _check_agreement(wanted: Mapping[str, float]) -> None:
    """Refuse values that no molecule can have together."""
    for name, terms, offset, tolerance in _RELATIONS:
        if name in wanted and all(term in wanted for term in terms):
            implied = offset + sum(factor * wanted[term] for term, factor in terms.items())
            if abs(implied - wanted[name]) > tolerance:
                others = " and ".join(f"{term}={wanted[term]:g}" for term in terms)
                raise InputError(
                    f"the targets contradict each other: {others} make {name} {implied:.4g}, not "
                    f"{wanted[name]:g}; drop one"
                )
    for lower, upper in _ORDERED:
        if lower in wanted and upper in wanted and wanted[lower] >= wanted[upper]:
            raise InputError(
                f"the targets contradict each other: {lower}={wanted[lower]:g} is not below "
                f"{upper}={wanted[upper]:g}; drop one"
            )


def check_guidance(guidance: object, *, aimed: bool) -> None:
    """Refuse a strength that is no number of 0 or more, or has no target or spectrum to
    guide to (`aimed`); raises `InputError` or `InputTypeError`.
    """
    if isinstance(guidance, bool) or not isinstance(guidance, int | float | np.number):
        raise InputTypeError(
            f"guidance must be a number, not {guidance!r}; 1 is plain conditioning, 2 guides harder"
        )
    if not 0 <= guidance < math.inf:
        raise InputError(
            f"guidance must be 0 or more, not {guidance}; 1 is plain conditioning, 2 guides harder"
        )
    if not aimed:
        raise InputError(
            f"guidance={guidance:g} has nothing to guide to; give a target, say gap_eV=7.0, or a "
            "spectrum"
        )


def check_fragment(
    fragment: object, model: MoleculeModel, sites: NDArray[np.int64] | None = None
) -> Raw:
    """The molecule to keep and where its atoms are, all hydrogens explicit, aromatic
    bonds as single and double ones.

    Parameters
    ----------
    fragment : path, RDKit Mol, Ensemble or tuple
        A .sdf, .mol or .pdb file, an RDKit Mol with one conformer, an Ensemble of one,
        or (Molecule, positions_A), of one piece or several. Its heavy atoms and their
        bonds are kept; a hydrogen, or an open valence, is where something may grow.
    sites : int64, shape (k,), optional
        Hydrogens that give way, and so may be near to others.

    Raises
    ------
    InputError, InputTypeError
        If there is none, or the model cannot hold it: another element or charge than
        it knows, too many atoms, no room to grow.
    """
    name = model.name
    if not model.takes_fragment:
        raise InputError(
            f"the model {name!r} cannot keep a fragment; use another one, such as 'default'"
        )
    molecule, positions = fragment_of(fragment)
    if not (molecule.numbers != 1).any():
        raise InputError("the fragment has no heavy atom to keep")
    if not np.isfinite(positions).all():
        raise InputError("the fragment's coordinates hold NaN or infinite numbers")
    molecule = host_function("rdkit", "kekulised")(molecule)
    stay = positions if sites is None else np.delete(positions, sites, axis=0)
    apart = np.linalg.norm(stay[:, None] - stay, axis=-1)[np.triu_indices(len(stay), 1)]
    if len(apart) and apart.min() < _TOO_CLOSE_A:
        raise InputError(
            f"two atoms of the fragment are {apart.min():.2f} A apart; give coordinates in A, in 3D"
        )
    elements = model.elements
    if unknown := sorted({SYMBOLS[z] for z in molecule.numbers.tolist() if z not in elements}):
        known = " ".join(SYMBOLS[z] for z in elements)
        raise InputError(
            f"the fragment holds {', '.join(unknown)}, which the model {name!r} does not know; it "
            f"knows {known}"
        )
    _check_room(molecule, model)
    return molecule, positions


def _check_room(molecule: Molecule, model: MoleculeModel) -> None:
    """Refuse a fragment that is too large, whose valences are broken, or that nothing
    can grow from.
    """
    name, heavy = model.name, int((molecule.numbers != 1).sum())
    limits = (
        (heavy, model.max_heavy_atoms, "heavy atoms"),
        (molecule.n_atoms, model.max_atoms, "atoms"),
    )
    for count, most, what in limits:
        if most is not None and count >= most:
            raise InputError(
                f"the fragment has {count} {what}, and the model {name!r} was trained on molecules "
                f"of at most {most}: nothing can be "
                "added. Give a smaller fragment"
            )
    if heavy == molecule.n_atoms:
        raise InputError(
            "the fragment has no hydrogen that could give way to a bond; give one with a hydrogen "
            "where it is to grow"
        )
    total = np.zeros(molecule.n_atoms)
    for (i, j), order in zip(molecule.bonds.tolist(), molecule.bond_orders.tolist(), strict=True):
        total[[i, j]] += order
    for k, (z, charge) in enumerate(
        zip(molecule.numbers.tolist(), molecule.formal_charges.tolist(), strict=True)
    ):
        if total[k] > max(VALENCES.get((z, charge), (0,))):
            raise InputError(
                f"atom {k} of the fragment, {SYMBOLS[z]} with charge {charge:+d}, has bonds of "
                f"{total[k]:g} in all: too many"
            )


def fragment_of(what: object) -> Raw:
    """The molecule and where its atoms are, all hydrogens explicit; see
    `check_fragment`.

    Raises
    ------
    InputError, InputTypeError
        If it cannot be read, or has several conformers.
    """
    if isinstance(what, str | Path):
        return _raw_core(host_function("rdkit", "read_core")(Path(what)))
    if isinstance(what, Ensemble):
        if len(what) != 1:
            raise InputError(
                f"the fragment has {len(what)} conformers, and needs one; pick one: ensemble[0]"
            )
        return what.molecule, what.positions_A[0]
    if type(what).__module__.startswith("rdkit."):
        return _raw_core(host_function("rdkit", "mol_core")(what))
    if isinstance(what, tuple) and len(what) == 2 and isinstance(what[0], Molecule):
        positions = np.asarray(what[1], np.float64)
        if positions.shape != (what[0].n_atoms, 3):
            raise InputError(
                f"the fragment's coordinates have shape {positions.shape}, expected "
                f"{(what[0].n_atoms, 3)}"
            )
        return what[0], positions
    raise InputTypeError(
        "fragment must be a .sdf, .mol or .pdb file, an RDKit Mol with coordinates, an Ensemble or "
        "(Molecule, coordinates), "
        f"not {type(what).__name__}"
    )


class _MatchedCore(Protocol):
    """A core with coordinates, as RDKit's adapter reads it."""

    @property
    def query(self) -> object:
        """The Mol."""
        ...

    @property
    def positions_A(self) -> NDArray[np.float64]:
        """Of its atoms, (k, 3) in A."""
        ...


def _raw_core(core: _MatchedCore) -> Raw:
    raw: Raw = host_function("rdkit", "completed")(core.query, core.positions_A)
    return raw

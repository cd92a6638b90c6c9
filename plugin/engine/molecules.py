"""New molecules: targets and fragments checked, draws judged one by one, repeats left out, until n are valid and unique.

Draw k of a run has its own seed and is judged by itself, in order, so that the molecules of a run do not depend on the batch size, and
a run that was broken off goes on from the number of its draws. What a model makes is never repaired: it is taken as it is, or
rejected for a reason that is counted.
"""

from __future__ import annotations

import math
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equidrift._version import __version__
from equidrift.checks.geometry import NO_COORDINATES, GeometryCheck
from equidrift.checks.valency import VALENCES, graph_problem
from equidrift.engine.conformers import Relax, check_count, made_by
from equidrift.engine.relax import make_relax
from equidrift.errors import EquidriftError, InputError, InputTypeError, ModelError, MoleculeError, NoValidSamplesError, UnknownNameError
from equidrift.protocols import Callback
from equidrift.records import SYMBOLS, Ensemble, Molecule
from equidrift.registry import make_molecule_model, resolve
from equidrift.seeds import check_seed, sample_seeds

BATCH_SIZE = 100
SLOW_BATCH_SIZE = 16  # with GFN2-xTB, so that what is done can be kept every few seconds
MAX_ATTEMPTS = 20  # draws a molecule asked for
LEAST_DRAWS = 200  # before a run is given up
NOTHING, SANITISATION, FRAGMENT_LOST, REPEATED = "no molecule", "sanitisation", "fragment lost", "repeated"
ALIASES = {"dipole_D": "mu_D", "alpha": "alpha_bohr3", "cv": "cv_cal_mol_K"}
JUDGES = {
    "network": "equidrift.models.molecules.properties.sampler:network_values",
    "gfn2": "equidrift.adapters.ase.xtb:gfn2_values",
}
# (what a target should be, how it follows from others, tolerance), where all of them are given
_RELATIONS = (
    ("gap_eV", {"lumo_eV": 1.0, "homo_eV": -1.0}, 0.0, 0.05),
    ("h298_eV", {"u298_eV": 1.0}, 0.02569, 0.005),  # kT at 298.15 K
)
_ORDERED = (("homo_eV", "lumo_eV"), ("u0_eV", "u298_eV"), ("g298_eV", "h298_eV"))  # the first is below the second
_TOO_CLOSE_A = 0.6
_MOVED_A, _RELAXED_A = 0.1, 1.0  # how far an atom of a fragment may be from its place, and behind a relaxation

Raw = tuple[Molecule, NDArray[np.float64]]


@dataclass(frozen=True)
class Settings:
    """What every draw of a run has in common; `equidrift.generate` explains the fields."""

    model: Any
    seed: int = 0
    steps: int | None = None
    targets: Mapping[str, float] = field(default_factory=dict)
    guidance: float | None = None
    fragment: Raw | None = None
    batch_size: int = BATCH_SIZE
    max_attempts: int = MAX_ATTEMPTS
    relax: Relax | None = None
    judges: tuple[str, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)
    callback: Callback | None = None


def make_settings(
    model: Any = "default",
    *,
    targets: Mapping[str, float] | None = None,
    guidance: float | None = None,
    fragment: Any = None,
    seed: int = 0,
    steps: int | None = None,
    batch_size: int | None = None,
    max_attempts: int = MAX_ATTEMPTS,
    relax: str = "none",
    judge: str | Sequence[str] | None = None,
    force: bool = False,
    callback: Callback | None = None,
    **model_options: Any,
) -> Settings:
    """Check the options of a run and load its model.

    Raises
    ------
    UnknownNameError
        for an unknown model, property, relaxation or judge, with the nearest name.
    InputError, InputTypeError
        for targets that are out of range or contradict each other, a fragment that the model cannot hold, or an option out of its range.
    """
    seed = check_seed(seed)
    for label, value in (("steps", steps), ("batch_size", batch_size), ("max_attempts", max_attempts)):
        if value is not None:
            check_count(label, value)
    made = made_by(make_molecule_model, model, model_options) if isinstance(model, str) else model
    if not callable(getattr(made, "sample", None)) or not hasattr(made, "max_atoms"):
        raise InputTypeError(f"model must be the name of a molecule model or an object with sample(seeds) and max_atoms, not {model!r}")
    wanted = check_targets(targets or {}, made, force=force)
    if guidance is not None:
        _check_guidance(guidance, wanted)
    judges = (judge,) if isinstance(judge, str) else tuple(judge or (("network",) if wanted else ()))
    for name in judges:
        if name not in JUDGES:
            raise UnknownNameError("judge", str(name), JUDGES)
        resolve(JUDGES[name])  # tells at once where something is missing
    kept = None if fragment is None else check_fragment(fragment, made)
    slow = relax == "gfn2" or "gfn2" in judges
    size = batch_size or (SLOW_BATCH_SIZE if slow else int(getattr(made, "batch_size", BATCH_SIZE)))
    relaxing = make_relax(relax)
    options = {**model_options, **({"relax": relax} if relaxing is not None else {})}
    return Settings(made, seed, steps, wanted, guidance, kept, size, max_attempts, relaxing, judges, options, callback)


def check_targets(targets: Mapping[str, Any], model: Any, *, force: bool = False) -> dict[str, float]:
    """Targets by their own names, in the order of the names.

    Parameters
    ----------
    targets : property (or its alias) -> value, the unit ending the name.
    model : whose `properties` tell the ranges it was trained on.
    force : only warn of a value outside the range.

    Raises
    ------
    UnknownNameError
        for another property, with the nearest one.
    InputError, InputTypeError
        for a value that is no finite number or out of range, a property given twice, or values that contradict each other.
    """
    known: Mapping[str, tuple[float, float]] = getattr(model, "properties", {})
    name = getattr(model, "name", "this model")
    if targets and not known:
        raise InputError(f"the model {name!r} takes no property targets; leave them out, or use another model, such as 'default'")
    wanted: dict[str, float] = {}
    for given, value in targets.items():
        label = ALIASES.get(given, given)
        if label not in known:
            raise UnknownNameError("property", str(given), [*known, *(alias for alias, own in ALIASES.items() if own in known)])
        if isinstance(value, bool) or not isinstance(value, int | float | np.number):
            raise InputTypeError(f"the target of {given} must be a number, not {value!r}; say {given}=7.0")
        if label in wanted:
            raise InputError(f"{label} has two targets, {wanted[label]:g} and {value:g} (as {given}); give one of them")
        _check_range(given, float(value), known[label], force)
        wanted[label] = float(value)
    _check_agreement(wanted)
    return dict(sorted(wanted.items()))


def _check_range(name: str, value: float, limits: tuple[float, float], force: bool) -> None:
    if not math.isfinite(value):
        raise InputError(f"the target of {name} must be a finite number, not {value}")
    if limits[0] <= value <= limits[1]:
        return
    message = f"the target {name}={value:g} lies outside what the model was trained on, {limits[0]:.4g} to {limits[1]:.4g}"
    if not force:
        raise InputError(f"{message}; give a value in that range, or force=True (--force) to try all the same")
    warnings.warn(f"{message}; the molecules may be far from it", UserWarning, stacklevel=4)


def _check_agreement(wanted: Mapping[str, float]) -> None:
    """Refuse values that no molecule can have together."""
    for name, terms, offset, tolerance in _RELATIONS:
        if name in wanted and all(term in wanted for term in terms):
            implied = offset + sum(factor * wanted[term] for term, factor in terms.items())
            if abs(implied - wanted[name]) > tolerance:
                others = " and ".join(f"{term}={wanted[term]:g}" for term in terms)
                raise InputError(f"the targets contradict each other: {others} make {name} {implied:.4g}, not {wanted[name]:g}; drop one")
    for lower, upper in _ORDERED:
        if lower in wanted and upper in wanted and wanted[lower] >= wanted[upper]:
            raise InputError(
                f"the targets contradict each other: {lower}={wanted[lower]:g} is not below {upper}={wanted[upper]:g}; drop one"
            )


def _check_guidance(guidance: Any, targets: Mapping[str, float]) -> None:
    if isinstance(guidance, bool) or not isinstance(guidance, int | float | np.number):
        raise InputTypeError(f"guidance must be a number, not {guidance!r}; 1 is plain conditioning, 2 guides harder")
    if not 0 <= guidance < math.inf:
        raise InputError(f"guidance must be 0 or more, not {guidance}; 1 is plain conditioning, 2 guides harder")
    if not targets:
        raise InputError(f"guidance={guidance:g} has nothing to guide to; give a target, say gap_eV=7.0")


def check_fragment(fragment: Any, model: Any) -> Raw:
    """The molecule to keep and where its atoms are, all hydrogens explicit, aromatic bonds as single and double ones.

    Parameters
    ----------
    fragment : a .sdf, .mol or .pdb file, an RDKit Mol with one conformer, an Ensemble of one, or (Molecule, positions_A), of one piece or
        several. Its heavy atoms and their bonds are kept; a hydrogen, or an open valence, is where something may grow.

    Raises
    ------
    InputError, InputTypeError
        where there is none, or the model cannot hold it: another element or charge than it knows, too many atoms, no room to grow.
    """
    name = getattr(model, "name", "this model")
    if not getattr(model, "takes_fragment", False):
        raise InputError(f"the model {name!r} cannot keep a fragment; use another one, such as 'default'")
    molecule, positions = _as_fragment(fragment)
    if not (molecule.numbers != 1).any():
        raise InputError("the fragment has no heavy atom to keep")
    if not np.isfinite(positions).all():
        raise InputError("the fragment's coordinates hold NaN or infinite numbers")
    molecule = resolve("equidrift.adapters.rdkit.validity:kekulised")(molecule)
    apart = np.linalg.norm(positions[:, None] - positions[None], axis=-1)[np.triu_indices(len(positions), 1)]
    if len(apart) and apart.min() < _TOO_CLOSE_A:
        raise InputError(f"two atoms of the fragment are {apart.min():.2f} A apart; give coordinates in A, in 3D")
    elements = getattr(model, "elements", (1, 6, 7, 8, 9))
    if unknown := sorted({SYMBOLS[z] for z in molecule.numbers.tolist() if z not in elements}):
        known = " ".join(SYMBOLS[z] for z in elements)
        raise InputError(f"the fragment holds {', '.join(unknown)}, which the model {name!r} does not know; it knows {known}")
    _check_room(molecule, model)
    return molecule, positions


def _check_room(molecule: Molecule, model: Any) -> None:
    """Refuse a fragment that is too large, whose valences are broken, or that nothing can grow from."""
    name, heavy = getattr(model, "name", "this model"), int((molecule.numbers != 1).sum())
    limits = ((heavy, getattr(model, "max_heavy_atoms", None), "heavy atoms"), (molecule.n_atoms, model.max_atoms, "atoms"))
    for count, most, what in limits:
        if most is not None and count >= most:
            raise InputError(
                f"the fragment has {count} {what}, and the model {name!r} was trained on molecules of at most {most}: nothing can be "
                "added. Give a smaller fragment"
            )
    if heavy == molecule.n_atoms:
        raise InputError("the fragment has no hydrogen that could give way to a bond; give one with a hydrogen where it is to grow")
    total = np.zeros(molecule.n_atoms)
    for (i, j), order in zip(molecule.bonds.tolist(), molecule.bond_orders.tolist()):
        total[[i, j]] += order
    for k, (z, charge) in enumerate(zip(molecule.numbers.tolist(), molecule.formal_charges.tolist())):
        if total[k] > max(VALENCES.get((z, charge), (0,))):
            raise InputError(f"atom {k} of the fragment, {SYMBOLS[z]} with charge {charge:+d}, has bonds of {total[k]:g} in all: too many")


def _as_fragment(what: Any) -> Raw:
    if isinstance(what, str | Path):
        return _raw_core(resolve("equidrift.adapters.rdkit.core:read_core")(Path(what)))
    if isinstance(what, Ensemble):
        if len(what) != 1:
            raise InputError(f"the fragment has {len(what)} conformers, and needs one; pick one: ensemble[0]")
        return what.molecule, what.positions_A[0]
    if type(what).__module__.startswith("rdkit."):
        return _raw_core(resolve("equidrift.adapters.rdkit.core:mol_core")(what))
    if isinstance(what, tuple) and len(what) == 2 and isinstance(what[0], Molecule):
        positions = np.asarray(what[1], np.float64)
        if positions.shape != (what[0].n_atoms, 3):
            raise InputError(f"the fragment's coordinates have shape {positions.shape}, expected {(what[0].n_atoms, 3)}")
        return what[0], positions
    raise InputTypeError(
        "fragment must be a .sdf, .mol or .pdb file, an RDKit Mol with coordinates, an Ensemble or (Molecule, coordinates), "
        f"not {type(what).__name__}"
    )


def _raw_core(core: Any) -> Raw:
    raw: Raw = resolve("equidrift.adapters.rdkit.validity:completed")(core.query, core.positions_A)
    return raw


@dataclass(frozen=True)
class Draw:
    """What became of one draw: the molecule and its geometry, or why it was rejected."""

    seed: int
    reason: str
    molecule: Molecule | None = None
    positions_A: NDArray[np.float64] | None = None
    energy_eV: float = math.nan


def judge(raw: Raw | None, seed: int = 0, *, fragment: Raw | None = None, relax: Relax | None = None) -> Draw:
    """Whether what a model made is a molecule, by its explicit bonds and its geometry; a sound one is given its stereo and its SMILES."""
    if raw is None or not raw[0].n_atoms:
        return Draw(seed, NOTHING)
    positions = np.asarray(raw[1], np.float64)
    if positions.shape != (raw[0].n_atoms, 3) or not np.isfinite(positions).all():
        return Draw(seed, NO_COORDINATES)
    try:
        molecule = resolve("equidrift.adapters.rdkit.validity:kekulised")(raw[0])
        if problem := graph_problem(molecule):
            return Draw(seed, problem)
        molecule = resolve("equidrift.adapters.rdkit.validity:perceived")(molecule, positions)
    except MoleculeError:
        return Draw(seed, SANITISATION)
    reason = str(GeometryCheck(molecule)(positions[None])[0])
    energy = math.nan
    if not reason and relax is not None:
        try:
            moved, energies = relax(molecule, positions[None])
        except MoleculeError:  # a force field without parameters for it
            return Draw(seed, SANITISATION)
        positions, energy = moved[0], float(energies[0])
        reason = str(GeometryCheck(molecule)(positions[None])[0])
    if not reason and fragment is not None and not holds(molecule, positions, *fragment, _MOVED_A if relax is None else _RELAXED_A):
        reason = FRAGMENT_LOST
    return Draw(seed, reason, molecule, positions, energy) if not reason else Draw(seed, reason)


def holds(
    molecule: Molecule, positions_A: NDArray[np.float64], fragment: Molecule, places_A: NDArray[np.float64], tolerance_A: float
) -> bool:
    """Whether every heavy atom of a fragment is in the molecule, in its place, and bonded as it was.

    Orders of bonds are not compared, since a ring has several Kekule structures, and the check of valences has seen them.
    """
    heavy = np.flatnonzero(fragment.numbers != 1)
    distance = np.linalg.norm(positions_A[None] - places_A[heavy, None], axis=-1)
    nearest = distance.argmin(1)
    if distance.min(1).max() > tolerance_A or len(set(nearest.tolist())) != len(nearest):
        return False
    if (molecule.numbers[nearest] != fragment.numbers[heavy]).any():
        return False
    found = dict(zip(heavy.tolist(), nearest.tolist()))
    pairs = {frozenset(pair) for pair in molecule.bonds.tolist()}
    return all(frozenset((found[i], found[j])) in pairs for i, j in fragment.bonds.tolist() if i in found and j in found)


@dataclass(eq=False)
class Run:
    """Where a run stands: draws judged, molecules found, reasons counted, SMILES seen. `state` and `restored` are its journal."""

    drawn: int = 0
    found: int = 0
    rejected: Counter[str] = field(default_factory=Counter)
    seen: dict[str, None] = field(default_factory=dict)

    def state(self) -> dict[str, Any]:
        return {"drawn": self.drawn, "molecules": self.found, "rejected": dict(sorted(self.rejected.items())), "seen": list(self.seen)}

    @classmethod
    def restored(cls, state: Mapping[str, Any]) -> Run:
        return cls(state["drawn"], state["molecules"], Counter(state["rejected"]), dict.fromkeys(state["seen"]))


def batches(n: int, settings: Settings, run: Run) -> Iterator[list[Ensemble]]:
    """The molecules found in each batch of draws, until the run has n of them; `run` is brought up to date before each is handed out.

    Raises
    ------
    NoValidSamplesError
        where n cannot be found in `max_attempts` draws a molecule; ModelError where the model fails.
    """
    begun = time.monotonic()
    limit = max(LEAST_DRAWS, n * settings.max_attempts)
    while run.found < n:
        if run.drawn >= limit:
            raise _too_few(n, settings, run)
        size = min(settings.batch_size, limit - run.drawn, _draws_for(n - run.found, run))
        before = run.drawn, run.found
        made = [_ensemble(draw, settings) for draw in _taken(_drawn(settings, run.drawn, size), n, run)]
        if settings.callback is not None:
            counts = {"accepted": run.found - before[1], "drawn": run.drawn - before[0]}
            settings.callback({**counts, "seconds": time.monotonic() - begun})
        yield _scored(made, settings)


def _draws_for(missing: int, run: Run) -> int:
    """How many draws will probably do; it depends on where the run stands alone, so that a continued run draws in the same batches."""
    rate = (run.found + 1.0) / (run.drawn + 1.0)
    return max(1, math.ceil(1.1 * missing / rate))


def _drawn(settings: Settings, start: int, count: int) -> list[Draw]:
    """Draws start.. of a run, judged."""
    seeds = sample_seeds(settings.seed, start, start + count)
    options: dict[str, Any] = {"steps": settings.steps}
    if settings.targets:
        options |= {"targets": dict(settings.targets), "guidance": settings.guidance}
    if settings.fragment is not None:
        options["fragment"] = settings.fragment
    try:
        made = list(settings.model.sample(seeds, **options))
    except EquidriftError:
        raise
    except (RuntimeError, ValueError) as error:
        name = getattr(settings.model, "name", settings.model)
        raise ModelError(f"the model {name!r} failed: {type(error).__name__}: {error}") from error
    if len(made) != count:
        raise ModelError(f"the model {getattr(settings.model, 'name', settings.model)!r} made {len(made)} of {count} samples")
    checks: dict[str, Any] = {"fragment": settings.fragment, "relax": settings.relax}
    return [judge(raw, int(seed), **checks) for raw, seed in zip(made, seeds)]


def _taken(draws: Sequence[Draw], n: int, run: Run) -> Iterator[Draw]:
    """The draws that are valid and new, until the run has n; counts as it goes."""
    for draw in draws:
        if run.found == n:
            return
        run.drawn += 1
        smiles = draw.molecule.smiles if draw.molecule is not None else ""
        reason = draw.reason or (REPEATED if smiles in run.seen else "")
        if reason:
            run.rejected[reason] += 1
            continue
        run.found += 1
        run.seen[smiles] = None
        yield draw


def _too_few(n: int, settings: Settings, run: Run) -> NoValidSamplesError:
    hint = "ask for fewer, raise max_attempts (--max-attempts), or try another model"
    if settings.fragment is not None:
        hint = "the fragment may leave little room: give a smaller one, ask for fewer, or raise max_attempts (--max-attempts)"
    elif settings.targets:
        hint = "few molecules may have these properties: ask for fewer, lower the guidance, or raise max_attempts (--max-attempts)"
    return NoValidSamplesError(f"only {run.found} of {n} molecules are valid and unique after {run.drawn} draws; {hint}.", run.rejected)


def provenance(settings: Settings) -> dict[str, Any]:
    """Where a run's molecules come from: model, weights, seed, targets, options and version."""
    model = settings.model
    asked: dict[str, Any] = {"steps": settings.steps, "guidance": settings.guidance, **settings.options}
    known: dict[str, Any] = {"targets": dict(settings.targets)} if settings.targets else {}
    if settings.fragment is not None:
        molecule, positions = settings.fragment
        known["fragment"] = {"atoms": molecule.n_atoms, "smiles": molecule.smiles, "positions_A": np.round(positions, 6).tolist()}
    return known | {
        "model": str(getattr(model, "name", type(model).__name__)),
        "weights_sha256": getattr(model, "weights_sha256", None),
        "seed": settings.seed,
        "judges": list(settings.judges),
        "options": {key: value for key, value in asked.items() if value is not None},
        "equidrift": __version__,
    }


def _ensemble(draw: Draw, settings: Settings) -> Ensemble:
    if draw.molecule is None or draw.positions_A is None:  # never: only sound draws are taken
        raise ModelError("a rejected draw has no molecule")
    return Ensemble(
        draw.molecule,
        draw.positions_A[None],
        seeds=np.array([draw.seed]),
        energies_eV=np.array([draw.energy_eV]) if settings.relax is not None else None,
        provenance=provenance(settings),
    )


def _scored(made: Sequence[Ensemble], settings: Settings) -> list[Ensemble]:
    """With each judge's values of the targets (without any, of all it knows) as scores `NAME`, or `NAME/judge` for another judge."""
    if not made:
        return []
    columns: dict[str, NDArray[np.float64]] = {}
    systems = [(ensemble.molecule, ensemble.positions_A[0]) for ensemble in made]
    for judging in settings.judges:
        values = resolve(JUDGES[judging])(systems)
        suffix = "" if judging == "network" else f"/{judging}"
        columns |= {f"{name}{suffix}": column for name, column in values.items() if not settings.targets or name in settings.targets}
    return [e.replace(scores={name: column[k : k + 1] for name, column in columns.items()}) for k, e in enumerate(made)]


def generate(n: int = 1, *, model: Any = "default", progress: bool = False, **options: Any) -> list[Ensemble]:
    """n new molecules, valid and unique, each with bonds, charges, stereo and one conformer.

    Parameters
    ----------
    n : molecules wanted, 1 or more.
    model : "default" (the joint model), "latent", the path of weights you trained, or an object with `MoleculeModel`'s methods.
    progress : show a progress bar on stderr.
    targets : property -> value, such as {"gap_eV": 7.0, "dipole_D": 2.5}; the unit ends the name. `scores` then tell what a network of
        properties, trained on other molecules than the model, makes of each.
    guidance : strength of the targets: 0 ignores them, 1 is plain conditioning, more is classifier-free guidance; None is the model's own.
    fragment : a molecule whose heavy atoms are kept where they are, while its hydrogens may give way: a .sdf, .mol or .pdb file, an
        RDKit Mol, an Ensemble of one or (Molecule, positions_A).
    seed : of the run. The molecules depend on it and not on the batch size (floats agree to 1e-4 A).
    steps : network calls of a sample, None for the model's default.
    batch_size : samples in one call of the model.
    max_attempts : draws a molecule asked for, before the run is given up.
    relax : "none", "mmff" (MMFF94 by RDKit) or "gfn2" (GFN2-xTB by tblite, the extra `xtb`).
    judge : "network", "gfn2" (gap and dipole, the extra `xtb`) or both; None is "network" where there are targets.
    force : take targets outside the range of the training data, with a warning.

    Returns
    -------
    n Ensembles of one conformer; `molecule.smiles` is canonical, with stereo. provenance["rejected"] counts the draws of the run that
    were rejected, by reason.

    Raises
    ------
    NoValidSamplesError
        where n valid and unique molecules cannot be found, with the reasons counted; its `partial` lists those found.
    UnknownNameError
        for an unknown model or property, with the nearest name.
    InputError, InputTypeError
        for targets out of range or in contradiction, a fragment the model cannot hold, or an option out of its range.
    MissingDependencyError
        for relax="gfn2" or judge="gfn2" without tblite.
    """
    check_count("n", n)
    run, made = Run(), []
    with resolve("equidrift.progress:conformer_bar")(n, shown=progress, label="molecules") as callback:
        try:
            for batch in batches(n, make_settings(model, callback=callback, **options), run):
                made += batch
        except NoValidSamplesError as error:
            error.partial = made or None
            raise
    counts = {"drawn": run.drawn, "rejected": dict(sorted(run.rejected.items()))}
    return [ensemble.replace(provenance={**ensemble.provenance, **counts}) for ensemble in made]

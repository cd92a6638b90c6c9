"""Chains of models: embed with RDKit or draw from noise, pick what is new, relax,
refine. `default` is the one that measured best.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equidrift.checks.bond_lengths import references_A
from equidrift.checks.conditions import Conditions, Known
from equidrift.checks.geometry import CUMULATED, DOUBLE_BOND, ELEMENTS, TETRAHEDRAL, GeometryCheck
from equidrift.engine.diversity import Torsions, torsions
from equidrift.engine.refining import UNFAMILIAR, knows_elements, refusals
from equidrift.errors import InputError
from equidrift.protocols import Callback
from equidrift.records import SYMBOLS, Molecule
from equidrift.registry import host_function, is_path, make_model, make_refiner
from equidrift.seeds import RETRY_STRIDE, sample_rng
from equidrift.torsions import TorsionTree

BLOCK = 64
TURNS = 16  # random turns of a conformer around a core, of which the first new one is taken
HELD_STEPS = 4  # calls of the refiner where atoms are held, from raw conformers
PATIENCE = 3  # candidates in a row that bring nothing new, after which the rest of a block is taken as it comes
CANDIDATE_STRIDE = (
    1 << 36
)  # further candidates of a sample have seeds this far apart: its index lies below it
Job = tuple[Molecule, NDArray[np.int64]]


@dataclass(frozen=True)
class Marked:
    """Conformers positions_A (k, n_atoms, 3), whether each is refined (k,), and the
    energy before that, energies_eV (k,).
    """

    positions_A: NDArray[np.float64]
    refined: NDArray[np.bool_]
    energies_eV: NDArray[np.float64]


class Chain:
    """Starts, the pick of new ones among candidates, a force field, and the refiner.

    Samples are made in blocks of 64 consecutive indices. Within a block, each sample
    takes the first of a few candidates that differs from the samples before it in some
    torsion; where none does, its own draw. Everything in a block follows from its first
    seed, so a sample is a function of its seed alone (which holds the index), and the
    first m of n samples are those of a run of m.

    Parameters
    ----------
    name : for provenance.
    start : model that makes the candidates.
    relax : "mmff" or "none", between start and refiner. UFF does it where MMFF94 has no
        types.
    refiner : name of the refiner, or None.
    candidates : draws a sample at most, 1 for no pick.
    mirror : offer mirror images of candidates too, for molecules without prescribed
        stereocentres.
    num_threads : threads of RDKit, 0 for all.
    """

    block = BLOCK
    max_atoms = 200

    def __init__(
        self,
        name: str = "default",
        *,
        start: str = "etkdg",
        relax: str = "mmff",
        refiner: str | None = "refine",
        candidates: int = 3,
        mirror: bool = True,
        num_threads: int = 0,
        start_options: dict[str, Any] | None = None,
        refiner_options: dict[str, Any] | None = None,
    ):
        if relax not in ("mmff", "none"):
            raise InputError(f"relax must be 'mmff' or 'none' within a chain, not {relax!r}")
        if candidates < 1:
            raise InputError(f"candidates must be 1 or more, not {candidates}")
        self.name, self.relax, self.candidates, self.mirror, self.num_threads = (
            name,
            relax,
            candidates,
            mirror,
            num_threads,
        )
        threads = {"num_threads": num_threads} if start == "etkdg" else {}
        self.start = make_model(start, **threads, **(start_options or {}))
        self.refiner = make_refiner(refiner, **(refiner_options or {})) if refiner else None
        if refiner and is_path(str(refiner)):
            self.name = Path(refiner).name
        self.weights_sha256 = getattr(self.refiner, "weights_sha256", None)
        self.elements = getattr(self.start, "elements", ELEMENTS)
        self.conditions: Conditions | None = None

    def conditioned(self, conditions: Conditions) -> Chain:
        """This chain with atoms held and distances kept, by each of its parts."""
        if not hasattr(self.start, "conditioned"):
            name = getattr(self.start, "name", type(self.start).__name__)
            raise InputError(
                f"the start {name!r} of the chain {self.name!r} cannot hold atoms or distances; start='etkdg' can"
            )
        model = copy.copy(self)
        model.start, model.conditions = self.start.conditioned(conditions), conditions
        return model

    def timed(self, timeout_s: float) -> Chain:
        """This chain with a time limit on each call of its start."""
        model = copy.copy(self)
        if hasattr(self.start, "timed"):
            model.start = self.start.timed(timeout_s)
        return model

    def never_embeds(self, molecule: Molecule) -> bool:
        """Whether the start cannot make a conformer of this molecule."""
        told = getattr(self.start, "never_embeds", None)
        return told is not None and bool(told(molecule))

    def known(self, molecule: Molecule) -> Known | None:
        """What is known of this molecule beforehand."""
        return None if self.conditions is None else self.conditions.of(molecule)

    def sample(
        self,
        molecule: Molecule,
        seeds: NDArray[np.int64],
        *,
        steps: int | None = None,
        callback: Callback | None = None,
    ) -> NDArray[np.float64]:
        """Conformers positions_A (len(seeds), n_atoms, 3); `steps` is the number of
        calls of the refiner.
        """
        return self.sample_many([(molecule, seeds)], steps=steps, callback=callback)[0]

    def sample_many(
        self, jobs: Sequence[Job], *, steps: int | None = None, callback: Callback | None = None
    ) -> list[NDArray[np.float64]]:
        """`sample` over jobs; the refiner sees all of them in common batches."""
        return [
            made.positions_A for made in self.sample_marked(jobs, steps=steps, callback=callback)
        ]

    def sample_marked(
        self, jobs: Sequence[Job], *, steps: int | None = None, callback: Callback | None = None
    ) -> list[Marked]:
        """`sample_many` with what is known of each conformer: whether it is refined,
        and its energy before that.

        The refiner is asked only for molecules of elements that it was trained on.
        Where its geometry fails a check, or spoils a bond, the conformer keeps the one
        before.
        """
        starts = []
        for molecule, seeds in jobs:
            raw = self._picked(molecule, np.asarray(seeds, np.int64))
            starts.append((molecule, *self._relaxed(molecule, raw)))
        before = [Marked(x, np.zeros(len(x), bool), energies) for _, x, energies in starts]
        refiner = self.refiner
        if refiner is None:
            return before
        elements = getattr(refiner, "elements", None)
        rows = [
            k for k, (molecule, _, _) in enumerate(starts) if knows_elements(molecule, elements)
        ]
        if not rows:
            return before
        held = (
            {}
            if self.conditions is None
            else {"known": [self.conditions.of(starts[k][0]) for k in rows]}
        )
        steps = HELD_STEPS if steps is None and held else steps
        refined = refiner.refine_many(
            [(starts[k][0], starts[k][1]) for k in rows], steps=steps, callback=callback, **held
        )
        for k, after in zip(rows, refined):
            before[k] = self._kept(starts[k][0], before[k], np.asarray(after, np.float64))
        return before

    def _kept(self, molecule: Molecule, before: Marked, after_A: NDArray[np.float64]) -> Marked:
        """The refined conformers, but for those whose geometry was better before."""
        check, known = GeometryCheck(molecule), self.known(molecule)
        reasons = refusals(molecule, before.positions_A, after_A, check)
        unrefined = check(before.positions_A)
        if known is not None:
            reasons = known.reasons(after_A, reasons)
            unrefined = known.reasons(before.positions_A, unrefined)
            reasons[reasons == UNFAMILIAR] = (
                ""  # around a held core bonds are what the core makes of them
            )
        refined = (reasons == "") | (unrefined != "")
        positions = np.where(refined[:, None, None], after_A, before.positions_A)
        return Marked(positions, refined & np.isfinite(positions).all((1, 2)), before.energies_eV)

    def origin(self, molecule: Molecule) -> dict[str, str]:
        """What provenance says of a molecule beside the chain's name."""
        out = {} if self.relax == "none" else {"energies": "of the conformer before its refinement"}
        if self.refiner is not None and not knows_elements(
            molecule, getattr(self.refiner, "elements", None)
        ):
            missing = sorted(set(molecule.numbers.tolist()) - set(self.refiner.elements))
            names = ", ".join(SYMBOLS[z] for z in missing)
            field = self._field(molecule)
            start = getattr(self.start, "name", "start").upper()
            out["note"] = f"not refined, {names} was not in the training data: {start}" + (
                f" + {field}" if field else ""
            )
        if "energies" in out:
            out["energies"] = (
                f"{self._field(molecule)} {out['energies']}" if self._field(molecule) else "none"
            )
        return out

    def _field(self, molecule: Molecule) -> str:
        """The force field of this molecule: MMFF94, else UFF, else none."""
        if self.relax == "none":
            return ""
        return str(host_function("rdkit", "force_field_of")(molecule))

    def _relaxed(
        self, molecule: Molecule, positions_A: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Conformers relaxed by a force field, and their energies_eV (NaN where it has
        none).
        """
        none = np.full(len(positions_A), np.nan)
        if self.relax == "none":
            return positions_A, none
        if molecule.n_atoms == 2:  # two atoms have one number, which no force field gives as well
            return at_reference(molecule, positions_A), none
        known = self.known(molecule)
        if (
            known is not None
        ):  # held atoms strain the bonds at their border: where MMFF94 has no types, UFF must do
            # A held core has the geometry of another method, to which MMFF94 bends what is free: each other conformer goes without it,
            # from which the refiner finds its own minima; what is not sound needs it, and distances are kept by its springs.
            raw = (np.arange(len(positions_A)) % 2 == 1) & (
                known.reasons(positions_A, GeometryCheck(molecule)(positions_A)) == ""
            )
            raw &= self.refiner is not None and not len(known.pairs)
            held = positions_A.copy()
            held[~raw] = host_function("rdkit", "relaxed_around")(
                molecule, positions_A[~raw], known
            )
            return held, none
        relax: Callable[..., Any] = host_function("rdkit", "field_relax")
        relaxed, energies = relax(molecule, positions_A, num_threads=self.num_threads)
        return keep_sound(molecule, positions_A, relaxed), energies

    def _picked(self, molecule: Molecule, seeds: NDArray[np.int64]) -> NDArray[np.float64]:
        """Raw conformers (len(seeds), n_atoms, 3), block by block."""
        out = np.full((len(seeds), molecule.n_atoms, 3), np.nan)
        index = seeds % RETRY_STRIDE
        key = np.stack([seeds - index, index // BLOCK], axis=1)
        for base, block in np.unique(key, axis=0).tolist():
            rows = np.flatnonzero((key[:, 0] == base) & (key[:, 1] == block))
            slots = index[rows] - block * BLOCK
            out[rows] = self._block(molecule, base + block * BLOCK, slots)
        return out

    def _block(
        self, molecule: Molecule, first: int, slots: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """The raw conformers of some slots of the block whose first seed is `first`."""
        told = torsions(molecule)
        if self.candidates == 1 or not len(told.atoms):
            return np.asarray(self.start.sample(molecule, first + slots))
        count = int(slots.max()) + 1
        own = np.asarray(self.start.sample(molecule, first + np.arange(count)))
        if not np.isfinite(own[0]).all():  # it hardly embeds at all: no time is lost on candidates
            return own[slots]
        further = _Stream(
            lambda begin, n: self.start.sample(
                molecule, first + CANDIDATE_STRIDE + np.arange(begin, begin + n)
            ),
            told,
            count,
        )
        mirrors = (1.0, -1.0) if self.mirror and not len(molecule.tetrahedral) else (1.0,)
        known = self.known(molecule)
        if known is not None and known.mirrored(own[0]) is None:
            mirrors = (1.0,)
        taken = np.zeros((0, len(told.atoms)))
        stale = 0
        out = own.copy()
        for k, candidate in enumerate(zip(own, told.angles_deg(own))):
            tries = 0
            while True:
                x, angles_deg = candidate
                # a mirror image has the torsions of the other sign; a failed embedding (NaN) is never new
                hand = next(
                    (
                        m
                        for m in mirrors
                        if np.isfinite(angles_deg).all() and told.is_new(m * angles_deg, taken)
                    ),
                    None,
                )
                if hand is not None or tries == self.candidates - 1 or stale >= PATIENCE:
                    break
                candidate, tries, stale = further.next(), tries + 1, stale + 1
            if (
                hand is None and known is not None
            ):  # around a core RDKit's own torsions are soon used up, xTB's minima are not
                x, hand = self._turned(molecule, known, own[k], told, taken, first + k)
                angles_deg = told.angles_deg(x[None])[0]
            if hand is not None:
                out[k], stale = (x if hand > 0 else _mirrored(x, known)), 0
                taken = np.concatenate([taken, hand * angles_deg[None]])
        return out[slots]

    def _turned(
        self,
        molecule: Molecule,
        known: Known,
        x: NDArray[np.float64],
        told: Torsions,
        taken: NDArray[np.float64],
        seed: int,
    ) -> tuple[NDArray[np.float64], float | None]:
        """x (n_atoms, 3) with what hangs on the core turned at random, and 1; x and
        None where no turn is new and without fault.
        """
        tree = TorsionTree.of(molecule)
        free = [
            not known.held[moved].any() or not np.delete(known.held, [*moved, *row[1:3]]).any()
            for moved, row in zip(tree.moved, tree.atoms)
        ]
        if not any(free) or not np.isfinite(x).all():
            return x, None
        made = known.placed(
            tree.turn(x, sample_rng(seed).uniform(-np.pi, np.pi, (TURNS, len(free))) * free)
        )
        made = made[GeometryCheck(molecule)(made) == ""]
        for one, angles_deg in zip(made, told.angles_deg(made)):
            if told.is_new(angles_deg, taken):
                return one, 1.0
        return x, None


def at_reference(molecule: Molecule, positions_A: NDArray[np.float64]) -> NDArray[np.float64]:
    """Conformers (k, 2, 3) of a diatomic molecule with the GFN2-xTB bond length; as
    they are where none is known.
    """
    length = references_A(molecule).mean()
    step = positions_A[:, 1] - positions_A[:, 0]
    scale = length / np.linalg.norm(step, axis=-1, keepdims=True)
    if not np.isfinite(length):
        return positions_A
    out = positions_A.copy()
    out[:, 1] = positions_A[:, 0] + step * scale
    return out


def keep_sound(
    molecule: Molecule, before_A: NDArray[np.float64], after_A: NDArray[np.float64]
) -> NDArray[np.float64]:
    """`after_A`, but for conformers whose stereo or cumulated bonds a force field has
    spoilt (MMFF94 flattens allenes).
    """
    check = GeometryCheck(molecule)
    spoilt = np.isin(check(after_A), (CUMULATED, DOUBLE_BOND, TETRAHEDRAL))
    if not spoilt.any():
        return after_A
    out = after_A.copy()
    back = np.flatnonzero(spoilt)
    back = back[~np.isin(check(before_A[back]), (CUMULATED, DOUBLE_BOND, TETRAHEDRAL))]
    out[back] = before_A[back]
    return out


def _mirrored(positions_A: NDArray[np.float64], known: Known | None) -> NDArray[np.float64]:
    image = positions_A * [1.0, 1.0, -1.0] if known is None else known.mirrored(positions_A)
    return positions_A if image is None else image


class _Stream:
    """Conformers and their torsions, drawn in chunks as they are asked for, one after
    the other.
    """

    def __init__(self, draw: Callable[[int, int], Any], told: Torsions, wanted: int):
        self.draw, self.told, self.chunk, self.drawn = draw, told, max(4, min(16, wanted // 2)), 0
        self.ready: list[tuple[NDArray[np.float64], NDArray[np.float64]]] = []

    def next(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        if not self.ready:
            made = np.asarray(self.draw(self.drawn, self.chunk))
            self.ready = list(zip(made, self.told.angles_deg(made)))
            self.drawn += self.chunk
        return self.ready.pop(0)


def default(**options: Any) -> Chain:
    """The default of `equidrift sample`: ETKDG, the pick of new conformers, MMFF94, the
    refiner.
    """
    return Chain("default", **options)


def etkdg_refine(**options: Any) -> Chain:
    """The refiner on raw ETKDG conformers."""
    return Chain("etkdg-refine", **{"relax": "none", "candidates": 1, **options})


def etkdg_mmff_refine(**options: Any) -> Chain:
    """The refiner on ETKDG + MMFF94 conformers, without a pick."""
    return Chain("etkdg-mmff-refine", **{"candidates": 1, **options})


def conformer_refine(**options: Any) -> Chain:
    """The generator from noise, then the refiner: no force field and no embedding
    inside.
    """
    return Chain(
        "conformer-refine", **{"start": "conformer", "relax": "none", "candidates": 1, **options}
    )

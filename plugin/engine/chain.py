"""Chains of models: embed with RDKit or draw from noise, pick what is new or low in
energy, relax, refine. `default` is the one that measured best.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equidrift.arguments import check_count
from equidrift.checks.conditions import Conditions, Known
from equidrift.checks.geometry import GeometryCheck
from equidrift.engine.candidates import DiversePick, KeptPool, blocks_of
from equidrift.engine.capabilities import ConditionalConformerModel
from equidrift.engine.diversity import torsions
from equidrift.engine.energy_pick import EnergyPick
from equidrift.engine.fields import (
    Relaxed,
    field_of,
    near_references,
    relaxed,
    relaxed_around,
    relaxed_holding,
)
from equidrift.engine.presets import BY_ENERGY, check_choice
from equidrift.engine.refining import Marked, better_of, knows_elements
from equidrift.errors import InputError
from equidrift.protocols import (
    BatchedConformerModel,
    Callback,
    CandidConformerModel,
    ConfidentRefiner,
    ConformerJobs,
    ConformerModel,
    EnergyRefiner,
    Refiner,
    TimedConformerModel,
    limited,
    never_embeds,
)
from equidrift.records import SYMBOLS, Molecule
from equidrift.registry import is_path, make_energy_refiner, make_model, make_refiner

BLOCK = 64
HELD_STEPS = 4  # calls of the refiner if atoms are held, from raw conformers
# Molecules as in QM9, of which the refiner has learnt most: there it alone comes nearer to the
# minimum (AMR-R .054, .085 with the energy after it; 40 validation molecules). Of other pieces of
# ZINC's validation part (100) GFN2-xTB releases .01 to .3 kcal/mol with it, .6 to 3.4 without.
QM9_HEAVY_ATOMS, QM9_NUMBERS = 9, {1, 6, 7, 8, 9}
ENERGY_STEPS = 20  # 10 come less near to the minimum, 30 hardly nearer (76 validation paths)
CANDIDATE_COST = 3  # a candidate, and its relaxation with the energy, in plain draws


class Chain(BatchedConformerModel, TimedConformerModel, CandidConformerModel):
    """Candidates, the pick of some of them, a force field, and a refiner.

    Samples are made in blocks of 64 consecutive indices. Everything in a block follows
    from its first seed: a sample is a function of its seed alone (which holds the
    index), and the first m of n samples are those of a run of m. Within a block the
    selections "coverage" and "energy" draw `effort` candidates for each sample, relax
    them, and rank them by the learned energy, or by the force field's for elements that
    this lacks. With "coverage" the first sample takes the lowest, and each that follows
    the one that brings most of the candidates so far, the low ones above all, nearer to a
    sample. With "energy" each takes the lowest that differs from the samples before it in
    some torsion. "diverse" takes the first such candidate of a few, before it is relaxed;
    if none differs, the sample's own draw.

    Parameters
    ----------
    name : str
        For provenance.
    start : str or ConformerModel
        Model that makes the candidates, or its name.
    relax : {"mmff", "none"}
        Between start and refiner. UFF does it if MMFF94 has no types.
    refiner : str or None
        Name of the refiner, None for none.
    energy : str, sequence of str or None
        Names of learned energies. The first that knows all elements of a molecule ranks
        its candidates, and goes on from the refiner, unless the molecule is small and
        like those of QM9: at most nine heavy atoms, of C, N, O and F, without a formal
        charge. None for the refiner alone.
    select : {"auto", "coverage", "energy", "diverse", "none"}
        Which candidates are taken. "auto" is "coverage" for molecules with torsions that
        MMFF94 knows, by its energies alone if the learned energy lacks one of the
        elements; "diverse" for others, and without a learned energy.
    effort : int
        Candidates for each conformer with the selections "coverage" and "energy", 1 to
        20; the time for a conformer grows with it.
    candidates : int
        Draws of a sample at most with the selection "diverse", 1 for no pick.
    cross : bool
        Make the further candidates of these selections by crossing: a relaxed
        conformer with some torsions of others. False draws each of them from the start.
    mirror : bool
        Offer mirror images of candidates, too, if the molecule has no prescribed
        stereocentres.
    num_threads : int
        Threads of RDKit, 0 for all.
    start_options : dict or None
        Options of the start.
    refiner_options : dict or None
        Options of the refiner.
    device : str or None
        Device of the networks, such as "cuda"; None is CUDA if there is one, else the
        CPU.

    Raises
    ------
    InputError
        For an option out of its range; UnknownNameError for an unknown start, refiner
        or energy.
    """

    block = BLOCK
    max_atoms = 200

    def __init__(  # noqa: PLR0913 - public: the options of the model
        self,
        name: str = "default",
        *,
        start: str | ConformerModel = "etkdg",
        relax: str = "mmff",
        refiner: str | None = "refine",
        energy: str | Sequence[str] | None = None,
        select: str = "auto",
        effort: int = 8,
        candidates: int = 3,
        cross: bool = True,
        mirror: bool = True,
        num_threads: int = 0,
        start_options: dict[str, Any] | None = None,
        refiner_options: dict[str, Any] | None = None,
        device: str | None = None,
    ):
        _check(relax, select, effort, candidates)
        self.name, self.relax, self.select = name, relax, select
        self.effort, self.candidates, self.cross = effort, candidates, cross
        self.mirror, self.num_threads = mirror, num_threads
        on = {} if device is None else {"device": device}
        own = {"num_threads": num_threads} if start == "etkdg" else on
        if isinstance(start, str):
            start = make_model(start, **{**own, **(start_options or {})})
        self.start = start
        self.refiner: Refiner | None = None
        if refiner:
            self.refiner = make_refiner(refiner, **{**on, **(refiner_options or {})})
            if is_path(refiner):
                self.name = Path(refiner).name
        names = (energy,) if isinstance(energy, str) else energy or ()
        self.energies = tuple(make_energy_refiner(each, **on) for each in names)
        self.weights_sha256 = None if self.refiner is None else self.refiner.weights_sha256
        self.elements = self.start.elements
        self.conditions: Conditions | None = None
        self.kept_pool: KeptPool | None = None

    def conditioned(self, conditions: Conditions) -> Chain:
        """The chain with atoms held and distances kept, by each of its parts."""
        if not isinstance(self.start, ConditionalConformerModel):
            raise InputError(
                f"the start {self.start.name!r} of the chain {self.name!r} cannot hold atoms or "
                "distances; start='etkdg' can"
            )
        model = copy.copy(self)
        model.start, model.conditions = self.start.conditioned(conditions), conditions
        model.kept_pool = None
        return model

    def timed(self, timeout_s: float) -> Chain:
        """The chain with a time limit on each call of its start."""
        model = copy.copy(self)
        model.kept_pool = None
        model.start = limited(self.start, timeout_s)
        return model

    def never_embeds(self, molecule: Molecule) -> bool:
        """Whether the start cannot make a conformer of this molecule."""
        return never_embeds(self.start, molecule)

    def known(self, molecule: Molecule) -> Known | None:
        """What is known of this molecule beforehand."""
        return None if self.conditions is None else self.conditions.of(molecule)

    def refiners_of(self, molecule: Molecule) -> list[Refiner]:
        """What refines this molecule, one after the other: the refiner if it has learnt
        the elements, and the learned energy unless the molecule is as those of QM9 are.
        """
        ways: list[Refiner] = []
        if self.refiner is not None and knows_elements(molecule, self.refiner.elements):
            ways.append(self.refiner)
        energy = self.energy_of(molecule)
        if energy is not None and not (ways and _as_in_qm9(molecule)):
            ways.append(energy)
        return ways

    def refiner_of_refused(self, molecule: Molecule) -> EnergyRefiner | None:
        """The energy that refines conformers that the refiners of this molecule spoil: the
        last one; None if it is among these, or does not know the molecule.
        """
        ways = self.refiners_of(molecule)
        if not ways or not self.energies or self._field(molecule) != "MMFF94":
            return None
        last = self.energies[-1]
        return last if last not in ways and knows_elements(molecule, last.elements) else None

    def energy_of(self, molecule: Molecule) -> EnergyRefiner | None:
        """The learned energy of this molecule, None if none knows it."""
        if self._field(molecule) != "MMFF94":
            return None
        known = (way for way in self.energies if knows_elements(molecule, way.elements))
        return next(known, None)

    def gives_energies(self, molecule: Molecule) -> bool:
        """Whether the energies are those of the conformers as they are returned."""
        ways = self.refiners_of(molecule)
        energy = bool(ways) and isinstance(ways[-1], EnergyRefiner)
        return energy and self._field(molecule) == "MMFF94"

    def expected_rmsd_A(
        self, molecule: Molecule, positions_A: NDArray[np.float64]
    ) -> NDArray[np.float64] | None:
        """Expected RMSD (k,) to the GFN2-xTB minima, None if no learned energy refines,
        or if something is held: what is not free is at no minimum.
        """
        energy = self.energy_of(molecule)
        if (
            self.conditions is not None
            or not self.gives_energies(molecule)
            or not isinstance(energy, ConfidentRefiner)
        ):
            return None
        return energy.expected_rmsd_A(molecule, positions_A)

    def selection_of(self, molecule: Molecule) -> str:
        """How conformers of this molecule are chosen, one of `SELECTIONS` but "auto"."""
        if self.select != "auto":
            return self.select
        # where no learned energy knows an element, MMFF94's alone is still better
        ranked = bool(self.energies) and self._field(molecule) == "MMFF94"
        return "coverage" if ranked and len(torsions(molecule).atoms) else "diverse"

    def cost(self, molecule: Molecule) -> int:
        """The work for a conformer of this molecule, in plain draws."""
        if self.selection_of(molecule) not in BY_ENERGY:
            return 1
        return CANDIDATE_COST * self.effort

    def sample_many(
        self, jobs: ConformerJobs, *, steps: int | None = None, callback: Callback | None = None
    ) -> list[NDArray[np.float64]]:
        """`sample` over jobs; the refiner sees all of them in common batches."""
        return [
            made.positions_A for made in self.sample_marked(jobs, steps=steps, callback=callback)
        ]

    def sample_marked(
        self, jobs: ConformerJobs, *, steps: int | None = None, callback: Callback | None = None
    ) -> list[Marked]:
        """`sample_many` with what is known of each conformer: whether it is refined, and
        its energy.

        A refiner is asked only for molecules of elements that it was trained on. Where
        its geometry fails a check, or spoils a bond, the conformer keeps the one before,
        and the last of the energies, which has learnt most groups, refines this.
        """
        molecules = [molecule for molecule, _ in jobs]
        made = [self._begun(molecule, np.asarray(seeds, np.int64)) for molecule, seeds in jobs]
        ways = list(map(self.refiners_of, molecules))
        for way in (self.refiner, *self.energies):
            rows = [k for k, chosen in enumerate(ways) if way in chosen]
            if way is None or not rows:
                continue
            given = [(molecules[k], made[k].positions_A) for k in rows]
            held = self._held([molecules[k] for k in rows])
            count = HELD_STEPS if steps is None and held else steps
            count = ENERGY_STEPS if way in self.energies else count
            moved = way.refine_many(given, steps=count, callback=callback, **held)
            for k, after in zip(rows, moved, strict=True):
                made[k] = self._kept(molecules[k], made[k], np.asarray(after, np.float64), way)
        made = [self._again(*each) for each in zip(molecules, made, strict=True)]
        made = [self._ranked(*each) for each in zip(molecules, made, strict=True)]
        return [self._drawn(*each) for each in zip(molecules, made, strict=True)]

    def _drawn(self, molecule: Molecule, made: Marked) -> Marked:
        """The conformers, those that no network has refined with better bonds."""
        left = np.flatnonzero(~made.refined)
        if not len(left) or not self._draws(molecule):
            return made
        positions = made.positions_A.copy()
        positions[left] = near_references(molecule, positions[left])
        return Marked(positions, made.refined, made.energies_eV)

    def _draws(self, molecule: Molecule) -> bool:
        """Whether conformers of a molecule that stay unrefined get better bonds: of a chain
        that refines, with nothing held, whose energies are of geometries before.
        """
        relaxes = self.refiner is not None and bool(self._field(molecule))
        return relaxes and self.conditions is None and not self.gives_energies(molecule)

    def _kept(
        self, molecule: Molecule, before: Marked, after_A: NDArray[np.float64], way: Refiner
    ) -> Marked:
        """The refined conformers, but for those whose geometry was better before."""
        check, known = GeometryCheck(molecule), self.known(molecule)
        positions, refined = better_of(check, before.positions_A, after_A, known, way)
        return Marked(positions, before.refined | refined, before.energies_eV)

    def _held(self, molecules: Sequence[Molecule]) -> dict[str, Any]:
        """What a refiner is told of molecules of which something is held, as keywords."""
        if self.conditions is None:
            return {}
        return {"known": [self.conditions.of(molecule) for molecule in molecules]}

    def _again(self, molecule: Molecule, made: Marked) -> Marked:
        """The conformers, those that were refused refined by the energy for such."""
        way, left = self.refiner_of_refused(molecule), np.flatnonzero(~made.refined)
        if way is None or not len(left):
            return made
        given, held = made.positions_A[left], self._held([molecule])
        (after,) = way.refine_many([(molecule, given)], steps=ENERGY_STEPS, **held)
        part = Marked(given, made.refined[left], made.energies_eV[left])
        part = self._kept(molecule, part, np.asarray(after, np.float64), way)
        positions, refined = made.positions_A.copy(), made.refined.copy()
        positions[left], refined[left] = part.positions_A, part.refined
        return Marked(positions, refined, made.energies_eV)

    def _ranked(self, molecule: Molecule, made: Marked) -> Marked:
        """The conformers with their energies as they are, if a learned energy tells them."""
        energy = self.energy_of(molecule)
        if energy is None or not self.gives_energies(molecule):
            return made
        energies = energy.energies_eV(molecule, made.positions_A)
        return Marked(made.positions_A, made.refined, energies)

    def origin(self, molecule: Molecule) -> dict[str, Any]:
        """What provenance says of a molecule beside the chain's name."""
        ways, field = self.refiners_of(molecule), self._field(molecule)
        out: dict[str, Any] = {"selection": self.selection_of(molecule)}
        if out["selection"] in BY_ENERGY:
            out["effort"] = self.effort
            out["candidates"] = "drawn and crossed" if self.cross else "drawn"
        if ways:
            names = [str(way.name) for way in ways]
            hashes = [str(way.weights_sha256) for way in ways]
            out |= {"refiner": " + ".join(names), "weights_sha256": " + ".join(hashes)}
        if (other := self.refiner_of_refused(molecule)) is not None:
            out["refiner_of_refused"] = f"{other.name} {other.weights_sha256}"
        if self.gives_energies(molecule):
            out["energies"] = f"{names[-1]} of the conformer as it is"
        elif self.relax != "none":
            out["energies"] = f"{field} of the conformer before its refinement" if field else "none"
        if self.refiner is not None and not ways:
            missing = sorted(set(molecule.numbers.tolist()) - self._learnt())
            symbols = ", ".join(SYMBOLS[z] for z in missing)
            why = f"too few training molecules hold {symbols}" if missing else "MMFF94 lacks a type"
            start = self.start.name.upper()
            out["note"] = f"not refined, {why}: {start}" + (f" + {field}" if field else "")
            if self._draws(molecule):
                out["note"] += ", bonds within the GFN2-xTB references"
        return out

    def _learnt(self) -> set[int]:
        """Elements that the refiner or a learned energy knows."""
        ways = [way for way in (self.refiner, *self.energies) if way is not None]
        return {z for way in ways for z in way.elements or ()}

    def _field(self, molecule: Molecule) -> str:
        """The force field of this molecule: MMFF94, else UFF, else none."""
        return "" if self.relax == "none" else field_of(molecule)

    def _begun(self, molecule: Molecule, seeds: NDArray[np.int64]) -> Marked:
        """What the refiner begins with: chosen conformers, relaxed, block by block."""
        by_energy = self.selection_of(molecule) in BY_ENERGY
        positions = np.full((len(seeds), molecule.n_atoms, 3), np.nan)
        energies = np.full(len(seeds), np.nan)
        for rows, first, slots in blocks_of(seeds, BLOCK):
            if by_energy:
                made = self._picked(molecule)(first, slots, self.kept_pool)
                positions[rows], energies[rows], self.kept_pool = made
            else:
                positions[rows] = self._diverse(molecule)(first, slots)
        if not by_energy:
            positions, energies = self._relaxed(molecule, positions)
        return Marked(positions, np.zeros(len(seeds), bool), energies)

    def _diverse(self, molecule: Molecule) -> DiversePick:
        candidates = 1 if self.selection_of(molecule) == "none" else self.candidates
        return DiversePick(
            molecule,
            lambda seeds: np.asarray(self.start.sample(molecule, seeds)),
            candidates,
            self.mirror,
            self.known(molecule),
        )

    def _picked(self, molecule: Molecule) -> EnergyPick:
        known = self.known(molecule)

        def relax(positions_A: NDArray[np.float64]) -> Relaxed:
            if known is not None:
                return relaxed_holding(molecule, positions_A, known)
            return relaxed(molecule, positions_A, num_threads=self.num_threads)

        return EnergyPick(
            molecule,
            lambda seeds: np.asarray(self.start.sample(molecule, seeds)),
            relax,
            self.energy_of(molecule),
            self.effort,
            self.cross,
            self.mirror,
            self.selection_of(molecule) == "coverage",
            known,
        )

    def _relaxed(
        self, molecule: Molecule, positions_A: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Conformers relaxed by a force field, and their energies_eV, NaN without one."""
        if self.relax == "none":
            return positions_A, np.full(len(positions_A), np.nan)
        known = self.known(molecule)
        if known is not None:
            return relaxed_around(molecule, positions_A, known, refined=self.refiner is not None)
        return relaxed(molecule, positions_A, num_threads=self.num_threads)


def _as_in_qm9(molecule: Molecule) -> bool:
    """Whether a molecule is as those of QM9 are: small, neutral, of C, N, O and F."""
    heavy = int((molecule.numbers > 1).sum())
    charged = bool(molecule.formal_charges.any())
    return heavy <= QM9_HEAVY_ATOMS and not charged and set(molecule.numbers) <= QM9_NUMBERS


def _check(relax: str, select: str, effort: int, candidates: int) -> None:
    """Refuse an option out of its range."""
    if relax not in ("mmff", "none"):
        raise InputError(f"relax must be 'mmff' or 'none' within a chain, not {relax!r}")
    check_choice(select, effort)
    if select in BY_ENERGY and relax == "none":
        raise InputError(
            f"select={select!r} compares energies of relaxed conformers; use relax='mmff'"
        )
    check_count("candidates", candidates)

"""RDKit's ETKDGv3, alone and with MMFF94 relaxation, as conformer models: the fallback,
and the control in every table.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from rdkit import Chem

from equidrift.adapters.rdkit.conditions import embed_with
from equidrift.adapters.rdkit.molecule import to_mol
from equidrift.adapters.rdkit.relaxing import MMFF_VARIANTS, mmff_relax, require_mmff
from equidrift.adapters.rdkit.rungs import (
    APART_S,
    CORE_LADDER,
    FIRST_ATTEMPTS,
    LADDER,
    PROBE_SEED,
    Rung,
    call_limit_s,
    embedded,
    is_cage,
    rungs_of,
)
from equidrift.checks.conditions import Conditions, Known
from equidrift.errors import CrashError, InputError, TimeLimitError
from equidrift.geometry import superposed
from equidrift.isolated import run_apart
from equidrift.protocols import Callback, CandidConformerModel, TimedConformerModel
from equidrift.records import Molecule

SEEDS = 2**31 - 2  # RDKit's random generator (minstd) has the states 1 .. 2**31 - 2
CHUNK = 128  # conformers in one call of RDKit, which cannot be interrupted
TIMED_CHUNK = 8  # of a model with a time limit: a call that runs out of time loses all of them
FURTHER_SEEDS = 3  # tried by each setting that works for the molecule
SEED_STRIDE = 1 << 29  # between them
CORE_RMS_A = 0.3  # between a core as embedded and as given, above which the embedding has failed


def rdkit_seeds(seeds: NDArray[np.int64]) -> NDArray[np.int64]:
    """Our 63-bit seeds folded to the 2**31 - 2 distinct ones RDKit has; consecutive
    seeds stay consecutive but for the wrap.
    """
    return np.asarray(seeds, np.int64) % SEEDS + 1


def _runs(seeds: NDArray[np.int64], longest: int) -> Iterator[slice]:
    """Slices of consecutive seeds, none longer than `longest`; the first seed is by
    itself, so that a molecule that never embeds is found out by one.
    """
    start = 0
    for k in range(1, len(seeds) + 1):
        ends = k in (1, len(seeds)) or seeds[k] != seeds[k - 1] + 1
        if ends or k - start == longest:
            yield slice(start, k)
            start = k


@dataclass(frozen=True, eq=False)
class _Task:
    """One call of `ETKDG.sample_here`: the molecule, as RDKit's too; the time
    (`time.monotonic`) at which it ends, None for no limit; what is held, if anything.
    """

    molecule: Molecule
    mol: Chem.Mol
    deadline: float | None
    known: Known | None

    def is_over(self) -> bool:
        """Whether the time is up."""
        return self.deadline is not None and time.monotonic() >= self.deadline

    def nothing(self) -> NDArray[np.float64]:
        """A conformer that could not be made, (1, n_atoms, 3)."""
        return np.full((1, self.molecule.n_atoms, 3), np.nan)


class ETKDG(TimedConformerModel, CandidConformerModel):
    """RDKit's ETKDGv3 with its torsion preferences for small rings and macrocycles.

    Parameters
    ----------
    num_threads : int
        Threads RDKit may use; 0 is all of them. Results do not depend on it.
    max_attempts : int
        Embedding attempts a conformer, first from distance geometry, then as many from
        random coordinates.
    timeout_s : float, optional
        Seconds one call of `sample` may take, None for no limit. Conformers not made by
        then are NaN, so that with a limit the result depends on the machine's speed.

    Raises
    ------
    InputError
        For an option out of its range.
    """

    name = "etkdg"

    def __init__(
        self, *, num_threads: int = 1, max_attempts: int = 100, timeout_s: float | None = None
    ) -> None:
        if num_threads < 0:
            raise InputError(f"num_threads must be 0 (all) or more, not {num_threads}")
        if max_attempts < 1:
            raise InputError(f"max_attempts must be 1 or more, not {max_attempts}")
        if timeout_s is not None and not 0 < timeout_s < math.inf:
            raise InputError(
                f"timeout_s must be a number of seconds above 0, or None for no limit; got "
                f"{timeout_s}"
            )
        self.num_threads = num_threads
        self.max_attempts = max_attempts
        self.timeout_s = timeout_s
        self.conditions: Conditions | None = None
        self._core: tuple[Known, bool] | None = None  # what was held last: does it embed

    def conditioned(self, conditions: Conditions) -> ETKDG:
        """The model with atoms held and distances kept: by RDKit's coordMap from
        random coordinates, and its bounds matrix.
        """
        model = copy.copy(self)
        model.conditions = conditions
        return model

    def timed(self, timeout_s: float) -> ETKDG:
        """The model with a time limit on each call of `sample`."""
        model = copy.copy(self)
        model.timeout_s = timeout_s
        return model

    def sample(
        self,
        molecule: Molecule,
        seeds: NDArray[np.int64],
        *,
        steps: int | None = None,  # noqa: ARG002 - of the protocol; ETKDG has none
        callback: Callback | None = None,
    ) -> NDArray[np.float64]:
        """Embed one conformer per seed.

        Parameters
        ----------
        molecule : Molecule
            The graph; its stereo is enforced.
        seeds : array of int
            (k,) int64. Runs of consecutive seeds are embedded in one call, which halves
            the cost.
        steps : int, optional
            Ignored, ETKDG has none.
        callback : Callback, optional
            Called with {"done": conformers so far, "total": k}.

        Returns
        -------
        (k, n_atoms, 3) array
            Positions in A; a conformer that cannot be made is NaN.
        """
        self.check(molecule)
        if is_cage(molecule):
            drawn = self._sample_apart(molecule, seeds)
        else:
            drawn = self.sample_here(molecule, seeds, callback)
        return self.finished(molecule, drawn)

    def check(self, molecule: Molecule) -> None:
        """Raise for a molecule that `finished` cannot take; here nothing is."""

    def finished(self, molecule: Molecule, positions_A: NDArray[np.float64]) -> NDArray[np.float64]:
        """What becomes of embedded conformers (k, n_atoms, 3) in A; here they stay."""
        del molecule
        return positions_A

    def never_embeds(self, molecule: Molecule) -> bool:
        """Whether no setting of RDKit embeds a molecule, so that further draws are in
        vain.
        """
        return self.conditions is None and not rungs_of(molecule)

    def _sample_apart(self, molecule: Molecule, seeds: NDArray[np.int64]) -> NDArray[np.float64]:
        """`sample` in a child process: RDKit hangs on a few cages, and no limit of its
        own ends that.
        """
        nothing = np.full((len(seeds), molecule.n_atoms, 3), np.nan)
        if self.conditions is None and not rungs_of(molecule):
            return nothing
        limit = self.timeout_s or APART_S + len(seeds)
        try:
            return run_apart(
                _sampled,
                self,
                molecule,
                np.asarray(seeds),
                timeout_s=limit,
                what=f"embedding {molecule!r}",
            )
        except (TimeLimitError, CrashError):
            return nothing

    def sample_here(
        self, molecule: Molecule, seeds: NDArray[np.int64], callback: Callback | None
    ) -> NDArray[np.float64]:
        """`sample` within the process that calls it, whatever the molecule."""
        mol = to_mol(molecule)
        folded = rdkit_seeds(seeds)
        known = None if self.conditions is None else self.conditions.of(molecule)
        positions = np.full((len(folded), molecule.n_atoms, 3), np.nan)
        deadline = None if self.timeout_s is None else time.monotonic() + self.timeout_s
        task = _Task(molecule, mol, deadline, known)
        for run in _runs(folded, CHUNK if deadline is None else TIMED_CHUNK):
            positions[run] = self._embed(task, folded[run])
            if (
                run.start == 0
                and np.isnan(positions[0]).any()
                and (task.is_over() or self.never_embeds(molecule))
            ):
                break
            if callback is not None:
                callback({"done": run.stop, "total": len(folded)})
        return positions

    def _embed(self, task: _Task, seeds: NDArray[np.int64]) -> NDArray[np.float64]:
        """One conformer per seed: all at once, then one by one (RDKit leaves failures
        out) up the ladder of settings.
        """
        found = self._call(task, seeds, LADDER[0], FIRST_ATTEMPTS, task.known)
        if len(found) == len(seeds):
            return found
        if len(seeds) > 1:
            return np.concatenate([self._embed(task, seed) for seed in seeds[:, None]])
        return self._climb(task, seeds)

    def _climb(self, task: _Task, seeds: NDArray[np.int64]) -> NDArray[np.float64]:
        """The conformer of one seed by the first setting that makes it; NaN if none
        does.
        """
        if task.is_over():
            return task.nothing()
        if task.known is not None:
            return self._held(task, task.known, seeds)
        for rung in rungs_of(task.molecule):
            for further in range(FURTHER_SEEDS):
                shifted = (seeds + further * SEED_STRIDE) % SEEDS + 1 if further else seeds
                found = self._call(task, shifted, rung, self.max_attempts)
                if len(found):
                    return found
        return task.nothing()

    def _held(self, task: _Task, known: Known, seeds: NDArray[np.int64]) -> NDArray[np.float64]:
        """The conformer of one seed around what is held; NaN if none is made."""
        if self._core_embeds(task, known):
            found = self._around(task, known, seeds)
            if len(found):
                return found
        # a core RDKit cannot embed: the force field has to pull it into place
        for rung in rungs_of(task.molecule):
            if len(found := self._call(task, seeds, rung, FIRST_ATTEMPTS)):
                return known.placed(found)
        return task.nothing()

    def _around(self, task: _Task, known: Known, seeds: NDArray[np.int64]) -> NDArray[np.float64]:
        """A conformer around a core by the first setting that makes it, (1, n_atoms, 3);
        of none (0, n_atoms, 3).
        """
        for rung in CORE_LADDER:
            found = self._call(task, seeds, rung, self.max_attempts, known)
            if len(found):
                return found
        return task.nothing()[:0]

    def _core_embeds(self, task: _Task, known: Known) -> bool:
        """Whether some setting embeds a molecule around its core, from a fixed seed.

        A core that RDKit cannot embed costs four settings to the end for each seed.
        """
        if self._core is None or self._core[0] is not known:
            untimed = replace(task, deadline=None)
            probe = np.array([PROBE_SEED])
            self._core = (known, bool(len(self._around(untimed, known, probe))))
        return self._core[1]

    def _call(
        self,
        task: _Task,
        seeds: NDArray[np.int64],
        rung: Rung,
        attempts: int,
        known: Known | None = None,
    ) -> NDArray[np.float64]:
        """What RDKit embeds from consecutive seeds; on some rings it raises
        RuntimeError, which counts as nothing found.
        """
        mol = task.mol
        limit = call_limit_s(mol, len(seeds))
        if task.deadline is not None:
            left = task.deadline - time.monotonic()
            if left <= 0:
                return task.nothing()[:0]
            limit = min(limit, math.ceil(left))
        options = rung.options(
            int(seeds[0]), self.num_threads, min(attempts, self.max_attempts), limit
        )
        if known is not None:
            embed_with(options, mol, known)
        made = rung.right(task.molecule, embedded(mol, len(seeds), options))
        return made if known is None else _with_core(made, known)


def _sampled(model: ETKDG, molecule: Molecule, seeds: NDArray[np.int64]) -> NDArray[np.float64]:
    """`model.sample` within the process that calls it."""
    return model.sample_here(molecule, seeds, None)


def _with_core(positions_A: NDArray[np.float64], known: Known) -> NDArray[np.float64]:
    """Conformers superposed on the held atoms, without those whose core came out in
    another shape (its mirror image, say).
    """
    if not len(known.atoms):
        return positions_A
    near = [
        np.square(
            superposed(x, x[known.atoms], known.positions_A)[known.atoms] - known.positions_A
        ).sum(1)
        for x in positions_A
    ]
    return known.placed(
        positions_A[[k for k, off in enumerate(near) if off.mean() < CORE_RMS_A**2]]
    )


class ETKDGMMFF(ETKDG):
    """ETKDGv3 conformers relaxed by MMFF94.

    Parameters
    ----------
    variant : str
        "MMFF94" or "MMFF94s".
    max_iterations : int
        Of the minimiser.
    num_threads, max_attempts, timeout_s : int, int, float
        As for `ETKDG`; the time limit holds for the embedding.
    """

    name = "etkdg-mmff"

    def __init__(
        self,
        *,
        variant: str = "MMFF94",
        max_iterations: int = 1000,
        num_threads: int = 1,
        max_attempts: int = 100,
        timeout_s: float | None = None,
    ) -> None:
        super().__init__(num_threads=num_threads, max_attempts=max_attempts, timeout_s=timeout_s)
        if variant not in MMFF_VARIANTS:
            raise InputError(f"variant must be one of {', '.join(MMFF_VARIANTS)}, not {variant!r}")
        if max_iterations < 0:
            raise InputError(f"max_iterations must be 0 or more, not {max_iterations}")
        self.variant = variant
        self.max_iterations = max_iterations

    def check(self, molecule: Molecule) -> None:
        """Raise `MoleculeError` if MMFF94 cannot type the molecule; `model="etkdg"` takes it."""
        require_mmff(to_mol(molecule), molecule)

    def finished(self, molecule: Molecule, positions_A: NDArray[np.float64]) -> NDArray[np.float64]:
        """Embedded conformers (k, n_atoms, 3) in A, relaxed."""
        known = None if self.conditions is None else self.conditions.of(molecule)
        return mmff_relax(
            molecule,
            positions_A,
            self.max_iterations,
            variant=self.variant,
            num_threads=self.num_threads,
            known=known,
        )[0]

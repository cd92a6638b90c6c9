"""What the refiners of conformers have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equidrift.checks.conditions import Known
from equidrift.errors import InputError
from equidrift.protocols import Callback, Refiner
from equidrift.records import Molecule

Job = tuple[Molecule, NDArray[Any]]  # a molecule and positions_A (k, n_atoms, 3)


@dataclass(frozen=True)
class Refinement:
    """What `refine_many` is asked for, `steps` being within the model's range."""

    jobs: Sequence[Job]
    steps: int
    callback: Callback | None = None
    known: Sequence[Known] | None = None

    def known_of(self, job: int) -> Known | None:
        """What is known of a job's atoms, or None."""
        return None if self.known is None else self.known[job]


class StepRefiner(Refiner):
    """A refiner that takes a number of steps; subclasses give `_refined`."""

    default_steps: int
    most_steps: int

    def refine_many(
        self,
        jobs: Sequence[Job],
        *,
        steps: int | None = None,
        callback: Callback | None = None,
        known: Sequence[Known] | None = None,
    ) -> list[NDArray[np.float64]]:
        """Refine conformers.

        Parameters
        ----------
        jobs : sequence of (Molecule, positions_A)
            Positions (k, n_atoms, 3) in A; conformers that are NaN stay NaN.
        steps : int or None
            1 to `most_steps`; `default_steps` if None. Each starts from the result of
            the one before.
        callback : callable or None
            Told how many conformers are done.
        known : sequence of Known or None
            One per job: the atoms to hold, which must be in their places already, and
            the distances to keep.

        Returns
        -------
        list of float64, shape (k, n_atoms, 3)
            The moved positions of each job in A.

        Raises
        ------
        InputError
            For steps out of range.
        MoleculeError
            For an element that the model does not know, if it refuses such.
        """
        steps = self.default_steps if steps is None else steps
        if not 1 <= steps <= self.most_steps:
            raise InputError(
                f"steps must lie in 1 .. {self.most_steps} for {self.name}, not {steps}"
            )
        return self._refined(Refinement(jobs, steps, callback, known))

    def _refined(self, asked: Refinement) -> list[NDArray[np.float64]]:
        """The moved positions of each job."""
        raise NotImplementedError

"""What only some conformer models and refiners can do; asked for by `isinstance`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, Self, runtime_checkable

from equidrift.checks.conditions import Conditions, Known
from equidrift.engine.refining import Marked
from equidrift.protocols import (
    Callback,
    ConformerJobs,
    ConformerModel,
    Floats,
    Refiner,
    RefinerJobs,
)
from equidrift.records import Molecule


@runtime_checkable
class ConditionalConformerModel(ConformerModel, Protocol):
    """A model that can hold atoms in place and keep distances."""

    def conditioned(self, conditions: Conditions) -> Self:
        """The same model under these conditions."""
        ...


@runtime_checkable
class MarkingConformerModel(ConformerModel, Protocol):
    """A model that says of each conformer how it was made."""

    def sample_marked(
        self, jobs: ConformerJobs, *, steps: int | None = None, callback: Callback | None = None
    ) -> list[Marked]:
        """`sample_many`, with the marks."""
        ...

    def origin(self, molecule: Molecule) -> dict[str, Any]:
        """What provenance says of a molecule beside the model's name."""
        ...

    def gives_energies(self, molecule: Molecule) -> bool:
        """Whether the energies are those of the conformers as they are returned."""
        ...


@runtime_checkable
class ConfidentConformerModel(ConformerModel, Protocol):
    """A model that tells how near to a minimum it expects its conformers to be."""

    def expected_rmsd_A(self, molecule: Molecule, positions_A: Floats) -> Floats | None:
        """Expected RMSD (k,) in A of conformers (k, n_atoms, 3) that it made to their
        GFN2-xTB minima, None for a molecule of which it cannot tell.
        """
        ...


@runtime_checkable
class RefinedConformerModel(ConformerModel, Protocol):
    """A model that sends its conformers through refiners."""

    def refiners_of(self, molecule: Molecule) -> list[Refiner]:
        """What refines this molecule, one after the other."""
        ...


@runtime_checkable
class CostedConformerModel(ConformerModel, Protocol):
    """A model of which some molecules ask for more work than one draw per conformer."""

    def cost(self, molecule: Molecule) -> int:
        """The work for a conformer of this molecule, in plain draws, 1 or more.

        If it is more than 1, a call may begin and end within a block, and the model
        keeps what the next call of the same block needs.
        """
        ...


@runtime_checkable
class HoldingRefiner(Refiner, Protocol):
    """A refiner that can hold atoms in place."""

    def refine_many(
        self,
        jobs: RefinerJobs,
        *,
        steps: int | None = None,
        callback: Callback | None = None,
        known: Sequence[Known | None] | None = None,
    ) -> list[Floats]:
        """`Refiner.refine_many`, with what is known of each job's molecule."""
        ...

"""What draws conformers of a molecule, and what moves them to a minimum."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, Self, TypedDict, Unpack, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from equidrift.protocols.models import MoleculeBoundModel
from equidrift.protocols.values import (
    Callback,
    ConformerJobs,
    Floats,
    RefinerJobs,
    Seeds,
    Surface,
)
from equidrift.records import Molecule


@runtime_checkable
class ConformerModel(MoleculeBoundModel, Protocol):
    """Draws conformers of a molecule, one random stream per sample.

    Attributes
    ----------
    block : int
        Samples that it couples: each range of samples it is given starts at a multiple.
    name, elements, max_atoms, batch_size, default_steps, weights_sha256
        See `MoleculeBoundModel`.
    """

    block: int = 1

    def sample(
        self,
        molecule: Molecule,
        seeds: Seeds,
        *,
        steps: int | None = None,
        callback: Callback | None = None,
    ) -> Floats:
        """Conformers, float64 (len(seeds), n_atoms, 3) in A.

        Sample k depends on seeds[k] alone. Whatever the batch, the processor's
        instructions aside, floats agree to 1e-4 A for models that refine embedded
        conformers, and to 1e-3 A for those that denoise in many float32 steps. A sample
        that could not be made is a block of NaN, never missing.
        """
        ...


class SampleOptions(TypedDict, total=False):
    """Options of `ConformerModel.sample`."""

    steps: int | None
    callback: Callback | None


@runtime_checkable
class BatchedConformerModel(ConformerModel, Protocol):
    """A model that mixes molecules in one batch."""

    def sample_many(
        self, jobs: ConformerJobs, *, steps: int | None = None, callback: Callback | None = None
    ) -> list[Floats]:
        """`sample` of several molecules, (k, n_atoms, 3) of each job."""
        ...

    def sample(self, molecule: Molecule, seeds: Seeds, **options: Unpack[SampleOptions]) -> Floats:
        """`sample_many` of one molecule; see `ConformerModel.sample`."""
        return self.sample_many([(molecule, seeds)], **options)[0]


@runtime_checkable
class TimedConformerModel(ConformerModel, Protocol):
    """A model whose calls can have a time limit."""

    def timed(self, timeout_s: float) -> Self:
        """The same model with a time limit in seconds on each call of `sample`."""
        ...


@runtime_checkable
class CandidConformerModel(ConformerModel, Protocol):
    """A model that can tell that it will never make a conformer of a molecule."""

    def never_embeds(self, molecule: Molecule) -> bool:
        """Whether further draws are in vain."""
        ...


def limited(model: ConformerModel, timeout_s: float) -> ConformerModel:
    """The model with a time limit in seconds on each of its calls, if it takes one."""
    return model.timed(timeout_s) if isinstance(model, TimedConformerModel) else model


def never_embeds(model: ConformerModel, molecule: Molecule) -> bool:
    """Whether the model tells that it will never make a conformer of a molecule."""
    return isinstance(model, CandidConformerModel) and model.never_embeds(molecule)


@runtime_checkable
class DenoisingConformerModel(ConformerModel, Protocol):
    """A model whose denoiser can be called at a noise level of one's own."""

    def denoise_many(
        self,
        jobs: RefinerJobs,
        seeds: Sequence[Seeds],
        sigma_A: float,
        steps: int | None,
        callback: Callback | None = None,
    ) -> list[Floats]:
        """Denoise the positions of each job, which carry noise of standard deviation
        `sigma_A` in A; each sample's further noise comes from its own seed.
        """
        ...


@runtime_checkable
class Refiner(MoleculeBoundModel, Protocol):
    """Moves conformers to the nearest minimum of a level of theory, keeping graph and
    stereo. `elements` are those that it was trained on.
    """

    def refine_many(
        self, jobs: RefinerJobs, *, steps: int | None = None, callback: Callback | None = None
    ) -> list[Floats]:
        """The moved positions of each job, in its shape, in A."""
        ...


@runtime_checkable
class EnergyRefiner(Refiner, Protocol):
    """A refiner that goes down an energy, and tells it: `energies_eV` gives those (k,) of
    conformers (k, n_atoms, 3), which can be compared within a molecule.
    """

    def energies_eV(
        self, molecule: Molecule, positions_A: Floats, apart: NDArray[np.int64] | None = None
    ) -> Floats:
        """Energies (k,) in eV of conformers (k, n_atoms, 3) in A; those of one number in
        `apart` (k,) are found together, apart from the others.
        """
        ...


@runtime_checkable
class ConfidentRefiner(Refiner, Protocol):
    """A refiner that tells how near to a minimum it expects its conformers to be."""

    def expected_rmsd_A(self, molecule: Molecule, positions_A: Floats) -> Floats:
        """Expected RMSD (k,) in A of refined conformers (k, n_atoms, 3) to the nearest
        minimum of the refiner's level of theory, NaN where the positions are.
        """
        ...


@runtime_checkable
class SurfaceRefiner(Refiner, Protocol):
    """A refiner whose energy has a gradient, of which calculators and forces are made."""

    def surface(self, molecule: Molecule) -> Surface:
        """Positions (k, n_atoms, 3) in A -> energies (k,) in eV, gradients in eV/A."""
        ...

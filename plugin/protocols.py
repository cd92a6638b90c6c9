"""The contracts between the core, the models and the adapters."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from equidrift.records import Molecule, Proposal, Trajectory

Callback = Callable[[dict[str, Any]], None]


@runtime_checkable
class ConformerModel(Protocol):
    """Draws conformers of a molecule, one random stream per sample.

    `sample` returns positions_A, float64 (len(seeds), n_atoms, 3). Sample k depends on
    seeds[k] alone. Whatever the batch, the processor's instructions aside, floats agree
    to 1e-4 A for models that refine embedded conformers, and to 1e-3 A for those that
    denoise in many float32 steps. A sample that could not be made is a block of NaN,
    never missing.
    """

    name: str

    def sample(
        self,
        molecule: Molecule,
        seeds: NDArray[np.int64],
        *,
        steps: int | None = None,
        callback: Callback | None = None,
    ) -> NDArray[np.float64]: ...


@runtime_checkable
class BatchedConformerModel(ConformerModel, Protocol):
    """A model that mixes molecules in one batch: `sample_many` is `sample` over jobs of
    (molecule, seeds).
    """

    def sample_many(
        self,
        jobs: Sequence[tuple[Molecule, NDArray[np.int64]]],
        *,
        steps: int | None = None,
        callback: Callback | None = None,
    ) -> list[NDArray[np.float64]]: ...


@runtime_checkable
class Refiner(Protocol):
    """Moves conformers to the nearest minimum of a level of theory, graph and stereo
    kept.

    `refine_many` takes jobs of (molecule, positions_A (k, n_atoms, 3)) and returns the
    moved positions in the same shapes.
    """

    name: str

    def refine_many(
        self,
        jobs: Sequence[tuple[Molecule, NDArray[np.float64]]],
        *,
        steps: int | None = None,
        callback: Callback | None = None,
    ) -> list[NDArray[np.float64]]: ...


@runtime_checkable
class EnergyRefiner(Refiner, Protocol):
    """A refiner that goes down an energy, and tells it: `energies_eV` gives those (k,) of
    conformers (k, n_atoms, 3), which can be compared within a molecule.
    """

    def energies_eV(
        self, molecule: Molecule, positions_A: NDArray[np.float64]
    ) -> NDArray[np.float64]: ...


@runtime_checkable
class TrajectoryModel(Protocol):
    """Draws the frames of a trajectory that are not given; sample k depends on seeds[k]
    alone (floats agree to 1e-4 A).

    min_frames : given frames it needs; dt_range_fs : least and greatest spacing of
        frames it was trained on. `complete` fills in whatever is not marked as given:
        forecast, interpolation and inpainting are masks. Rows of
        `trajectory.positions_A` that are not given are ignored and may be NaN; it
        returns float64 (len(seeds), n_frames, n_atoms, 3), in which given frames are
        exactly what came in. `continue_` chains windows of it, and returns the new
        frames alone. A model that also refines has `refine(trajectory, seeds, *, level)
        -> float64 (len(seeds), n_frames, n_atoms, 3)`.
    """

    name: str
    min_frames: int
    dt_range_fs: tuple[float, float]

    def complete(
        self,
        trajectory: Trajectory,
        given: NDArray[np.bool_],
        seeds: NDArray[np.int64],
        *,
        steps: int | None = None,
        callback: Callback | None = None,
    ) -> NDArray[np.float64]: ...

    def continue_(
        self,
        trajectory: Trajectory,
        n_frames: int,
        seeds: NDArray[np.int64],
        *,
        steps: int | None = None,
        callback: Callback | None = None,
    ) -> list[Trajectory]: ...


@runtime_checkable
class BatchedTrajectoryModel(TrajectoryModel, Protocol):
    """A model that goes on from several pasts in one batch: `continue_many` is
    `continue_` with a trajectory of the molecule a seed.
    """

    def continue_many(
        self,
        trajectories: Sequence[Trajectory],
        n_frames: int,
        seeds: NDArray[np.int64],
        *,
        steps: int | None = None,
        callback: Callback | None = None,
    ) -> list[Trajectory]: ...


@runtime_checkable
class MoleculeModel(Protocol):
    """Draws new molecules, one random stream per sample; sample k depends on seeds[k]
    alone, given the other arguments.

    max_atoms : most atoms, hydrogens included, a sample has. properties : name ->
        (least, greatest) value of each property it can be conditioned on, the unit
        ending the name as in `gap_eV`. `sample` returns for each seed the raw (Molecule
        without stereo tags, positions_A (n_atoms, 3)) before any check, relaxation or
        filter, or None where the model made nothing that is a molecule. `targets` maps
        property -> value; `guidance` 0 ignores them, 1 is plain conditioning, more is
        classifier-free guidance. `fragment` is a (Molecule, positions_A) to keep, where
        `takes_fragment` is true.
    """

    name: str
    max_atoms: int
    properties: Mapping[str, tuple[float, float]]
    takes_fragment: bool

    def sample(
        self,
        seeds: NDArray[np.int64],
        *,
        targets: Mapping[str, float] | None = None,
        guidance: float | None = None,
        fragment: tuple[Molecule, NDArray[np.float64]] | None = None,
        steps: int | None = None,
        callback: Callback | None = None,
    ) -> list[tuple[Molecule, NDArray[np.float64]] | None]: ...


@runtime_checkable
class Proposer(Protocol):
    """Proposes a Monte Carlo move; `log_q_ratio` = log q(x | x') - log q(x' | x), None
    where there is no density.
    """

    def propose(
        self, positions_A: NDArray[np.float64], *, kT_eV: float, rng: np.random.Generator
    ) -> Proposal: ...


Relax = Callable[
    ..., tuple[NDArray[np.float64], NDArray[np.float64]]
]  # (molecule, positions_A), and known=Known where atoms are held

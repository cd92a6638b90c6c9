"""The contracts between the core, the models and the adapters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from equidrift.records import Molecule, Proposal, Trajectory

Callback = Callable[[dict[str, Any]], None]


@runtime_checkable
class ConformerModel(Protocol):
    """Draws conformers of a molecule, one random stream per sample.

    `sample` returns positions_A, float64 (len(seeds), n_atoms, 3); sample k depends on seeds[k] alone (floats agree to 1e-4 A
    whatever the batch). A sample that could not be made is a block of NaN, never missing.
    """

    name: str

    def sample(
        self, molecule: Molecule, seeds: NDArray[np.int64], *, steps: int | None = None, callback: Callback | None = None
    ) -> NDArray[np.float64]: ...


@runtime_checkable
class BatchedConformerModel(ConformerModel, Protocol):
    """A model that mixes molecules in one batch: `sample_many` is `sample` over jobs of (molecule, seeds)."""

    def sample_many(
        self, jobs: Sequence[tuple[Molecule, NDArray[np.int64]]], *, steps: int | None = None, callback: Callback | None = None
    ) -> list[NDArray[np.float64]]: ...


@runtime_checkable
class Refiner(Protocol):
    """Moves conformers to the nearest minimum of a level of theory, graph and stereo kept.

    `refine_many` takes jobs of (molecule, positions_A (k, n_atoms, 3)) and returns the moved positions in the same shapes.
    """

    name: str

    def refine_many(
        self, jobs: Sequence[tuple[Molecule, NDArray[np.float64]]], *, steps: int | None = None, callback: Callback | None = None
    ) -> list[NDArray[np.float64]]: ...


@runtime_checkable
class TrajectoryModel(Protocol):
    """Continues a trajectory, one sample a seed."""

    def continue_(self, trajectory: Trajectory, n_frames: int, seeds: NDArray[np.int64]) -> list[Trajectory]: ...


@runtime_checkable
class Proposer(Protocol):
    """Proposes a Monte Carlo move; `log_q_ratio` = log q(x | x') - log q(x' | x), None where there is no density."""

    def propose(self, positions_A: NDArray[np.float64], *, kT_eV: float, rng: np.random.Generator) -> Proposal: ...

"""What draws the frames of a trajectory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from equidrift.protocols.models import MoleculeBoundModel
from equidrift.protocols.values import Callback, Floats, Seeds
from equidrift.records import Trajectory

# (positions_A (n_atoms, 3) after the torsions were turned, a seed) -> positions_A (n_atoms, 3)
# in thermal equilibrium but for the torsions, in a force field
Settle = Callable[[Floats, int], Floats]


@runtime_checkable
class TrajectoryModel(MoleculeBoundModel, Protocol):
    """Draws the frames of a trajectory that are not given; sample k depends on seeds[k]
    alone (floats agree to 1e-4 A).

    Attributes
    ----------
    min_frames : int
        Given frames that it needs.
    dt_range_fs : tuple of float
        Least and greatest spacing of the frames it was trained on, in fs.
    window : int
        Frames of one call of `complete` in a chain; 0 for all that are known.
    name, elements, max_atoms, batch_size, default_steps, weights_sha256
        See `MoleculeBoundModel`.
    """

    min_frames: int
    dt_range_fs: tuple[float, float]
    window: int = 0

    def complete(
        self,
        trajectory: Trajectory,
        given: NDArray[np.bool_],
        seeds: Seeds,
        *,
        steps: int | None = None,
        callback: Callback | None = None,
    ) -> Floats:
        """Fill in the frames that are not marked as given (n_frames,): forecast,
        interpolation and inpainting are masks.

        Rows of `trajectory.positions_A` that are not given are ignored and may be NaN.
        Returns float64 (len(seeds), n_frames, n_atoms, 3) in A, in which given frames
        are exactly what came in.
        """
        ...

    def continue_(
        self,
        trajectory: Trajectory,
        n_frames: int,
        seeds: Seeds,
        *,
        steps: int | None = None,
        callback: Callback | None = None,
    ) -> list[Trajectory]:
        """The next n_frames alone, one trajectory for each seed, by windows of
        `complete`.
        """
        ...


@runtime_checkable
class BatchedTrajectoryModel(TrajectoryModel, Protocol):
    """A model that goes on from several pasts in one batch."""

    def continue_many(
        self,
        trajectories: Sequence[Trajectory],
        n_frames: int,
        seeds: Seeds,
        *,
        steps: int | None = None,
        callback: Callback | None = None,
    ) -> list[Trajectory]:
        """`continue_` with a trajectory of the molecule for each seed."""
        ...


@runtime_checkable
class RefiningTrajectoryModel(TrajectoryModel, Protocol):
    """A model that also refines: it noises whole trajectories and denoises them."""

    def refine(self, trajectory: Trajectory, seeds: Seeds, *, level: float = 0.3) -> Floats:
        """Float64 (len(seeds), n_frames, n_atoms, 3) in A; `level` 0 changes nothing, 1
        draws anew.
        """
        ...


@runtime_checkable
class LeapingTrajectoryModel(TrajectoryModel, Protocol):
    """A model whose new frames lie a lag of its own apart, whatever the spacing of the
    given ones, of which it needs the last alone.

    Attributes
    ----------
    lag_fs : float or None
        Between the frames that it makes; None for the spacing of the given ones.
    lag_range_fs : tuple of float
        The shortest and the longest lag that it was trained on.
    temperature_K, settle_fs : float
        Of the dynamics after each leap, and their length.
    """

    lag_fs: float | None
    lag_range_fs: tuple[float, float]
    temperature_K: float
    settle_fs: float

    def leaping(
        self,
        *,
        lag_fs: float | None = None,
        temperature_K: float | None = None,
        settle: Settle | None = None,
    ) -> LeapingTrajectoryModel:
        """The same model with another lag or temperature, or whose leaps settle
        otherwise; None leaves what it has.
        """
        ...

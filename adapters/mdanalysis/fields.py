"""Fields on atoms in MDAnalysis: values of every atom in every frame as an auxiliary of
the trajectory, `ts.aux.NAME`.
"""

from __future__ import annotations

from typing import Any

import MDAnalysis as mda
import numpy as np
from MDAnalysis.auxiliary.base import AuxReader, AuxStep
from numpy.typing import ArrayLike, NDArray

from equidrift.adapters.mdanalysis.graph import number_of
from equidrift.errors import InputError, InputTypeError
from equidrift.protocols.fields import AtomField
from equidrift.text import counted

FORMAT = "EQUIDRIFT-FIELD"
SAMPLES = 39  # drawn for the mean and spread of a frame


class FieldStep(AuxStep):
    """The values (n_atoms, ...) of one frame."""

    def set(self, step: int, values: NDArray[np.float64]) -> None:
        """Go to a frame."""
        self.step, self._data = step, values

    def _select_time(self, key: Any) -> float:
        if key is not None:
            raise ValueError(
                "a field has no time of its own; its steps are the trajectory's frames"
            )
        return float(self.step * self._dt + self._initial_time)

    def _select_data(self, key: Any) -> Any:
        return self._data if key is None else self._data[key]


class FieldReader(AuxReader):
    """Values (n_frames, n_atoms, ...) in memory; MDAnalysis registers it as format
    "EQUIDRIFT-FIELD".

    Parameters
    ----------
    auxdata : array_like
        The values.
    **options
        `dt` and `initial_time` of the frames in ps.
    """

    format = FORMAT
    _Auxstep = FieldStep

    def __init__(self, auxdata: Any, **options: Any) -> None:
        # MDAnalysis asks for the truth of what it copies readers from, which an array has none of
        self._auxdata = (
            auxdata if isinstance(auxdata, tuple) else (np.asarray(auxdata, np.float64),)
        )
        self._n_steps = len(self._auxdata[0])
        super().__init__(**options)

    def _read_next_step(self) -> FieldStep:
        return self._go_to_step(self.auxstep.step + 1)

    def _go_to_step(self, i: int) -> FieldStep:
        if i >= self._n_steps:
            self.rewind()
            raise StopIteration
        self.auxstep.set(i, self._auxdata[0][i])
        step: FieldStep = self.auxstep
        return step

    def read_all_times(self) -> NDArray[np.float64]:
        """Times of the frames in ps."""
        times: NDArray[np.float64] = self.initial_time + self.dt * np.arange(self._n_steps)
        return times

    def _memory_usage(self) -> int:
        return int(self._auxdata[0].nbytes)


def add_field(
    universe: mda.Universe,
    model: AtomField,
    name: str | None = None,
    *,
    known: ArrayLike | None = None,
    n: int = SAMPLES,
    seed: int = 0,
    **options: Any,
) -> NDArray[np.float64]:
    """Complete a field in every frame and hang it on the trajectory as the auxiliaries
    `name` and `name_std`.

    Parameters
    ----------
    universe : MDAnalysis.Universe
        One molecule with elements.
    model : AtomField
        An `AtomFieldModel`.
    name : str, optional
        The model's quantity if None; `universe.trajectory.ts.aux.NAME` are the values
        (n_atoms, ...) of a frame.
    known : array, shape (n_frames, n_atoms, ...), optional
        Known values, NaN for others.
    n, seed, options
        Of `ConditionedAtoms.sample`.

    Returns
    -------
    array, shape (n_frames, n_atoms, ...)
        The values, means of n draws.

    Raises
    ------
    InputTypeError
        For no Universe.
    InputError
        For one without elements, known values of another length, and as
        `AtomFieldModel.condition`.
    """
    if not isinstance(universe, mda.Universe):
        raise InputTypeError(f"expected an MDAnalysis Universe, not {type(universe).__name__}")
    if not hasattr(universe.atoms, "elements"):
        raise InputError(
            "the universe has no elements; "
            "universe.guess_TopologyAttrs(to_guess=['elements']) makes them"
        )
    name = name or model.quantity
    numbers = np.array([number_of(element) for element in universe.atoms.elements])
    trajectory = universe.trajectory
    table = None if known is None else np.asarray(known, np.float64)
    if table is not None and len(table) != len(trajectory):
        raise InputError(
            f"known holds values of {counted(len(table), 'frame')}, the trajectory has "
            f"{len(trajectory)}; "
            "NaN stands for unknown ones"
        )
    made = []
    for k, frame in enumerate(trajectory):
        there = None if table is None else table[k]
        made.append(_mean_std(model, numbers, frame.positions, there, n, seed, options))
    values, spread = (np.array(part) for part in zip(*made, strict=True))
    trajectory[0]
    for label, array in ((name, values), (f"{name}_std", spread)):
        trajectory.add_auxiliary(
            label, FieldReader(array, dt=trajectory.dt, initial_time=trajectory.ts.time)
        )
    return values


def _mean_std(
    model: AtomField,
    numbers: NDArray[np.int64],
    positions_A: NDArray[np.floating],
    known: NDArray[np.float64] | None,
    n: int,
    seed: int,
    options: dict[str, Any],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean and standard deviation (n_atoms, ...) of the field in one frame."""
    if known is None or np.isnan(known).any(tuple(range(1, known.ndim))).all():
        drawn = model.sample(numbers, positions_A, n, seed, **options)
        return drawn.mean(0), drawn.std(0, ddof=1)
    return model.condition(numbers, positions_A, known).mean_std(n, seed, **options)

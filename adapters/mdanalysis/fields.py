"""Fields on atoms in MDAnalysis: values of every atom in every frame as an auxiliary of
the trajectory, `ts.aux.NAME`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from MDAnalysis.auxiliary.base import AuxReader, AuxStep
from numpy.typing import NDArray

from equidrift.errors import InputError, InputTypeError
from equidrift.records import SYMBOLS

FORMAT = "EQUIDRIFT-FIELD"
SAMPLES = 39


class FieldStep(AuxStep):
    """The values (n_atoms, ...) of one frame."""

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
    auxdata : the values. dt, initial_time : of the frames in ps.
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
        self.auxstep._data, self.auxstep.step = self._auxdata[0][i], i
        step: FieldStep = self.auxstep
        return step

    def read_all_times(self) -> NDArray[np.float64]:
        """Times of the frames in ps."""
        times: NDArray[np.float64] = self.initial_time + self.dt * np.arange(self._n_steps)
        return times

    def _memory_usage(self) -> int:
        return int(self._auxdata[0].nbytes)


def add_field(
    universe: Any,
    model: Any,
    name: str | None = None,
    *,
    known: Any = None,
    n: int = SAMPLES,
    seed: int = 0,
    **options: Any,
) -> NDArray[np.float64]:
    """Complete a field in every frame and hang it on the trajectory as the auxiliaries
    `name` and `name_std`.

    Parameters
    ----------
    universe : one molecule with elements, at least 2 frames or one.
    model : an `AtomFieldModel`.
    name : the model's quantity if None; `universe.trajectory.ts.aux.NAME` are the
        values (n_atoms, ...) of a frame.
    known : (n_frames, n_atoms, ...) values, NaN where not known.
    n, seed, options : of `ConditionedAtoms.sample`.

    Returns
    -------
    (n_frames, n_atoms, ...) the values.

    Raises
    ------
    InputTypeError
        for no Universe; InputError for one without elements, known values of another
        length, and as `AtomFieldModel.condition`.
    """
    if not hasattr(universe, "trajectory") or not hasattr(universe, "atoms"):
        raise InputTypeError(f"expected an MDAnalysis Universe, not {type(universe).__name__}")
    if not hasattr(universe.atoms, "elements"):
        raise InputError(
            "the universe has no elements; universe.guess_TopologyAttrs(to_guess=['elements']) makes them"
        )
    name = name or model.quantity
    numbers = np.array(
        [SYMBOLS.index(str(symbol).capitalize()) for symbol in universe.atoms.elements]
    )
    trajectory = universe.trajectory
    if known is not None and len(known) != len(trajectory):
        raise InputError(
            f"known holds values of {len(known)} frames, the trajectory has {len(trajectory)}; NaN stands for unknown ones"
        )
    made = []
    for k, frame in enumerate(trajectory):
        there = None if known is None else np.asarray(known[k], np.float64)
        if there is None or np.isnan(there).any(tuple(range(1, there.ndim))).all():
            drawn = model.sample(numbers, frame.positions, n, seed, **options)
            made.append((drawn.mean(0), drawn.std(0, ddof=1)))
        else:
            made.append(
                model.condition(numbers, frame.positions, there).mean_std(n, seed, **options)
            )
    values, spread = (np.array(part) for part in zip(*made))
    trajectory[0]
    for label, array in ((name, values), (f"{name}_std", spread)):
        trajectory.add_auxiliary(
            label, FieldReader(array, dt=trajectory.dt, initial_time=trajectory.ts.time)
        )
    return values

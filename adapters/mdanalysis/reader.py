"""The frames of a record as a reader of MDAnalysis."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import MDAnalysis as mda
import numpy as np
from MDAnalysis.coordinates.memory import MemoryReader
from numpy.typing import NDArray

from equidrift.adapters.mdanalysis.carried import Carried
from equidrift.adapters.mdanalysis.topology import FORMAT, is_record
from equidrift.errors import InputError
from equidrift.records import Ensemble, Trajectory
from equidrift.units import PS_PER_FS


class EnsembleReader(MemoryReader):
    """Conformers, or a Trajectory's frames with their times and box, in a float32 copy
    of their own.

    `ts.data` holds `seed`, `valid` (1 or 0), `energy_eV` and `log_prob` of a conformer if
    known, and its scores by name. `carried` holds what is no number: the names of the
    scores, and `name`, `smiles` and `properties` of each conformer. A copy of the Universe
    has both; frames that MDAnalysis moves to a reader of its own lose `carried`.
    """

    format = FORMAT
    units: ClassVar = {"time": "ps", "length": "Angstrom"}

    @staticmethod
    def _format_hint(thing: Any) -> bool:
        return is_record(thing)

    @staticmethod
    def parse_n_atoms(filename: Ensemble | Trajectory, **kwargs: Any) -> int:
        """Called by MDAnalysis."""
        del kwargs
        return filename.molecule.n_atoms

    def __init__(
        self,
        coordinate_array: Ensemble | Trajectory | NDArray[np.float32],
        per_frame: dict[str, NDArray[Any]] | None = None,
        times_ps: NDArray[np.float64] | None = None,
        carried: Carried | None = None,
        **kwargs: Any,
    ) -> None:
        if isinstance(coordinate_array, Ensemble | Trajectory):
            record = coordinate_array
            if not len(record):
                raise InputError(
                    "the ensemble has no conformer, and a Universe needs a frame; sample some first"
                )
            coordinate_array = np.array(record.positions_A, np.float32)
            if isinstance(record, Trajectory):
                times_ps = record.time_fs * PS_PER_FS
                kwargs = _clock(record) | kwargs
            else:
                per_frame, carried = _columns(record), Carried.of(record)
        self._per_frame, self._times_ps = per_frame or {}, times_ps
        self.carried = carried or Carried()
        kwargs.setdefault("order", "fac")
        super().__init__(coordinate_array, **kwargs)
        # MemoryReader.copy hands these to the copy
        self._kwargs |= {
            "per_frame": self._per_frame,
            "times_ps": times_ps,
            "carried": self.carried,
        }

    def _read_next_timestep(self, ts: Any = None) -> Any:
        ts = super()._read_next_timestep(ts)
        for name, values in self._per_frame.items():
            ts.data[name] = values[ts.frame].item()
        if self._times_ps is not None:
            ts.time = float(self._times_ps[ts.frame])
        return ts


def _clock(trajectory: Trajectory) -> dict[str, Any]:
    """Box and spacing of the frames, as MemoryReader takes them."""
    dt_ps = trajectory.dt_fs * PS_PER_FS if len(trajectory) > 1 else 1.0
    return {"dimensions": _dimensions(trajectory), "dt": dt_ps}


def _columns(ensemble: Ensemble) -> dict[str, NDArray[Any]]:
    """The numbers that are known of each conformer, by name."""
    columns = {
        "seed": ensemble.seeds,
        "valid": None if ensemble.valid is None else ensemble.valid.astype(np.int64),
        "energy_eV": ensemble.energies_eV,
        "log_prob": ensemble.log_prob,
        **ensemble.scores,
    }
    return {name: np.array(values) for name, values in columns.items() if values is not None}


def _dimensions(trajectory: Trajectory) -> NDArray[np.float32] | None:
    """The box as three lengths and three angles, per frame if it changes; None for no
    box.
    """
    if trajectory.box_A is None:
        return None
    boxes = trajectory.box_A.reshape(-1, 3, 3)
    dimensions = np.array([mda.lib.mdamath.triclinic_box(*box) for box in boxes], np.float32)
    return dimensions if trajectory.box_A.ndim == 3 else dimensions[0]


def _not_a_chain(chain_hint: Callable[[Any], bool]) -> Callable[[Any], bool]:
    """MDAnalysis takes everything with a length for a list of files to chain; records
    have one too.
    """

    def hint(thing: Any) -> bool:
        return not is_record(thing) and bool(chain_hint(thing))

    return hint


# MDAnalysis asks these hints in turn, and has no public way to change one of its own
_HINTS = mda._READER_HINTS  # noqa: SLF001 - see above
_HINTS["CHAIN"] = _not_a_chain(_HINTS["CHAIN"])


def universe_of(record: Ensemble | Trajectory) -> mda.Universe:
    """A Universe by this module's reader and its topology's parser, which MDAnalysis
    knows once they are imported.
    """
    return mda.Universe(record)

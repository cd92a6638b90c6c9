"""What is handed on before it is an Ensemble or a Trajectory: frames of files, proposals,
chunks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from equidrift.frozen import Frozen


class Frames(NamedTuple):
    """Frames as a file or a host holds them, before there is a molecule to them.

    Parameters
    ----------
    positions_A : (n_frames, n_atoms, 3) array
        Coordinates in A.
    time_fs : (n_frames,) array or None
        Times in fs, None if there are none that can be believed.
    boxes_A : (n_frames, 3, 3) array or None
        The cell's vectors in A as rows, None without a box.
    numbers : (n_atoms,) array or None
        Atomic numbers, None if they are not told.
    """

    positions_A: NDArray[np.float64]
    time_fs: NDArray[np.float64] | None
    boxes_A: NDArray[np.float64] | None = None
    numbers: NDArray[np.int64] | None = None


@dataclass(frozen=True)
class Proposal(Frozen):
    """A proposed configuration and log q(x | x') - log q(x' | x), None if the
    proposer has no density.

    `info` says how it was made, for statistics: `torsions` (indices of those moved),
    `kind`, and for proposals whose density does not depend on the current torsions
    `log_q` (of the proposed state) and `log_q_current`, so that hosts can draw them
    ahead.
    """

    positions_A: NDArray[np.float64]
    log_q_ratio: float | None
    info: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Chunk:
    """Frames of some samples: positions_A (n_samples, n_frames, n_atoms, 3) from
    `first_sample` and `first_frame` on.

    seeds (n_samples,) made them; rejected counts draws by reason; broken (n_samples,)
    counts kept frames that fail a check, by reason.
    """

    first_sample: int
    first_frame: int
    positions_A: NDArray[np.float64]
    seeds: NDArray[np.int64]
    rejected: tuple[Counter[str], ...]
    broken: tuple[Counter[str], ...]

    @property
    def n_frames(self) -> int:
        """Frames drawn: all samples together."""
        return int(self.positions_A.shape[0] * self.positions_A.shape[1])

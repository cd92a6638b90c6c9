"""Molecules in, tensors out: the graph codes that the conformer networks read, and
batches of molecules padded to one size.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equidrift.errors import UnknownNameError
from equidrift.models.shared.graph_codes import LEVELS, PAIR_CODES, GraphCodes, graph_codes
from equidrift.records import Molecule


class ConformerSet:
    """Training data: graphs, target geometries with their level of theory, and
    geometries to start from.

    On disk an npz of flat arrays with offsets; the pair codes are stored for the upper
    triangle; `tools/pack_conformers.py` writes it. `add` appends a conformer.
    """

    def __init__(
        self,
        graphs: list[GraphCodes],
        levels: list[int],
        targets: list[NDArray[Any]],
        starts: list[list[NDArray[Any]]],
    ):
        self.graphs, self.levels, self.targets, self.starts = graphs, levels, targets, starts

    @classmethod
    def empty(cls) -> ConformerSet:
        """A set without conformers."""
        return cls([], [], [], [])

    def __len__(self) -> int:
        return len(self.graphs)

    def add(
        self,
        molecule: Molecule,
        level: str,
        target_A: NDArray[Any],
        starts_A: Sequence[NDArray[Any]],
    ) -> None:
        """Append a conformer.

        Raises `UnknownNameError` for a level of theory that is not in `LEVELS`.
        """
        if level not in LEVELS:
            raise UnknownNameError("level of theory", level, LEVELS)
        self.graphs.append(graph_codes(molecule))
        self.levels.append(LEVELS.index(level))
        self.targets.append(np.asarray(target_A, np.float32))
        self.starts.append([np.asarray(s, np.float32) for s in starts_A])

    def take(self, rows: Sequence[int] | NDArray[np.int64]) -> ConformerSet:
        """The conformers of these rows."""
        return ConformerSet(*([column[int(k)] for k in rows] for column in vars(self).values()))

    def extend(self, other: ConformerSet) -> None:
        """Append the conformers of another set."""
        for mine, theirs in zip(vars(self).values(), vars(other).values(), strict=True):
            mine.extend(theirs)

    def save(self, path: str | Path) -> None:
        """Write the npz (a temporary file first, so that a stopped run leaves no half
        file).
        """
        upper = [g.pair[np.triu_indices(g.n_atoms)] for g in self.graphs]
        ends = {
            "atom": [g.n_atoms for g in self.graphs],
            "tetra": [len(g.tetrahedral) for g in self.graphs],
            "start": [len(s) for s in self.starts],
        }
        counts: dict[str, Any] = {
            f"n_{key}": np.array(value, np.int32) for key, value in ends.items()
        }
        temporary = Path(f"{path}.tmp.npz")
        np.savez_compressed(
            temporary,
            atom=np.concatenate([g.atom for g in self.graphs]),
            pair=np.concatenate(upper),
            tetrahedral=np.concatenate([g.tetrahedral for g in self.graphs]).astype(np.int16),
            level=np.array(self.levels, np.uint8),
            target=np.concatenate(self.targets),
            start=np.concatenate(
                [s for starts in self.starts for s in starts] or [np.zeros((0, 3), np.float32)]
            ),
            **counts,
        )
        temporary.replace(path)

    @classmethod
    def load(cls, path: str | Path) -> ConformerSet:
        """Read an npz written by `save`."""
        with np.load(path, allow_pickle=False) as data:
            f = {key: data[key] for key in data.files}
        out = cls.empty()
        a = t = p = s = 0
        for n, k, m, level in zip(
            f["n_atom"].tolist(),
            f["n_tetra"].tolist(),
            f["n_start"].tolist(),
            f["level"].tolist(),
            strict=True,
        ):
            pairs = n * (n + 1) // 2
            pair = np.zeros((n, n, len(PAIR_CODES)), np.uint8)
            i, j = np.triu_indices(n)
            pair[i, j] = pair[j, i] = f["pair"][p : p + pairs]
            out.graphs.append(
                GraphCodes(f["atom"][a : a + n], pair, f["tetrahedral"][t : t + k].astype(np.int64))
            )
            out.levels.append(level)
            out.targets.append(f["target"][a : a + n])
            out.starts.append([f["start"][s + q * n : s + (q + 1) * n] for q in range(m)])
            a, t, p, s = a + n, t + k, p + pairs, s + m * n
        return out

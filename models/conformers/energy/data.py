"""Relaxation paths as training data: graphs, geometries, GFN2-xTB energies and
forces, and those of the reference force field.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equidrift.errors import InputError
from equidrift.models.shared.graph_codes import PAIR_CODES, GraphCodes

PER_FRAME = ("kind", "energy_eV", "reference_eV")
PER_ATOM = ("positions_A", "forces_eV_A", "reference_forces_eV_A")
FIELDS = ("n_atoms", "atom", "pair", "molecule", "frames", *PER_FRAME, *PER_ATOM)


@dataclass
class RelaxationPath:
    """One path: frames with energies and forces; the last of `kind` 0 is the minimum."""

    molecule: int  # index of the graph
    kind: NDArray[np.uint8]  # (f,)
    energy_eV: NDArray[np.float64]  # (f,)
    reference_eV: NDArray[np.float64]  # (f,), of MMFF94
    positions_A: NDArray[np.float32]  # (f, n, 3)
    forces_eV_A: NDArray[np.float32]  # (f, n, 3)
    reference_forces_eV_A: NDArray[np.float32]  # (f, n, 3), of MMFF94

    @property
    def minimum(self) -> int:
        """Index of the path's last step."""
        return int(np.flatnonzero(self.kind == 0)[-1])


class PathSet:
    """Graphs and paths; an npz of flat arrays on disk.

    Frames of `kind` 0 are steps of a relaxation, in order; others lie around its
    minimum. The reference is MMFF94.
    """

    def __init__(self, graphs: list[GraphCodes], paths: list[RelaxationPath]):
        self.graphs, self.paths = graphs, paths

    def __len__(self) -> int:
        return len(self.paths)

    def extend(self, other: PathSet) -> None:
        """Append the molecules and paths of another set."""
        shift = len(self.graphs)
        self.graphs.extend(other.graphs)
        self.paths.extend(
            RelaxationPath(**{**vars(path), "molecule": path.molecule + shift})
            for path in other.paths
        )

    def take(self, rows: Sequence[int] | NDArray[np.int64]) -> PathSet:
        """Some of the paths, with the graphs of all."""
        return PathSet(self.graphs, [self.paths[k] for k in rows])

    def save(self, path: str | Path) -> None:
        """Write the npz, a temporary file first."""
        flat: dict[str, Any] = {
            name: np.concatenate(
                [getattr(p, name).reshape(-1, *getattr(p, name).shape[2:]) for p in self.paths]
            )
            for name in PER_ATOM
        }
        lists: dict[str, Any] = {
            name: np.concatenate([getattr(p, name) for p in self.paths]) for name in PER_FRAME
        }
        temporary = Path(f"{path}.tmp.npz")
        np.savez_compressed(
            temporary,
            n_atoms=np.array([g.n_atoms for g in self.graphs], np.int32),
            atom=np.concatenate([g.atom for g in self.graphs]),
            pair=np.concatenate([g.pair[np.triu_indices(g.n_atoms)] for g in self.graphs]),
            molecule=np.array([p.molecule for p in self.paths], np.int32),
            frames=np.array([len(p.kind) for p in self.paths], np.int32),
            **flat,
            **lists,
        )
        temporary.replace(path)

    @classmethod
    def load(cls, path: str | Path) -> PathSet:
        """Read an npz written by `save`. Raises `InputError` for another one."""
        with np.load(path, allow_pickle=False) as data:
            if missing := [name for name in FIELDS if name not in data.files]:
                raise InputError(
                    f"{path} is no set of relaxation paths: {', '.join(missing)} are missing; "
                    "see tools/pack_paths.py"
                )
            f = {name: data[name] for name in FIELDS}
        graphs, paths = [], []
        a = p = 0
        for n in f["n_atoms"].tolist():
            pairs = n * (n + 1) // 2
            pair = np.zeros((n, n, len(PAIR_CODES)), np.uint8)
            i, j = np.triu_indices(n)
            pair[i, j] = pair[j, i] = f["pair"][p : p + pairs]
            graphs.append(GraphCodes(f["atom"][a : a + n], pair, np.zeros((0, 5), np.int64)))
            a, p = a + n, p + pairs
        frame = row = 0
        for molecule, count in zip(f["molecule"].tolist(), f["frames"].tolist(), strict=True):
            n = graphs[molecule].n_atoms
            here, rows = slice(frame, frame + count), slice(row, row + count * n)
            lists = {name: f[name][here] for name in PER_FRAME}
            flat = {name: f[name][rows].reshape(count, n, 3) for name in PER_ATOM}
            paths.append(RelaxationPath(molecule, **lists, **flat))
            frame, row = frame + count, row + count * n
        return cls(graphs, paths)


def load_all(paths: Sequence[str]) -> PathSet:
    """Several files as one set. Raises `InputError` where one is missing, or none
    holds a path.
    """
    out = PathSet([], [])
    for name in paths:
        if not Path(name).is_file():
            raise InputError(
                f"there is no training data {name!r}; "
                "data: takes .npz files that tools/pack_paths.py wrote"
            )
        out.extend(PathSet.load(name))
    if not len(out):
        raise InputError(f"no relaxation path in {', '.join(paths)}")
    return out

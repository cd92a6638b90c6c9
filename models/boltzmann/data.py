"""Frames of one molecule in, coordinates of the flow's chart and their scores out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from equidrift.errors import InputError
from equidrift.models.boltzmann.coordinates import ZMatrix
from equidrift.models.boltzmann.network import BoltzmannFlow
from equidrift.models.boltzmann.objective import Batch
from equidrift.records import Trajectory

Floats = NDArray[np.float64]
SOFT_RAD = 0.4  # circular standard deviation above which a torsion counts as turning
LARGEST_ANGLE = np.radians(175.0)
_CHUNK = 2000


@dataclass(frozen=True, eq=False)
class Frames:
    """Configurations of one molecule.

    Parameters
    ----------
    numbers : int64, shape (n,)
        Atomic numbers.
    bonds : int64, shape (b, 2)
        All of them.
    positions_A : float64, shape (k, n, 3)
        Molecules whole.
    forces_eV_A : float64, shape (k, n, 3), or None
        Of the potential they were sampled from, or None.
    temperature_K : float
        They were sampled at.
    weights : float64, shape (k,), or None
        What each counts in the likelihood (of a run that was biased), or None.
    share : float
        Of the batches, against other sets of frames.
    """

    numbers: NDArray[np.int64]
    bonds: NDArray[np.int64]
    positions_A: Floats
    forces_eV_A: Floats | None
    temperature_K: float
    weights: Floats | None = None
    share: float = 1.0

    def __post_init__(self) -> None:
        x, n = np.asarray(self.positions_A), len(self.numbers)
        if x.ndim != 3 or x.shape[1:] != (n, 3) or len(x) < 2 or not np.isfinite(x).all():
            raise InputError(
                f"positions_A must be finite, (frames, {n}, 3) with two frames or more; got shape "
                f"{x.shape}"
            )
        if self.forces_eV_A is not None and np.shape(self.forces_eV_A) != x.shape:
            raise InputError(
                f"forces_eV_A has shape {np.shape(self.forces_eV_A)}, expected that of the "
                f"positions, {x.shape}"
            )
        if not 0 < self.temperature_K < np.inf:
            raise InputError(
                f"temperature_K must be positive, not {self.temperature_K}; give that of the run, "
                "for example 300"
            )

    @classmethod
    def load(cls, path: str | Path, **changes: Any) -> Frames:
        """From an .npz with positions_A, numbers, bonds, temperature_K, and forces_eV_A
        and weights where there are any.

        Raises
        ------
        InputError
            where the file is missing, or lacks one of these.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                data = {key: file[key] for key in file.files}
        except (OSError, ValueError) as error:
            way = "tools/make_boltzmann_data.py shows how to write one"
            raise InputError(f"{str(path)!r} cannot be read as .npz ({error}); {way}") from error
        if missing := [
            key
            for key in ("positions_A", "numbers", "bonds", "temperature_K")
            if key not in data and key not in changes
        ]:
            raise InputError(
                f"{str(path)!r} lacks {', '.join(missing)}; tools/make_boltzmann_data.py shows "
                "how to write such a file"
            )
        fields = {
            key: data.get(key)
            for key in ("numbers", "bonds", "positions_A", "forces_eV_A", "weights")
        }
        return cls(**{**fields, "temperature_K": float(data.get("temperature_K", 0)), **changes})

    @classmethod
    def of(
        cls,
        trajectory: Trajectory,
        temperature_K: float,
        forces_eV_A: ArrayLike | None = None,
        **fields: Any,
    ) -> Frames:
        """From a `Trajectory` record, of whatever host it came."""
        forces = None if forces_eV_A is None else np.asarray(forces_eV_A, np.float64)
        molecule = trajectory.molecule
        return cls(
            molecule.numbers,
            molecule.bonds,
            trajectory.positions_A,
            forces,
            temperature_K,
            **fields,
        )

    def tree(self) -> ZMatrix:
        """Internal coordinates along the bonds."""
        return ZMatrix.of(len(self.numbers), self.bonds, self.numbers)


def soft_torsions(tree: ZMatrix, positions_A: ArrayLike) -> list[int]:
    """Torsions of the tree that turn in the frames (k, n, 3): those that vary by more
    than `SOFT_RAD`, and of every rotor the first.

    Raises
    ------
    InputError
        where three atoms along the tree come close to one line, so that a torsion means
        nothing.
    """
    x = torch.as_tensor(np.asarray(positions_A, np.float64))
    _, angles, torsions = tree.to_internal(x)
    if float(angles.max()) > LARGEST_ANGLE:
        worst = tree.angles[int(angles.max(0).values.argmax())]
        raise InputError(
            f"atoms {worst.tolist()} come close to one line; a Boltzmann generator of linear "
            "groups is not built"
        )
    resultant = torch.sqrt(
        torch.cos(torsions).mean(0) ** 2 + torch.sin(torsions).mean(0) ** 2
    ).clamp(1e-12, 1.0)
    spread = torch.sqrt(-2 * resultant.log()).numpy()
    first = [k for k, row in enumerate(tree.torsions.tolist()) if row[0] in tree.rotors[:, 0]]
    turning = [k for k in np.flatnonzero(spread > SOFT_RAD).tolist() if k not in first]
    others = {
        int(k)
        for row in tree.rotors.tolist()
        for k in np.flatnonzero(np.isin(tree.torsions[:, 0], row[1:]))
    }
    return [k for k in turning if k not in others] + first


def chart_data(
    flow: BoltzmannFlow, frames: Frames, kT_eV: float, *, copies: int = 1, seed: int = 0
) -> tuple[Tensor, Tensor | None]:
    """y (copies * k, d) of the frames and grad_y log p(y), float32, None without
    forces.

    Every copy relabels the atoms of each rotor by a random third of a turn, which
    leaves energies as they are. log p(y) = -U(x(y)) / kT + log |dx / dy|.
    """
    rng = np.random.default_rng(seed)
    coordinates, scores = [], []
    n = len(frames.numbers)
    for _ in range(copies):
        order = np.tile(np.arange(n), (len(frames.positions_A), 1))
        for members in flow.tree.rotors:
            turn = (
                rng.integers(3, size=len(order)) if copies > 1 else np.zeros(len(order), np.int64)
            )
            order[:, members] = members[(np.arange(3) + turn[:, None]) % 3]
        for start in range(0, len(order), _CHUNK):
            rows = np.arange(start, min(start + _CHUNK, len(order)))[:, None]
            x = torch.as_tensor(np.asarray(frames.positions_A[rows, order[rows[:, 0]]], np.float64))
            y = flow.to_chart(x)[0].detach()
            coordinates.append(y.float())
            if frames.forces_eV_A is not None:
                push = (
                    torch.as_tensor(
                        np.asarray(frames.forces_eV_A[rows, order[rows[:, 0]]], np.float64)
                    )
                    / kT_eV
                )
                y.requires_grad_()
                back, log_volume = flow.from_chart(y, flow.tree.frame_of(x))
                (score,) = torch.autograd.grad((back * push).sum() + log_volume.sum(), y)
                scores.append(score.float())
    return torch.cat(coordinates), torch.cat(scores) if scores else None


class Batches:
    """Batch number `step`: frames drawn from the sets by their shares, the same
    whenever it is asked for.
    """

    def __init__(
        self, sets: Sequence[tuple[Tensor, Tensor | None, Floats, float]], size: int, seed: int
    ):
        """sets : (y, scores, weights, share) of each; the shares need not add up to 1."""
        self.sets, self.size, self.seed = sets, size, seed
        share = np.array([s[3] for s in sets])
        self.share = share / share.sum()

    def __call__(self, step: int) -> Batch:
        """The batch of a step."""
        rng = np.random.default_rng([self.seed, step])
        counts = rng.multinomial(self.size, self.share)
        rows = [rng.integers(len(s[0]), size=k) for s, k in zip(self.sets, counts, strict=True)]
        y = torch.cat([s[0][row] for s, row in zip(self.sets, rows, strict=True)])
        weight = torch.cat(
            [
                torch.as_tensor(s[2][row % len(s[2])], dtype=y.dtype)
                for s, row in zip(self.sets, rows, strict=True)
            ]
        )
        if any(s[1] is None for s in self.sets):
            return Batch(y, weight)
        return Batch(
            y,
            weight,
            torch.cat(
                [s[1][row] for s, row in zip(self.sets, rows, strict=True) if s[1] is not None]
            ),
        )

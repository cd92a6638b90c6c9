"""Batches and the loss of the energy: forces, energy differences within a path, and
noise; all of them gradients or values of one function.

Errors of forces are measured after multiplying with the inverse root of a model
Hessian: an error along a soft torsion moves the minimum much further than the same
error along a bond. At a noise level sigma the target is the score of Gaussian noise
around the minimum, as a force kT (x0 - x) / sigma^2, less its rigid motion, which no
energy of internal coordinates can have.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from math import ceil

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from equidrift.models.conformers.energy.data import PathSet
from equidrift.models.conformers.energy.hessian import model_hessian
from equidrift.models.conformers.energy.terms import Graphs, join, topology

KT_EV = 0.025852  # 300 K
SOFTEST_EV_A2 = 0.5  # added to the model Hessian
FORCE_FLOOR = 0.3  # eV^(1/2), of a whitened force: forces below it count as equal
FLAT_FLOOR_EV_A = 0.2
ENERGY_FLOOR_EV = 0.1
WEIGHTS = {"whitened": 1.0, "flat": 0.3, "energy": 0.3, "score": 0.3}
NOISE_A = (0.01, 0.1)


@dataclass
class Example:
    """Some geometries of several molecules, the same number k of each.

    x (3, N, k) in A. At zero noise: forces and whole_forces (3, N, k), what is to be
    learned and what GFN2-xTB says (they differ where a reference force field is used),
    energy and whole_energy (molecules, k), slot 0 being the minimum, and `factors`, the
    Cholesky factors (3n, 3n) of the molecules' Hessians. At a noise level both
    forces hold the noise of x, in units of sigma_A.
    """

    graphs: Graphs
    sizes: list[int]
    x: Tensor
    sigma_A: float
    forces: Tensor
    whole_forces: Tensor
    energy: Tensor
    whole_energy: Tensor
    factors: list[Tensor]

    def __len__(self) -> int:
        return len(self.sizes) * self.x.shape[2]


class Batches:
    """Batch number `step` of an endless, seeded sequence.

    Parameters
    ----------
    data : PathSet
        The paths.
    paths : int
        Paths in a batch.
    frames : int
        Geometries of each.
    noise_share : float
        Share of the batches at a noise level.
    reference : bool
        Whether the reference force field is taken off the labels at zero noise.
    """

    def __init__(
        self,
        data: PathSet,
        *,
        paths: int,
        frames: int,
        noise_share: float,
        reference: bool,
        seed: int,
    ):
        self.data, self.paths, self.frames = data, paths, frames
        self.noise_share, self.reference, self.seed = noise_share, reference, seed
        self.terms = [topology(graph) for graph in data.graphs]
        self.factors = [self._factor(k) for k in range(len(data))]
        self.starts_at, self.epoch = [0], -1
        self.plan: list[NDArray[np.int64]] = []

    def _factor(self, k: int) -> Tensor:
        path = self.data.paths[k]
        hessian = model_hessian(
            self.terms[path.molecule], path.positions_A[path.minimum][None].astype(np.float64)
        )[0]
        return torch.from_numpy(
            np.linalg.cholesky(hessian + SOFTEST_EV_A2 * np.eye(len(hessian))).astype(np.float32)
        )

    def _epoch_plan(self, epoch: int) -> list[NDArray[np.int64]]:
        order = np.random.default_rng((self.seed, epoch)).permutation(len(self.data))
        return [order[k : k + self.paths] for k in range(0, len(order), self.paths)]

    def __call__(self, step: int) -> Example:
        """Batch number `step`."""
        each = ceil(len(self.data) / self.paths)
        while step >= self.starts_at[-1]:
            self.starts_at.append(self.starts_at[-1] + each)
        epoch = bisect_right(self.starts_at, step) - 1
        if epoch != self.epoch:
            self.epoch, self.plan = epoch, self._epoch_plan(epoch)
        return self.example(
            self.plan[step - self.starts_at[epoch]],
            np.random.default_rng((self.seed, 1 << 32, step)),
        )

    def example(self, rows: NDArray[np.int64], rng: np.random.Generator) -> Example:
        """Geometries of these paths, at a noise level or with GFN2-xTB forces."""
        if rng.random() < self.noise_share:
            return self._noise_example(rows, rng)
        return self._force_example(rows, rng)

    def _noise_example(self, rows: NDArray[np.int64], rng: np.random.Generator) -> Example:
        paths = [self.data.paths[k] for k in rows]
        terms = [self.terms[path.molecule] for path in paths]
        sigma = float(np.exp(rng.uniform(*np.log(NOISE_A))))
        moved = [self._noisy(path.positions_A[path.minimum], sigma, rng) for path in paths]
        x, noise = (_rows([pair[k] for pair in moved]) for k in (0, 1))
        none = x.new_zeros(0)
        sizes = [t.n_atoms for t in terms]
        return Example(join(terms), sizes, x, sigma, noise, noise, none, none, [])

    def _force_example(self, rows: NDArray[np.int64], rng: np.random.Generator) -> Example:
        paths = [self.data.paths[k] for k in rows]
        terms = [self.terms[path.molecule] for path in paths]
        chosen = [self._frames(len(path.kind), path.minimum, rng) for path in paths]
        share = 1.0 if self.reference else 0.0  # of the reference that is taken off
        x, force, whole, energy, total = [], [], [], [], []
        for path, c in zip(paths, chosen, strict=True):
            x.append(path.positions_A[c] - path.positions_A[c[0]].mean(0))
            whole.append(path.forces_eV_A[c])
            force.append(whole[-1] - share * path.reference_forces_eV_A[c])
            total.append(path.energy_eV[c] - path.energy_eV[c[0]])
            shift = path.reference_eV[c] - path.reference_eV[c[0]]
            energy.append(total[-1] - share * shift)
        return Example(
            graphs=join(terms),
            sizes=[t.n_atoms for t in terms],
            x=_rows(x),
            sigma_A=0.0,
            forces=_rows(force),
            whole_forces=_rows(whole),
            energy=torch.from_numpy(np.stack(energy).astype(np.float32)),
            whole_energy=torch.from_numpy(np.stack(total).astype(np.float32)),
            factors=[self.factors[k] for k in rows],
        )

    def _frames(self, count: int, minimum: int, rng: np.random.Generator) -> NDArray[np.int64]:
        others = np.delete(np.arange(count), minimum)
        want = self.frames - 1
        few = len(others) < want
        drawn = rng.choice(others, want, replace=few) if len(others) else np.full(want, minimum)
        return np.concatenate([[minimum], drawn])

    def _noisy(
        self, minimum: NDArray[np.float32], sigma: float, rng: np.random.Generator
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        centred = minimum.astype(np.float64) - minimum.mean(0)
        noise = without_rigid_motion(centred, rng.standard_normal((self.frames, *centred.shape)))
        return centred + sigma * noise, noise


def _rows(parts: list[NDArray[np.float64]]) -> Tensor:
    """Molecules' (k, n, 3) as one (3, N, k)."""
    return torch.from_numpy(
        np.ascontiguousarray(
            np.concatenate([p.transpose(2, 1, 0) for p in parts], axis=1), np.float32
        )
    )


def without_rigid_motion(x: NDArray[np.float64], moves: NDArray[np.float64]) -> NDArray[np.float64]:
    """Displacements (k, n, 3) of x (n, 3) less what shifts and turns it as a whole."""
    n = len(x)
    shifts = np.tile(np.eye(3), (n, 1)).reshape(n, 3, 3).transpose(2, 0, 1)
    turns = np.stack([np.cross(axis, x) for axis in np.eye(3)])
    basis, size, _ = np.linalg.svd(
        np.concatenate([shifts, turns]).reshape(6, -1).T, full_matrices=False
    )
    basis = basis[:, size > 1e-6 * size[0]]
    flat = moves.reshape(len(moves), -1)
    left: NDArray[np.float64] = (flat - (flat @ basis) @ basis.T).reshape(moves.shape)
    return left


def energy_and_forces(
    network: nn.Module, example: Example, train: bool = True
) -> tuple[Tensor, Tensor]:
    """Energies (molecules, k) and forces (3, N, k) of a batch."""
    x = example.x.detach().requires_grad_(True)
    energy = network(example.graphs, x, example.sigma_A)
    (gradient,) = torch.autograd.grad(energy.sum(), x, create_graph=train)
    return energy, -gradient


def force_errors(example: Example, forces: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(molecules, k): whitened error and size, and root-mean-square error and size,
    of forces (3, N, k).
    """
    out = [[], [], [], []]  # type: list[list[Tensor]]
    begin = 0
    for n, factor in zip(example.sizes, example.factors, strict=True):
        both = torch.cat(
            [
                (forces - example.forces)[:, begin : begin + n],
                example.whole_forces[:, begin : begin + n],
            ],
            dim=2,
        )
        flat = both.transpose(0, 1).reshape(3 * n, -1)
        white = torch.linalg.solve_triangular(factor, flat, upper=False).square().sum(0)
        plain = flat.square().sum(0) / n
        for values, parts in zip((out[:2], out[2:]), (white.chunk(2), plain.chunk(2)), strict=True):
            for store, part in zip(values, parts, strict=True):
                store.append(part)
        begin += n
    white_error, white_size, error, size = (torch.stack(parts) for parts in out)
    return white_error, white_size, error, size


def energy_loss(network: nn.Module, example: Example) -> Tensor:
    """Mean relative error of forces (whitened, and plain) and of energy differences;
    at a noise level, of the score.
    """
    energy, forces = energy_and_forces(network, example)
    if example.sigma_A > 0:
        error = (forces * (example.sigma_A / KT_EV) + example.whole_forces).square()
        return WEIGHTS["score"] * error.mean()
    white_error, white_size, error, size = force_errors(example, forces)
    whitened = ((white_error + 1e-6) / (white_size + FORCE_FLOOR**2)).sqrt().mean()
    flat = ((error + 1e-8) / (size + FLAT_FLOOR_EV_A**2)).sqrt().mean()
    off = (energy - energy[:, :1] - example.energy).abs() / (
        example.whole_energy.abs() + ENERGY_FLOOR_EV
    )
    return (
        WEIGHTS["whitened"] * whitened
        + WEIGHTS["flat"] * flat
        + WEIGHTS["energy"] * off[:, 1:].mean()
    )


def relative_errors(network: nn.Module, batches: Batches) -> dict[str, float]:
    """Errors over sizes at zero noise, each summed over frames of all paths: of
    whitened forces, of forces, of energy differences.

    A network that says nothing has 1 of each without a reference, and the reference's
    errors with one.
    """
    total = np.zeros(6)
    for begin in range(0, len(batches.data), batches.paths):
        rows = np.arange(begin, min(begin + batches.paths, len(batches.data)))
        example = batches.example(rows, np.random.default_rng(begin))
        energy, forces = energy_and_forces(network, example, train=False)
        of_forces = [part.sqrt() for part in force_errors(example, forces)]
        off = (energy.detach() - energy.detach()[:, :1] - example.energy).abs()
        total += [float(part.sum()) for part in (*of_forces, off, example.whole_energy.abs())]
    names = ("whitened_force_error", "force_error", "energy_error")
    return {name: float(total[2 * k] / total[2 * k + 1]) for k, name in enumerate(names)}

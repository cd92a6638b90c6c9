"""MMFF94 ensembles as training data, and batches of noised conformers of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from equidrift.errors import InputError
from equidrift.geometry import Floats, dihedrals, wrap
from equidrift.models.shared.batches import Batched
from equidrift.models.shared.graph_codes import ATOM_CODES, PAIR_CODES
from equidrift.models.torsions.distances.graph import HeavyGraph, Rows, turned
from equidrift.models.torsions.distances.wrapped import SIGMA_MAX_RAD, SIGMA_MIN_RAD

KT_300_KCAL = 0.59616  # k_B 300 K
LEAST_KT_KCAL, MOST_KT_KCAL = 0.4, 4.0  # temperatures that are trained: 200 to 2,000 K
HELD_SHARE = 0.3  # of the rows, in which only a block of torsions is noised
FIELDS = ("smiles", "atoms", "torsions", "minima", "atom", "pair", "axes", "sides")
PER_MINIMUM = ("energy_kcal", "phi", "relaxed_A", "drawn_A", "fits")


@dataclass(frozen=True, eq=False)
class TorsionEnsemble:
    """The k minima of one molecule, and the draws that they were relaxed from.

    `fits[a, b]`: draw b, turned to the torsions of minimum a, has its shape. Rings and
    other things that no torsion turns are then those of the draw.
    """

    smiles: str
    graph: HeavyGraph
    energy_kcal: NDArray[np.float32]  # (k,), kcal/mol above the lowest
    phi: NDArray[np.float32]  # (k, m), torsions of the minima in radians
    relaxed_A: NDArray[np.float32]  # (k, n, 3), heavy atoms of the minima
    drawn_A: NDArray[np.float32]  # (k, n, 3), of the draws
    fits: NDArray[np.bool_]  # (k, k)


class EnsembleSet:
    """Ensembles of many molecules; an npz of flat arrays on disk."""

    def __init__(self, ensembles: list[TorsionEnsemble]):
        self.ensembles = ensembles

    def __len__(self) -> int:
        return len(self.ensembles)

    @property
    def smiles(self) -> list[str]:
        """Of each molecule."""
        return [e.smiles for e in self.ensembles]

    def take(self, rows: Sequence[int] | NDArray[np.int64]) -> EnsembleSet:
        """The molecules of these rows."""
        return EnsembleSet([self.ensembles[k] for k in rows])

    def save(self, path: str | Path) -> None:
        """Write the npz, a temporary file first."""
        every = self.ensembles
        arrays: dict[str, Any] = {
            "smiles": np.array(self.smiles),
            "atoms": np.array([e.graph.n_atoms for e in every], np.int32),
            "torsions": np.array([e.graph.n_torsions for e in every], np.int32),
            "minima": np.array([len(e.phi) for e in every], np.int32),
            "atom": np.concatenate([e.graph.atom.ravel() for e in every]),
            "pair": np.concatenate([e.graph.pair.ravel() for e in every]),
            "axes": np.concatenate([e.graph.torsions.ravel() for e in every]).astype(np.int16),
            "sides": np.concatenate([e.graph.sides.ravel() for e in every]),
        }
        for name in PER_MINIMUM:
            arrays[name] = np.concatenate([getattr(e, name).ravel() for e in every])
        temporary = Path(f"{path}.tmp.npz")
        np.savez_compressed(temporary, **arrays)
        temporary.replace(path)

    @classmethod
    def load(cls, path: str | Path) -> EnsembleSet:
        """Read an npz written by `save`.

        Raises
        ------
        InputError
            for a file of another kind.
        """
        try:
            with np.load(path, allow_pickle=False) as data:
                f = {name: data[name] for name in (*FIELDS, *PER_MINIMUM)}
        except (OSError, ValueError, KeyError) as error:
            raise InputError(
                f"{path} cannot be read as torsion ensembles ({error}); "
                "tools/pack_torsion_ensembles.py writes such files"
            ) from error
        place = dict.fromkeys(f, 0)

        def part(name: str, *shape: int) -> Any:
            begin = place[name]
            place[name] = begin + int(np.prod(shape))
            return f[name][begin : place[name]].reshape(shape)

        out = []
        sizes = zip(f["atoms"].tolist(), f["torsions"].tolist(), f["minima"].tolist(), strict=True)
        for smiles, (n, m, k) in zip(f["smiles"].tolist(), sizes, strict=True):
            graph = HeavyGraph(
                part("atom", n, len(ATOM_CODES)),
                part("pair", n, n, len(PAIR_CODES)),
                part("axes", m, 4).astype(np.int64),
                part("sides", m, n),
            )
            shapes = {
                "energy_kcal": (k,),
                "phi": (k, m),
                "relaxed_A": (k, n, 3),
                "drawn_A": (k, n, 3),
                "fits": (k, k),
            }
            rest = {name: part(name, *shape) for name, shape in shapes.items()}
            out.append(TorsionEnsemble(smiles, graph, **rest))
        return cls(out)


def load_all(names: Sequence[str]) -> EnsembleSet:
    """Several files as one set. Raises `InputError` where one is missing, or none
    holds a molecule.
    """
    out: list[TorsionEnsemble] = []
    for name in names:
        if not Path(name).is_file():
            raise InputError(
                f"there is no training data {name!r}; "
                "data: takes .npz files that tools/pack_torsion_ensembles.py wrote"
            )
        out += EnsembleSet.load(name).ensembles
    if not out:
        raise InputError(f"no ensemble in {', '.join(names)}")
    return EnsembleSet(out)


@dataclass(frozen=True, eq=False)
class NoisedBatch(Batched):
    """Conformers with noised torsions.

    Parameters
    ----------
    rows : Rows
        The joined conformers.
    positions_A : Tensor, shape (N, 3)
        Of their heavy atoms.
    sigmas : Tensor, shape (n_rows,)
        Noise, in radians.
    moving : Tensor, shape (T,)
        1 for a torsion that is noised.
    log_kT : Tensor, shape (n_rows,)
        Logarithm of kT over that at 300 K.
    noise : Tensor, shape (T,)
        What was added, in radians.
    """

    rows: Rows
    positions_A: Tensor
    sigmas: Tensor
    moving: Tensor
    log_kT: Tensor
    noise: Tensor

    def __len__(self) -> int:
        return self.rows.n_rows


@dataclass(frozen=True, eq=False)
class Batches:
    """`batches(step)`: noised conformers of molecules drawn from the step's own stream.

    Parameters
    ----------
    data : EnsembleSet
    molecules, rows : int
        Molecules in a batch, and conformers of each.
    seed : int
    """

    data: EnsembleSet
    molecules: int = 8
    rows: int = 8
    seed: int = 0

    def __call__(self, step: int) -> NoisedBatch:
        """Batch number `step`."""
        rng = np.random.default_rng([self.seed, step])
        chosen = rng.integers(len(self.data), size=self.molecules)
        parts = [noised(self.data.ensembles[k], self.rows, rng) for k in chosen.tolist()]
        graphs = [self.data.ensembles[k].graph for k in np.repeat(chosen, self.rows).tolist()]
        joined = (torch.cat(part) for part in zip(*parts, strict=True))
        return NoisedBatch(Rows.of(graphs), *joined)


def noised(e: TorsionEnsemble, count: int, rng: np.random.Generator) -> tuple[Tensor, ...]:
    """Positions, sigmas, moving, log kT and noise of `count` conformers of a molecule.

    Minima are drawn by their Boltzmann weights at temperatures drawn log-uniformly,
    noise levels log-uniformly and stratified. The local geometry is that of a draw or
    of a minimum whose rings fit.
    """
    m = e.graph.n_torsions
    kT = np.exp(rng.uniform(np.log(LEAST_KT_KCAL), np.log(MOST_KT_KCAL), count))
    weight = np.exp(-e.energy_kcal / kT[:, None])
    target = (rng.random((count, 1)) > np.cumsum(weight, 1) / weight.sum(1, keepdims=True)).sum(1)
    base = np.array([rng.choice(np.flatnonzero(e.fits[k])) for k in target.tolist()])
    start = np.where(rng.random(count) < 0.5, 0, 1)
    positions = np.stack([e.drawn_A, e.relaxed_A])[start, base]
    place = (np.arange(count) + rng.random(count)) / count
    low, high = np.log(SIGMA_MIN_RAD), np.log(SIGMA_MAX_RAD)
    sigma = np.exp(low + (high - low) * place)
    moving = np.stack([_moving(m, rng) for _ in range(count)])
    noise = sigma[:, None] * rng.standard_normal((count, m)) * moving
    delta = e.phi[target] - measured(e.graph, positions) + noise
    with torch.no_grad():
        x = turned(e.graph, torch.from_numpy(positions), torch.from_numpy(delta).float())
    flat = (sigma, moving.ravel(), np.log(kT / KT_300_KCAL), wrap(noise).ravel())
    return x.reshape(-1, 3), *(torch.from_numpy(values).float() for values in flat)


def _moving(m: int, rng: np.random.Generator) -> Floats:
    """Which of m torsions are noised: all, or a block of some."""
    out = np.ones(m)
    if m > 1 and rng.random() < HELD_SHARE:
        out[rng.choice(m, rng.integers(1, m), replace=False)] = 0.0
    return out


def measured(graph: HeavyGraph, positions_A: NDArray[Any]) -> Floats:
    """Torsions (..., m) of heavy-atom positions (..., n, 3), in radians."""
    return dihedrals(np.asarray(positions_A, np.float64), graph.torsions)

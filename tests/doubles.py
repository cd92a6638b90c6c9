"""Models that cost nothing: the engine is tested with them."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equidrift.adapters.rdkit.etkdg import ETKDG
from equidrift.engine.conformers import ConformerSettings, Piece, generate_windows
from equidrift.models.trajectories.baselines import LastFrame
from equidrift.records import Molecule, Trajectory
from equidrift.seeds import sample_rng

_GEOMETRY: dict[Molecule, NDArray[np.float64]] = {}


def geometry(molecule: Molecule) -> NDArray[np.float64]:
    """A sane geometry (n_atoms, 3) of the molecule."""
    if molecule not in _GEOMETRY:
        _GEOMETRY[molecule] = ETKDG().sample(molecule, np.array([0]))[0]
    return _GEOMETRY[molecule]


class Shaker:
    """One geometry, shaken a little with each sample's own stream; a share of the
    samples is broken.
    """

    name = "shaker"

    def __init__(self, *, broken: float = 0.0) -> None:
        self.broken = broken
        self.calls: list[list[tuple[Molecule, NDArray[np.int64]]]] = []

    def sample(
        self,
        molecule: Molecule,
        seeds: NDArray[np.int64],
        *,
        steps: int | None = None,
        callback: Any = None,
    ) -> NDArray[np.float64]:
        """See `ConformerModel.sample`."""
        return self.sample_many([(molecule, seeds)])[0]

    def sample_many(
        self,
        jobs: Sequence[tuple[Molecule, NDArray[np.int64]]],
        *,
        steps: int | None = None,
        callback: Any = None,
    ) -> list[NDArray[np.float64]]:
        """See `BatchedConformerModel.sample_many`."""
        self.calls.append(list(jobs))
        return [
            np.array([self._one(molecule, seed) for seed in seeds.tolist()])
            for molecule, seeds in jobs
        ]

    def _one(self, molecule: Molecule, seed: int) -> NDArray[np.float64]:
        rng = sample_rng(seed)
        positions = geometry(molecule) + 0.01 * rng.standard_normal((molecule.n_atoms, 3))
        fate = rng.random()
        if fate < self.broken / 2:
            return positions * np.nan
        return positions * 3.0 if fate < self.broken else positions


class Shrinker:
    """A refiner that does nothing to even samples and blows up odd ones."""

    name = "shrinker"

    def refine_many(
        self,
        jobs: Sequence[tuple[Molecule, NDArray[np.float64]]],
        *,
        steps: int | None = None,
        callback: Any = None,
    ) -> list[NDArray[np.float64]]:
        """See `Refiner.refine_many`."""
        return [
            np.array(
                [frame + 0.001 if k % 2 == 0 else 5 * frame for k, frame in enumerate(positions)]
            )
            for _, positions in jobs
        ]


class DeadlyShrinker(Shrinker):
    """A refiner that ends its process."""

    def refine_many(
        self, jobs: Sequence[tuple[Molecule, NDArray[np.float64]]], **options: Any
    ) -> list[NDArray[np.float64]]:
        """See `Refiner.refine_many`."""
        os.kill(os.getpid(), signal.SIGKILL)
        return []


class Unmoved:
    """A refiner that leaves every conformer where it is."""

    name = "unmoved"

    def refine_many(
        self,
        jobs: Sequence[tuple[Molecule, NDArray[np.float64]]],
        *,
        steps: int | None = None,
        callback: Any = None,
    ) -> list[NDArray[np.float64]]:
        """See `Refiner.refine_many`."""
        return [np.array(positions) for _, positions in jobs]


class Walker(LastFrame):
    """The last frame, shaken a little with each sample's own stream; `share` of the
    draws is broken. Refining shakes by `level`.
    """

    name = "walker"
    min_frames = 2
    dt_range_fs = (1.0, 1000.0)
    weights_sha256 = "0" * 64

    def __init__(self, *, share: float = 0.0, window: int = 0) -> None:
        self.share, self.window = share, window
        self.calls: list[tuple[int, int]] = []  # (seeds, frames) of each

    def complete(
        self,
        trajectory: Trajectory,
        given: NDArray[np.bool_],
        seeds: NDArray[np.int64],
        *,
        steps: int | None = None,
        callback: Any = None,
    ) -> NDArray[np.float64]:
        """See `TrajectoryModel.complete`."""
        self.calls.append((len(seeds), len(given)))
        made = super().complete(trajectory, given, seeds)
        for frames, seed in zip(made, seeds.tolist(), strict=True):
            rng = sample_rng(seed)
            frames[~given] += 0.003 * rng.standard_normal(frames.shape)[~given]
            if rng.random() < self.share:
                frames[np.flatnonzero(~given)[-1]] *= 3.0
        return made

    def refine(
        self, trajectory: Trajectory, seeds: NDArray[np.int64], *, level: float
    ) -> NDArray[np.float64]:
        """See `TrajectoryModel`."""
        noise = [
            sample_rng(seed).standard_normal(trajectory.positions_A.shape)
            for seed in seeds.tolist()
        ]
        return trajectory.positions_A + 0.01 * level * np.array(noise)


BREAD = (
    "CCO",
    "CC(O)CN",
    "c1ccoc1",
    "C[C@H](O)C#N",
    "CC(=O)OC",
    "C1CN1C=O",
    "FC(F)C",
    "CNC(N)=O",
    "C/C=C/O",
    "O=CC1CC1",
    "NC1=NCO1",
)
BREAD += ("CC#CCO",)


class Baker:
    """A model of new molecules: a few known ones, in a geometry shaken by the sample's
    own stream; a share of them is broken.

    faults : how the broken ones are, in turn: "none", "nan", "radical", "charged",
        "apart" (two pieces), "valency", "stretched".
    """

    name = "baker"
    weights_sha256 = "1" * 64
    max_atoms = 20
    elements = (1, 6, 7, 8, 9)
    takes_fragment, takes_sites, takes_pocket, takes_spectrum = True, False, False, False

    def __init__(
        self, *, share: float = 0.0, faults: Sequence[str] = ("none",), n: int = len(BREAD)
    ) -> None:
        self.share, self.faults, self.breads = share, tuple(faults), BREAD[:n]
        self.properties = {
            "gap_eV": (4.0, 10.0),
            "mu_D": (0.0, 8.0),
            "homo_eV": (-9.0, -4.0),
            "lumo_eV": (-3.0, 3.0),
        }
        self.calls: list[dict[str, Any]] = []

    def sample(
        self, seeds: NDArray[np.int64], **options: Any
    ) -> list[tuple[Molecule, NDArray[np.float64]] | None]:
        """See `MoleculeModel.sample`."""
        self.calls.append({"count": len(seeds), **options})
        return [self._one(int(seed), options.get("fragment")) for seed in seeds]

    def _one(self, seed: int, fragment: Any) -> tuple[Molecule, NDArray[np.float64]] | None:
        rng = sample_rng(seed)
        molecule = Molecule.from_smiles(self.breads[rng.integers(len(self.breads))])
        positions = geometry(molecule) + 0.01 * rng.standard_normal((molecule.n_atoms, 3))
        molecule = molecule.replace(
            tetrahedral=np.zeros((0, 5)), double_bonds=np.zeros((0, 5)), smiles=""
        )
        if rng.random() < self.share:
            return spoilt(molecule, positions, self.faults[rng.integers(len(self.faults))])
        return molecule, positions


class Mortal(Baker):
    """A model that ends its process at its first call, if it can make the file that the
    environment names.
    """

    def sample(
        self, seeds: NDArray[np.int64], **options: Any
    ) -> list[tuple[Molecule, NDArray[np.float64]] | None]:
        """See `MoleculeModel.sample`."""
        try:
            os.close(os.open(os.environ["MORTAL"], os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return super().sample(seeds, **options)
        os.kill(os.getpid(), signal.SIGKILL)
        return []


class Poison(Baker):
    """A model that ends its process when it draws from the seed that the environment
    names.
    """

    def sample(
        self, seeds: NDArray[np.int64], **options: Any
    ) -> list[tuple[Molecule, NDArray[np.float64]] | None]:
        """See `MoleculeModel.sample`."""
        if int(os.environ["POISON"]) in seeds:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().sample(seeds, **options)


def spoilt(
    molecule: Molecule, positions: NDArray[np.float64], fault: str
) -> tuple[Molecule, NDArray[np.float64]] | None:
    """A molecule with one fault; see `Baker`."""
    hydrogen = int(np.flatnonzero(molecule.numbers == 1)[-1])
    kept = np.arange(molecule.n_atoms) != hydrogen
    if fault == "none":
        return None
    if fault == "nan":
        return molecule, positions * np.nan
    if fault == "stretched":
        return molecule, positions * 1.6
    if fault == "apart":
        bonded = ~(molecule.bonds == hydrogen).any(1)
        return molecule.replace(
            bonds=molecule.bonds[bonded], bond_orders=molecule.bond_orders[bonded]
        ), positions
    if fault == "valency":  # an even number of electrons, but a double bond to a hydrogen
        orders = np.where((molecule.bonds == hydrogen).any(1), 2.0, molecule.bond_orders)
        return molecule.replace(bond_orders=orders), positions
    bonds = ~(molecule.bonds == hydrogen).any(1)
    place = np.cumsum(kept) - 1
    smaller = Molecule(
        molecule.numbers[kept],
        place[molecule.bonds[bonds]],
        molecule.bond_orders[bonds],
        molecule.formal_charges[kept].copy(),
    )
    if fault == "charged":  # a hydride lost, so that every shell is closed
        charges = np.array(smaller.formal_charges)
        charges[int(molecule.bonds[~bonds][0].min())] += 1
        smaller = smaller.replace(formal_charges=charges)
    return smaller, positions[kept]


class Fatal(Shaker):
    """A model that ends its process for diamines."""

    def sample_many(
        self,
        jobs: Sequence[tuple[Molecule, NDArray[np.int64]]],
        *,
        steps: int | None = None,
        callback: Any = None,
    ) -> list[NDArray[np.float64]]:
        """See `BatchedConformerModel.sample_many`."""
        if any(molecule.numbers.tolist().count(7) == 2 for molecule, _ in jobs):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().sample_many(jobs, steps=steps, callback=callback)


def pieces_of(molecules: Iterable[Any], n: int, settings: ConformerSettings) -> list[Piece]:
    """The pieces of every window."""
    windows = generate_windows(molecules, n, settings=settings)
    return [piece for window in windows for piece in window]

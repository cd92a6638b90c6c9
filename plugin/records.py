"""The records that flow between hosts and models: Molecule, Ensemble, Trajectory,
Proposal. Immutable; A, eV, fs, K.
"""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from equidrift.errors import InputError
from equidrift.frozen import Frozen, Pick, frozen_array, text_columns
from equidrift.molecule import (
    LABELS,
    MAX_ATOM_MAP,
    MAX_CHARGE,
    MAX_ISOTOPE,
    MAX_MULTIPLICITY,
    ORDERS,
    SYMBOLS,
    Molecule,
)
from equidrift.shown import Plotted, Viewed
from equidrift.units import BOLTZMANN_EV_PER_K

if TYPE_CHECKING:
    import ase
    import MDAnalysis
    import mdtraj
    import pandas
    from rdkit import Chem


__all__ = [
    "LABELS",
    "MAX_ATOM_MAP",
    "MAX_CHARGE",
    "MAX_ISOTOPE",
    "MAX_MULTIPLICITY",
    "ORDERS",
    "SYMBOLS",
    "TITLE",
    "Chunk",
    "Ensemble",
    "Frozen",
    "Molecule",
    "Proposal",
    "Trajectory",
]
TITLE = "_Name"  # among the properties of conformers: the titles, where each has its own


@dataclass(frozen=True, eq=False)
class Ensemble(Plotted, Frozen):
    """Conformers of one molecule.

    positions_A float64 (n_samples, n_atoms, 3); seeds int64 (n_samples,); log_prob and
    energies_eV (n_samples,) or None; valid bool (n_samples,); scores: further numbers a
    sample, by name; provenance: model, weights hash, options, versions; properties:
    text by name that came with each sample and is not the same for all, such as the
    fields of an SDF file (what is the same is in `molecule.properties`); the titles of
    the samples, where they differ, under "_Name".

    Examples
    --------
    >>> import equidrift
    >>> ethanol = equidrift.Molecule.from_smiles("CCO")
    >>> ensemble = equidrift.Ensemble(ethanol, [[[0.0, 0.0, 1.5 * k] for k in range(9)]])
    >>> len(ensemble), ensemble.molecule.n_atoms
    (1, 9)
    """

    molecule: Molecule
    positions_A: NDArray[np.float64]
    seeds: NDArray[np.int64] | None = None
    log_prob: NDArray[np.float64] | None = None
    energies_eV: NDArray[np.float64] | None = None
    valid: NDArray[np.bool_] | None = None
    scores: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    properties: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        fix = object.__setattr__
        fix(
            self,
            "positions_A",
            frozen_array(
                self.positions_A, np.float64, (None, self.molecule.n_atoms, 3), "positions_A"
            ),
        )
        n = len(self.positions_A)
        fix(
            self,
            "seeds",
            frozen_array(
                np.arange(n) if self.seeds is None else self.seeds, np.int64, (n,), "seeds"
            ),
        )
        fix(
            self,
            "valid",
            frozen_array(
                np.ones(n, bool) if self.valid is None else self.valid, np.bool_, (n,), "valid"
            ),
        )
        for label, value in self.named(("log_prob", "energies_eV")).items():
            if value is not None:
                fix(self, label, frozen_array(value, np.float64, (n,), label))
        scores = {
            key: frozen_array(value, np.float64, (n,), f"scores[{key!r}]")
            for key, value in self.scores.items()
        }
        fix(self, "scores", MappingProxyType(scores))
        fix(self, "provenance", MappingProxyType(dict(self.provenance)))
        fix(self, "properties", MappingProxyType(text_columns(self.properties, n)))

    def __len__(self) -> int:
        return len(self.positions_A)

    def __getitem__(self, index: Pick) -> Ensemble:
        """The samples that `index` (int, slice, mask or list) picks, as an Ensemble."""
        pick = np.arange(len(self))[index]
        pick = np.atleast_1d(pick)
        return dataclasses.replace(
            self,
            positions_A=self.positions_A[pick],
            seeds=self.seeds[pick] if self.seeds is not None else None,
            log_prob=None if self.log_prob is None else self.log_prob[pick],
            energies_eV=None if self.energies_eV is None else self.energies_eV[pick],
            valid=self.valid[pick] if self.valid is not None else None,
            scores={key: value[pick] for key, value in self.scores.items()},
            properties={
                key: [texts[k] for k in pick.tolist()] for key, texts in self.properties.items()
            },
        )

    def __repr__(self) -> str:
        model = self.provenance.get("model", "?")
        return f"Ensemble({self.molecule!r}, {len(self)} conformers, model {model})"

    def boltzmann_weights(self, temperature_K: float = 298.15) -> NDArray[np.float64]:
        """Weights of the conformers by their energies.

        Each conformer counts once, without the width of its basin: an ensemble of
        distinct, relaxed conformers (`distinct=True`, `relax=`) is meant.

        Parameters
        ----------
        temperature_K : float
            Above 0.

        Returns
        -------
        (n_samples,) array
            exp(-E / kT), with the sum 1; 0 for a conformer without energy.

        Raises
        ------
        InputError
            If no conformer has an energy, or for another temperature.

        Examples
        --------
        >>> import equidrift
        >>> water = equidrift.Molecule.from_smiles("O")
        >>> two = equidrift.Ensemble(water, [[[0, 0, k] for k in range(3)]] * 2)
        >>> two.replace(energies_eV=[0.0, 0.05]).boltzmann_weights(300.0).round(2)
        array([0.87, 0.13])
        """
        if not 0 < temperature_K < np.inf:
            raise InputError(
                f"temperature_K must be above 0 and finite, not {temperature_K}; give for "
                "example 298.15"
            )
        if self.energies_eV is None or not np.isfinite(self.energies_eV).any():
            raise InputError(
                f"{self!r} has no energies; relax it (relax='mmff' of equidrift.sample), or set "
                "them: ensemble.replace(energies_eV=...)"
            )
        above_eV = self.energies_eV - np.nanmin(self.energies_eV)
        weights = np.exp(
            -np.nan_to_num(above_eV, nan=np.inf) / (BOLTZMANN_EV_PER_K * temperature_K)
        )
        return np.asarray(weights / weights.sum())

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write to a file; the suffix picks the format (see
        `equidrift.registry.ENSEMBLE_WRITERS`).
        """
        from equidrift.files.ensembles import save

        save(self, path)

    def to_ase(self) -> list[ase.Atoms]:
        """One `ase.Atoms` a conformer."""
        from equidrift.registry import resolve

        images: list[ase.Atoms] = resolve("equidrift.adapters.ase.atoms:to_atoms")(self)
        return images

    def to_rdkit(self) -> Chem.Mol:
        """An RDKit Mol with one conformer per sample, in A.

        Name, isotopes, atom maps and the molecule's properties are in it; each conformer
        has `seed`, `valid`, `energy_eV`, `log_prob`, the scores and the sample's own
        properties. `equidrift.refine` and its kin read them back.
        """
        from equidrift.registry import resolve

        mol: Chem.Mol = resolve("equidrift.adapters.rdkit.carried:carried_mol")(self)
        return mol

    def to_openmm(self) -> tuple[Any, list[Any]]:
        """(Topology, [positions Quantity a conformer])."""
        from equidrift.registry import resolve

        topology: tuple[Any, list[Any]] = resolve("equidrift.adapters.openmm.topology:to_openmm")(
            self
        )
        return topology

    def to_mdanalysis(self) -> MDAnalysis.Universe:
        """A Universe whose frames are the conformers."""
        from equidrift.registry import resolve

        return resolve("equidrift.adapters.mdanalysis.universe:to_universe")(self)

    def to_mdtraj(self) -> mdtraj.Trajectory:
        """An MDTraj trajectory whose frames are the conformers."""
        from equidrift.registry import resolve

        return resolve("equidrift.adapters.mdtraj.trajectory:to_mdtraj")(self)

    def to_pandas(self) -> pandas.DataFrame:
        """A table as RDKit's PandasTools make it, one row per conformer; see
        `equidrift.adapters.rdkit.frames.to_frame`.
        """
        from equidrift.registry import resolve

        return resolve("equidrift.adapters.rdkit.frames:to_frame")(self)


@dataclass(frozen=True, eq=False)
class Trajectory(Viewed, Frozen):
    """Frames of one molecule: positions_A (n_frames, n_atoms, 3) and time_fs
    (n_frames,).

    box_A is None, (3, 3) for a box that every frame has, or (n_frames, 3, 3) for one
    that changes; its rows are the cell's vectors. provenance: model, seeds, options,
    `exact`, versions.

    Examples
    --------
    >>> import equidrift
    >>> water = equidrift.Molecule.from_smiles("O")
    >>> frames = [[[0.0, 0.0, 1.0 * k] for k in range(3)]] * 2
    >>> equidrift.Trajectory(water, frames, [0.0, 5.0]).dt_fs
    5.0
    """

    molecule: Molecule
    positions_A: NDArray[np.float64]
    time_fs: NDArray[np.float64]
    box_A: NDArray[np.float64] | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        fix = object.__setattr__
        fix(
            self,
            "positions_A",
            frozen_array(
                self.positions_A, np.float64, (None, self.molecule.n_atoms, 3), "positions_A"
            ),
        )
        fix(
            self,
            "time_fs",
            frozen_array(self.time_fs, np.float64, (len(self.positions_A),), "time_fs"),
        )
        if self.box_A is not None:
            one = np.ndim(self.box_A) == 2
            shape = (3, 3) if one else (len(self.positions_A), 3, 3)
            fix(self, "box_A", frozen_array(self.box_A, np.float64, shape, "box_A"))
        fix(self, "provenance", MappingProxyType(dict(self.provenance)))

    def __len__(self) -> int:
        return len(self.positions_A)

    def __getitem__(self, index: Pick) -> Trajectory:
        """The frames that `index` (int, slice, mask or list) picks, as a Trajectory."""
        pick = np.atleast_1d(np.arange(len(self))[index])
        box_A = self.box_A
        if box_A is not None and box_A.ndim == 3:
            box_A = box_A[pick]
        positions_A, time_fs = self.positions_A[pick], self.time_fs[pick]
        return self.replace(positions_A=positions_A, time_fs=time_fs, box_A=box_A)

    def __repr__(self) -> str:
        span = f"{self.time_fs[0]:g} to {self.time_fs[-1]:g} fs" if len(self) else "empty"
        model = self.provenance.get("model", "?")
        return f"Trajectory({self.molecule!r}, {len(self)} frames, {span}, model {model})"

    @property
    def boxes_A(self) -> NDArray[np.float64] | None:
        """The box of each frame, (n_frames, 3, 3), or None."""
        if self.box_A is None:
            return None
        return np.broadcast_to(self.box_A, (len(self), 3, 3))

    @property
    def dt_fs(self) -> float:
        """Mean time between frames.

        Raises `InputError` for a single frame, which has none.
        """
        if len(self) < 2:
            raise InputError(f"{self!r} has no time between frames; give at least two frames")
        return float(self.time_fs[-1] - self.time_fs[0]) / (len(self) - 1)

    def to_ensemble(self) -> Ensemble:
        """The frames as conformers; times and box are left behind."""
        return Ensemble(self.molecule, self.positions_A, provenance=self.provenance)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write to a file; the suffix picks the format (see
        `equidrift.registry.TRAJECTORY_WRITERS`).
        """
        from equidrift.files.trajectories import save_trajectory

        save_trajectory(self, path)

    def to_ase(self) -> list[ase.Atoms]:
        """One `ase.Atoms` a frame, the time in `info["time_fs"]`."""
        from equidrift.registry import resolve

        images: list[ase.Atoms] = resolve("equidrift.adapters.ase.frames:trajectory_to_atoms")(self)
        return images

    def to_openmm(self) -> tuple[Any, list[Any]]:
        """(Topology, [positions Quantity a frame])."""
        return self.to_ensemble().to_openmm()

    def to_mdanalysis(self) -> MDAnalysis.Universe:
        """A Universe whose frames, times and box are the trajectory's."""
        from equidrift.registry import resolve

        return resolve("equidrift.adapters.mdanalysis.universe:to_universe")(self)

    def to_mdtraj(self) -> mdtraj.Trajectory:
        """An MDTraj trajectory with the same frames, times and box."""
        from equidrift.registry import resolve

        return resolve("equidrift.adapters.mdtraj.trajectory:to_mdtraj")(self)


@dataclass(frozen=True)
class Proposal(Frozen):
    """A proposed configuration and log q(x | x') - log q(x' | x), None where the
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

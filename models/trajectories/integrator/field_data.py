"""What a learned force field is trained on: MMFF94's own constants of many molecules
first, then forces along molecular dynamics.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from equidrift.errors import EquidriftError, InputError
from equidrift.mmff import MMFFParameters, mmff_parameters
from equidrift.models.shared.batches import Batched
from equidrift.models.shared.split import held_out
from equidrift.models.trajectories.dynamics import Dynamics
from equidrift.models.trajectories.graphs import molecule_graph
from equidrift.models.trajectories.integrator.field import Constants, LearnedField, TermConstants
from equidrift.models.trajectories.integrator.skeleton import Skeleton, side_by_side, skeleton_of
from equidrift.records import Molecule
from equidrift.registry import host_function
from equidrift.units import AMU_A2_PER_FS2_EV, COULOMB_KCAL_A_PER_MOL_E2, KCAL_MOL_PER_MDYN_A

HALF = 0.5 * KCAL_MOL_PER_MDYN_A
CUBIC_ANGLE_PER_RAD = -0.4  # of MMFF94
# below this sine of the reference angle the cosine form's constants are left to the forces
STRAIGHT = 0.5
FORCE_SIZE = 0.02  # amu A/fs^2, a usual force


@dataclass
class Forces(Batched):
    """Frames (b, N, 3) of molecules side by side and the forces on them, amu A/fs^2."""

    terms: Skeleton
    frames: Tensor
    forces: Tensor


class ForceBatches:
    """Batch number `step` of an endless, seeded sequence: some frames of some molecules
    side by side, each level in its share.

    each : molecules per batch of the level with most molecules; all others together
        have a fifth of that, at least one.
    """

    def __init__(self, runs: Sequence[Dynamics], *, seed: int, each: int = 10, frames: int = 6):
        self.seed, self.frames = seed, frames
        usable = [run for run in runs if run.forces_eV_A is not None]
        if not usable:
            raise InputError(
                "a force field is learned from forces, and no run has them; make_md.py --forces "
                "keeps them"
            )
        levels = sorted(
            {run.level for run in usable},
            key=lambda level: -len([run for run in usable if run.level == level]),
        )
        shares = [each, *[max(1, each // 5)] * (len(levels) - 1)]
        self.parts = [
            ([run for run in usable if run.level == level], share)
            for level, share in zip(levels, shares, strict=True)
        ]
        self._terms: dict[int, Skeleton] = {}

    def terms(self, run: Dynamics) -> Skeleton:
        """The skeleton of a run's molecule, made once."""
        if id(run) not in self._terms:
            self._terms[id(run)] = skeleton_of(molecule_graph(run.molecule, run.level))
        return self._terms[id(run)]

    def __call__(self, step: int) -> Forces:
        """The batch of a step."""
        rng = np.random.default_rng([self.seed, step])
        chosen = [
            runs[int(k)] for runs, each in self.parts for k in rng.integers(len(runs), size=each)
        ]
        frames, forces = [], []
        for run in chosen:
            x = run.positions_A.reshape(-1, *run.positions_A.shape[2:])
            k = rng.integers(len(x), size=self.frames)
            frames.append(x[k])
            forces.append(cast(NDArray[np.float32], run.forces_eV_A).reshape(x.shape)[k])
        at, force = (torch.from_numpy(np.concatenate(part, 1)) for part in (frames, forces))
        return Forces(
            side_by_side([self.terms(run) for run in chosen]), at, force * AMU_A2_PER_FS2_EV
        )


def force_loss(field: LearnedField, batch: Forces) -> Tensor:
    """Mean length of the forces' errors, so that small ones go on counting."""
    found = (
        field.accelerations(field.constants(batch.terms), batch.frames)
        * batch.terms.mass.to(batch.frames.dtype)[:, None]
    )
    return ((found - batch.forces).square().sum(-1) + 1e-8).sqrt().mean() / FORCE_SIZE


@dataclass
class Known(TermConstants):
    """The constants of MMFF94 in the learned field's own form; NaN where it has none of
    that form.
    """

    def __len__(self) -> int:
        return len(self.terms.node)


def known_constants(terms: Skeleton, p: MMFFParameters) -> Known:
    """MMFF94's constants of a molecule for its skeleton.

    An angle's harmonic in theta becomes one in its cosine: with s = sin theta0 and t =
    cos theta - cos theta0 the square of the deviation is t^2 / s^2 + t^3 cos theta0 /
    s^4. Three neighbours' out-of-plane angles are each w / sin(120 degrees).
    """
    bond = {tuple(sorted(pair)): k for k, pair in enumerate(p.bonds.tolist())}
    rows = [bond[tuple(sorted(pair))] for pair in terms.bonds.tolist()]
    stiff = p.out_of_plane_k_mdyn_A_per_rad2.tolist()
    flat = {row[1]: 4 * HALF * k for row, k in zip(p.out_of_planes.tolist(), stiff, strict=True)}
    pairs = {tuple(sorted(pair)): k for k, pair in enumerate(p.pairs.tolist())}
    far = [pairs[tuple(sorted(pair))] for pair in terms.pairs.tolist()]
    arrays = {
        "bond": np.stack([HALF * p.bond_k_mdyn_per_A[rows], p.bond_r0_A[rows]], -1),
        "angle": _known_angles(terms, p),
        "torsion": _known_torsions(terms, p),
        "plane": np.array([flat.get(row[0], 0.0) for row in terms.planes.tolist()]),
        "contact": np.stack([p.pair_r_star_A[far], p.pair_epsilon_kcal_mol[far]], -1),
        "charge": p.charges_e[terms.pairs.numpy()].prod(-1) * COULOMB_KCAL_A_PER_MOL_E2,
    }
    return Known(
        terms,
        **{name: torch.from_numpy(np.asarray(part, np.float32)) for name, part in arrays.items()},
    )


def _known_angles(terms: Skeleton, p: MMFFParameters) -> NDArray[np.float64]:
    """Constants of angles (A, 5), NaN where MMFF94 has none of the field's form."""
    bends = {(i, j, k): row for row, (i, j, k) in enumerate(p.angles.tolist())}
    bends |= {(k, j, i): row for (i, j, k), row in bends.items()}
    atoms_of, both = p.stretch_bends.tolist(), p.stretch_bend_k_mdyn_per_rad.tolist()
    crosses = {tuple(atoms): tuple(pair) for atoms, pair in zip(atoms_of, both, strict=True)}
    crosses |= {(k, j, i): (b, a) for (i, j, k), (a, b) in crosses.items()}
    angle = np.full((len(terms.angles), 5), np.nan)
    for place, atoms in enumerate(map(tuple, terms.angles.tolist())):
        row = bends.get(atoms)
        theta = np.radians(p.angle_theta0_deg[row]) if row is not None else 0.0
        if row is None or p.angle_linear[row] or np.sin(theta) < STRAIGHT:
            continue
        s, c = np.sin(theta), np.cos(theta)
        k = HALF * max(float(p.angle_k_mdyn_A_per_rad2[row]), 0.02)
        one, two = (-2 * HALF * value / s for value in crosses.get(atoms, (0.0, 0.0)))
        angle[place] = (k / s**2, c, c / s**2 - CUBIC_ANGLE_PER_RAD / s, one, two)
    return angle


def _known_torsions(terms: Skeleton, p: MMFFParameters) -> NDArray[np.float64]:
    """Constants of torsions (T, 4), as powers of the cosine."""
    series = zip(p.torsions.tolist(), p.torsion_V_kcal_mol.tolist(), strict=True)
    turns = {tuple(atoms): v for atoms, v in series}
    turns |= {atoms[::-1]: v for atoms, v in turns.items()}
    torsion = np.zeros((len(terms.torsions), 4))
    for place, atoms in enumerate(map(tuple, terms.torsions.tolist())):
        v1, v2, v3 = turns.get(atoms, (0.0, 0.0, 0.0))
        torsion[place] = (0.5 * (v1 - 3 * v3), -v2, 2 * v3, 0.0)
    return torsion


class ConstantBatches:
    """MMFF94's constants of `each` of the training molecules of a SMILES file, seeded
    by the step; what MMFF94 cannot type is left out.
    """

    def __init__(self, smiles: Path, *, seed: int, each: int = 10, limit: int = 3000):
        flat_smiles = host_function("rdkit", "flat_smiles")
        self.seed, self.each, self.known = seed, each, list[Known]()
        for line in smiles.read_text().splitlines()[:limit]:
            try:
                molecule = Molecule.from_smiles(line.split()[0])
                if held_out(flat_smiles(molecule)) == "train":
                    self.known.append(
                        known_constants(
                            skeleton_of(molecule_graph(molecule, "MMFF94")),
                            mmff_parameters(molecule),
                        )
                    )
            except (EquidriftError, IndexError, KeyError):  # no molecule that MMFF94 types
                continue
        if not self.known:
            raise InputError(f"{smiles} holds no training molecule that MMFF94 can type")

    def __call__(self, step: int) -> Known:
        """The batch of a step."""
        rng = np.random.default_rng([self.seed, step, 3])
        chosen = [self.known[int(k)] for k in rng.integers(len(self.known), size=self.each)]
        names = [name for name in vars(chosen[0]) if name != "terms"]
        return Known(
            side_by_side([c.terms for c in chosen]),
            **{name: torch.cat([vars(c)[name] for c in chosen]) for name in names},
        )


def off(difference: Tensor, size: float) -> Tensor:
    """Pseudo-Huber mean of differences in units of `size`; 0 for none."""
    return (
        ((1 + (difference / size).square()).sqrt() - 1).mean()
        if difference.numel()
        else difference.sum()
    )


def constants_loss(field: LearnedField, batch: Known) -> Tensor:
    """Differences from MMFF94's constants, each in units of what would matter; none of
    the terms that MMFF94 lacks.
    """
    c: Constants = field.constants(batch.terms)
    bent = ~batch.angle[:, 0].isnan()
    mine, theirs = c.angle[bent], batch.angle[bent]
    scale = torch.where(batch.terms.near, 0.75, 1.0)
    return (
        off(c.bond[:, 0].log() - batch.bond[:, 0].log(), 0.1)
        + off(c.bond[:, 1] - batch.bond[:, 1], 0.02)
        + 0.1 * off(c.bond[:, 2] + 2, 1.0)
        + off(mine[:, 0].log() - theirs[:, 0].log(), 0.15)
        + off(mine[:, 1] - theirs[:, 1], 0.03)
        + 0.3 * off(mine[:, 2] - theirs[:, 2], 0.2)
        + off(mine[:, 4:] - theirs[:, 3:], 5.0)
        + off(c.angle[:, 3], 5.0)
        + off(c.torsion - batch.torsion, 0.3)
        + off(c.plane - batch.plane, 1.0)
        + off(c.contact[:, 0] - batch.contact[:, 0], 0.05)
        + off(c.contact[:, 1].log() - batch.contact[:, 1].clamp_min(1e-3).log(), 0.15)
        + off(c.charge / scale - batch.charge, 2.0)
    )


def field_loss(field: nn.Module, batch: Forces | Known) -> Tensor:
    """The loss of either kind of batch."""
    learned = cast(LearnedField, field)
    return (
        constants_loss(learned, batch) if isinstance(batch, Known) else force_loss(learned, batch)
    )

"""`equidrift bench alignment`: how often a hidden pose is found again.

Rows `molecules/...`: conformers of drug-like molecules, each coordinate moved by a normal
number of .1 A, turned, shifted and in another order of atoms; found if the heavy atoms lie
within .3 A of the best there is. `open3dalign` is RDKit's, begun from where the copy
stands. Rows `clouds/...` are in the manner of TUD-L, on surfaces of our own without
symmetry: 500 points of a view from one side, noise of 1 % of the size, laid onto other
800 points of the whole surface; found if the true points are met within 5 % of the size.
Shares are in percent, with binomial errors.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from rdkit import Chem
from rdkit.Chem import rdMolAlign

from equidrift.adapters.rdkit.etkdg import ETKDGMMFF
from equidrift.adapters.rdkit.molecule import to_mol
from equidrift.bench.machine import Progress, silent
from equidrift.bench.rows import Row, row, share_errors, table
from equidrift.geometry import Floats
from equidrift.models.rigid import rotations
from equidrift.models.rigid.registration import register
from equidrift.records import Molecule

SMILES = (
    "CC(C)Cc1ccc(cc1)[C@H](C)C(=O)O",
    "CCOC(=O)c1ccccc1N",
    "C[C@@H](N)C(=O)NCc1ccncc1",
    "OC[C@H]1OC(O)[C@H](O)[C@@H](O)[C@@H]1O",
    "CN1CCC[C@H]1c1cccnc1",
    "Clc1ccc(cc1)S(=O)(=O)NCC1CC1",
    "CC(=O)Nc1ccc(O)cc1",
    "CN1C=NC2=C1C(=O)N(C)C(=O)N2C",
    "OC(=O)Cc1ccccc1Nc1c(Cl)cccc1Cl",
    "CC(C)NCC(O)COc1cccc2ccccc12",
)
JITTER_A, WITHIN_A = 0.1, 0.3
POINTS, SEEN, NOISE, WITHIN = 800, 500, 0.01, 0.05  # the last two of the surface's size
Pair = tuple[Floats, Floats, Floats]  # what is laid, onto what, and where it should be


def hidden(x: Floats, rng: np.random.Generator) -> tuple[Floats, np.ndarray]:
    """Points turned, shifted and in another order; and the order."""
    order = rng.permutation(len(x))
    turned: Floats = x @ rotations.haar(1, rng)[0].T + rng.uniform(-20, 20, 3)
    return turned[order], order


def molecules(repeats: int) -> list[Row]:
    """Ours beside Open3DAlign."""
    found: dict[str, list[bool]] = {"equidrift": [], "open3dalign": []}
    spent = dict.fromkeys(found, 0.0)
    for index, smiles in enumerate(SMILES):
        molecule = Molecule.from_smiles(smiles)
        shapes_A = ETKDGMMFF().sample(molecule, np.arange(repeats))
        mol, numbers = to_mol(molecule, shapes_A[:1]), molecule.numbers
        for k, x in enumerate(shapes_A):
            rng = np.random.default_rng([index, k])
            moved, order = hidden(x + JITTER_A * rng.standard_normal(x.shape), rng)
            heavy = numbers[order] != 1
            for name, lay in (("equidrift", _ours), ("open3dalign", _theirs)):
                begun = time.process_time()
                placed = lay(mol, moved, x, order)
                spent[name] += time.process_time() - begun
                rms = np.sqrt(np.square(placed - x[order])[heavy].sum(-1).mean())
                found[name].append(bool(rms < JITTER_A * np.sqrt(3) + WITHIN_A))
    return [_row(f"molecules/{name}", hits, spent[name]) for name, hits in found.items()]


def _ours(mol: Chem.Mol, moved: Floats, x: Floats, order: np.ndarray) -> Floats:
    """By heavy atoms, as `equidrift.align` does."""
    numbers = np.array([atom.GetAtomicNum() for atom in mol.GetAtoms()])
    mine, theirs = numbers[order] != 1, numbers != 1
    kinds = numbers[order][mine], numbers[theirs]
    return register(moved[mine], x[theirs], kinds=kinds).placed(moved)


def _theirs(mol: Chem.Mol, moved: Floats, x: Floats, order: np.ndarray) -> Floats:
    """With every hydrogen, which its atom types ask for."""
    fixed, probe = Chem.Mol(mol), Chem.RenumberAtoms(mol, order.tolist())
    fixed.GetConformer().SetPositions(np.ascontiguousarray(x))
    probe.GetConformer().SetPositions(np.ascontiguousarray(moved))
    rdMolAlign.GetO3A(probe, fixed).Align()
    placed: Floats = probe.GetConformer().GetPositions()
    return placed


def cloud(seed: int) -> Pair:
    """A noisy view from one side, another draw of the whole surface, and the truth."""
    rng = np.random.default_rng(seed)
    waves = rng.normal(0, 0.25, (3, 3))

    def surface(n: int) -> Floats:
        u = rng.standard_normal((n, 3))
        u /= np.linalg.norm(u, axis=1, keepdims=True)
        bumps = 1 + np.einsum("ni,ij,nj->n", u, waves, u) + 0.3 * u[:, 2] ** 3 + 0.3 * u[:, 0]
        points: Floats = u * np.maximum(bumps, 0.3)[:, None] * [1.0, 0.7, 0.5]
        return points

    whole, view = surface(POINTS), surface(4 * SEEN)
    side = rng.standard_normal(3)
    seen = view[np.argsort(-view @ side)[:SEEN]]  # what faces the camera: a quarter of it
    seen = seen + NOISE * rng.standard_normal(seen.shape)
    moved = seen @ rotations.haar(1, rng)[0].T + rng.uniform(-3, 3, 3)
    return moved, whole, seen


def clouds(n: int) -> list[Row]:
    """Views laid onto surfaces."""
    hits, begun = [], time.process_time()
    for seed in range(n):
        moved, whole, truth = cloud(seed)
        away = register(moved, whole).placed(moved) - truth
        hits.append(bool(np.sqrt(np.square(away).sum(-1).mean()) < 2 * WITHIN))
    return [_row("clouds/equidrift", hits, time.process_time() - begun)]


def _row(name: str, hits: list[bool], seconds: float) -> Row:
    """Share found, and what one costs."""
    found = {"found": 100 * float(np.mean(hits))}
    cost = {"cpu_ms": 1000 * seconds / len(hits)}
    return row(name, found | share_errors(found, len(hits)) | cost, len(hits))


def run(full: bool = False, progress: Progress | None = None) -> dict[str, Any]:
    """The table as one object.

    Parameters
    ----------
    full : bool, optional
        Ten conformers of each of ten molecules and 100 clouds; else three and 15.
    progress : callable, optional
        Called with a line of text before every part.
    """
    say, rows = progress or silent, []
    parts: tuple[tuple[str, Callable[[], list[Row]]], ...] = (
        ("molecules", lambda: molecules(10 if full else 3)),
        ("clouds", lambda: clouds(100 if full else 15)),
    )
    for name, measured in parts:
        say(name)
        rows += measured()
    return table("alignment", rows)

"""Held atoms and distance restraints in RDKit's embedding and force fields."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from rdkit import Chem, DistanceGeometry, rdBase
from rdkit.Chem import rdDistGeom
from rdkit.Geometry import Point3D

from equidrift.adapters.rdkit.force_fields import rdForceFieldHelpers
from equidrift.adapters.rdkit.interrupts import embedded_ids
from equidrift.adapters.rdkit.molecule import to_mol
from equidrift.checks.conditions import Known
from equidrift.geometry import superposed
from equidrift.records import Molecule
from equidrift.units import KCAL_MOL_PER_EV

RESTRAINT_K = 200.0  # kcal/mol/A^2 outside the bounds: a strained NOE gives way, and not the bonds
FAR_A = 1000.0
MAX_ITERATIONS = 1000
TETHER_K = 100.0  # kcal/mol/A^2, as in RDKit's own ConstrainedEmbed


def embed_with(options: Any, mol: Chem.Mol, known: Known) -> None:
    """Write what is known into RDKit's embedding options.

    From random coordinates, because only then does RDKit put mapped atoms where they
    belong: from eigenvectors it keeps their distances, and half of all cores come out
    as mirror images.
    """
    if len(known.atoms):
        options.SetCoordMap(
            {
                int(k): Point3D(*x)
                for k, x in zip(known.atoms, known.positions_A.tolist(), strict=True)
            }
        )
        options.useRandomCoords = True
    if len(known.pairs):
        bounds = restrained_bounds(mol, known)
        if bounds is not None:
            options.SetBoundsMat(bounds)


def restrained_bounds(mol: Chem.Mol, known: Known) -> NDArray[np.float64] | None:
    """RDKit's bounds matrix with held atoms and restraints in it; None if triangles
    contradict (RDKit's own bounds are tight).
    """
    bounds = rdDistGeom.GetMoleculeBoundsMatrix(mol)
    i, j = (known.atoms[k] for k in np.triu_indices(len(known.atoms), 1))
    position = np.zeros((mol.GetNumAtoms(), 3))
    position[known.atoms] = known.positions_A
    d = np.linalg.norm(position[i] - position[j], axis=-1)
    _narrow(bounds, i, j, d, d)
    a, b = known.pairs.T
    upper = np.minimum(known.upper_A, bounds[np.minimum(a, b), np.maximum(a, b)])
    _narrow(
        bounds,
        a,
        b,
        np.minimum(np.maximum(known.lower_A, bounds[np.maximum(a, b), np.minimum(a, b)]), upper),
        upper,
    )
    return bounds if DistanceGeometry.DoTriangleSmoothing(bounds) else None


def _narrow(
    bounds: NDArray[np.float64], i: NDArray[np.int64], j: NDArray[np.int64], lower: Any, upper: Any
) -> None:
    """Upper bounds stand above the diagonal of RDKit's matrix, lower bounds below it."""
    bounds[np.minimum(i, j), np.maximum(i, j)] = upper
    bounds[np.maximum(i, j), np.minimum(i, j)] = lower


def relaxed_around(
    molecule: Molecule, positions_A: NDArray[np.float64], known: Known
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """positions_A (k, n_atoms, 3) minimised by MMFF94, or UFF, with what is known held,
    and their energies_eV (k,) without the springs; blocks of NaN are passed through.
    """
    moved = np.array(positions_A, np.float64)
    energies = np.full(len(moved), np.nan)
    finite = np.isfinite(moved).all((1, 2))
    mol = to_mol(molecule, moved[finite])
    moved[finite], energies[finite] = relax_held(mol, known, MAX_ITERATIONS, "MMFF94")
    return moved, energies


def relax_held(
    mol: Chem.Mol, known: Known, max_iterations: int, variant: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Minimise every conformer of `mol`, held atoms fixed and restraints as
    flat-bottomed springs; by UFF if MMFF94 has no types.

    Returns
    -------
    positions_A (k, n_atoms, 3), and energies_eV (k,) without the springs.
    """
    with rdBase.BlockLogs():
        typed = rdForceFieldHelpers.MMFFHasAllMoleculeParams(mol)
        properties = (
            rdForceFieldHelpers.MMFFGetMoleculeProperties(mol, mmffVariant=variant)
            if typed
            else None
        )
    positions, energies = [], []
    for conformer in mol.GetConformers():
        field = _field(mol, properties, conformer.GetId())
        for k in known.atoms.tolist():
            field.AddFixedPoint(k)
        add = field.MMFFAddDistanceConstraint if typed else field.UFFAddDistanceConstraint
        for (i, j), low, high in zip(
            known.pairs.tolist(), known.lower_A.tolist(), known.upper_A.tolist(), strict=True
        ):
            add(i, j, False, low, min(high, FAR_A), RESTRAINT_K)
        field.Initialize()
        if max_iterations:
            field.Minimize(maxIts=max_iterations)
        energies.append(_field(mol, properties, conformer.GetId()).CalcEnergy() / KCAL_MOL_PER_EV)
        positions.append(conformer.GetPositions())
    return np.array(positions).reshape(-1, mol.GetNumAtoms(), 3), np.array(energies)


def _field(mol: Chem.Mol, properties: Any, conformer: int) -> Any:
    with rdBase.BlockLogs():
        if properties is not None:
            field = rdForceFieldHelpers.MMFFGetMoleculeForceField(mol, properties, confId=conformer)
        else:
            field = rdForceFieldHelpers.UFFGetMoleculeForceField(mol, confId=conformer)
    field.Initialize()
    return field


def coordmap_baseline(known: Known, count: int, seed: int = 1) -> NDArray[np.float64]:
    """What RDKit's users do by hand: ETKDGv3 with coordMap, alignment, MMFF94 with the
    core tethered, alignment.

    Returns
    -------
    (k, n_atoms, 3) with k <= count: RDKit leaves out what it cannot embed.
    """
    mol = to_mol(known.molecule)
    options: Any = rdDistGeom.ETKDGv3()
    options.randomSeed, options.numThreads = seed, 1
    options.SetCoordMap(
        {int(k): Point3D(*x) for k, x in zip(known.atoms, known.positions_A.tolist(), strict=True)}
    )
    ids = embedded_ids(mol, count, options)
    with rdBase.BlockLogs():
        properties = rdForceFieldHelpers.MMFFGetMoleculeProperties(mol)
    out = []
    for k in ids:
        conformer = mol.GetConformer(k)
        conformer.SetPositions(_aligned(conformer.GetPositions(), known))
        field = _field(mol, properties, k)
        add = (
            field.UFFAddPositionConstraint
            if properties is None
            else field.MMFFAddPositionConstraint
        )
        for atom in known.atoms.tolist():
            add(atom, 0.0, TETHER_K)
        # the tether is to where RDKit put the atom: the alignment has brought that near the core
        field.Minimize(maxIts=MAX_ITERATIONS)
        out.append(_aligned(conformer.GetPositions(), known))
    return np.array(out).reshape(-1, mol.GetNumAtoms(), 3)


def _aligned(positions_A: NDArray[np.float64], known: Known) -> NDArray[np.float64]:
    return superposed(positions_A, positions_A[known.atoms], known.positions_A)

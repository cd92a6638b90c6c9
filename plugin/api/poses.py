"""Poses of a molecule in a pocket, and molecules laid onto others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from equidrift.arguments import check_count
from equidrift.engine.conformers import sample_molecule
from equidrift.engine.pockets import Receptor, receptor_of
from equidrift.errors import InputError, NoValidSamplesError
from equidrift.geometry import Floats
from equidrift.inputs import as_ensemble
from equidrift.notes import warn
from equidrift.records import Ensemble, Molecule
from equidrift.registry import POSES, host_function, resolve
from equidrift.seeds import check_seed
from equidrift.units import KCAL_MOL_PER_EV

SHAPES = "etkdg-mmff"  # the model that shapes of a SMILES come from
# from the ball: an atom of the pocket further off counts for less than .01 kcal/mol per charge
REACH_A = 14.0
LEAST_HEAVY = 3  # atoms; with fewer hydrogens count too


def place(  # noqa: PLR0913 - public
    ligand: object,
    pocket: object,
    n: int = 10,
    *,
    centre_A: ArrayLike | None = None,
    radius_A: float = 4.0,
    starts: int = 32,
    conformers: int = 8,
    chain: int | None = None,
    temperature_K: float = 300.0,
    seed: int = 0,
) -> Ensemble:
    """Poses of a molecule in a rigid pocket, by MMFF94's interaction energy in vacuum.

    Shapes stay as they are, and so does the pocket: no strain, no solvent, no free
    energy. The order of the poses is a first look and no more.

    Parameters
    ----------
    ligand : str, Ensemble, RDKit Mol or ase.Atoms
        A SMILES, of which shapes are made, or conformers that are taken as they are.
    pocket : str, Path, Ensemble, RDKit Mol or ase.Atoms
        A .pdb, .sdf or .mol2 file, or a molecule with coordinates; with every hydrogen,
        unless it is a .pdb file without any. What is left out of a receptor, or added, is
        told as a warning.
    n : int
        Different poses at most, the lowest first.
    centre_A : (3,) array, optional
        Where the molecule goes, in A; None takes the mean position of the pocket.
    radius_A : float
        How far from there its own mean position may be.
    starts : int
        Descents, each from anywhere in the ball and in any orientation.
    conformers : int
        Shapes of a SMILES.
    chain : int, optional
        So many frames of an exact chain from the lowest pose instead: the Boltzmann
        distribution of its place and orientation in the ball.
    temperature_K : float
        Of the chain.
    seed : int
        The same seed gives the same poses.

    Returns
    -------
    Ensemble
        In the coordinates of the pocket, with the score `interaction_kcal_mol`.

    Raises
    ------
    InputError
        If there is no pocket near the centre, or a number cannot be used.
    MoleculeError
        If MMFF94 has no parameters for one of the two.
    NoValidSamplesError
        If no pose has a finite energy.

    Examples
    --------
    >>> import equidrift
    >>> crown = equidrift.sample("C1COCCOCCOCCOCCOCCO1", 1, model="etkdg-mmff")
    >>> poses = equidrift.place("C[NH3+]", crown, 2, starts=2, conformers=1)
    >>> bool(poses.scores["interaction_kcal_mol"][0] < 0)
    True
    """
    check_count("conformers", conformers)
    if isinstance(ligand, str):
        molecule = Molecule.from_smiles(ligand)
        shapes = sample_molecule(molecule, conformers, model=SHAPES, seed=check_seed(seed))
    else:
        shapes = as_ensemble(ligand)
    wanted = Placement(n, centre_A, radius_A, starts, chain, temperature_K, seed)
    poses, told = poses_of(shapes, receptor_of(pocket), wanted)
    for note in told["notes"]:
        warn(note, "engine", stacklevel=2)
    return poses


@dataclass(frozen=True)
class Placement:
    """How a ligand is placed: the arguments of `place` of these names."""

    n: int
    centre_A: ArrayLike | None
    radius_A: float
    starts: int
    chain: int | None
    temperature_K: float
    seed: int


def poses_of(
    shapes: Ensemble, pocket: Receptor, wanted: Placement
) -> tuple[Ensemble, dict[str, Any]]:
    """Poses or frames, see `place`, and what the command line says of them."""
    check_count("n", wanted.n)
    check_count("starts", wanted.starts)
    centre = _centre(pocket, wanted.centre_A)
    receptor = pocket.cleared(centre)
    energy = _interaction(shapes, receptor.atoms, centre, wanted.radius_A)
    found = resolve(POSES["place"])(
        energy, shapes.positions_A, wanted.n, starts=wanted.starts, seed=wanted.seed
    )
    if not len(found.energies_eV):
        raise NoValidSamplesError(
            "no pose has a finite energy; give a larger --radius or another --centre",
            {"outside": wanted.starts},
        )
    kcal = (found.energies_eV * KCAL_MOL_PER_EV).tolist()
    counts: dict[str, Any] = {"poses": len(kcal), "interaction_kcal_mol": kcal}
    counts["notes"] = list(receptor.notes)
    positions_A, energies_eV, conformers = found.positions_A, found.energies_eV, found.conformers
    if wanted.chain is not None:
        frames = resolve(POSES["chain"])(
            energy,
            positions_A[0],
            wanted.chain,
            temperature_K=wanted.temperature_K,
            seed=wanted.seed,
        )
        positions_A, energies_eV = frames.positions_A, frames.energies_eV
        conformers = np.full(len(energies_eV), found.conformers[0])
        counts |= {
            "frames": len(energies_eV),
            "acceptance": frames.acceptance,
            "interaction_mean_kcal_mol": float(energies_eV.mean()) * KCAL_MOL_PER_EV,
        }
    scores = {"interaction_kcal_mol": energies_eV * KCAL_MOL_PER_EV}
    shown = shapes[conformers]
    return shown.replace(positions_A=positions_A, energies_eV=None, scores=scores), counts


def _centre(pocket: Receptor, centre_A: ArrayLike | None) -> Floats:
    """Where the molecule goes (3,), in A: as given, or in the middle of the pocket."""
    if centre_A is None:
        return np.asarray(pocket.atoms.positions_A[0].mean(axis=0))
    centre = np.asarray(centre_A, np.float64)
    if centre.shape != (3,) or not np.isfinite(centre).all():
        raise InputError(f"centre_A must be three finite numbers, in A, not {centre_A!r}")
    return centre


def _interaction(shapes: Ensemble, pocket: Ensemble, centre: Floats, radius_A: float) -> Any:
    """The energy of the ligand in the part of the pocket that it can feel."""
    tables = host_function("rdkit", "mmff_interaction")(shapes.molecule, pocket.molecule)
    pocket_A = pocket.positions_A[0]
    x = shapes.positions_A - shapes.positions_A.mean(axis=1, keepdims=True)
    reach_A = radius_A + float(np.linalg.norm(x, axis=-1).max()) + REACH_A
    near = np.linalg.norm(pocket_A - centre, axis=1) < reach_A
    if not near.any():
        raise InputError(
            f"no atom of the pocket is within {reach_A:.0f} A of {centre.round(1).tolist()}; "
            "give --centre in the coordinates of the pocket's file"
        )
    cut = [table[:, near] for table in tables]
    return resolve(POSES["Interaction"])(pocket_A[near], *cut, centre, radius_A)


def align(moved: object, fixed: object, *, starts: int = 64, seed: int = 0) -> Ensemble:
    """Conformers of one molecule laid onto the first one of another, whatever their atoms.

    Rotations and shifts alone: shapes stay, and no mirror image is taken. Atoms of the
    same element count most; hydrogens count for molecules of fewer than three heavy
    atoms. Sets of points: `equidrift.models.rigid.registration.register`.

    Parameters
    ----------
    moved, fixed : Ensemble, RDKit Mol or ase.Atoms
        Conformers, in A; of `fixed` the first one is taken.
    starts : int
        Rotations to begin from.
    seed : int
        Of these.

    Returns
    -------
    Ensemble
        `moved` where each conformer lies best, with the scores `similarity` (overlap of
        the volumes, 1 for equal molecules that lie on each other) and `distance_A`.

    Raises
    ------
    InputError
        If there is no conformer, or a molecule has fewer than three atoms.

    Examples
    --------
    >>> import equidrift
    >>> ensemble = equidrift.sample("CC(N)C(=O)NC", 1, model="etkdg")
    >>> away = ensemble.replace(positions_A=ensemble.positions_A[..., [1, 2, 0]] + 5)
    >>> laid = equidrift.align(away, ensemble)
    >>> bool(laid.scores["similarity"][0] > 0.999)
    True
    """
    target = as_ensemble(fixed)
    rows = counted_atoms(target.molecule)
    still = target.positions_A[0][rows], target.molecule.numbers[rows]
    return laid(as_ensemble(moved), still, starts=check_count("starts", starts), seed=seed)


def counted_atoms(molecule: Molecule) -> NDArray[np.int64]:
    """Heavy atoms, or all if there are fewer than three."""
    heavy = np.flatnonzero(molecule.numbers != 1)
    return heavy if len(heavy) >= LEAST_HEAVY else np.arange(molecule.n_atoms)


def laid(
    ensemble: Ensemble, fixed: tuple[Floats, NDArray[Any]], *, starts: int, seed: int
) -> Ensemble:
    """Every conformer where it lies best on the positions (m, 3) and elements (m,) of
    another; see `align`.
    """
    register, rows = resolve(POSES["register"]), counted_atoms(ensemble.molecule)
    found: Sequence[Any] = [
        register(
            x[rows],
            fixed[0],
            kinds=(ensemble.molecule.numbers[rows], fixed[1]),
            starts=starts,
            seed=seed,
        )
        for x in ensemble.positions_A
    ]
    placed = [pose.placed(x) for pose, x in zip(found, ensemble.positions_A, strict=True)]
    scores = {
        "similarity": np.array([pose.similarity for pose in found]),
        "distance_A": np.array([pose.distance for pose in found]),
    }
    return ensemble.replace(positions_A=np.array(placed), scores={**ensemble.scores, **scores})

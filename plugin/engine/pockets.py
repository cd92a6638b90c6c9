"""A pocket that new molecules are made for: read and checked, and each molecule placed
in it and scored.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from equidrift.errors import InputError, MissingDependencyError, MoleculeError
from equidrift.fragments import fragments, part_of
from equidrift.inputs import as_ensemble
from equidrift.protocols import MoleculeModel
from equidrift.records import Ensemble, Molecule
from equidrift.registry import POSES, host_function, resolve
from equidrift.residues import is_standard
from equidrift.text import counted
from equidrift.units import KCAL_MOL_PER_EV
from equidrift.vina import CUTOFF_A, Kinds, Pocket, kinds_of

Floats = NDArray[np.float64]
RADIUS_A = 4.0
# of a pose, by their names in `scores`
POSE_SCORES = ("vina_terms_kcal_mol", "vina_kcal_mol", "strain_kcal_mol")
STARTS = 8  # descents of a pose; the first begins where the molecule was drawn
LEAST_LIGAND = 2  # heavy atoms of a ligand; one alone is an ion or water
LONGEST_A = 12.0  # from the mean position of a molecule to its farthest atom


@dataclass(frozen=True, eq=False)
class Site:
    """Where molecules are wanted.

    Attributes
    ----------
    pocket : Pocket
        What Vina's terms see: heavy atoms near enough to be felt.
    whole : Ensemble
        All atoms that were given, for judges.
    held : bool
        Whether a fragment holds the molecules, so that they are scored where they were
        drawn.
    starts : int
        Descents of a pose.
    notes : tuple of str
        What was left out of the pocket or added, and why.
    """

    pocket: Pocket
    whole: Ensemble
    held: bool
    starts: int = STARTS
    notes: tuple[str, ...] = ()

    def placed(
        self, molecule: Molecule, positions_A: Floats, seed: int
    ) -> tuple[Floats, dict[str, Floats]]:
        """(where a molecule (n_atoms, 3) lies best, its scores).

        `vina_terms_kcal_mol` is the score of `equidrift.vina`; `strain_kcal_mol` what
        MMFF94 releases when the molecule relaxes alone; `vina_kcal_mol` AutoDock Vina's
        own score, where it is installed.
        """
        x = positions_A
        if not self.held:
            rows, kinds = kinds_of(molecule)
            away = positions_A[rows] - positions_A.mean(axis=0)
            longest = float(np.linalg.norm(away, axis=1).max())
            felt = self.pocket.near(self.pocket.radius_A + longest + CUTOFF_A)
            energy = resolve(POSES["VinaInteraction"])(felt, rows, kinds)
            start = self._inside(positions_A)
            found = resolve(POSES["place"])(
                energy, positions_A[None], 1, starts=self.starts, seed=seed, drawn_A=start
            )
            x = found.positions_A[0]
        score = self.pocket.score(molecule, x)
        scores = {"vina_terms_kcal_mol": score, **self._judged(molecule, x)}
        return x, {name: np.array([one]) for name, one in scores.items()}

    def told(self) -> dict[str, object]:
        """What the provenance says of it."""
        molecule = self.whole.molecule
        return {
            "atoms": molecule.n_atoms,
            "sha256": hashlib.sha256(
                molecule.numbers.tobytes() + np.round(self.whole.positions_A, 3).tobytes()
            ).hexdigest()[:12],
            "centre_A": np.round(self.pocket.centre_A, 3).tolist(),
            "radius_A": self.pocket.radius_A,
            "pull": self.pocket.pull,
        }

    def _inside(self, positions_A: Floats) -> Floats:
        """A pose moved into the ball, if it is outside."""
        away = positions_A.mean(axis=0) - self.pocket.centre_A
        far = float(np.linalg.norm(away))
        if far <= self.pocket.radius_A:
            return positions_A
        moved: Floats = positions_A - away * (1 - 0.99 * self.pocket.radius_A / far)
        return moved

    def _judged(self, molecule: Molecule, positions_A: Floats) -> dict[str, float]:
        """What others say of a pose (n_atoms, 3)."""
        judged: dict[str, float] = {}
        try:
            judged["strain_kcal_mol"] = _strain_kcal_mol(molecule, positions_A)
        except MoleculeError:  # a force field without parameters for it
            judged["strain_kcal_mol"] = float("nan")
        try:
            score = host_function("vina", "score")
            judged["vina_kcal_mol"] = float(score(self.whole, molecule, positions_A))
        except MissingDependencyError:
            pass
        return judged


def _strain_kcal_mol(molecule: Molecule, positions_A: Floats) -> float:
    """What MMFF94 releases in kcal/mol when a molecule relaxes alone."""
    relax = host_function("rdkit", "mmff_relax")
    before, after = (relax(molecule, positions_A[None], steps)[1][0] for steps in (0, 1000))
    return float(before - after) * KCAL_MOL_PER_EV


@dataclass(frozen=True, eq=False)
class Receptor:
    """A pocket as it was read."""

    atoms: Ensemble  # one conformer
    notes: tuple[str, ...] = ()  # what was left out of it or added, and why

    def cleared(self, centre_A: Floats) -> Receptor:
        """Without the ligands that lie where others are wanted, within 4 A of a place (3,).

        Only beside a protein or nucleic acid is a molecule a ligand.
        """
        molecule = self.atoms.molecule
        names = np.array(molecule.residue_names or [""] * molecule.n_atoms)
        standard = np.array([is_standard(name) for name in names.tolist()])
        if not standard.any() or standard.all():
            return self
        kept, notes = [], list(self.notes)
        for part in fragments(molecule):
            heavy = part[molecule.numbers[part] != 1]
            middle = self.atoms.positions_A[0][heavy].mean(axis=0)
            lies_there = np.linalg.norm(middle - centre_A) <= RADIUS_A
            if standard[part].any() or len(heavy) < LEAST_LIGAND or not lies_there:
                kept.append(part)
            else:
                notes.append(
                    f"left out of the pocket: {names[part[0]]}, where molecules are wanted"
                )
        if len(notes) == len(self.notes):
            return self
        rows = np.sort(np.concatenate(kept))
        rest = part_of(molecule.replace(smiles=""), rows)
        return Receptor(Ensemble(rest, self.atoms.positions_A[:, rows]), tuple(notes))


def receptor_of(what: object) -> Receptor:
    """A pocket with coordinates: a file, or whatever `as_ensemble` takes.

    Raises
    ------
    InputError
        If there are several, or none.
    """
    if isinstance(what, Receptor):
        return what
    if isinstance(what, str | Path):
        atoms, notes = host_function("rdkit", "read_receptor")(str(what))
        return Receptor(atoms, notes)
    found = as_ensemble(what)
    if len(found) != 1:
        raise InputError(
            f"the pocket has {counted(len(found), 'conformer')}, and one is wanted; take "
            "ensemble[0:1], say"
        )
    return Receptor(found)


def ligand_places(ligand: object) -> Floats:
    """Where the heavy atoms (k, 3) of a ligand lie, in A; an array of them comes back.

    Raises
    ------
    InputError
        If it cannot be read, has several conformers, or no heavy atom.
    """
    if isinstance(ligand, np.ndarray):
        return ligand
    if isinstance(ligand, str | Path):
        heavy: Floats = host_function("rdkit", "read_places")(str(ligand))
    else:
        lying = receptor_of(ligand).atoms
        heavy = lying.positions_A[0][lying.molecule.numbers != 1]
    if not len(heavy):
        raise InputError("the ligand has no heavy atom that tells where molecules are wanted")
    return heavy


def check_site(
    pocket: object,
    centre_A: object,
    ligand: object,
    model: MoleculeModel,
    *,
    pull: float | None = None,
    held: bool = False,
) -> Site:
    """The pocket of a run, and where in it molecules go.

    Parameters
    ----------
    pocket : path, Ensemble, RDKit Mol, ase.Atoms or Receptor
        With every hydrogen, unless it is a .pdb file without any.
    centre_A : (3,) array, optional
        Where, in A. Either this or `ligand`.
    ligand : path, Ensemble, RDKit Mol, ase.Atoms or (k, 3) array, optional
        A molecule that lies there, or where its heavy atoms are.
    model : MoleculeModel
        Is pulled by the pocket.
    pull : float, optional
        How strongly; 1 if not given.
    held : bool
        Whether a fragment holds the molecules.

    Raises
    ------
    InputError
        If there is no place or there are two, nothing of the pocket is near, or its
        hydrogens are missing.
    """
    if not model.takes_pocket:
        raise InputError(
            f"the model {model.name!r} cannot make molecules for a pocket; use another one, such "
            "as 'default'"
        )
    if (centre_A is None) == (ligand is None):
        raise InputError(
            "a pocket needs either a place, centre_A (--centre X,Y,Z), or a ligand that lies "
            "there (--ligand FILE)"
        )
    pull = 1.0 if pull is None else pull
    if not 0 <= pull < np.inf:
        raise InputError(f"pull must be 0 or more, and finite, not {pull}")
    read = receptor_of(pocket)
    centre = _centre(centre_A, ligand)
    receptor = read.cleared(centre)
    whole = receptor.atoms
    rows, kinds = _kinds(whole.molecule)
    site = Pocket(whole.positions_A[0][rows], kinds, centre, RADIUS_A, pull)
    near = site.near(RADIUS_A + LONGEST_A + CUTOFF_A)
    if not len(near.kinds) or np.linalg.norm(near.positions_A - centre, axis=1).min() > CUTOFF_A:
        raise InputError(
            f"no heavy atom of the pocket is within {CUTOFF_A:g} A of {centre.round(1).tolist()}; "
            "give a place in the coordinates of the pocket's file"
        )
    return Site(near, whole, held, notes=receptor.notes)


def _centre(centre_A: object, ligand: object) -> Floats:
    """The place (3,) in A: as given, or the mean position of a ligand's heavy atoms."""
    if centre_A is None:
        return np.asarray(ligand_places(ligand).mean(axis=0))
    wrong = InputError(f"centre_A must be three finite numbers, in A, not {centre_A!r}")
    try:
        centre = np.array(centre_A, np.float64)
    except (TypeError, ValueError) as error:
        raise wrong from error
    if centre.shape != (3,) or not np.isfinite(centre).all():
        raise wrong
    return centre


def _kinds(molecule: Molecule) -> tuple[NDArray[np.int64], Kinds]:
    """Heavy atoms of a pocket and their kinds; refuses one without hydrogens."""
    if not (molecule.numbers == 1).any():
        raise InputError(
            "the pocket has no hydrogens, and who gives hydrogen bonds is read from them; add all, "
            "by PDBFixer or `reduce`, say"
        )
    return kinds_of(molecule)

"""RDKit's ETKDGv3, alone and with MMFF94 relaxation, as conformer models: the fallback, and the control in every table."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rdkit import Chem, rdBase
from rdkit.Chem import rdDistGeom, rdForceFieldHelpers

from equidrift.conditions import Conditions, Known, superposed
from equidrift.errors import InputError, MoleculeError
from equidrift.protocols import Callback
from equidrift.records import Molecule
from equidrift.registry import resolve
from equidrift.units import KCAL_MOL_PER_EV

SEEDS = 2**31 - 2  # RDKit's random generator (minstd) has the states 1 .. 2**31 - 2
CHUNK = 128  # conformers in one call of RDKit, which cannot be interrupted
MMFF_VARIANTS = ("MMFF94", "MMFF94s")
CORE_RMS_A = 0.3  # between a core as embedded and as given, above which the embedding has failed


def _to_mol(molecule: Molecule, positions_A: NDArray[np.float64] | None = None) -> Chem.Mol:
    mol: Chem.Mol = resolve("equidrift.adapters.rdkit_molecule:to_mol")(molecule, positions_A)
    return mol


def rdkit_seeds(seeds: NDArray[np.int64]) -> NDArray[np.int64]:
    """Our 63-bit seeds folded to the 2**31 - 2 distinct ones RDKit has; consecutive seeds stay consecutive but for the wrap."""
    return np.asarray(seeds, np.int64) % SEEDS + 1


def _runs(seeds: NDArray[np.int64]) -> Iterator[slice]:
    """Slices of consecutive seeds, none longer than CHUNK."""
    start = 0
    for k in range(1, len(seeds) + 1):
        if k == len(seeds) or seeds[k] != seeds[k - 1] + 1 or k - start == CHUNK:
            yield slice(start, k)
            start = k


class ETKDG:
    """RDKit's ETKDGv3 with its torsion preferences for small rings and macrocycles.

    Parameters
    ----------
    num_threads : threads RDKit may use; 0 is all of them. Results do not depend on it.
    max_attempts : embedding attempts a conformer, first from distance geometry, then as many from random coordinates.
    timeout_s : seconds one call of `sample` may take, whole seconds, None for no limit. Conformers not made by then are NaN,
        so that with a limit the result depends on the machine's speed.

    Raises
    ------
    InputError
        for an option out of its range.
    """

    name = "etkdg"

    def __init__(self, *, num_threads: int = 1, max_attempts: int = 100, timeout_s: int | None = None) -> None:
        if num_threads < 0:
            raise InputError(f"num_threads must be 0 (all) or more, not {num_threads}")
        if max_attempts < 1:
            raise InputError(f"max_attempts must be 1 or more, not {max_attempts}")
        if timeout_s is not None and timeout_s < 1:
            raise InputError(f"timeout_s must be 1 second or more, or None for no limit; got {timeout_s}")
        self.num_threads = num_threads
        self.max_attempts = max_attempts
        self.timeout_s = timeout_s
        self.conditions: Conditions | None = None

    def conditioned(self, conditions: Conditions) -> ETKDG:
        """This model with atoms held and distances kept: by RDKit's coordMap from random coordinates, and its bounds matrix."""
        model = copy.copy(self)
        model.conditions = conditions
        return model

    def sample(
        self, molecule: Molecule, seeds: NDArray[np.int64], *, steps: int | None = None, callback: Callback | None = None
    ) -> NDArray[np.float64]:
        """Embed one conformer a seed.

        Parameters
        ----------
        molecule : the graph; its stereo is enforced.
        seeds : (k,) int64. Runs of consecutive seeds are embedded in one call, which halves the cost.
        steps : ignored, ETKDG has none.
        callback : called with {"done": conformers so far, "total": k}.

        Returns
        -------
        positions_A : float64 (k, n_atoms, 3); a conformer that cannot be made is NaN.
        """
        mol = _to_mol(molecule)
        folded = rdkit_seeds(seeds)
        known = None if self.conditions is None else self.conditions.of(molecule)
        positions = np.full((len(folded), molecule.n_atoms, 3), np.nan)
        deadline = None if self.timeout_s is None else time.monotonic() + self.timeout_s
        for run in _runs(folded):
            positions[run] = self._embed(mol, folded[run], deadline, known)
            if callback is not None:
                callback({"done": run.stop, "total": len(folded)})
        return positions

    def _embed(
        self, mol: Chem.Mol, seeds: NDArray[np.int64], deadline: float | None, known: Known | None
    ) -> NDArray[np.float64]:
        """One conformer a seed: all at once, then one by one (RDKit leaves failures out), then from random coordinates."""
        found = self._call(mol, seeds, deadline, known=known)
        if len(found) == len(seeds):
            return found
        if len(seeds) > 1:
            return np.concatenate([self._embed(mol, seeds[k : k + 1], deadline, known) for k in range(len(seeds))])
        found = self._call(mol, seeds, deadline, random_coordinates=True, known=known)
        if not len(found) and known is not None:  # a core RDKit cannot embed: the force field has to pull it into place
            found = known.placed(self._call(mol, seeds, deadline))
        return found if len(found) else np.full((1, mol.GetNumAtoms(), 3), np.nan)

    def _call(
        self,
        mol: Chem.Mol,
        seeds: NDArray[np.int64],
        deadline: float | None,
        random_coordinates: bool = False,
        known: Known | None = None,
    ) -> NDArray[np.float64]:
        """What RDKit embeds from consecutive seeds; on strained cages it raises RuntimeError, which counts as nothing found."""
        options: Any = rdDistGeom.ETKDGv3()  # RDKit's stubs have the wrong types of its fields
        options.useSmallRingTorsions = True
        options.enableSequentialRandomSeeds = True
        options.randomSeed = int(seeds[0])
        options.numThreads = self.num_threads
        options.pruneRmsThresh = -1.0
        options.maxIterations = self.max_attempts
        options.useRandomCoords = random_coordinates
        options.trackFailures = True
        if known is not None:
            resolve("equidrift.adapters.rdkit_conditions:embed_with")(options, mol, known)
        if deadline is not None:
            left = int(deadline - time.monotonic())
            if left < 1:
                return np.zeros((0, mol.GetNumAtoms(), 3))
            options.timeout = left
        try:
            with rdBase.BlockLogs():
                ids = list(rdDistGeom.EmbedMultipleConfs(mol, len(seeds), options))
        except RuntimeError:
            ids = []
        else:
            missing = len(seeds) - len(ids)
            if deadline is None and sum(options.GetFailureCounts()) < missing * self.max_attempts:
                raise KeyboardInterrupt  # RDKit catches Ctrl-C by itself and returns early: conformers are missing that never failed
        made = np.array([mol.GetConformer(i).GetPositions() for i in ids]).reshape(-1, mol.GetNumAtoms(), 3)
        return made if known is None else _with_core(made, known)


def _with_core(positions_A: NDArray[np.float64], known: Known) -> NDArray[np.float64]:
    """Conformers superposed on the held atoms, without those whose core came out in another shape (its mirror image, say)."""
    if not len(known.atoms):
        return positions_A
    near = [np.square(superposed(x, x[known.atoms], known.positions_A)[known.atoms] - known.positions_A).sum(1) for x in positions_A]
    return known.placed(positions_A[[k for k, off in enumerate(near) if off.mean() < CORE_RMS_A**2]])


def mmff_relax(
    molecule: Molecule,
    positions_A: NDArray[np.float64],
    max_iterations: int = 1000,
    *,
    variant: str = "MMFF94",
    num_threads: int = 1,
    known: Known | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Move conformers to the nearest minimum of MMFF94.

    Parameters
    ----------
    molecule : the graph.
    positions_A : (k, n_atoms, 3); blocks of NaN are passed through.
    max_iterations : of RDKit's BFGS minimiser; 0 only evaluates the energies.
    variant : "MMFF94" or "MMFF94s".
    num_threads : threads RDKit may use; 0 is all of them.
    known : atoms to hold and distances to keep; the energies are without the restraints.

    Returns
    -------
    positions_A : float64 (k, n_atoms, 3).
    energies_eV : float64 (k,), NaN where the positions are.

    Raises
    ------
    InputError
        for an unknown variant, or positions of another shape.
    MoleculeError
        where MMFF94 has no atom type or parameter for the molecule.
    """
    if variant not in MMFF_VARIANTS:
        raise InputError(f"variant must be one of {', '.join(MMFF_VARIANTS)}, not {variant!r}")
    moved = np.array(positions_A, np.float64)
    if moved.ndim != 3 or moved.shape[1:] != (molecule.n_atoms, 3):
        raise InputError(f"positions_A has shape {moved.shape}, expected (any, {molecule.n_atoms}, 3)")
    energies = np.full(len(moved), np.nan)
    finite = np.flatnonzero(np.isfinite(moved).all(axis=(1, 2)))
    mol = _to_mol(molecule, moved[finite])
    require_mmff(mol, molecule)
    if known is not None:
        relax = resolve("equidrift.adapters.rdkit_conditions:relax_held")
        moved[finite], energies[finite] = relax(mol, known, max_iterations, variant)
    elif len(finite):
        with rdBase.BlockLogs():
            results = rdForceFieldHelpers.MMFFOptimizeMoleculeConfs(
                mol, numThreads=num_threads, maxIters=max_iterations, mmffVariant=variant
            )
        energies[finite] = [kcal / KCAL_MOL_PER_EV for _, kcal in results]
        moved[finite] = [conformer.GetPositions() for conformer in mol.GetConformers()]
    return moved, energies


def require_mmff(mol: Chem.Mol, molecule: Molecule) -> None:
    """Raise `MoleculeError` where MMFF94 cannot type the molecule."""
    with rdBase.BlockLogs():
        typed = rdForceFieldHelpers.MMFFHasAllMoleculeParams(mol)
    if not typed:
        raise MoleculeError(
            f"MMFF94 has no parameters for {molecule!r} (it knows H C N O F Si P S Cl Br I in common bonding); "
            "use model='etkdg', which needs none"
        )


class ETKDGMMFF(ETKDG):
    """ETKDGv3 conformers relaxed by MMFF94.

    Parameters
    ----------
    variant : "MMFF94" or "MMFF94s".
    max_iterations : of the minimiser.
    num_threads, max_attempts, timeout_s : as for `ETKDG`; the time limit holds for the embedding.
    """

    name = "etkdg-mmff"

    def __init__(
        self,
        *,
        variant: str = "MMFF94",
        max_iterations: int = 1000,
        num_threads: int = 1,
        max_attempts: int = 100,
        timeout_s: int | None = None,
    ) -> None:
        super().__init__(num_threads=num_threads, max_attempts=max_attempts, timeout_s=timeout_s)
        if variant not in MMFF_VARIANTS:
            raise InputError(f"variant must be one of {', '.join(MMFF_VARIANTS)}, not {variant!r}")
        if max_iterations < 0:
            raise InputError(f"max_iterations must be 0 or more, not {max_iterations}")
        self.variant = variant
        self.max_iterations = max_iterations

    def sample(
        self, molecule: Molecule, seeds: NDArray[np.int64], *, steps: int | None = None, callback: Callback | None = None
    ) -> NDArray[np.float64]:
        """Embed and relax one conformer a seed; see `ETKDG.sample`.

        Raises
        ------
        MoleculeError
            where MMFF94 cannot type the molecule; `model="etkdg"` can.
        """
        require_mmff(_to_mol(molecule), molecule)
        positions = super().sample(molecule, seeds, steps=steps, callback=callback)
        known = None if self.conditions is None else self.conditions.of(molecule)
        return mmff_relax(molecule, positions, self.max_iterations, variant=self.variant, num_threads=self.num_threads, known=known)[0]

"""Conformer generators of others, as their users call them: what `equidrift bench rivals`
stands beside. Each has its own defaults, one thread, and a seed; none is tried again.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec

import numpy as np
from numpy.typing import NDArray
from rdkit import Chem, rdBase
from rdkit.Chem import rdDistGeom

from equidrift.adapters.rdkit.interrupts import embedded_ids
from equidrift.adapters.rdkit.molecule import to_mol
from equidrift.adapters.rdkit.relaxing import mmff_relax
from equidrift.records import Molecule

Array = NDArray[np.float64]
# (molecule, how many, seed) -> conformers (k, n_atoms, 3) in A, k at most as many
Generator = Callable[[Molecule, int, int], Array]


@dataclass(frozen=True)
class Rival:
    """A generator, and the modules that it needs besides RDKit."""

    generate: Generator
    needs: tuple[str, ...] = ()

    def is_installed(self) -> bool:
        """Whether its modules are there; they are not imported for that."""
        return all(find_spec(name) is not None for name in self.needs)


def etkdg(molecule: Molecule, n: int, seed: int, *, version: str = "ETKDGv3") -> Array:
    """RDKit's embedding by its parameters of a version, such as "ETKDGv3"."""
    mol = to_mol(molecule)
    options = getattr(rdDistGeom, version)()
    options.randomSeed = seed + 1  # 0 would be as good, -1 none
    options.numThreads = 1
    return _positions(mol, embedded_ids(mol, n, options))


def etkdg_mmff(
    molecule: Molecule, n: int, seed: int, *, variant: str, version: str = "ETKDGv3"
) -> Array:
    """The same, relaxed by MMFF94 or MMFF94s.

    Raises `MoleculeError` if the force field has no types for the molecule.
    """
    return mmff_relax(molecule, etkdg(molecule, n, seed, version=version), variant=variant)[0]


def openconf(molecule: Molecule, n: int, seed: int) -> Array:
    """openconf's torsional Monte Carlo with its default configuration, of n conformers."""
    from openconf import ConformerConfig, generate_conformers  # an optional package

    config = ConformerConfig(max_out=n, random_seed=seed + 1)
    made = generate_conformers(to_mol(molecule), config=config, add_hs=False)
    return _in_order(molecule, made.mol, made.conf_ids)


def auto3d_ani2xt(molecule: Molecule, n: int, seed: int) -> Array:
    """Auto3D's n conformers of lowest ANI2xt energy; it takes no seed."""
    from Auto3D import Auto3DOptions, smiles2mols  # an optional package that needs torch

    del seed
    options = Auto3DOptions(
        k=n, optimizing_engine="ANI2xt", use_gpu=False, enumerate_isomers=False, isomer_threads=1
    )
    smiles = Chem.MolToSmiles(Chem.RemoveHs(to_mol(molecule)))
    with redirect_stdout(io.StringIO()), rdBase.BlockLogs():
        made = smiles2mols([smiles], options)
    ids = [[conformer.GetId() for conformer in mol.GetConformers()] for mol in made]
    blocks = [_in_order(molecule, mol, few) for mol, few in zip(made, ids, strict=True)]
    return np.concatenate(blocks)[:n] if blocks else np.zeros((0, molecule.n_atoms, 3))


def _positions(mol: Chem.Mol, ids: list[int]) -> Array:
    found = [mol.GetConformer(k).GetPositions() for k in ids]
    return np.array(found, np.float64).reshape(-1, mol.GetNumAtoms(), 3)


def _in_order(molecule: Molecule, mol: Chem.Mol, ids: list[int]) -> Array:
    """Conformers of an RDKit Mol with its atoms in the molecule's order; none if it is
    another molecule.
    """
    x = _positions(mol, ids)
    ours = to_mol(molecule)
    places = mol.GetSubstructMatch(ours, useChirality=True) or mol.GetSubstructMatch(ours)
    if len(places) != molecule.n_atoms or mol.GetNumAtoms() != molecule.n_atoms:
        return np.zeros((0, molecule.n_atoms, 3))
    return x[:, list(places)]


def rivals() -> dict[str, Rival]:
    """Every generator that this RDKit has, by its name in the table."""
    found = {
        "etkdgv3": Rival(etkdg),
        "etkdgv3-mmff94": Rival(partial(etkdg_mmff, variant="MMFF94")),
        "etkdgv3-mmff94s": Rival(partial(etkdg_mmff, variant="MMFF94s")),
    }
    if "ETKDGv4" in dir(rdDistGeom):  # from RDKit 2026.03 on
        newer = partial(etkdg_mmff, variant="MMFF94s", version="ETKDGv4")
        found |= {
            "etkdgv4": Rival(partial(etkdg, version="ETKDGv4")),
            "etkdgv4-mmff94s": Rival(newer),
        }
    return found | {
        "openconf": Rival(openconf, ("openconf",)),
        "auto3d-ani2xt": Rival(auto3d_ani2xt, ("Auto3D", "torchani")),
    }


def onto(molecule: Molecule, other: Molecule, positions_A: Array) -> Array | None:
    """Reference conformers of another record of a molecule, in the molecule's order of
    atoms.

    Heavy atoms alone are placed: the RMSD of the tables is theirs, and crystals may lack
    hydrogens, which are then NaN. None if the heavy atoms or their stereo differ.
    """
    ours, theirs = (Chem.RemoveHs(to_mol(one)) for one in (molecule, other))
    match = theirs.GetSubstructMatch(ours, useChirality=True)
    if len(match) != theirs.GetNumAtoms():
        return None
    placed = np.full((len(positions_A), molecule.n_atoms, 3), np.nan)
    placed[:, _heavy(molecule)] = positions_A[:, _heavy(other)[list(match)]]
    return placed


def _heavy(molecule: Molecule) -> NDArray[np.int64]:
    """Places of the atoms that `RemoveHs` keeps, in their order."""
    mol = to_mol(molecule)
    for atom in mol.GetAtoms():
        atom.SetIntProp("place", atom.GetIdx())
    return np.array([atom.GetIntProp("place") for atom in Chem.RemoveHs(mol).GetAtoms()])

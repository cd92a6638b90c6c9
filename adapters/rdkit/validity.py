"""What RDKit, and PoseBusters if it is installed, think of generated molecules:
sanitisation, stereo, SMILES, descriptors.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from rdkit import Chem, rdBase
from rdkit.Chem import QED, Descriptors, rdMolDescriptors

from equidrift.adapters.rdkit.building import add_bond
from equidrift.adapters.rdkit.molecule import add_conformers, from_mol, to_mol
from equidrift.errors import MissingDependencyError, MoleculeError
from equidrift.records import Ensemble, Molecule

ORDERS = (1.0, 2.0, 3.0, 1.5)  # of bonds that a molecule is made of
DESCRIPTORS = ("MW", "logP", "PSA", "QED")
System = tuple[Molecule, NDArray[np.float64]]


def _unsanitised(molecule: Molecule) -> Chem.Mol:
    """The atoms and bonds as they are, nothing perceived and nothing refused."""
    rw = Chem.RWMol()
    for z, charge in zip(molecule.numbers.tolist(), molecule.formal_charges.tolist(), strict=True):
        atom = Chem.Atom(z)
        atom.SetFormalCharge(charge)
        atom.SetNoImplicit(True)
        rw.AddAtom(atom)
    for (i, j), order in zip(molecule.bonds.tolist(), molecule.bond_orders.tolist(), strict=True):
        if order not in ORDERS:
            raise MoleculeError(
                f"a bond of order {order:g} is none of "
                f"{', '.join(f'{known:g}' for known in ORDERS)}"
            )
        add_bond(rw, i, j, order)
    return rw.GetMol()


def kekulised(molecule: Molecule) -> Molecule:
    """The molecule with aromatic bonds as single and double ones; the same object if
    it has none.

    Raises
    ------
    MoleculeError
        If no such structure exists.
    """
    if not (molecule.bond_orders == 1.5).any():
        return molecule
    mol = _unsanitised(molecule)
    try:
        with rdBase.BlockLogs():
            mol.UpdatePropertyCache(strict=False)
            Chem.Kekulize(mol, clearAromaticFlags=True)
    except (Chem.MolSanitizeException, ValueError) as error:
        raise MoleculeError(
            f"the aromatic bonds of {molecule!r} have no Kekule structure"
        ) from error
    orders = np.array([bond.GetBondTypeAsDouble() for bond in mol.GetBonds()])
    return molecule.replace(bond_orders=orders)


def perceived(molecule: Molecule, positions_A: NDArray[np.float64]) -> Molecule:
    """The molecule as RDKit reads its graph (aromatic bonds marked, radicals counted),
    with the stereo its coordinates show.

    Parameters
    ----------
    molecule : Molecule
        Without stereo tags.
    positions_A : array
        (n_atoms, 3), finite.

    Returns
    -------
    The same atoms and bonds in the same order; `smiles` is canonical, with stereo and
    without explicit hydrogens.

    Raises
    ------
    MoleculeError
        If RDKit cannot sanitise it, or finds radicals.
    """
    mol = to_mol(molecule, np.asarray(positions_A, np.float64)[None])
    if any(atom.GetNumRadicalElectrons() for atom in mol.GetAtoms()):
        raise MoleculeError(f"{molecule!r} has radical electrons")
    Chem.AssignStereochemistryFrom3D(mol, replaceExistingTags=True)
    made: Molecule = from_mol(mol)
    return made.replace(name=molecule.name, smiles=_smiles(mol))


def _smiles(mol: Chem.Mol) -> str:
    with rdBase.BlockLogs():  # of hydrogens that cannot be implicit
        return str(Chem.MolToSmiles(Chem.RemoveHs(mol)))


def completed(mol: Chem.Mol, positions_A: NDArray[np.float64]) -> System:
    """A Mol and its coordinates with a hydrogen, placed by RDKit, on every open
    valence.

    Raises
    ------
    MoleculeError
        If RDKit cannot sanitise it.
    """
    work = Chem.Mol(mol)
    add_conformers(work, np.asarray(positions_A, np.float64)[None])
    try:
        with rdBase.BlockLogs():
            Chem.SanitizeMol(work)
    except (Chem.MolSanitizeException, ValueError) as error:
        raise MoleculeError(f"RDKit cannot sanitise the fragment: {error}") from error
    full = Chem.AddHs(work, addCoords=True)
    molecule: Molecule = from_mol(full)
    return molecule, full.GetConformer().GetPositions()


def descriptors(molecules: Sequence[Molecule]) -> NDArray[np.float64]:
    """Molecular weight (g/mol), Crippen's logP, polar surface area (A^2) and QED of
    each, (n, 4) in the order of `DESCRIPTORS`.
    """
    rows = []
    for molecule in molecules:
        mol = Chem.RemoveHs(to_mol(molecule))
        log_p, _ = rdMolDescriptors.CalcCrippenDescriptors(mol)
        weight = Descriptors.MolWt(mol)  # type: ignore[attr-defined]  # made at import
        qed = QED.qed(mol)  # type: ignore[no-untyped-call]
        rows.append((weight, log_p, rdMolDescriptors.CalcTPSA(mol), qed))
    return np.array(rows, np.float64).reshape(-1, len(DESCRIPTORS))


def posebusters_failures(
    systems: Sequence[System], receptor: Ensemble | None = None
) -> list[tuple[str, ...]]:
    """For each molecule the names of PoseBusters' checks (its `mol` set: geometry,
    clashes, flatness, strain) that fail.

    Parameters
    ----------
    systems : sequence of (Molecule, positions_A (n_atoms, 3))
    receptor : Ensemble, optional
        Of one conformer, in which the molecules lie: the set is `dock`, which asks for
        distances and overlap with it, too.

    Raises
    ------
    MissingDependencyError
        If posebusters is not installed.
    """
    try:
        from posebusters import PoseBusters
    except ImportError as error:
        raise MissingDependencyError("posebusters", "checks") from error
    mols = [to_mol(molecule, x[None]) for molecule, x in systems]
    if not mols:
        return []
    logger = logging.getLogger("posebusters")
    level = logger.level
    logger.setLevel(logging.CRITICAL)  # it reports each molecule that it cannot embed
    try:
        with rdBase.BlockLogs():
            config, pocket = "mol", None
            if receptor is not None:
                config, pocket = "dock", to_mol(receptor.molecule, receptor.positions_A)
            table = PoseBusters(config=config).bust(mols, None, pocket)
    finally:
        logger.setLevel(level)
    passed = {name: table[name].to_numpy() for name in table.columns}
    return [
        tuple(name for name, column in passed.items() if not bool(column[k]))
        for k in range(len(mols))
    ]

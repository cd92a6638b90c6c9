"""Where SMARTS match in a molecule."""

from __future__ import annotations

from rdkit import Chem, rdBase

from equidrift.adapters.rdkit.molecule import to_mol
from equidrift.errors import InputError
from equidrift.records import Molecule

ROW = "equidrift_row"  # of an atom, its number before hydrogens are left out


def smarts_matches(molecule: Molecule, smarts: str) -> list[tuple[int, ...]]:
    """The sets of atoms that SMARTS match, each sorted, in the order of the atoms.

    Hydrogens are implicit, unless the SMARTS name a hydrogen as an atom. If atoms of the
    SMARTS have map numbers, the sets hold these alone.

    Parameters
    ----------
    molecule : Molecule
        With all hydrogens.
    smarts : str
        The pattern.

    Raises
    ------
    InputError
        If RDKit cannot read the SMARTS.

    Examples
    --------
    >>> from equidrift import Molecule
    >>> smarts_matches(Molecule.from_smiles("CCO"), "[OH]")
    [(2,)]
    """
    with rdBase.BlockLogs():
        query = Chem.MolFromSmarts(smarts)
    if query is None or not query.GetNumAtoms():
        raise InputError(f"RDKit cannot read the SMARTS {smarts!r}; an example is 'C(=O)[OH]'")
    mol = to_mol(molecule)
    for atom in mol.GetAtoms():
        atom.SetIntProp(ROW, atom.GetIdx())
    if not any(atom.GetAtomicNum() == 1 for atom in query.GetAtoms()):
        mol = Chem.RemoveHs(mol)
    row = [atom.GetIntProp(ROW) for atom in mol.GetAtoms()]
    mapped = [atom.GetIdx() for atom in query.GetAtoms() if atom.GetAtomMapNum()]
    chosen = mapped or range(query.GetNumAtoms())
    matches = mol.GetSubstructMatches(query, uniquify=not mapped, maxMatches=10_000)
    return sorted({tuple(sorted(row[match[k]] for k in chosen)) for match in matches})

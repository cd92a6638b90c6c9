"""Stereo that is none: two forms of a centre or double bond that a hydrogen or a charge
turns into each other by moving between ligands.
"""

from __future__ import annotations

from rdkit import Chem

_CENTRES = frozenset({15, 16, 33, 34, 52})  # P, S, As, Se, Te
_LIGANDS = frozenset({7, 8, 16, 34, 52})  # N, O, S, Se, Te: acid, anion and double bond
_DONORS = frozenset({7, 8, 16})


def exchanges_atom(mol: Chem.Mol, atom: Chem.Atom) -> bool:
    """Whether a centre's two forms are one substance: its hydrogen comes and goes
    (ammonium), or two of its ligands differ only by where a hydrogen or a charge is
    (phosphonic, sulfinic and sulfonimidic acids and their anions).

    Parameters
    ----------
    mol : Chem.Mol
        Every hydrogen explicit.
    atom : Chem.Atom
        A centre of it that may be of two forms.
    """
    if atom.GetAtomicNum() == 7:
        hydrogens = any(other.GetAtomicNum() == 1 for other in atom.GetNeighbors())
        return atom.GetFormalCharge() > 0 and hydrogens
    if atom.GetAtomicNum() not in _CENTRES:
        return False
    levelled, ligands = _levelled(mol)
    around = [k for k in ligands if levelled.GetBondBetweenAtoms(k, atom.GetIdx()) is not None]
    ranks = list(Chem.CanonicalRankAtoms(levelled, breakTies=False))
    return len({ranks[k] for k in around}) < len(around)


def exchanges_bond(bond: Chem.Bond) -> bool:
    """Whether a double bond is a single one in a tautomer or in another drawing of it:
    C=N beside N-H, O-H, S-H or an anion (amidines, guanidines, imidic acids), and C=NH,
    whose hydrogen comes and goes.
    """
    ends = [bond.GetBeginAtom(), bond.GetEndAtom()]
    for nitrogen, carbon in (ends, ends[::-1]):
        if nitrogen.GetAtomicNum() != 7 or carbon.GetAtomicNum() != 6:
            continue
        own = [other for other in nitrogen.GetNeighbors() if other.GetIdx() != carbon.GetIdx()]
        if all(other.GetAtomicNum() == 1 for other in own):
            return True
        if any(other.GetAtomicNum() not in (1, 6) for other in own):
            return False  # oximes and hydrazones keep their form
        beside = [other for other in carbon.GetNeighbors() if other.GetIdx() != nitrogen.GetIdx()]
        return any(_gives(other, cation=nitrogen.GetFormalCharge() > 0) for other in beside)
    return False


def _gives(atom: Chem.Atom, *, cation: bool) -> bool:
    """Whether an atom beside C=N can take the double bond over."""
    if atom.GetAtomicNum() not in _DONORS:
        return False
    hydrogens = any(other.GetAtomicNum() == 1 for other in atom.GetNeighbors())
    return hydrogens or atom.GetFormalCharge() < 0 or (cation and atom.GetAtomicNum() == 7)


def _levelled(mol: Chem.Mol) -> tuple[Chem.Mol, list[int]]:
    """A copy in which the acid, its anion and the double bond at P, S and their like are
    drawn alike; and those ligands.
    """
    rw = Chem.RWMol(mol)
    ligands = sorted({k for atom in mol.GetAtoms() for k in _exchanging(atom)})
    for k in ligands:
        ligand = rw.GetAtomWithIdx(k)
        ligand.SetFormalCharge(0)
        for other in list(ligand.GetNeighbors()):
            if other.GetAtomicNum() == 1:
                rw.RemoveBond(k, other.GetIdx())
            elif other.GetAtomicNum() in _CENTRES:
                bond = rw.GetBondBetweenAtoms(k, other.GetIdx())
                bond.SetBondType(Chem.BondType.SINGLE)
    made = rw.GetMol()
    made.UpdatePropertyCache(strict=False)
    Chem.FastFindRings(made)
    return made, ligands


def _exchanging(centre: Chem.Atom) -> list[int]:
    """The ligands of P, S and their like that are acid, anion or double bond."""
    if centre.GetAtomicNum() not in _CENTRES:
        return []
    found = []
    for bond in centre.GetBonds():
        other = bond.GetOtherAtom(centre)
        mobile = (
            bond.GetBondType() == Chem.BondType.DOUBLE
            or other.GetFormalCharge() < 0
            or any(k.GetAtomicNum() == 1 for k in other.GetNeighbors())
        )
        if mobile and other.GetAtomicNum() in _LIGANDS:
            found.append(other.GetIdx())
    return found

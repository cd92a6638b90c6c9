"""Groups of relative stereo (`|&1:1|`, `|o1:1|`) of RDKit, as `Molecule.stereo_groups`."""

from __future__ import annotations

from rdkit import Chem

from equidrift.adapters.rdkit.axial import axial_rows

_KINDS = {Chem.StereoGroupType.STEREO_OR: 0, Chem.StereoGroupType.STEREO_AND: 1}


def stereo_group_rows(mol: Chem.Mol) -> list[tuple[int, int, int]]:
    """(centre, group, both) of what is labelled in the relative groups of a Mol: a
    tetrahedral centre, or for an axis that end of it which belongs to no other axis.
    """
    rows = []
    ends = [k for axis in axial_rows(mol) for k in axis[1:3]]
    groups = [group for group in mol.GetStereoGroups() if group.GetGroupType() in _KINDS]
    for number, group in enumerate(groups, start=1):
        both = _KINDS[group.GetGroupType()]
        pairs = [(bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()) for bond in group.GetBonds()]
        centres = [
            atom.GetIdx()
            for atom in group.GetAtoms()
            if atom.GetChiralTag() != Chem.ChiralType.CHI_UNSPECIFIED
        ]
        centres += [min(pair, key=ends.count) for pair in pairs if pair[0] in ends]
        rows += [(centre, number, both) for centre in centres]
    return rows

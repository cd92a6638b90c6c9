"""Groups of relative stereo (`|&1:1|`, `|o1:1|`), RDKit <-> `Molecule.stereo_groups`."""

from __future__ import annotations

from rdkit import Chem

from equidrift.records import Molecule

_KINDS = {0: Chem.StereoGroupType.STEREO_OR, 1: Chem.StereoGroupType.STEREO_AND}


def stereo_group_rows(mol: Chem.Mol) -> list[tuple[int, int, int]]:
    """(centre, group, both) of the labelled centres in relative groups of a Mol."""
    both = {kind: flag for flag, kind in _KINDS.items()}
    groups = [group for group in mol.GetStereoGroups() if group.GetGroupType() in both]
    return [
        (atom.GetIdx(), number, both[group.GetGroupType()])
        for number, group in enumerate(groups, start=1)
        for atom in group.GetAtoms()
        if atom.GetChiralTag() != Chem.ChiralType.CHI_UNSPECIFIED
    ]


def with_groups(mol: Chem.Mol, molecule: Molecule) -> Chem.Mol:
    """The Mol with the groups of relative stereo of its Molecule."""
    members: dict[tuple[int, int], list[int]] = {}
    for centre, number, both in molecule.stereo_groups.tolist():
        members.setdefault((number, both), []).append(centre)
    if not members:
        return mol
    rw = Chem.RWMol(mol)
    rw.SetStereoGroups(
        [
            Chem.CreateStereoGroup(_KINDS[both], rw, atomIds=atoms)
            for (_, both), atoms in members.items()
        ]
    )
    made: Chem.Mol = rw.GetMol()
    return made

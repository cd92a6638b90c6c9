"""Ensemble -> `openff.toolkit.Molecule`, conformers included."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from equidrift.errors import MissingDependencyError
from equidrift.inputs import as_molecule
from equidrift.records import Ensemble, Molecule
from equidrift.registry import host_function

if TYPE_CHECKING:
    from openff.toolkit import Molecule as OpenFFMolecule
    from rdkit import Chem


def to_openff(what: Ensemble | Molecule | Chem.Mol | str) -> OpenFFMolecule:
    """A molecule of the OpenFF toolkit; an ensemble's conformers become its conformers.

    Parameters
    ----------
    what : Ensemble, Molecule, RDKit Mol or SMILES
        Atoms keep their order.

    Returns
    -------
    openff.toolkit.Molecule
        With `conformers` in A for an Ensemble, without for another.

    Raises
    ------
    MissingDependencyError
        If openff-toolkit is not installed.
    MoleculeError, InputTypeError
        For what cannot be read.
    """
    toolkit = _toolkit()
    if isinstance(what, Ensemble):
        mol = what.to_rdkit()
    else:
        mol = host_function("rdkit", "to_mol")(as_molecule(what))
    # a centre that is open in the graph is open by intention: the toolkit would refuse it
    return toolkit.Molecule.from_rdkit(
        mol, allow_undefined_stereo=True, hydrogens_are_explicit=True
    )


def _toolkit() -> Any:
    try:
        import openff.toolkit
    except ImportError as error:
        raise MissingDependencyError(
            "openff-toolkit is not installed; it comes from conda-forge: "
            "conda install -c conda-forge openff-toolkit"
        ) from error
    return openff.toolkit

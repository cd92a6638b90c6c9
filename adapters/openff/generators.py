"""Small molecules by a force field of OpenFF or by GAFF, through openmmforcefields."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from equidrift.adapters.openff.molecules import to_openff
from equidrift.errors import MissingDependencyError, UnknownNameError
from equidrift.records import Ensemble, Molecule

if TYPE_CHECKING:
    from rdkit import Chem

# beginning of a force field's name -> the class of openmmforcefields that has it
CLASSES = {
    "openff": "SMIRNOFFTemplateGenerator",
    "smirnoff99Frosst": "SMIRNOFFTemplateGenerator",
    "gaff": "GAFFTemplateGenerator",
    "espaloma": "EspalomaTemplateGenerator",
}


def template_generator(
    molecules: Iterable[Ensemble | Molecule | Chem.Mol | str],
    forcefield: str = "openff-2.2.1",
    **options: Any,
) -> Any:
    """A template generator of openmmforcefields that knows our molecules.

    For numbers that depend on the interaction with a protein or with water, such as free
    energies of binding, these force fields are made, and
    `equidrift.adapters.openmm.templates.MMFFTemplateGenerator` is not.

    Parameters
    ----------
    molecules : iterable of Ensemble, Molecule, RDKit Mol or SMILES
        What may come in a Topology.
    forcefield : str
        "openff-...", "smirnoff99Frosst-...", "gaff-..." or "espaloma-...".
    **options
        Of the class of openmmforcefields, such as `cache`.

    Returns
    -------
    SMIRNOFFTemplateGenerator, GAFFTemplateGenerator or EspalomaTemplateGenerator
        Its `generator` goes to `ForceField.registerTemplateGenerator`.

    Raises
    ------
    UnknownNameError
        For a force field of another kind.
    MissingDependencyError
        If openmmforcefields or openff-toolkit is not installed.
    """
    kind = next((name for name in CLASSES if forcefield.startswith(name)), None)
    if kind is None:
        raise UnknownNameError("force field", forcefield, [f"{name}-..." for name in CLASSES])
    try:
        from openmmforcefields import generators
    except ImportError as error:
        raise MissingDependencyError(
            "openmmforcefields is not installed; it comes from conda-forge: "
            "conda install -c conda-forge openmmforcefields"
        ) from error
    made = getattr(generators, CLASSES[kind])
    return made(molecules=[to_openff(what) for what in molecules], forcefield=forcefield, **options)

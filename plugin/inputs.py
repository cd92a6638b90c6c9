"""Whatever a user hands over, as a record."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from equidrift.errors import InputError, InputTypeError, MoleculeError, UnknownNameError
from equidrift.records import Ensemble, Molecule, Trajectory
from equidrift.registry import host_function

if TYPE_CHECKING:
    from openmm import app


def as_molecule(what: Any, *, smiles: str | None = None) -> Molecule:
    """The Molecule behind a SMILES, a Molecule, an Ensemble, an RDKit Mol or an
    `ase.Atoms`.

    Parameters
    ----------
    what : str, Molecule, Ensemble, Chem.Mol or ase.Atoms
        The molecule.
    smiles : str, optional
        Of `ase.Atoms`, the molecule as a SMILES: bond orders and charges are its.

    Raises
    ------
    MoleculeError
        For what cannot be read, or a geometry that is not of the SMILES; the message
        names the atoms that differ.
    InputTypeError
        For an object of another kind.
    InputError
        For a SMILES beside something that holds its bonds.
    """
    if smiles is not None:
        if _host(what) != "ase":
            raise InputError(
                f"smiles= tells the bonds of a geometry, and a {type(what).__name__} has its own; "
                "leave it out, or give ase.Atoms"
            )
        templated: Molecule = host_function("ase", "from_atoms")(what, smiles=smiles)
        return templated
    if isinstance(what, Molecule):
        return what
    if isinstance(what, Ensemble):
        return what.molecule
    if isinstance(what, str):
        return Molecule.from_smiles(what)
    molecule: Molecule
    host = _host(what)
    if host == "rdkit":
        molecule = host_function("rdkit", "from_mol")(what)
        return molecule
    if host == "ase":
        molecule = host_function("ase", "from_atoms")(what)
        return molecule
    raise InputTypeError(
        f"expected a SMILES, Molecule, RDKit Mol or ase.Atoms, not {type(what).__name__}; for a file use the command line"
    )


def _host(what: Any) -> str:
    """The package an object's class, or a base of it, comes from: no host is imported
    to find out.
    """
    packages = {base.__module__.partition(".")[0] for base in type(what).__mro__}
    return next((host for host in ("rdkit", "ase") if host in packages), "")


def as_ensemble(what: Any) -> Ensemble:
    """The conformers in an Ensemble, an RDKit Mol or a list of ase.Atoms.

    Raises
    ------
    InputError
        where there is not one conformer, InputTypeError for an object of another kind.
    """
    ensemble: Ensemble
    if isinstance(what, Ensemble):
        ensemble = what
    elif _host(what) == "rdkit":
        ensemble = host_function("rdkit", "ensemble_of")(what)
    elif _host(what) == "ase" or (
        isinstance(what, Sequence) and len(what) and all(_host(image) == "ase" for image in what)
    ):
        ensemble = host_function("ase", "ensemble_of")(
            [what] if _host(what) == "ase" else list(what)
        )
    else:
        raise InputTypeError(
            f"expected an Ensemble, an RDKit Mol with conformers or a list of ase.Atoms, not {type(what).__name__}"
        )
    if not len(ensemble):
        raise InputError(
            "there is no conformer to refine; sample some first, say equidrift.sample('CCO', 10)"
        )
    return ensemble


def as_trajectory(what: Any) -> Any:
    """A Trajectory from a Universe, an AtomGroup or `ase.Atoms`; anything else comes
    back as it is, for the checks to judge.
    """
    if isinstance(what, Trajectory):
        return what
    first = what[0] if isinstance(what, list | tuple) and what else what
    packages = {base.__module__.partition(".")[0] for base in type(first).__mro__}
    if "MDAnalysis" in packages:
        return host_function("mdanalysis", "trajectory_of")(what)
    if "ase" in packages:
        return host_function("ase", "trajectory_of")([what] if first is what else what)
    return what


def from_openmm(
    topology: app.Topology, positions: Any = None, *, formal_charges: Any = None
) -> Molecule | Ensemble:
    """A Molecule, or with positions an Ensemble whose stereo is that of the first
    conformer (a Topology carries none).

    Parameters
    ----------
    topology : openmm Topology whose bonds have orders and whose atoms have formal
        charges.
    positions : None, or (n_atoms, 3), (k, n_atoms, 3) or a list of the former;
        Quantities, or bare numbers in nm as everywhere in OpenMM.
    formal_charges : (n_atoms,) for topologies without them.

    Raises
    ------
    InputError
        where bond orders, elements or formal charges are missing, or shapes do not fit.
    """
    record = host_function("openmm", "from_topology")(
        topology, positions, formal_charges=formal_charges
    )
    if isinstance(record, Molecule) or not len(record):
        return record
    mol = host_function("rdkit", "to_mol")(record.molecule, record.positions_A[:1])
    with_stereo = host_function("rdkit", "from_mol")(host_function("rdkit", "assign_from_3d")(mol))
    stereo = {"tetrahedral": with_stereo.tetrahedral, "double_bonds": with_stereo.double_bonds}
    return record.replace(molecule=record.molecule.replace(**stereo))


STEREO = ("any", "require", "enumerate")


def check_stereo(stereo: str) -> str:
    """Refuse a way with open stereo that is none of STEREO."""
    if stereo not in STEREO:
        raise UnknownNameError("way with open stereo", str(stereo), STEREO)
    return stereo


def isomers_of(molecule: Molecule, stereo: str) -> list[Molecule]:
    """The molecules to sample of one whose stereo may be open.

    Parameters
    ----------
    molecule : as it was read.
    stereo : "any" takes it as it is, "require" refuses open stereo, "enumerate" gives
        every isomer.

    Raises
    ------
    MoleculeError
        for open stereo under "require", or more isomers than are made.
    """
    if stereo == "any":
        return [molecule]
    if stereo == "enumerate":
        isomers: list[Molecule] = host_function("rdkit", "stereoisomers")(molecule)
        return isomers
    if open_places := host_function("rdkit", "open_stereo")(molecule):
        raise MoleculeError(
            f"{molecule!r} leaves the stereo of {', '.join(open_places)} open (atoms from 0); label "
            "it, or take stereo='enumerate' (every isomer) or 'any' (a mixture)"
        )
    return [molecule]

"""Whatever a user hands over, as a record."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import TYPE_CHECKING

from equidrift.errors import InputError, InputTypeError, MoleculeError
from equidrift.records import Ensemble, Molecule, Trajectory
from equidrift.registry import host_function

if TYPE_CHECKING:
    from openmm import app


def as_molecule(what: object, *, smiles: str | None = None, charge: int | None = None) -> Molecule:
    """The Molecule of a SMILES, a Molecule, an Ensemble, an RDKit Mol or an `ase.Atoms`.

    Parameters
    ----------
    what : str, Molecule, Ensemble, Chem.Mol or ase.Atoms
        The molecule.
    smiles : str, optional
        Of `ase.Atoms`, the molecule as a SMILES: bond orders and charges are its.
    charge : int, optional
        Total charge. `ase.Atoms` without bonds need it unless they carry it; all others
        have one, which must be this.

    Raises
    ------
    MoleculeError
        For what cannot be read, a geometry that is not of the SMILES, or another charge
        than the given one; the message names what differs.
    InputTypeError
        For an object of another kind.
    InputError
        For a SMILES beside something that holds its bonds.
    """
    if smiles is not None and _host(what) != "ase":
        raise InputError(
            f"smiles= tells the bonds of a geometry, and a {type(what).__name__} has its own; "
            "leave it out, or give ase.Atoms"
        )
    if _host(what) == "ase":
        read: Molecule = host_function("ase", "from_atoms")(what, charge=charge, smiles=smiles)
    elif isinstance(what, Molecule):
        read = what
    elif isinstance(what, Ensemble):
        read = what.molecule
    elif isinstance(what, str):
        read = Molecule.from_smiles(what)
    elif _host(what) == "rdkit":
        read = host_function("rdkit", "from_mol")(what)
    else:
        raise InputTypeError(
            "expected a SMILES, Molecule, RDKit Mol or ase.Atoms, not "
            f"{type(what).__name__}; for a file use the command line"
        )
    return check_charge(read, charge)


def check_charge(molecule: Molecule, charge: int | None) -> Molecule:
    """Return the molecule, or raise `MoleculeError` if its charge is not the given one."""
    if charge is None:
        return molecule
    if isinstance(charge, bool) or not isinstance(charge, Integral):
        raise InputTypeError(
            f"charge must be an integer, not {charge!r}; give for example charge=-1"
        )
    if molecule.charge != charge:
        raise MoleculeError(
            f"charge={charge:+d}, but {molecule!r} has charge {molecule.charge:+d}; leave "
            f"charge out, "
            "or give the molecule that has it"
        )
    return molecule


def _host(what: object) -> str:
    """The package an object's class, or a base of it, comes from: no host is imported
    to find out.
    """
    packages = {base.__module__.partition(".")[0] for base in type(what).__mro__}
    return next((host for host in ("rdkit", "ase") if host in packages), "")


def as_ensemble(what: object, *, charge: int | None = None) -> Ensemble:
    """The conformers in an Ensemble, an RDKit Mol or a list of ase.Atoms.

    Parameters
    ----------
    what : Ensemble, Chem.Mol, ase.Atoms or list of ase.Atoms
        Conformers of one molecule.
    charge : int, optional
        Total charge; as for `as_molecule`.

    Raises
    ------
    InputError
        If there is no conformer; MoleculeError for another charge than the given one,
        InputTypeError for an object of another kind.
    """
    ensemble: Ensemble
    images = [what] if _host(what) == "ase" else what
    if isinstance(what, Ensemble):
        ensemble = what
    elif _host(what) == "rdkit":
        ensemble = host_function("rdkit", "ensemble_of")(what)
    elif (
        isinstance(images, Sequence)
        and len(images)
        and all(_host(image) == "ase" for image in images)
    ):
        ensemble = host_function("ase", "ensemble_of")(list(images), charge=charge)
    else:
        raise InputTypeError(
            "expected an Ensemble, an RDKit Mol with conformers or a list of ase.Atoms, not "
            f"{type(what).__name__}"
        )
    if not len(ensemble):
        raise InputError(
            "there is no conformer to refine; sample some first, say equidrift.sample('CCO', 10)"
        )
    check_charge(ensemble.molecule, charge)
    return ensemble


def as_trajectory(what: object, *, charge: int | None = None) -> object:
    """A Trajectory from a Universe, an AtomGroup or `ase.Atoms`; anything else comes
    back as it is, for the checks to judge.

    Parameters
    ----------
    what : object
        Frames from a host, or a Trajectory.
    charge : int, optional
        Total charge in e; as for `as_molecule`.

    Raises
    ------
    MoleculeError
        For a molecule of another charge than the given one.
    """
    made = _trajectory(what, charge)
    if isinstance(made, Trajectory):
        check_charge(made.molecule, charge)
    return made


def _trajectory(what: object, charge: int | None) -> object:
    if isinstance(what, Trajectory):
        return what
    first = what[0] if isinstance(what, list | tuple) and what else what
    packages = {base.__module__.partition(".")[0] for base in type(first).__mro__}
    if "MDAnalysis" in packages:
        return host_function("mdanalysis", "trajectory_of")(what)
    if "ase" in packages:
        images = [what] if first is what else what
        return host_function("ase", "trajectory_of")(images, charge=charge)
    return what


def from_openmm(
    topology: app.Topology, positions: object = None, *, formal_charges: object = None
) -> Molecule | Ensemble:
    """A Molecule, or with positions an Ensemble whose stereo is that of the first
    conformer (a Topology carries none).

    Parameters
    ----------
    topology : openmm.app.Topology
        Its bonds have orders, its atoms formal charges.
    positions : Quantity, array or list of them, optional
        (n_atoms, 3) or (k, n_atoms, 3); Quantities, or bare numbers in nm as everywhere
        in OpenMM.
    formal_charges : (n_atoms,) array
        For topologies without them.

    Raises
    ------
    InputError
        If bond orders, elements or formal charges are missing, or shapes do not fit.
    """
    record: Molecule | Ensemble = host_function("openmm", "from_topology")(
        topology, positions, formal_charges=formal_charges
    )
    if isinstance(record, Molecule) or not len(record):
        return record
    mol = host_function("rdkit", "to_mol")(record.molecule, record.positions_A[:1])
    with_stereo = host_function("rdkit", "from_mol")(host_function("rdkit", "assign_from_3d")(mol))
    stereo = {"tetrahedral": with_stereo.tetrahedral, "double_bonds": with_stereo.double_bonds}
    return record.replace(molecule=record.molecule.replace(**stereo))

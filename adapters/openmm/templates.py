"""A template generator for `openmm.app.ForceField`: small molecules by MMFF94, in water
or beside a protein.
"""

from __future__ import annotations

import hashlib
import io
import xml.etree.ElementTree as ET
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
from openmm import app
from openmm.app import forcefield as forces

from equidrift.adapters.openmm.ligand_terms import Ligand, LigandTerms, connected, lennard_jones
from equidrift.adapters.openmm.topology import masses_amu
from equidrift.errors import InputError
from equidrift.graph import neighbours_of
from equidrift.inputs import as_molecule
from equidrift.mmff import MMFFParameters, check_variant, mmff_parameters
from equidrift.records import Ensemble, Molecule
from equidrift.registry import host_function

if TYPE_CHECKING:
    from rdkit import Chem

    Given = Molecule | Ensemble | Chem.Mol | str

# Terms of a force field that ask for parameters of every atom, which MMFF94 has none of.
FOREIGN = (
    forces.AmoebaMultipoleGenerator,
    forces.AmoebaVdwGenerator,
    forces.CustomGBGenerator,
    forces.CustomNonbondedGenerator,
    forces.DrudeGenerator,
    forces.GBSAOBCGenerator,
    forces.HippoNonbondedGenerator,
    forces.LennardJonesGenerator,
)
AMBER_SCALES = {"coulomb14scale": "0.8333333333333334", "lj14scale": "0.5"}


class MMFFTemplateGenerator:
    """Parametrises small molecules by MMFF94 for `openmm.app.ForceField`.

    Among the atoms of a molecule the energy is MMFF94's, term by term, and equal to that
    of `equidrift.mmff_system`. Towards water, ions and proteins an atom has MMFF94's
    charge and a Lennard-Jones term whose well with the oxygen of TIP3P is MMFF94's well
    with a water's oxygen.

    Parameters
    ----------
    molecules : Molecule, Ensemble, SMILES or RDKit Mol, or several of them
        What may come in a Topology, each of one fragment, with all its hydrogens.
    variant : str
        "MMFF94", or "MMFF94s" for flat conjugated nitrogens.

    Raises
    ------
    MoleculeError
        For atoms that MMFF94 has no parameters for; the message names them.
    InputError
        For a molecule of several fragments, or two molecules of the same atoms and bonds
        that differ in their parameters.

    Notes
    -----
    *Sound*: geometries, conformational energies and their sampling, a start for a
    simulation, the steric fit into a pocket or a solvent shell. The 12-6 and the buffered
    14-7 potential have the same well here; inward of it they differ by 0.04 of its depth
    at 0.9 R*. The minimum with one water of eight neutral molecules (alcohol, amide,
    amine, ether, ketone, pyridine, benzene, chloride) lies within 0.23 kcal/mol of
    MMFF94's own, 0.11 on average; those of acetate and methylammonium are 2.3 and 2.4
    kcal/mol too shallow, of 22.6 and 21.2.

    *Not sound*: free energies of solvation and of binding. MMFF94's charges and wells
    were fitted with each other, not with TIP3P or a protein force field of AMBER; a
    pair with an atom other than TIP3P's oxygen is mixed by Lorentz-Berthelot, not by
    MMFF94's rule, and hydrogen bonds to it have no scaling of their own; outside the
    molecule Coulomb's law is not buffered. For these use a force field of the protein's
    family (`equidrift.adapters.openff.template_generator`).

    A residue is recognised by its elements and bonds, as by OpenMM itself; stereo and
    bond orders do not count. The implicit solvents of OpenMM's `implicit/` know every
    element. Force fields that have more terms of every atom than a NonbondedForce
    (CHARMM's Lennard-Jones, `amber96_obc.xml` and its like, AMOEBA, Drude) are refused.

    Examples
    --------
    >>> from openmm import app
    >>> import equidrift
    >>> ensemble = equidrift.sample("CCO", 1, model="etkdg")
    >>> force_field = app.ForceField("amber14/tip3p.xml")
    >>> force_field.registerTemplateGenerator(MMFFTemplateGenerator(ensemble).generator)
    >>> topology, positions = ensemble.to_openmm()
    >>> modeller = app.Modeller(topology, positions[0])
    >>> modeller.addSolvent(force_field, numAdded=10)
    >>> force_field.createSystem(modeller.topology).getNumParticles()
    39
    """

    def __init__(
        self,
        molecules: Given | Iterable[Given] = (),
        *,
        variant: str = "MMFF94",
    ) -> None:
        self.variant = check_variant(variant)
        self._known = app.ForceField()
        self._ligands: dict[str, Ligand] = {}
        self.add_molecules(molecules)

    @property
    def molecules(self) -> tuple[Molecule, ...]:
        """What is known, each once."""
        return tuple(ligand.molecule for ligand in self._ligands.values())

    def add_molecules(self, molecules: Given | Iterable[Given]) -> None:
        """Know more molecules; arguments and errors are those of the class."""
        one = isinstance(molecules, str | Molecule | Ensemble)
        if one or not isinstance(molecules, Iterable):
            self._add(as_molecule(molecules))
            return
        for what in molecules:
            self._add(as_molecule(what))

    def generator(self, forcefield: app.ForceField, residue: app.topology.Residue) -> bool:
        """For `ForceField.registerTemplateGenerator`: register a template of a residue.

        Parameters
        ----------
        forcefield : app.ForceField
            Who asks.
        residue : app.topology.Residue
            What has no template.

        Returns
        -------
        bool
            False if the residue, with all that is bonded to it, is none of the
            molecules; nothing is registered then.

        Raises
        ------
        InputError
            For a force field that asks more of an atom than MMFF94 tells.
        """
        name = self._name_of(_whole_molecule(residue))
        if name is None:
            return False
        _refuse_foreign(forcefield)
        ligand = self._ligands[name]
        forcefield.loadFile(io.StringIO(_described(ligand, _scales(forcefield))))
        ours = [made for made in forcefield.getGenerators() if isinstance(made, LigandTerms)]
        if not ours:
            ours = [LigandTerms()]
            forcefield.registerGenerator(ours[0])
        ours[0].add(ligand)
        return True

    def _add(self, molecule: Molecule) -> None:
        neighbours = neighbours_of(molecule.n_atoms, molecule.bonds)
        if len(connected(0, neighbours)) != molecule.n_atoms:
            raise InputError(
                f"{molecule!r} has several fragments, and OpenMM gives a template to each "
                "molecule; give each fragment as a molecule"
            )
        parameters = mmff_parameters(molecule, self.variant)
        masses = masses_amu(molecule)
        name = _name(parameters, masses.tobytes())
        if name in self._ligands:
            return
        known = self._name_of(_one_residue(molecule.numbers.tolist(), molecule.bonds.tolist()))
        if known is not None:
            _check_same(self._ligands[known].molecule, molecule)
            return
        sigma_nm, epsilon_kJ_mol = lennard_jones(molecule, self.variant)
        ligand = Ligand(name, molecule, parameters, sigma_nm, epsilon_kJ_mol, masses)
        self._known.loadFile(io.StringIO(_described(ligand, None)))
        self._ligands[name] = ligand

    def _name_of(self, topology: app.Topology) -> str | None:
        """The template of a molecule that stands alone, None for a stranger."""
        if self._known.getUnmatchedResidues(topology):
            return None
        name: str = self._known.getMatchingTemplates(topology)[0].name
        return name


def _name(parameters: MMFFParameters, *further: bytes) -> str:
    """A name of these parameters."""
    arrays = [
        value.tobytes() for value in vars(parameters).values() if isinstance(value, np.ndarray)
    ]
    digest = hashlib.blake2b(b"".join([*arrays, *further]), digest_size=6).hexdigest()
    return f"equidrift-{parameters.variant}-{digest}"


def _check_same(known: Molecule, molecule: Molecule) -> None:
    """Refuse a molecule that OpenMM cannot tell from a known one, and that differs from
    it in more than stereo.
    """
    flat_smiles = host_function("rdkit", "flat_smiles")
    if flat_smiles(known) != flat_smiles(molecule):
        raise InputError(
            f"{molecule!r} and {known!r} have the same elements and bonds, by which alone "
            "OpenMM knows a residue, but other bond orders or charges; make a ForceField for "
            "each, with a generator of its own"
        )


def _one_residue(numbers: list[int], bonds: list[list[int]]) -> app.Topology:
    """Atoms and bonds as one residue that stands alone."""
    topology = app.Topology()
    residue = topology.addResidue("MOL", topology.addChain())
    atoms = [
        topology.addAtom(f"A{k}", app.Element.getByAtomicNumber(z) if z else None, residue)
        for k, z in enumerate(numbers)
    ]
    for i, j in bonds:
        topology.addBond(atoms[i], atoms[j])
    return topology


def _whole_molecule(residue: app.topology.Residue) -> app.Topology:
    """The molecule that a residue is of, as one residue."""
    topology = residue.chain.topology
    pairs = [[a.index, b.index] for a, b in topology.bonds()]
    atoms = list(topology.atoms())
    first = next(residue.atoms()).index
    members = connected(first, neighbours_of(len(atoms), pairs))
    place = {old: new for new, old in enumerate(members)}
    numbers = [0 if atoms[k].element is None else atoms[k].element.atomic_number for k in members]
    return _one_residue(numbers, [[place[i], place[j]] for i, j in pairs if i in place])


def _refuse_foreign(forcefield: app.ForceField) -> None:
    for made in forcefield.getGenerators():
        if isinstance(made, FOREIGN):
            term = type(made).__name__.removesuffix("Generator")
            raise InputError(
                f"the ForceField has a term {term}, which asks for parameters of every atom, and "
                "MMFF94 has none for it; use force fields with a NonbondedForce only, such as "
                "amber14-all.xml with amber14/tip3p.xml"
            )


def _scales(forcefield: app.ForceField) -> dict[str, str]:
    """The scales of 1-4 pairs that a force field has: its files must agree on them."""
    for made in forcefield.getGenerators():
        if isinstance(made, forces.NonbondedGenerator):
            return {name: repr(getattr(made, name)) for name in AMBER_SCALES}
    return AMBER_SCALES


def _described(ligand: Ligand, scales: dict[str, str] | None) -> str:
    """A ligand in OpenMM's XML; without scales only its template."""
    root = ET.Element("ForceField")
    kinds, residues = ET.SubElement(root, "AtomTypes"), ET.SubElement(root, "Residues")
    residue = ET.SubElement(residues, "Residue", name=ligand.name)
    symbols = ligand.molecule.symbols
    for k, (kind, mass) in enumerate(zip(ligand.types, ligand.masses_amu.tolist(), strict=True)):
        about = {"name": kind, "class": kind, "element": symbols[k], "mass": repr(mass)}
        ET.SubElement(kinds, "Type", about)
        ET.SubElement(residue, "Atom", name=f"A{k}", type=kind)
    for i, j in ligand.molecule.bonds.tolist():
        ET.SubElement(residue, "Bond", atomName1=f"A{i}", atomName2=f"A{j}")
    if scales is not None:
        nonbonded = ET.SubElement(root, "NonbondedForce", scales)
        columns = zip(
            ligand.types,
            ligand.parameters.charges_e.tolist(),
            ligand.sigma_nm.tolist(),
            ligand.epsilon_kJ_mol.tolist(),
            strict=True,
        )
        for kind, charge, sigma, epsilon in columns:
            well = {"sigma": repr(sigma), "epsilon": repr(epsilon)}
            ET.SubElement(nonbonded, "Atom", {"type": kind, "charge": repr(charge), **well})
    return ET.tostring(root, encoding="unicode")

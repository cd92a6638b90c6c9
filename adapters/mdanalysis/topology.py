"""A Molecule as a topology of MDAnalysis."""

from __future__ import annotations

from typing import Any

import numpy as np
from MDAnalysis.core import topologyattrs as attrs
from MDAnalysis.core.topology import Topology
from MDAnalysis.guesser.tables import masses as MASSES
from MDAnalysis.topology.base import TopologyReaderBase, change_squash
from numpy.typing import NDArray

from equidrift.records import Ensemble, Molecule, Trajectory
from equidrift.registry import host_function
from equidrift.residues import default_names, record_types

FORMAT = "EQUIDRIFT"  # of records, among MDAnalysis' formats of files


def is_record(thing: Any) -> bool:
    """Whether MDAnalysis is given one of our records."""
    return isinstance(thing, Ensemble | Trajectory)


class EnsembleParser(TopologyReaderBase):
    """A record's Molecule as a Topology: ids, names, types, elements, masses, formal
    charges, bonds with orders, residues.
    """

    format = FORMAT

    @staticmethod
    def _format_hint(thing: Any) -> bool:
        return is_record(thing)

    def parse(self, **kwargs: Any) -> Topology:
        """Called by MDAnalysis."""
        del kwargs
        return to_topology(self.filename.molecule)


def to_topology(molecule: Molecule) -> Topology:
    """The molecule as an MDAnalysis Topology; without names of its own, one residue MOL
    with C1, C2, H1, ...
    """
    n = molecule.n_atoms
    chain_ids = np.array(molecule.chain_ids or ("A",) * n, object)
    labels = (
        np.array(molecule.residue_ids or (1,) * n, np.int64),
        np.array(molecule.residue_names or ("MOL",) * n, object),
        np.array(molecule.insertion_codes or ("",) * n, object),
        chain_ids,
    )
    residue_of, (resids, resnames, icodes, residue_chains) = change_squash(labels, labels)
    segids = np.array([chain or "A" for chain in residue_chains], object)
    segment_of, (segids,) = change_squash((segids,), (segids,))
    per_residue = [
        attrs.Resids(resids),
        attrs.Resnums(resids.copy()),
        attrs.Resnames(resnames),
        attrs.ICodes(icodes),
    ]
    return Topology(
        n,
        len(resids),
        len(segids),
        attrs=[*_per_atom(molecule, chain_ids), *per_residue, attrs.Segids(segids)],
        atom_resindex=residue_of,
        residue_segindex=segment_of,
    )


def _per_atom(molecule: Molecule, chain_ids: NDArray[np.object_]) -> list[attrs.TopologyAttr]:
    """The attributes of atoms and bonds."""
    n, symbols = molecule.n_atoms, np.array(molecule.symbols, object)
    return [
        attrs.Atomids(np.arange(1, n + 1)),
        attrs.Atomnames(np.array(molecule.atom_names or default_names(molecule), object)),
        attrs.Atomtypes(symbols.copy()),
        attrs.Elements(symbols),
        attrs.Masses(_masses_amu(molecule)),
        attrs.FormalCharges(np.array(molecule.formal_charges, int)),
        attrs.RecordTypes(np.array(record_types(molecule), object)),
        attrs.AltLocs(np.array([""] * n, object)),
        attrs.ChainIDs(chain_ids),
        attrs.Occupancies(np.ones(n)),
        attrs.Tempfactors(np.zeros(n)),
        attrs.Bonds(
            [tuple(bond) for bond in molecule.bonds.tolist()], order=molecule.bond_orders.tolist()
        ),
    ]


def _masses_amu(molecule: Molecule) -> NDArray[np.float64]:
    """(n,) masses of the atoms: of their isotopes, else MDAnalysis' of the elements."""
    elements = np.array(
        [MASSES.get(symbol.upper(), 0.0) for symbol in molecule.symbols], np.float64
    )
    if not molecule.isotopes.any():
        return elements
    known = host_function("rdkit", "isotope_masses_amu")(molecule, strict=False)
    return np.where(molecule.isotopes > 0, known, elements)

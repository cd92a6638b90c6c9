"""Every host through the contract suite; each class names what its host cannot carry."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from equidrift import inputs
from equidrift.adapters.ase import atoms as ase_atoms
from equidrift.adapters.mdanalysis import universe as mda_universe
from equidrift.adapters.rdkit import carried as rdkit_carried
from equidrift.records import Ensemble
from tests.contract.host import HostContract


class TestASE(HostContract):
    """The graph travels in `atoms.info`: nothing is lost."""

    def into(self, ensemble: Ensemble) -> Any:
        return ensemble.to_ase()

    def back(self, made: Any) -> Ensemble:
        return ase_atoms.ensemble_of(made)

    def move(self, made: Any) -> None:
        made[0].positions += 1.0


class TestRDKit(HostContract):
    """A Mol has properties, and so has each Conformer: nothing is lost."""

    def into(self, ensemble: Ensemble) -> Any:
        return ensemble.to_rdkit()

    def back(self, made: Any) -> Ensemble:
        return rdkit_carried.ensemble_of(made)

    def move(self, made: Any) -> None:
        made.GetConformer(0).SetAtomPosition(0, (9.0, 9.0, 9.0))


class TestOpenMM(HostContract):
    """A Topology and a list of positions: no place for anything of the samples, and of
    the molecule for names of atoms, residues and chains only.
    """

    tolerance_A: ClassVar[float] = 1e-12
    lost_of_molecule: ClassVar[frozenset[str]] = frozenset(
        {"name", "smiles", "isotopes", "atom_maps", "properties"}
    )
    lost_of_ensemble: ClassVar[frozenset[str]] = frozenset(
        {"seeds", "energies_eV", "log_prob", "valid", "scores", "properties"}
    )

    def into(self, ensemble: Ensemble) -> Any:
        return ensemble.to_openmm()

    def back(self, made: Any) -> Ensemble:
        return inputs.from_openmm(*made)

    def move(self, made: Any) -> None:
        made[1][0][:] = made[1][0] + made[1][0]


class TestMDAnalysis(HostContract):
    """A Universe has float32 positions, masses, which tell isotopes, and whatever is
    known of each frame.
    """

    tolerance_A: ClassVar[float] = 1e-5
    lost_of_molecule: ClassVar[frozenset[str]] = frozenset({"atom_maps"})

    def into(self, ensemble: Ensemble) -> Any:
        return ensemble.to_mdanalysis()

    def back(self, made: Any) -> Ensemble:
        return mda_universe.from_universe(made)

    def move(self, made: Any) -> None:
        made.atoms.positions = made.atoms.positions + np.float32(1)

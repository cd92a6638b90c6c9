"""What every host promises: an Ensemble goes in, and what the host can carry comes back
equal.

A test class inherits `HostContract`, says how the host's object is made and read, and
names what the host cannot carry.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
import pytest

from equidrift.adapters.rdkit.etkdg import ETKDG
from equidrift.records import Ensemble, Molecule
from equidrift.seeds import sample_seeds
from tests.conftest import graph_key

# what an Ensemble and its Molecule hold beside elements, bonds, charges, stereo and positions
MOLECULE_FIELDS = (
    "name",
    "smiles",
    "isotopes",
    "atom_maps",
    "properties",
    "atom_names",
    "residue_names",
    "residue_ids",
    "chain_ids",
    "insertion_codes",
)
ENSEMBLE_FIELDS = ("seeds", "energies_eV", "log_prob", "valid", "scores", "properties")
# the graphs: two tetrahedral centres, a double bond, both charges, isotopes, atom numbers
SMILES = {
    "centres": "C[C@H](F)[C@@H](Cl)O",
    "double bond": r"F/C=C\Cl",
    "zwitterion": "[NH3+][C@@H](CO)C(=O)[O-]",
    "isotopes": "[2H]C([2H])([13CH3])O",
    "atom numbers": "[CH3:7][CH2:2]O",
}


@lru_cache
def full_ensemble(kind: str) -> Ensemble:
    """Two conformers with every field set."""
    plain, seeds = Molecule.from_smiles(SMILES[kind]), sample_seeds(3, 0, 2)
    n = plain.n_atoms
    molecule = plain.replace(
        name=f"a molecule with {kind}",
        properties={"IC50": "12 nM"},
        atom_names=tuple(f"X{k + 1}" for k in range(n)),
        residue_names=("LIG",) * n,
        residue_ids=(52,) * n,
        chain_ids=("B",) * n,
        insertion_codes=("A",) * n,
    )
    return Ensemble(
        molecule,
        ETKDG().sample(plain, seeds),
        seeds=seeds,
        energies_eV=np.array([-1.25, 0.5]),
        log_prob=np.array([-3.5, -4.25]),
        valid=np.array([True, False]),
        scores={"clash": np.array([0.0, 1.5])},
        properties={"vendor": ["one", "two"]},
    )


class HostContract:
    """Inherit, override `into` and `back`, and name what is lost."""

    tolerance_A: ClassVar[float] = 0.0
    # fields that the host has no place for
    lost_of_molecule: ClassVar[frozenset[str]] = frozenset()
    lost_of_ensemble: ClassVar[frozenset[str]] = frozenset()

    def into(self, ensemble: Ensemble) -> Any:
        """The host's object."""
        raise NotImplementedError

    def back(self, made: Any) -> Ensemble:
        """An Ensemble of the host's object."""
        raise NotImplementedError

    @pytest.fixture(params=list(SMILES))
    def ensemble(self, request: pytest.FixtureRequest) -> Ensemble:
        return full_ensemble(request.param)

    def test_graph_charges_and_stereo_come_back_equal(self, ensemble: Ensemble) -> None:
        back = self.back(self.into(ensemble))
        assert graph_key(back.molecule) == graph_key(ensemble.molecule)

    def test_positions_come_back_to_the_hosts_floats(self, ensemble: Ensemble) -> None:
        back = self.back(self.into(ensemble))
        assert back.positions_A.shape == ensemble.positions_A.shape
        np.testing.assert_allclose(
            back.positions_A, ensemble.positions_A, rtol=0, atol=self.tolerance_A
        )

    @pytest.mark.parametrize("field", MOLECULE_FIELDS)
    def test_field_of_the_molecule_comes_back_or_is_named_as_lost(
        self, ensemble: Ensemble, field: str
    ) -> None:
        back = self.back(self.into(ensemble)).molecule
        kept = same(getattr(back, field), getattr(ensemble.molecule, field))
        blank = is_blank(ensemble.molecule, field)
        assert blank or kept == (field not in self.lost_of_molecule)

    @pytest.mark.parametrize("field", ENSEMBLE_FIELDS)
    def test_field_of_the_samples_comes_back_or_is_named_as_lost(
        self, ensemble: Ensemble, field: str
    ) -> None:
        back = self.back(self.into(ensemble))
        kept = same(getattr(back, field), getattr(ensemble, field))
        assert kept == (field not in self.lost_of_ensemble)

    def test_ensemble_is_left_alone_by_what_the_host_does(self, ensemble: Ensemble) -> None:
        before = ensemble.positions_A.copy()
        made = self.into(ensemble)
        self.move(made)
        assert np.array_equal(ensemble.positions_A, before)

    def move(self, made: Any) -> None:
        """Change the positions of the host's object in place."""
        raise NotImplementedError


def same(one: Any, two: Any) -> bool:
    """Whether two fields are equal."""
    if one is None or two is None:
        return one is two
    if isinstance(two, np.ndarray):
        return bool(np.array_equal(one, two))
    if hasattr(two, "keys"):
        return set(one) == set(two) and all(
            np.array_equal(np.asarray(one[key]), np.asarray(two[key])) for key in two
        )
    return bool(one == two)


def is_blank(molecule: Molecule, field: str) -> bool:
    """Whether a molecule has nothing in a field that could be lost."""
    value = getattr(molecule, field)
    return isinstance(value, np.ndarray) and not value.any()

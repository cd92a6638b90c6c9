"""The interfaces that openff-toolkit and openmmforcefields document, by doubles: neither is
on PyPI.

Where they are installed, the doubles are not used.
"""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

import equidrift
from equidrift.adapters.openff.generators import template_generator
from equidrift.adapters.openff.molecules import to_openff
from equidrift.errors import MissingDependencyError, UnknownNameError

absent = pytest.mark.skipif(
    importlib.util.find_spec("openff") is not None, reason="openff-toolkit is installed"
)


class Recorded:
    """`openff.toolkit.Molecule`: it keeps the Mol and the options it is made with."""

    @classmethod
    def from_rdkit(cls, rdmol, allow_undefined_stereo=False, hydrogens_are_explicit=True):
        made = cls()
        made.mol = rdmol
        made.options = (allow_undefined_stereo, hydrogens_are_explicit)
        return made


class Generator:
    """A template generator of openmmforcefields."""

    def __init__(self, molecules=None, forcefield=None, cache=None):
        self.molecules, self.forcefield, self.cache = molecules, forcefield, cache


@pytest.fixture
def installed(monkeypatch):
    """Both packages, as far as we call them."""
    openff, toolkit = ModuleType("openff"), ModuleType("openff.toolkit")
    toolkit.Molecule = Recorded
    openff.toolkit = toolkit
    fields = ModuleType("openmmforcefields")
    fields.generators = SimpleNamespace(
        SMIRNOFFTemplateGenerator=type("Smirnoff", (Generator,), {}),
        GAFFTemplateGenerator=type("Gaff", (Generator,), {}),
    )
    for module in (openff, toolkit, fields):
        monkeypatch.setitem(sys.modules, module.__name__, module)


def test_ensemble_is_handed_over_with_its_conformers(installed):
    ensemble = equidrift.sample("C[C@H](N)C(=O)O", 2, model="etkdg")
    made = to_openff(ensemble)
    assert made.options == (True, True)
    found = np.array([conformer.GetPositions() for conformer in made.mol.GetConformers()])
    np.testing.assert_allclose(found, ensemble.positions_A)
    assert to_openff("CCO").mol.GetNumConformers() == 0


@pytest.mark.parametrize(
    ("forcefield", "kind"), [("openff-2.2.1", "Smirnoff"), ("gaff-2.11", "Gaff")]
)
def test_template_generator_is_that_of_the_force_field(installed, forcefield, kind):
    made = template_generator(["CCO", "CCN"], forcefield, cache="a.json")
    assert type(made).__name__ == kind
    assert (made.forcefield, made.cache) == (forcefield, "a.json")
    assert [molecule.mol.GetNumAtoms() for molecule in made.molecules] == [9, 10]


def test_force_field_of_another_kind_is_refused():
    with pytest.raises(UnknownNameError, match=r"amber14"):
        template_generator(["CCO"], "amber14")


@absent
def test_missing_package_is_named_with_the_way_to_it():
    with pytest.raises(MissingDependencyError, match=r"conda install .* openff-toolkit"):
        to_openff("CCO")
    with pytest.raises(MissingDependencyError, match=r"conda install .* openmmforcefields"):
        template_generator(["CCO"])

"""`ConformerGenerator` behaves as ASE's calculators do."""

from __future__ import annotations

import json

import numpy as np
import pytest
from ase import Atoms

from equidrift.adapters.ase import generator as generator_module
from equidrift.adapters.ase.atoms import from_atoms
from equidrift.adapters.ase.generator import ConformerGenerator, MoleculeGenerator
from equidrift.engine.spectra import SCORE
from equidrift.errors import InputError, MoleculeError, UnknownNameError
from equidrift.records import Ensemble, Molecule
from equidrift.spectrum import spectrum_of
from tests.conftest import make_ensemble
from tests.doubles import Baker, geometry
from tests.plugin.engine.test_spectra import Listener, curve


@pytest.fixture
def calls(monkeypatch):
    """Every call of `equidrift.sample` from here on."""
    seen, sample = [], generator_module.sample

    def counted(what, *args, **options):
        seen.append((what, args, options))
        return sample(what, *args, **options)

    monkeypatch.setattr(generator_module, "sample", counted)
    return seen


def test_generates_from_smiles_molecule_and_atoms():
    generator = ConformerGenerator(model="etkdg", n=3, seed=4)
    molecule = Molecule.from_smiles("C[C@H](F)CO")
    from_text = generator.generate("C[C@H](F)CO")
    from_molecule = generator.generate(molecule)
    assert len(from_text) == 3 and from_text[0].info["smiles"] == "C[C@H](F)CO"
    for a, b in zip(from_text, from_molecule, strict=True):
        np.testing.assert_array_equal(a.positions, b.positions)
    again = ConformerGenerator(model="etkdg", n=3, seed=4).generate(from_text[2])
    for a, b in zip(from_text, again, strict=True):
        np.testing.assert_array_equal(a.positions, b.positions)
    assert generator.ensemble.provenance["model"] == "etkdg"


def test_order_of_the_atoms_given_is_kept():
    atoms = ConformerGenerator(model="etkdg", n=1).generate("C[C@H](F)CO")[0]
    shuffled = atoms[np.random.default_rng(0).permutation(len(atoms))]
    images = ConformerGenerator(model="etkdg", n=2).generate(shuffled)
    assert all(image.numbers.tolist() == shuffled.numbers.tolist() for image in images)
    assert from_atoms(images[0]) == from_atoms(shuffled)


def test_result_is_kept_until_something_counts(calls):
    generator = ConformerGenerator(model="etkdg", n=1)
    atoms = generator.generate("CC(=O)O")[0]
    assert len(calls) == 1
    atoms.positions += 1.0
    generator.generate(atoms), generator.generate("CC(=O)O")
    assert len(calls) == 1, "positions do not count where bonds are known"
    generator.generate("CC(=O)[O-]")
    assert len(calls) == 2, "charge and bonds count"
    generator.generate("CC(=O)F")
    assert len(calls) == 3, "numbers count"
    assert generator.set(n=2) == {"n": 2} and len(generator.generate("CC(=O)F")) == 2
    assert len(calls) == 4, "parameters count"
    assert generator.set(n=2) == {}
    generator.generate("CC(=O)F")
    assert len(calls) == 4
    generator.reset()
    generator.generate("CC(=O)F")
    assert len(calls) == 5


def test_results_are_copies():
    generator = ConformerGenerator(model="etkdg", n=1)
    first = generator.generate("CCO")[0]
    first.positions[:] = 0
    assert np.abs(generator.generate("CCO")[0].positions).max() > 0.1


def test_same_molecule_under_another_name(calls):
    generator = ConformerGenerator(model="etkdg", n=1)
    generator.generate("CCO")
    assert (
        generator.generate(Molecule.from_smiles("CCO", name="ethanol"))[0].info["name"] == "ethanol"
    )
    assert len(calls) == 1


def test_bare_atoms(calls):
    ensemble = make_ensemble("anion")
    bare = Atoms(ensemble.molecule.numbers, ensemble.positions_A[0])
    generator = ConformerGenerator(model="etkdg", n=1)
    with pytest.raises(MoleculeError, match=r"charge is not given"):
        generator.generate(bare)
    bare.info["charge"] = -1
    assert generator.generate(bare)[0].info["charge"] == -1
    bare.info["charge"] = 0
    with pytest.raises(MoleculeError, match=r"no structure of charge"):
        generator.generate(bare)


def test_generator_tells_the_parameters_that_are_not_defaults():
    generator = ConformerGenerator(model="etkdg-mmff", n=5, variant="MMFF94s", steps=None)
    assert generator.todict() == {"model": "etkdg-mmff", "n": 5, "variant": "MMFF94s"}
    assert set(generator.todict(skip_default=False)) == {
        *ConformerGenerator.default_parameters,
        "variant",
    }
    assert (
        ConformerGenerator.default_parameters["model"] == "default"
        and "variant" not in ConformerGenerator.default_parameters
    )
    assert repr(generator) == "ConformerGenerator(model='etkdg-mmff', n=5, variant='MMFF94s')"
    json.dumps(generator.todict(skip_default=False))
    assert ConformerGenerator(**generator.todict()).todict() == generator.todict()


def test_unknown_option_gets_a_suggestion():
    with pytest.raises(UnknownNameError, match=r"unknown option 'sed'. Did you mean 'seed'"):
        ConformerGenerator(model="etkdg", sed=3)
    with pytest.raises(UnknownNameError, match=r"unknown option 'steps_'. Did you mean 'steps'"):
        ConformerGenerator(model=Shrink(), steps_=3)
    with pytest.raises(UnknownNameError, match=r"unknown option 'varaint'. Did you mean 'variant'"):
        ConformerGenerator(model="etkdg-mmff").set(varaint="MMFF94s")
    with pytest.raises(UnknownNameError, match=r"unknown option 'variant'"):
        ConformerGenerator(model="etkdg", variant="MMFF94")


def test_bad_input_reaches_the_user():
    with pytest.raises(UnknownNameError, match=r"unknown model 'etkdgg'. Did you mean 'etkdg'"):
        ConformerGenerator(model="etkdgg").generate("CCO")
    with pytest.raises(InputError, match=r"n must be"):
        ConformerGenerator(model="etkdg", n=0).generate("CCO")
    with pytest.raises(MoleculeError, match=r"cannot read the SMILES"):
        ConformerGenerator(model="etkdg").generate("C1CC")


def test_relaxed_conformers_have_energies():
    images = ConformerGenerator(model="etkdg", n=2, relax="mmff").generate("CCO")
    assert all(np.isfinite(atoms.get_potential_energy()) for atoms in images)


class Shrink:
    """A stand-in for a refiner: pulls every conformer together by a hair."""

    name = "shrink"

    def refine_many(self, jobs, *, steps=None, callback=None):
        return [positions * (1 - 1e-3 * (steps or 1)) for _, positions in jobs]


def test_refine_keeps_order_and_info():
    images = ConformerGenerator(model="etkdg", n=3).generate("C[C@H](F)CO")
    for k, atoms in enumerate(images):
        atoms.info["mine"] = k
    refined = ConformerGenerator(refiner=Shrink(), refine_steps=2, batch_size=2).refine(images[1:])
    assert [atoms.info["mine"] for atoms in refined] == [1, 2] and [
        atoms.info["sample"] for atoms in refined
    ] == [1, 2]
    for old, new in zip(images[1:], refined, strict=True):
        np.testing.assert_allclose(new.positions, old.positions * 0.998)
        assert new is not old and from_atoms(new) == from_atoms(old)
    single = ConformerGenerator(refiner=Shrink()).refine(images[0])
    assert len(single) == 1


def test_refine_names_what_is_wrong():
    generator = ConformerGenerator(refiner="refin")
    images = ConformerGenerator(model="etkdg", n=1).generate("CCO")
    with pytest.raises(UnknownNameError, match=r"unknown refiner 'refin'. Did you mean 'refine'"):
        generator.refine(images)
    with pytest.raises(InputError, match=r"images\[1\] is not the molecule"):
        generator.refine(images + ConformerGenerator(model="etkdg", n=1).generate("CCN"))
    with pytest.raises(InputError, match=r"no images"):
        generator.refine([])


def test_molecule_generator_keeps_its_molecules_until_a_parameter_changes():
    model = Baker()
    generator = MoleculeGenerator(model, n=3, seed=2)
    first = generator.generate()
    assert len(first) == 3 and len({atoms.info["smiles"] for atoms in first}) == 3
    calls = len(model.calls)
    again = generator.generate()
    assert (
        len(model.calls) == calls
        and again[0] is not first[0]
        and np.array_equal(again[0].positions, first[0].positions)
    )
    assert generator.set(n=3) == {} and generator.set(n=4) == {"n": 4}
    assert len(generator.generate()) == 4 and len(model.calls) > calls
    assert from_atoms(first[0]).smiles == first[0].info["smiles"]


def test_molecule_generator_refuses_unknown_options_and_bad_targets():
    with pytest.raises(
        UnknownNameError, match=r"unknown option 'guidence'\. Did you mean 'guidance'"
    ):
        MoleculeGenerator(Baker(), guidence=2.0)
    with pytest.raises(UnknownNameError, match="unknown property 'gap'"):
        MoleculeGenerator(Baker(), targets={"gap": 7.0}).generate()


def test_molecule_generator_takes_atoms_as_a_fragment():
    ethanol = Molecule.from_smiles("CCO")
    (core,) = Ensemble(ethanol, geometry(ethanol)[None]).to_ase()
    generator = MoleculeGenerator(Baker(n=1), n=1, fragment=core)
    assert (
        generator.generate()[0].info["smiles"] == "CCO"
    )  # the double makes ethanol alone, a little shaken
    assert (
        generator.parameters["model"].calls[0]["fragment"][0].numbers.tolist()
        == ethanol.numbers.tolist()
    )


def test_molecule_generator_takes_a_spectrum():
    model, points = Listener(), curve()
    generator = MoleculeGenerator(model, n=1, spectrum=points, guidance=2.0)
    (made,) = generator.generate()
    np.testing.assert_array_equal(model.calls[0]["spectrum"], spectrum_of(points))
    assert model.calls[0]["guidance"] == 2.0 and np.isfinite(made.info["scores"][SCORE])
    assert generator.set(spectrum=points) == {} and "spectrum" in generator.set(spectrum=None)

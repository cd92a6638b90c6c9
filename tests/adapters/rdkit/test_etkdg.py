"""ETKDG and ETKDG+MMFF94: sample k depends on its seed alone, failures are NaN,
messages say the way out.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from equidrift.adapters.rdkit.etkdg import CHUNK, ETKDG, ETKDGMMFF, SEEDS, rdkit_seeds
from equidrift.adapters.rdkit.relaxing import mmff_relax
from equidrift.checks.conditions import make_conditions
from equidrift.checks.geometry import check_geometry
from equidrift.errors import InputError, MoleculeError
from equidrift.protocols import ConformerModel
from equidrift.records import Molecule
from equidrift.seeds import sample_seeds

BUTANOL = Molecule.from_smiles("CC[C@H](C)O")
IMPOSSIBLE = Molecule.from_smiles(
    "C[C@@H]1CC[C@H]2[C@@H](C)C(=O)O[C@@H]3O[C@@]4(C)CC[C@@H]1[C@]23OO4"
)


@pytest.mark.parametrize("model", [ETKDG(), ETKDGMMFF()])
def test_fulfils_the_protocol(model):
    assert isinstance(model, ConformerModel)
    positions = model.sample(BUTANOL, sample_seeds(0, 0, 3))
    assert (
        positions.shape == (3, BUTANOL.n_atoms, 3)
        and positions.dtype == np.float64
        and np.isfinite(positions).all()
    )


@settings(max_examples=15, deadline=None)
@given(st.permutations(range(8)), st.lists(st.integers(0, 8), max_size=3))
def test_sample_depends_on_its_seed_alone(order, cuts):
    seeds = sample_seeds(3, 0, 8)
    whole = ETKDG().sample(BUTANOL, seeds)
    parts = np.split(np.array(order), sorted(cuts))
    again = np.concatenate([ETKDG().sample(BUTANOL, seeds[part]) for part in parts])
    np.testing.assert_array_equal(again, whole[list(order)])


def test_runs_longer_than_a_chunk_and_threads_change_nothing():
    water = Molecule.from_smiles("O")
    seeds = sample_seeds(1, 0, CHUNK + 5)
    whole = ETKDG(num_threads=2).sample(water, seeds)
    np.testing.assert_array_equal(whole[-7:], ETKDG().sample(water, seeds[-7:]))


def test_seeds_wrap_around_rdkits_range():
    seeds = np.arange(SEEDS - 3, SEEDS + 3) + 5 * SEEDS
    assert rdkit_seeds(seeds).tolist() == [SEEDS - 2, SEEDS - 1, SEEDS, 1, 2, 3]
    whole = ETKDG().sample(BUTANOL, seeds)
    assert np.isfinite(whole).all()
    np.testing.assert_array_equal(whole[3:], ETKDG().sample(BUTANOL, seeds[3:]))


def test_seeds_zero_and_one_differ():
    a, b = ETKDG().sample(BUTANOL, np.array([0, 1]))
    assert np.abs(a - b).max() > 0.1


@pytest.mark.long
def test_what_cannot_be_embedded_is_nan_in_its_place():
    positions = ETKDG(max_attempts=2).sample(IMPOSSIBLE, sample_seeds(0, 0, 3))
    assert positions.shape == (3, IMPOSSIBLE.n_atoms, 3) and np.isnan(positions).all()
    relaxed, energies = mmff_relax(
        BUTANOL,
        np.stack([np.full((BUTANOL.n_atoms, 3), np.nan), *ETKDG().sample(BUTANOL, np.array([4]))]),
    )
    assert (
        np.isnan(relaxed[0]).all()
        and np.isnan(energies[0])
        and np.isfinite(relaxed[1]).all()
        and np.isfinite(energies[1])
    )


def test_failures_of_a_chunk_keep_their_places(monkeypatch):
    """RDKit leaves failures out and says not which; then each seed is embedded by
    itself.
    """
    model, embed = ETKDG(), ETKDG._call
    seeds = sample_seeds(0, 0, 4)
    expected = model.sample(BUTANOL, seeds)
    bad = rdkit_seeds(seeds)[1]

    def call(self, task, chunk, *args):
        found = embed(self, task, chunk, *args)
        return found[chunk != bad]

    monkeypatch.setattr(ETKDG, "_call", call)
    monkeypatch.setattr(ETKDG, "_climb", lambda self, task, seeds: task.nothing())
    positions = model.sample(BUTANOL, seeds)
    assert np.isnan(positions[1]).all()
    np.testing.assert_array_equal(positions[[0, 2, 3]], expected[[0, 2, 3]])


def test_runtime_errors_of_the_embedding_are_caught(monkeypatch):
    """On strained cages RDKit raises RuntimeError; random coordinates are the second
    try.
    """
    from equidrift.adapters.rdkit import rungs as rdkit_etkdg

    embed = rdkit_etkdg.rdDistGeom.EmbedMultipleConfs

    def broken(mol, count, options):
        if not options.useRandomCoords:
            raise RuntimeError("Invariant Violation")
        return embed(mol, count, options)

    monkeypatch.setattr(rdkit_etkdg.rdDistGeom, "EmbedMultipleConfs", broken)
    assert np.isfinite(ETKDG().sample(Molecule.from_smiles("CCCO"), sample_seeds(0, 0, 2))).all()


@pytest.mark.long
@pytest.mark.parametrize(
    "smiles", ["C1CCCC1", "OC1CCCC1", "C1CCC1", "c1ccc2c(c1)ccc1ccc3ccc4ccc5ccccc5c4c3c12"]
)
def test_etkdg_embeds_every_seed_when_one_of_its_settings_fails(smiles):
    """RDKit's small-ring torsions give up on cyclopentane, its flat aromatic rings on a
    helicene.
    """
    assert np.isfinite(ETKDG().sample(Molecule.from_smiles(smiles), sample_seeds(0, 0, 6))).all()


def test_etkdg_gives_up_at_once_when_nothing_ever_embeds():
    assert ETKDG().never_embeds(IMPOSSIBLE) and not ETKDG().never_embeds(BUTANOL)
    assert np.isnan(ETKDG().sample(IMPOSSIBLE, sample_seeds(0, 0, 1))).all()


def test_strained_cage():
    assert np.isfinite(
        ETKDG().sample(Molecule.from_smiles("CC12CC3C(C1=O)N32"), sample_seeds(0, 0, 4))
    ).all()


def test_time_limit_ends_the_search(monkeypatch):
    from equidrift.adapters.rdkit import etkdg as rdkit_etkdg

    clock = iter(range(0, 1000, 2))
    monkeypatch.setattr(rdkit_etkdg.time, "monotonic", lambda: next(clock))
    assert np.isnan(ETKDG(timeout_s=1).sample(BUTANOL, sample_seeds(0, 0, 2))).all()
    assert np.isfinite(ETKDG(timeout_s=100).sample(BUTANOL, sample_seeds(0, 0, 2))).all()


def test_callback_counts():
    calls = []
    ETKDG().sample(Molecule.from_smiles("O"), sample_seeds(0, 0, CHUNK + 1), callback=calls.append)
    done = [call["done"] for call in calls]
    assert done == sorted(done) and done[-1] == CHUNK + 1 and len(done) > 1
    assert {call["total"] for call in calls} == {CHUNK + 1}


def test_relaxed_conformers_are_minima():
    positions = ETKDGMMFF().sample(BUTANOL, sample_seeds(0, 0, 2))
    _, before = mmff_relax(BUTANOL, positions, 0)
    _, after = mmff_relax(BUTANOL, positions)
    start = mmff_relax(BUTANOL, ETKDG().sample(BUTANOL, sample_seeds(0, 0, 2)), 0)[1]
    np.testing.assert_allclose(before, after, atol=1e-5)
    assert (start > before + 0.01).all()


def test_energies_are_rdkits():
    from rdkit.Chem import rdForceFieldHelpers

    positions = ETKDG().sample(BUTANOL, sample_seeds(0, 0, 1))
    from equidrift.adapters.rdkit.molecule import to_mol

    mol = to_mol(BUTANOL, positions)
    field = rdForceFieldHelpers.MMFFGetMoleculeForceField(
        mol, rdForceFieldHelpers.MMFFGetMoleculeProperties(mol)
    )
    assert mmff_relax(BUTANOL, positions, 0)[1][0] * 23.0605478 == pytest.approx(
        field.CalcEnergy(), rel=1e-6
    )


def test_untyped_molecule_names_the_way_out():
    with pytest.raises(MoleculeError, match=r"model='etkdg'"):
        ETKDGMMFF().sample(Molecule.from_smiles("B"), sample_seeds(0, 0, 1))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_threads": -1}, "num_threads must be 0"),
        ({"max_attempts": 0}, "max_attempts must be 1 or more"),
        ({"timeout_s": 0}, "timeout_s must be a number of seconds above 0"),
        ({"variant": "MMFF95"}, "variant must be one of MMFF94, MMFF94s, not 'MMFF95'"),
        ({"max_iterations": -1}, "max_iterations must be 0 or more"),
    ],
)
def test_options_out_of_range(options, message):
    with pytest.raises(InputError, match=message):
        ETKDGMMFF(**options)


def test_relax_checks_its_input():
    with pytest.raises(InputError, match=r"positions_A has shape"):
        mmff_relax(BUTANOL, np.zeros((1, 2, 3)))
    with pytest.raises(InputError, match=r"variant must be one of"):
        mmff_relax(BUTANOL, np.zeros((1, BUTANOL.n_atoms, 3)), variant="UFF")


@pytest.mark.parametrize(
    "smiles",
    [
        "C1Cc2ccc(cc2)CCc2ccc1cc2",  # [2.2]paracyclophane
        "C1CCc2ccc(cc2)CCCc2ccc1cc2",  # [3.3]paracyclophane
    ],
)
def test_etkdg_embeds_strained_cyclophanes_by_its_ladder(smiles):
    molecule = Molecule.from_smiles(smiles)
    assert np.isfinite(ETKDG().sample(molecule, np.arange(2))).all()


def embedding_calls(monkeypatch) -> list[int]:
    """The conformers asked for in each call of RDKit's embedding from now on."""
    from equidrift.adapters.rdkit import rungs

    calls, embed = [], rungs.rdDistGeom.EmbedMultipleConfs

    def counted(mol, count, options):
        calls.append(count)
        return embed(mol, count, options)

    monkeypatch.setattr(rungs.rdDistGeom, "EmbedMultipleConfs", counted)
    return calls


@pytest.mark.long
def test_molecule_that_never_embeds_costs_the_same_for_many_seeds(monkeypatch):
    from equidrift.adapters.rdkit import rungs

    rungs.rungs_of.cache_clear()
    calls = embedding_calls(monkeypatch)
    assert np.isnan(ETKDG().sample(IMPOSSIBLE, sample_seeds(0, 0, 300))).all()
    ladder, lenient = [1] * (1 + len(rungs.LADDER)), [rungs.LENIENT_TRIES] * 2
    assert calls == ladder + lenient, "the first seed, each setting once, and what it is held to"


def test_core_that_never_embeds_is_tried_once_around_it(monkeypatch):
    from equidrift.adapters.rdkit.rungs import CORE_LADDER

    model = ETKDG().conditioned(make_conditions(fix={0: (0.0, 0.0, 0.0), 1: (1.53, 0.0, 0.0)}))
    around, call = [], ETKDG._call

    def failing(self, task, seeds, rung, attempts, known=None):
        if known is None:
            return call(self, task, seeds, rung, attempts)
        around.append(len(seeds))
        return task.nothing()[:0]

    monkeypatch.setattr(ETKDG, "_call", failing)
    for k in range(3):
        assert np.isfinite(model.sample(BUTANOL, sample_seeds(0, k, k + 1))).all()
    assert len(around) == 3 + len(CORE_LADDER), "one call for each seed, and the settings once"


def test_call_that_runs_out_of_time_is_nothing_found(monkeypatch):
    """RDKit then gives the id -1, and a Mol without conformers."""
    from equidrift.adapters.rdkit import rungs

    def late(mol, count, options):
        mol.RemoveAllConformers()
        return [-1]

    monkeypatch.setattr(rungs.rdDistGeom, "EmbedMultipleConfs", late)
    rungs.rungs_of.cache_clear()
    assert np.isnan(ETKDG().sample(BUTANOL, sample_seeds(0, 0, 3))).all()
    rungs.rungs_of.cache_clear()


def test_time_limit_keeps_what_was_made_before_it(monkeypatch):
    from equidrift.adapters.rdkit import etkdg as rdkit_etkdg

    clock = iter(np.arange(0.0, 1000.0))
    monkeypatch.setattr(rdkit_etkdg.time, "monotonic", lambda: next(clock))
    made = np.isfinite(ETKDG(timeout_s=8).sample(BUTANOL, sample_seeds(0, 0, 100))).all((1, 2))
    assert made[:9].all() and not made.all()


@pytest.mark.parametrize(
    "smiles",
    ["C[C@H]1N[C@@]12C[C@@H]1N[C@@H]12", "CC1C2C3CC(C3)N12"],  # of QM9: RDKit's own checks refuse
)
def test_strained_molecules_that_exist_are_embedded_with_their_stereo(smiles):
    molecule = Molecule.from_smiles(smiles)
    made = mmff_relax(molecule, ETKDG().sample(molecule, sample_seeds(0, 0, 4)))[0]
    assert (check_geometry(molecule, made) == "").all()


@pytest.mark.parametrize(
    "smiles", ["C1C[C@H]2O[C@@H]2C1", "C[C@@]12CC[C@](C)(C1)CC2", "C1C[C@@]2(F)CC[C@@]1(Cl)C2"]
)
def test_stereo_that_no_ring_can_have_is_refused(smiles):
    molecule = Molecule.from_smiles(smiles)
    assert ETKDG().never_embeds(molecule)
    assert np.isnan(ETKDG().sample(molecule, sample_seeds(0, 0, 2))).all()

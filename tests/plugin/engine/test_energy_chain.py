"""The default chain with its learned energy: which molecules go which way, and what is
said of it.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest

import equidrift
from equidrift.adapters.rdkit.relaxing import mmff_relax
from equidrift.adapters.rdkit.rmsd import rmsd_matrix
from equidrift.checks.conditions import make_conditions
from equidrift.checks.geometry import GeometryCheck, check_geometry
from equidrift.engine.chain import Chain
from equidrift.engine.chains import default
from equidrift.engine.conformers import make_settings
from equidrift.engine.presets import BY_ENERGY
from equidrift.engine.refining import UNFAMILIAR, better_of, refusals
from equidrift.engine.tasks import BATCH_ATOMS
from equidrift.errors import InputError
from equidrift.protocols import Callback, EnergyRefiner, Refiner, RefinerJobs
from equidrift.records import Molecule
from equidrift.registry import make_refiner
from equidrift.seeds import sample_seeds
from equidrift.units import KCAL_MOL_PER_EV
from tests.doubles import Shaker, pieces_of

LARGE = "CCOC(=O)CCc1ccc(OCCO)cc1"  # 35 atoms


@lru_cache
def chain() -> Chain:
    return default(num_threads=1, effort=2)


@pytest.mark.parametrize(
    ("smiles", "refiner", "selection"),
    [
        ("CCCO", "refine", "coverage"),
        ("c1ccccc1", "refine", "diverse"),  # no torsion, so nothing to choose
        (LARGE, "refine + conformer-energy", "coverage"),
        ("CCBr", "conformer-energy", "diverse"),  # no bromine in the refiner's training data
        ("CCCCCCCCCC", "refine + conformer-energy", "coverage"),  # ten heavy atoms
        ("CCCS", "refine + conformer-energy", "coverage"),  # no sulphur in QM9
        ("CCC(=O)[O-]", "refine + conformer-energy", "coverage"),  # nor charges
        ("OCC(F)C#N", "refine", "coverage"),
        (LARGE + "CBr", "conformer-energy", "coverage"),
        # Si, P and I were in the training data of the second energy alone
        ("C[Si](C)(C)CCCCCCCCO", "conformer-energy-elements", "coverage"),
        ("C[Si](C)(C)C", "conformer-energy-elements", "diverse"),
        ("COP(=O)(OC)CCO", "conformer-energy-elements", "coverage"),
        (LARGE + "CI", "conformer-energy-elements", "coverage"),
        ("OB(O)CCCCCCCCCO", None, "diverse"),  # no boron in MMFF94
    ],
)
def test_default_takes_the_energy_or_the_refiner_by_size_and_elements(
    smiles: str, refiner: str | None, selection: str
) -> None:
    molecule = Molecule.from_smiles(smiles)
    names = [way.name for way in chain().refiners_of(molecule)]
    assert " + ".join(names) == (refiner or "")
    assert chain().selection_of(molecule) == selection
    origin = chain().origin(molecule)
    assert origin.get("refiner") == refiner and origin["selection"] == selection
    assert ("note" in origin) == (refiner is None)


def test_default_chooses_and_refines_by_the_energy_when_atoms_are_held() -> None:
    molecule = Molecule.from_smiles(LARGE)
    conditions = make_conditions(fix={0: (0.0, 0.0, 0.0)})
    assert conditions is not None
    held = chain().conditioned(conditions)
    assert [way.name for way in held.refiners_of(molecule)] == ["refine", "conformer-energy"]
    assert held.selection_of(molecule) == "coverage" and held.origin(molecule)["effort"] == 2
    assert held.expected_rmsd_A(molecule, np.zeros((1, molecule.n_atoms, 3))) is None


@pytest.mark.long
def test_conformers_around_a_core_are_lower_when_they_are_chosen_by_energy() -> None:
    molecule = Molecule.from_smiles(LARGE)
    core = equidrift.sample(molecule, 1, model="etkdg-mmff", seed=5).positions_A[0]
    ring = range(7, 13)
    fix = {k: core[k].tolist() for k in ring}
    energy = make_refiner("conformer-energy")
    means = {}
    for select in ("energy", "diverse"):
        made = equidrift.sample(molecule, 3, fix=fix, effort=3, select=select, num_threads=1)
        assert np.abs(made.positions_A[:, ring] - core[ring]).max() < 1e-3
        assert made.provenance["selection"] == select and made.scores["refined"].all()
        means[select] = float(energy.energies_eV(molecule, made.positions_A).mean())
    assert means["energy"] < means["diverse"]


def test_chain_of_one_energy_keeps_what_this_has_not_learnt() -> None:
    one = default(num_threads=1, energy="conformer-energy")
    molecule = Molecule.from_smiles("CCCP(=O)(OC)OC")
    assert one.energy_of(molecule) is None and not one.refiners_of(molecule)
    assert one.selection_of(molecule) == "coverage"  # by MMFF94's energies
    assert "too few training molecules hold P" in one.origin(molecule)["note"]
    assert default(num_threads=1, energy=None).origin(molecule)["selection"] == "diverse"


def test_molecule_without_types_is_told_so_when_its_elements_are_learnt() -> None:
    molecule = Molecule.from_smiles("C[Cl+]C")
    assert "MMFF94 lacks a type" in chain().origin(molecule)["note"]


@pytest.mark.parametrize("smiles", ["COP(=O)(OC)CCO", "C[Si](C)(C)CCO", "ICCCO"])
def test_jobs_of_both_energies_give_what_each_alone_gives(smiles: str) -> None:
    molecules = [Molecule.from_smiles(text) for text in (smiles, "BrCCCO")]
    seeds = sample_seeds(0, 0, 3)
    together = chain().sample_marked([(molecule, seeds) for molecule in molecules])
    for molecule, made in zip(molecules, together, strict=True):
        alone = chain().sample_marked([(molecule, seeds)])[0]
        np.testing.assert_allclose(made.positions_A, alone.positions_A, atol=1e-4)
        assert made.refined.all() and np.isfinite(made.energies_eV).all()
        expected_A = chain().expected_rmsd_A(molecule, made.positions_A)
        assert expected_A is not None and (expected_A < 1.0).all()


class Stretching(Refiner):
    """Makes the first bond longer."""

    name, weights_sha256, BY_A = "stretching", "none", 0.12

    def refine_many(
        self, jobs: RefinerJobs, *, steps: int | None = None, callback: Callback | None = None
    ) -> list[np.ndarray]:
        out = []
        for molecule, positions_A in jobs:
            i, j = molecule.bonds[0]
            moved = np.array(positions_A)
            along = moved[:, j] - moved[:, i]
            moved[:, i] -= self.BY_A * along / np.linalg.norm(along, axis=-1, keepdims=True)
            out.append(moved)
        return out


class StretchingDownAnEnergy(Stretching, EnergyRefiner):
    def energies_eV(
        self, molecule: Molecule, positions_A: np.ndarray, apart: np.ndarray | None = None
    ) -> np.ndarray:
        return np.zeros(len(positions_A))


@pytest.mark.parametrize(
    ("refiner", "reason"), [(Stretching(), UNFAMILIAR), (StretchingDownAnEnergy(), "")]
)
def test_bonds_may_be_moved_far_by_a_refiner_that_goes_down_an_energy_alone(
    refiner: Refiner, reason: str
) -> None:
    molecule = Molecule.from_smiles("CCCO")
    before = equidrift.sample(molecule, 3, model="etkdg-mmff").positions_A
    (after,) = refiner.refine_many([(molecule, before)])
    assert set(refusals(GeometryCheck(molecule), before, after, refiner)) == {reason}
    positions, refined = better_of(GeometryCheck(molecule), before, after, way=refiner)
    assert refined.all() == (reason == "")
    np.testing.assert_array_equal(positions, before if reason else after)


@pytest.mark.parametrize("smiles", ["COP(=O)(N)SC", "COP(=O)(OC)SC", "NP(=O)(OC)SCC"])
def test_bonds_that_no_energy_has_learnt_stay_what_they_are(smiles: str) -> None:
    molecule = Molecule.from_smiles(smiles)
    x = chain().sample_marked([(molecule, sample_seeds(0, 0, 2))])[0].positions_A
    (bond,) = (b for b in molecule.bonds if {molecule.symbols[k] for k in b} == {"P", "S"})
    lengths_A = np.linalg.norm(x[:, bond[0]] - x[:, bond[1]], axis=-1)
    np.testing.assert_allclose(lengths_A, 2.11, atol=0.06)  # GFN2-xTB: 2.10 to 2.12


def test_what_the_refiner_spoils_is_refined_by_the_energy_of_most_groups() -> None:
    molecule = Molecule.from_smiles("N#CC(=O)N(C=N)C=N")
    model, seeds = chain(), sample_seeds(0, 0, 3)
    assert [way.name for way in model.refiners_of(molecule)] == ["refine"]
    assert model.origin(molecule)["refiner_of_refused"].startswith("conformer-energy-elements ")
    made = model.sample_marked([(molecule, seeds)])[0]
    assert made.refined.all()
    without = default(num_threads=1, effort=2, energy="conformer-energy")
    before = without.sample_marked([(molecule, seeds)])[0]
    assert "conformer-energy " in without.origin(molecule)["refiner_of_refused"] + " "
    assert before.refined.all() and not np.array_equal(before.positions_A, made.positions_A)
    alone = default(num_threads=1, effort=2, energy=None)
    assert not alone.sample_marked([(molecule, seeds)])[0].refined.any()
    assert "refiner_of_refused" not in alone.origin(molecule)


def test_energies_are_those_of_the_conformers_when_the_energy_refines_them() -> None:
    ensemble = equidrift.sample(LARGE, 3, model=chain())
    energies = make_refiner("conformer-energy").energies_eV(ensemble.molecule, ensemble.positions_A)
    np.testing.assert_allclose(ensemble.energies_eV, energies, atol=1e-4)
    np.testing.assert_allclose(
        ensemble.scores["energy_kcal_mol"], energies * KCAL_MOL_PER_EV, atol=3e-3
    )
    told = ensemble.provenance
    assert told["refiner"] == "refine + conformer-energy" and " + " in told["weights_sha256"]
    assert told["energies"].startswith("conformer-energy") and told["effort"] == 2
    small = equidrift.sample("CCCO", 2, model=chain())
    assert "energy_kcal_mol" not in small.scores and small.provenance["refiner"] == "refine"


def test_energy_lowers_conformers_that_it_refines() -> None:
    molecule = Molecule.from_smiles(LARGE)
    model, seeds = chain(), sample_seeds(0, 0, 3)
    before = Chain(refiner=None, select="none", num_threads=1)
    energy = make_refiner("conformer-energy")
    after = model.sample_marked([(molecule, seeds)])[0]
    raw = before.sample(molecule, seeds)
    assert after.refined.all() and (check_geometry(molecule, after.positions_A) == "").all()
    moved = energy.refine_many([(molecule, raw)])[0]
    assert (energy.energies_eV(molecule, moved) < energy.energies_eV(molecule, raw)).all()


@pytest.mark.parametrize("select", BY_ENERGY)
def test_selection_by_energy_is_a_function_of_the_seed_alone(select: str) -> None:
    model = Chain(refiner=None, select=select, effort=3, num_threads=1)
    molecule, seeds = Molecule.from_smiles("CCCCOC"), sample_seeds(0, 0, 9)
    whole = model.sample(molecule, seeds)
    for rows in ([0, 1, 2], [5], [7, 2, 8]):
        np.testing.assert_allclose(model.sample(molecule, seeds[rows]), whole[rows], atol=1e-6)


def test_a_block_goes_on_where_it_stopped_when_it_is_drawn_in_parts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = Chain(refiner=None, select="energy", effort=3, num_threads=1)
    molecule, seeds = Molecule.from_smiles("CCCCOC"), sample_seeds(0, 0, 9)
    whole = Chain(refiner=None, select="energy", effort=3, num_threads=1).sample(molecule, seeds)
    drawn: list[int] = []
    original = model.start.sample

    def counted(molecule: Molecule, seeds: np.ndarray, **options: object) -> np.ndarray:
        drawn.extend(seeds.tolist())
        return original(molecule, seeds, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(model.start, "sample", counted)
    parts = [model.sample(molecule, seeds[part]) for part in np.split(np.arange(9), [2, 6])]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    assert 9 <= len(drawn) == len(set(drawn)) < 9 * 3, "no candidate is made twice"


def test_a_call_stays_short_when_a_conformer_takes_many_candidates() -> None:
    molecules = [Molecule.from_smiles(LARGE), Molecule.from_smiles("c1ccccc1")]
    model = chain()
    calls: list[int] = []

    class Short(Shaker):
        """Shaken geometries, at the costs of the default chain."""

        def cost(self, molecule: Molecule) -> int:
            return model.cost(molecule)

        def sample_many(self, jobs: list, **options: object) -> list[np.ndarray]:  # type: ignore[type-arg]
            calls.append(sum(m.n_atoms * len(seeds) * model.cost(m) for m, seeds in jobs))
            return super().sample_many(jobs)

    pieces = pieces_of(molecules, 100, settings=make_settings(Short()))
    assert all(piece.ensemble is not None and piece.error is None for piece in pieces)
    assert model.cost(molecules[0]) > model.effort > 1 == model.cost(molecules[1])
    assert len(calls) > 2 and max(calls) <= BATCH_ATOMS


def test_selection_by_energy_finds_lower_conformers_for_more_effort() -> None:
    molecule, seeds = Molecule.from_smiles("OCC(O)CC(O)CO"), sample_seeds(0, 0, 6)
    means = []
    for effort in (1, 8):
        model = Chain(refiner=None, select="energy", effort=effort, num_threads=1)
        means.append(mmff_relax(molecule, model.sample(molecule, seeds), 0)[1].mean())
    assert means[1] < means[0] - 1.0 / KCAL_MOL_PER_EV


def test_first_conformer_is_the_lowest_and_the_others_lie_nearer_to_all_low_ones() -> None:
    molecule, seeds = Molecule.from_smiles(LARGE), sample_seeds(0, 0, 6)
    made = {}
    for select in BY_ENERGY:
        chosen = Chain(refiner=None, select=select, effort=6, num_threads=1)
        made[select] = chosen.sample(molecule, seeds)
    np.testing.assert_allclose(made["coverage"][0], made["energy"][0], atol=1e-6)
    drawn = Chain(refiner=None, select="none", num_threads=1).sample(
        molecule, sample_seeds(1, 0, 80)
    )
    others, energies = mmff_relax(molecule, drawn, 0)
    low = others[energies < energies.min() + 3.0 / KCAL_MOL_PER_EV]
    far = {key: rmsd_matrix(molecule, low, x).min(axis=1).mean() for key, x in made.items()}
    assert far["coverage"] < far["energy"]


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"effort": 0}, "effort"),
        ({"effort": 21}, "effort"),
        ({"select": "lowest"}, "select"),
        ({"select": "energy", "relax": "none"}, "relax"),
        ({"select": "coverage", "relax": "none"}, "relax"),
    ],
)
def test_chain_refuses_an_option_out_of_its_range(options: dict[str, object], named: str) -> None:
    with pytest.raises(InputError, match=named):
        Chain(refiner=None, **options)  # type: ignore[arg-type]


@pytest.mark.long
def test_expected_distance_to_the_minimum_is_told_when_the_energy_refines() -> None:
    ensemble = equidrift.sample(LARGE, 3, model=chain())
    expected = ensemble.scores["expected_rmsd_A"]
    assert expected.shape == (3,) and ((expected > 0.05) & (expected < 1.5)).all()
    again = chain().expected_rmsd_A(ensemble.molecule, ensemble.positions_A)
    np.testing.assert_allclose(again, expected, rtol=0.05)
    assert "expected_rmsd_A" not in equidrift.sample("CCCO", 2, model=chain()).scores
    assert "expected_rmsd_A" not in equidrift.sample(LARGE, 1, model=chain(), relax="mmff").scores


@pytest.mark.long
def test_expected_distance_falls_when_conformers_are_relaxed_to_the_end() -> None:
    molecule = Molecule.from_smiles(LARGE)
    energy = make_refiner("conformer-energy")
    raw = Chain(refiner=None, select="none", num_threads=1).sample(molecule, sample_seeds(0, 0, 4))
    expected = []
    for steps in (5, 20, 150):
        moved = energy.refine_many([(molecule, raw)], steps=steps)[0]
        expected.append(energy.expected_rmsd_A(molecule, moved).mean())  # type: ignore[attr-defined]
    assert expected[2] < min(expected[:2])
    missing = np.full_like(raw[:1], np.nan)
    told = energy.expected_rmsd_A(molecule, np.concatenate([missing, raw[:1]]))  # type: ignore[attr-defined]
    assert np.isnan(told[0]) and np.isfinite(told[1])

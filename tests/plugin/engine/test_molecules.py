"""The engine of new molecules: n valid and unique, every reason counted, nothing
depending on batches, and every message.
"""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest

import equidrift
from equidrift.checks.geometry import BOND_LENGTH, NO_COORDINATES
from equidrift.checks.goals import total_miss
from equidrift.checks.molecule import FRAGMENT_LOST, NOTHING, REPEATED, SANITISATION, judge
from equidrift.checks.targets import check_targets, check_wishes
from equidrift.checks.valency import DISCONNECTED, NET_CHARGE, OPEN_SHELL, VALENCY
from equidrift.engine import molecules
from equidrift.engine.molecule_settings import make_settings
from equidrift.engine.molecules import Tally, batches
from equidrift.errors import (
    EquidriftError,
    InputError,
    InputTypeError,
    ModelError,
    NoValidSamplesError,
    UnknownNameError,
)
from equidrift.records import Ensemble, Molecule
from tests.doubles import BREAD, Baker, geometry, spoilt

FAULTS = {
    "none": NOTHING,
    "nan": NO_COORDINATES,
    "radical": OPEN_SHELL,
    "charged": NET_CHARGE,
    "apart": DISCONNECTED,
    "valency": VALENCY,
    "stretched": BOND_LENGTH,
}


@pytest.fixture(autouse=True)
def _judge(monkeypatch: pytest.MonkeyPatch) -> None:
    """The network of properties costs torch; here a judge that says 5."""
    monkeypatch.setitem(molecules.JUDGES, "network", f"{__name__}:five")


def five(systems: Any) -> dict[str, np.ndarray]:
    return {name: np.full(len(systems), 5.0) for name in ("gap_eV", "mu_D")}


def test_n_valid_and_unique() -> None:
    made = equidrift.generate(len(BREAD), model=Baker(share=0.3, faults=tuple(FAULTS)), seed=3)
    assert len({ensemble.molecule.smiles for ensemble in made}) == len(BREAD)
    assert all(len(ensemble) == 1 and ensemble.valid.all() for ensemble in made)
    counts = made[0].provenance["rejected"]
    assert sum(counts.values()) + len(BREAD) == made[0].provenance["drawn"]
    assert counts[REPEATED] > 0 and set(counts) <= {REPEATED, *FAULTS.values()}
    assert "C/C=C/O" in {e.molecule.smiles for e in made} and "C[C@H](O)C#N" in {
        e.molecule.smiles for e in made
    }


@pytest.mark.parametrize("fault", FAULTS)
def test_every_reason(fault: str) -> None:
    molecule = Molecule.from_smiles("CC(O)CN")
    bare = molecule.replace(tetrahedral=np.zeros((0, 5)))
    assert judge((bare, geometry(molecule))).reason == ""
    draw = judge(spoilt(bare, geometry(molecule), fault))
    assert draw.reason == FAULTS[fault] and draw.molecule is None


def test_aromatic_bonds_that_have_no_structure_fail_sanitisation() -> None:
    furan = Molecule.from_smiles("c1ccoc1")
    broken = furan.replace(numbers=np.where(furan.numbers == 8, 6, furan.numbers))
    assert judge((broken, geometry(furan))).reason == SANITISATION
    assert judge((furan, geometry(furan))).reason == ""


def smiles_of(n: int, **options: Any) -> list[str]:
    return [
        e.molecule.smiles
        for e in equidrift.generate(n, model=Baker(share=0.4, faults=tuple(FAULTS)), **options)
    ]


def test_molecules_do_not_depend_on_the_batch_size() -> None:
    whole = equidrift.generate(8, model=Baker(share=0.4, faults=tuple(FAULTS)), seed=5)
    parts = equidrift.generate(
        8, model=Baker(share=0.4, faults=tuple(FAULTS)), seed=5, batch_size=3
    )
    assert [e.molecule for e in whole] == [e.molecule for e in parts] and whole[
        0
    ].provenance == parts[0].provenance
    assert all(
        np.array_equal(a.positions_A, b.positions_A) for a, b in zip(whole, parts, strict=True)
    )
    assert smiles_of(8, seed=5) != smiles_of(8, seed=6)


def test_a_run_goes_on_from_its_journal() -> None:
    settings = make_settings(Baker(share=0.4, faults=tuple(FAULTS)), seed=1, batch_size=4)
    whole = [e.molecule.smiles for batch in batches(9, settings, Tally()) for e in batch]
    run = Tally()
    first = [
        e.molecule.smiles
        for _, batch in zip(range(2), batches(9, settings, run), strict=False)
        for e in batch
    ]
    again = Tally.restored(run.state())
    assert (
        first + [e.molecule.smiles for batch in batches(9, settings, again) for e in batch] == whole
    )


def test_progress_counts_every_draw() -> None:
    events: list[dict[str, Any]] = []
    run = Tally()
    for _ in batches(6, make_settings(Baker(share=0.5), callback=events.append), run):
        pass
    assert sum(e["accepted"] for e in events) == 6 and sum(e["drawn"] for e in events) == run.drawn


@pytest.mark.long
def test_too_few_are_an_error_that_counts_reasons() -> None:
    with pytest.raises(
        NoValidSamplesError,
        match=r"only 3 of 5 molecules are valid and unique after 200 draws; .*repeated 197",
    ) as caught:
        equidrift.generate(5, model=Baker(n=3))
    assert len({ensemble.molecule.smiles for ensemble in caught.value.partial}) == 3
    with pytest.raises(NoValidSamplesError, match="few molecules may have these properties"):
        equidrift.generate(5, model=Baker(n=3), targets={"gap_eV": 5.0})


def test_targets_reach_the_model_and_scores_tell_what_was_achieved() -> None:
    model = Baker()
    made = equidrift.generate(
        2, model=model, targets={"dipole_D": 2.5, "gap_eV": 7}, guidance=2.0, steps=9
    )
    assert (
        model.calls[0]["targets"] == {"gap_eV": 7.0, "mu_D": 2.5}
        and model.calls[0]["guidance"] == 2.0
        and model.calls[0]["steps"] == 9
    )
    assert dict(made[0].scores) == {"gap_eV": [5.0], "mu_D": [5.0]}
    assert made[0].provenance["targets"] == {"gap_eV": 7.0, "mu_D": 2.5} and made[0].provenance[
        "judges"
    ] == ["network"]
    assert equidrift.generate(1, model=model)[0].scores == {}


@pytest.mark.parametrize(
    ("targets", "kind", "message"),
    [
        ({"gap": 7.0}, UnknownNameError, r"unknown property 'gap'. Did you mean 'gap_eV'\?"),
        (
            {"colour": 7.0},
            UnknownNameError,
            r"unknown property 'colour'.*Known: .*dipole_D, gap_eV",
        ),
        (
            {"gap_eV": 70.0},
            InputError,
            r"gap_eV=70 lies outside what the model was trained on, 4 to 10; .*--force",
        ),
        ({"gap_eV": float("nan")}, InputError, "must be a finite number, not nan"),
        ({"gap_eV": "7"}, InputTypeError, "the target of gap_eV must be a number, not '7'"),
        (
            {"mu_D": 1.0, "dipole_D": 2.5},
            InputError,
            r"mu_D has two targets, 1 and 2.5 \(as dipole_D\)",
        ),
        (
            {"gap_eV": 7.0, "homo_eV": -6.0, "lumo_eV": -1.0},
            InputError,
            r"contradict .*: lumo_eV=-1 and homo_eV=-6 make gap_eV 5, not 7",
        ),
        ({"homo_eV": -4.0, "lumo_eV": -3.0, "gap_eV": 5.0}, InputError, "contradict each other"),
    ],
)
def test_bad_targets(targets: dict[str, Any], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message) as caught:
        equidrift.generate(1, model=Baker(), targets=targets)
    assert isinstance(caught.value, EquidriftError) and isinstance(
        caught.value, ValueError | TypeError
    )


def test_more_contradictions() -> None:
    class All(Baker):
        def __init__(self) -> None:
            super().__init__()
            self.properties |= dict.fromkeys(
                ("u0_eV", "u298_eV", "h298_eV", "g298_eV"), (-100.0, 100.0)
            ) | {"homo_eV": (-9.0, 5.0)}

    for high, low in (
        ("h298_eV", "u298_eV"),
        ("u0_eV", "u298_eV"),
        ("g298_eV", "h298_eV"),
        ("homo_eV", "lumo_eV"),
    ):
        with pytest.raises(InputError, match="the targets contradict each other"):
            check_targets({high: 1.0, low: 0.0}, All())
    assert check_targets({"h298_eV": 2.0257, "u298_eV": 2.0, "u0_eV": 1.9}, All())
    assert check_targets({"gap_eV": 5.02, "homo_eV": -6.0, "lumo_eV": -1.0}, Baker())


def test_force_warns_of_a_target_out_of_range(caplog: pytest.LogCaptureFixture) -> None:
    with (
        caplog.at_level(logging.WARNING, "equidrift"),
        pytest.warns(
            UserWarning,
            match=r"gap_eV=12 lies outside .* 4 to 10; the molecules may be far from it",
        ),
    ):
        assert check_targets({"gap_eV": 12}, Baker(), force=True) == {"gap_eV": 12.0}
    assert "the molecules may be far from it" in caplog.text


def test_note_of_a_target_out_of_range_is_in_the_provenance() -> None:
    with pytest.warns(UserWarning, match="the molecules may be far from it"):
        made = equidrift.generate(2, model=Baker(), targets={"gap_eV": 12}, force=True)
    for ensemble in made:
        (note,) = ensemble.provenance["notes"]
        assert note.startswith("the target gap_eV=12 lies outside")
    (within,) = equidrift.generate(1, model=Baker(), targets={"gap_eV": 7})
    assert "notes" not in within.provenance


def test_a_replacement_that_is_never_made_says_what_to_try() -> None:
    class Cutter(Baker):
        takes_sites = True

    toluene = Molecule.from_smiles("Cc1ccccc1")
    start = toluene, geometry(toluene)
    with pytest.raises(NoValidSamplesError, match="replace a larger part"):
        equidrift.generate(1, model=Cutter(), fragment=start, replace=[0], max_attempts=1)


def test_models_without_properties_or_fragments_say_so() -> None:
    plain = Baker()
    plain.properties, plain.takes_fragment = {}, False
    with pytest.raises(InputError, match="takes no property targets"):
        equidrift.generate(1, model=plain, targets={"gap_eV": 7.0})
    with pytest.raises(InputError, match="cannot keep a fragment"):
        equidrift.generate(1, model=plain, fragment="core.sdf")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"guidance": 2.0}, "has nothing to guide to"),
        ({"guidance": -1.0, "targets": {"gap_eV": 7.0}}, "guidance must be 0 or more"),
        ({"guidance": "hard", "targets": {"gap_eV": 7.0}}, "guidance must be a number"),
        ({"steps": 0}, "steps must be 1 or more"),
        ({"batch_size": 0}, "batch_size must be 1 or more"),
        ({"judge": "oracle"}, "unknown judge 'oracle'"),
        ({"relax": "uff"}, "unknown relaxation 'uff'"),
        ({"seed": -1}, "seed must lie in"),
        ({"model": "jiont"}, "unknown molecule model 'jiont'. Did you mean 'joint'"),
        ({"model": 3}, "model must be the name of a molecule model"),
    ],
)
def test_bad_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(EquidriftError, match=message):
        equidrift.generate(1, **{"model": Baker(), **options})
    with pytest.raises(InputError, match="n must be 1 or more"):
        equidrift.generate(0, model=Baker())


def core(smiles: str) -> Ensemble:
    molecule = Molecule.from_smiles(smiles)
    return Ensemble(molecule, geometry(molecule)[None])


@pytest.mark.parametrize(
    ("fragment", "message"),
    [
        (core("CS"), "holds S, which the model 'baker' does not know; it knows H C N O F"),
        (
            core("CCCCCCCCCCCCCCC"),
            "has 47 atoms, .* trained on molecules of at most 20: nothing can be added",
        ),
        (core("[HH]"), "has no heavy atom"),
        (core("FC(F)(F)F"), "no hydrogen that could give way"),
        (
            Ensemble(Molecule.from_smiles("CO"), np.zeros((2, 6, 3))),
            "has 2 conformers, and needs one",
        ),
        (Ensemble(Molecule.from_smiles("CO"), np.full((1, 6, 3), np.nan)), "NaN or infinite"),
        (
            Ensemble(Molecule.from_smiles("CO"), np.zeros((1, 6, 3))),
            r"0.00 A apart; give coordinates in A, in 3D",
        ),
        ((Molecule.from_smiles("CO"), np.zeros((2, 3))), r"shape \(2, 3\), expected \(6, 3\)"),
        ("core.cif", "unknown suffix of a core"),
        ("core.sdf", "there is no file 'core.sdf'"),
        (7, "fragment must be a .sdf, .mol or .pdb file"),
    ],
)
def test_bad_fragments(fragment: Any, message: str) -> None:
    with pytest.raises(EquidriftError, match=message) as caught:
        equidrift.generate(1, model=Baker(), fragment=fragment)
    assert isinstance(caught.value, ValueError | TypeError)


def test_a_fragment_with_too_many_bonds() -> None:
    molecule = Molecule(
        np.array([8, 8, 8, 1]), np.array([[0, 1], [0, 2], [0, 3]]), np.ones(3), np.zeros(4)
    )
    with pytest.raises(
        InputError,
        match=r"atom 0 of the fragment, O with charge \+0, has bonds of 3 in all: too many",
    ):
        equidrift.generate(1, model=Baker(), fragment=(molecule, np.eye(4, 3) * 1.4))


def test_a_fragment_is_kept_or_the_draw_is_rejected(tmp_path: Any) -> None:
    ethanol = Molecule.from_smiles("CCO")
    path = tmp_path / "core.sdf"
    Ensemble(ethanol, geometry(ethanol)[None]).save(path)
    settings = make_settings(Baker(), fragment=path)
    assert settings.fragment is not None and settings.fragment[0] == ethanol
    kept = judge((ethanol, geometry(ethanol)), held=settings.held)
    assert kept.reason == ""
    assert judge((ethanol, geometry(ethanol) + 0.5), held=settings.held).reason == FRAGMENT_LOST
    other = Molecule.from_smiles("CCN")
    assert judge((other, geometry(other)), held=settings.held).reason == FRAGMENT_LOST
    mol = Ensemble(ethanol, geometry(ethanol)[None]).to_rdkit()
    assert make_settings(Baker(), fragment=mol).fragment[0] == settings.fragment[0]  # type: ignore[index]


def test_relaxation_lowers_what_is_shaken() -> None:
    raw = equidrift.generate(2, model=Baker(), seed=4)
    relaxed = equidrift.generate(2, model=Baker(), seed=4, relax="mmff")
    assert (
        raw[0].energies_eV is None
        and relaxed[0].energies_eV is not None
        and np.isfinite(relaxed[0].energies_eV).all()
    )
    assert 0 < np.abs(raw[0].positions_A - relaxed[0].positions_A).max() < 2.0


def test_a_model_that_fails_or_makes_too_few() -> None:
    class Broken(Baker):
        def sample(self, seeds: Any, **options: Any) -> Any:
            raise RuntimeError("boom")

    class Lazy(Baker):
        def sample(self, seeds: Any, **options: Any) -> Any:
            return []

    with pytest.raises(ModelError, match="the model 'baker' failed: RuntimeError: boom"):
        equidrift.generate(1, model=Broken())
    with pytest.raises(ModelError, match="made 0 of"):
        equidrift.generate(1, model=Lazy())


def values_of(made: list[Ensemble], name: str) -> np.ndarray:
    return np.array([float(ensemble.scores[name][0]) for ensemble in made])


def test_limit_of_the_graph_is_kept_by_all_and_what_breaks_it_is_counted() -> None:
    made = equidrift.generate(3, model=Baker(), targets={"TPSA": "<30"}, seed=2)
    assert (values_of(made, "TPSA") < 30).all()
    assert made[0].provenance["rejected"]["TPSA not below 30"] > 0
    assert made[0].provenance["targets"] == {"TPSA": "<30"}


def test_more_candidates_come_nearer_to_the_targets() -> None:
    """Of few distinct molecules the nearest is found first."""
    wanted = {"MW": 60.0, "logP": "min"}
    one, many = (
        equidrift.generate(1, model=Baker(), targets=wanted, candidates=k, seed=4)[0]
        for k in (1, 40)
    )
    everything = equidrift.generate(len(BREAD), model=Baker(), judge="rdkit", seed=4)
    goals = check_wishes(wanted, Baker()).goals
    miss = {
        e.molecule.smiles: total_miss(goals, {n: float(v[0]) for n, v in e.scores.items()})
        for e in everything
    }
    assert miss[many.molecule.smiles] == min(miss.values()) <= miss[one.molecule.smiles]
    assert many.provenance["candidates"] == 40 and many.provenance["rejected"][molecules.FARTHER]


def test_choice_among_candidates_does_not_depend_on_batches_and_goes_on() -> None:
    def run(**options: Any) -> list[str]:
        made = equidrift.generate(
            4, model=Baker(share=0.3), targets={"MW": 60.0}, candidates=3, seed=5, **options
        )
        return [e.molecule.smiles for e in made]

    assert run() == run(batch_size=3) == run(batch_size=7)
    settings = make_settings(
        Baker(share=0.3), targets={"MW": 60.0}, candidates=3, seed=5, batch_size=3
    )
    state = Tally()
    first = [e.molecule.smiles for e in next(b for b in batches(4, settings, state) if b)]
    again = Tally.restored(state.state())
    assert first + [e.molecule.smiles for b in batches(4, settings, again) for e in b] == run()


def test_targets_of_graph_and_network_are_taken_together() -> None:
    model = Baker()
    made = equidrift.generate(2, model=model, targets={"gap_eV": 7.0, "SA": "min"}, seed=1)
    assert set(made[0].scores) == {"gap_eV", "SA"}
    assert model.calls[0]["targets"] == {"gap_eV": 7.0}


def test_model_that_knows_a_property_of_the_graph_is_steered_to_it() -> None:
    model = Baker()
    model.properties = {"logP": (-2.0, 6.0), "QED": (0.1, 0.9), "TPSA": (0.0, 150.0)}
    equidrift.generate(1, model=model, targets={"logP": 2.5, "QED": "max", "TPSA": "<200"}, seed=1)
    aims = model.calls[0]["targets"]
    assert aims["logP"] == 2.5 and 0.8 < aims["QED"] < 0.9 and "TPSA" not in aims
    with pytest.raises(InputError, match="outside what the model was trained on"):
        equidrift.generate(1, model=model, targets={"logP": 20.0})


@pytest.mark.long
def test_bad_goals_are_told_in_one_line() -> None:
    for targets, message in (
        ({"loqP": 2.0}, "Did you mean 'logP'"),
        ({"QED": "best"}, "'max', 'min', or a limit"),
        ({"QED": 2}, "between 0 and 1"),
    ):
        with pytest.raises(EquidriftError, match=message) as caught:
            equidrift.generate(1, model=Baker(), targets=targets)  # type: ignore[arg-type]
        assert "\n" not in str(caught.value)
    for wanted in (None, {"TPSA": "<90"}, {"gap_eV": 7.0}):
        with pytest.raises(InputError, match="needs a target that says"):
            equidrift.generate(1, model=Baker(), targets=wanted, candidates=4)
    with pytest.raises(NoValidSamplesError, match="keep these limits"):
        equidrift.generate(1, model=Baker(), targets={"MW": ">5000"}, max_attempts=1)

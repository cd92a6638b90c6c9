"""What leaps are measured by, on a chain of wells whose rates are known."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from equidrift.adapters.rdkit.molecule import flat_smiles
from equidrift.bench import trajectories_leap_rows as rows
from equidrift.bench.trajectories_leaps import compared, ladder, timescale, transitions, wells
from equidrift.models.shared.split import held_out
from equidrift.records import Molecule
from tests.leaps import walk

SOME = ("CCCCO", "CCCC#N", "CCCN", "OCCCCl")  # the second and the last of the test part
CENTRES = np.array([math.pi, math.pi / 3, -math.pi / 3])
STAY = 0.97
STEP = STAY * np.eye(3) + (1 - STAY) / 2 * (np.ones((3, 3)) - np.eye(3))


def chain(step: NDArray[np.float64], frames: int, seed: int) -> NDArray[np.float64]:
    """Angles (frames,) that jump between wells."""
    rng = np.random.default_rng(seed)
    state, out = 0, np.empty(frames)
    for k in range(frames):
        state = int(rng.choice(3, p=step[state]))
        out[k] = CENTRES[state] + 0.2 * rng.standard_normal()
    return (out + np.pi) % (2 * np.pi) - np.pi


def test_wells_are_told_about_the_cut_at_180_degrees() -> None:
    assert wells(np.array([3.1, -3.1, 1.0, -1.0])).tolist() == [0, 0, 1, 2]


@pytest.mark.long
@pytest.mark.parametrize("lag", [1, 5])
def test_timescale_is_the_chains_at_any_lag(lag: int) -> None:
    """The second eigenvalue of STEP is 1 - 3 (1 - STAY) / 2."""
    found = timescale(transitions(wells(chain(STEP, 40_000, 0)), lag), float(lag))
    assert found == pytest.approx(-1 / math.log(1 - 1.5 * (1 - STAY)), rel=0.08)


def test_leaps_of_the_same_process_have_its_rates_and_distribution() -> None:
    run, lag = chain(STEP, 40_000, 1), 10
    leapt = chain(np.linalg.matrix_power(STEP, lag), 4000, 2)
    found = compared(leapt, run, lag, 10.0)
    assert found["rate_ratio"] == pytest.approx(1.0, abs=0.08)
    assert found["timescale_ratio"] == pytest.approx(1.0, abs=0.12)
    assert found["JSD_torsions"] < 0.08


def test_leaps_of_another_process_are_found_out() -> None:
    run, lag = chain(STEP, 20_000, 1), 10
    fast = compared(chain(np.full((3, 3), 1 / 3), 4000, 2), run, lag, 10.0)
    assert fast["rate_ratio"] > 2
    still = compared(chain(np.eye(3), 4000, 2), run, lag, 10.0)
    assert still["rate_ratio"] == 0 and still["JSD_torsions"] > 0.3


def test_rates_are_left_out_when_the_dynamics_hardly_change() -> None:
    run = chain(np.eye(3), 1000, 0)
    assert "rate_ratio" not in compared(run, run, 5, 5.0)
    assert math.isnan(timescale(transitions(wells(run), 1), 1.0))


@pytest.mark.long
def test_timescales_are_those_of_deeptimes_markov_models() -> None:
    markov = pytest.importorskip("deeptime").markov
    for seed, lag in ((0, 1), (1, 5), (2, 20)):
        states = wells(chain(STEP, 40_000, seed))
        counts = markov.TransitionCountEstimator(lag, "sliding").fit_fetch(states)
        model = markov.msm.MaximumLikelihoodMSM(reversible=True).fit_fetch(counts)
        wanted = float(model.timescales()[0])
        assert timescale(transitions(states, lag), float(lag)) == pytest.approx(wanted, rel=0.03)


def test_transitions_of_several_chains_are_not_joined_at_their_ends() -> None:
    chains = np.array([[0, 0, 1], [2, 2, 2]])
    counts = transitions(chains, 1)
    assert counts[1, 2] == counts[2, 1] == 0 and counts[0, 1] == 1 and counts.sum() == 8


def test_ladder_tells_chains_that_drift_away_from_those_that_stay() -> None:
    rng = np.random.default_rng(3)
    run = np.stack([chain(STEP, 6000, k) for k in (1, 2)], -1)
    stays = np.stack([run[rng.integers(6000, size=100)] for _ in range(12)])
    drifts = stays.copy()
    drifts[:, 50:] = math.pi / 3 + 0.2 * rng.standard_normal(drifts[:, 50:].shape)
    same, other = ladder(stays, run, rng), ladder(drifts, run, rng)
    for key in ("torsion_JSD", "pair_JSD"):
        for leaps in (1, 10, 100):
            assert same[f"{key}_{leaps}"] < 1.5 * same[f"{key}_{leaps}_floor"] + 0.02
        assert other[f"{key}_10"] == same[f"{key}_10"]
        assert other[f"{key}_100"] > 3 * other[f"{key}_100_floor"]
    assert "torsion_JSD_100" not in ladder(stays[:, :20], run, rng)


@pytest.mark.long
def test_rows_of_dynamics(leap_training: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows, "LAG_PS", 5.0)
    monkeypatch.setattr(rows, "LEAPS", 10)
    runs = [walk(Molecule.from_smiles("CCCCO"), 400, 5)]
    weights = str(leap_training["weights"])
    made = {one["row"]: one["values"] for one in rows.rows_of("leaps", runs, weights, 2, 0.2)}
    assert set(made) == {"leaps/equidrift", "leaps/exact", "leaps/md"}
    leapt, exact, plain = (made[f"leaps/{name}"] for name in ("equidrift", "exact", "md"))
    assert leapt["torsion_JSD_10"] > 0 and "torsion_JSD_100" not in leapt
    ratio = leapt["ns_per_cpu_s"] / plain["ns_per_cpu_s"]
    assert leapt["ns_per_cpu_s_over_md"] == pytest.approx(ratio) and plain["JSD_halves"] > 0
    assert 0 <= exact["acceptance"] <= 100 and exact["ess_per_s"] > 0
    assert all(values["n"] == 1 for values in made.values())


@pytest.mark.long
def test_dynamics_that_judge_are_made_once_and_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of molecules of the test part, and of peptides; without ZINC of peptides alone."""
    monkeypatch.setenv("EQUIDRIFT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(rows, "QUICK_NS", 0.003)
    told: list[object] = []
    alone = rows.judging_runs(tmp_path, False, told.append)
    assert list(alone) == ["leap-peptides"] and len(alone["leap-peptides"]) == 2
    test = [s for s in SOME if held_out(flat_smiles(Molecule.from_smiles(s))) == "test"]
    assert 0 < len(test) < len(SOME)
    (tmp_path / "zinc_smiles").mkdir()
    (tmp_path / "zinc_smiles" / "zinc_29k.smi").write_text("\n".join(SOME))
    both = rows.judging_runs(tmp_path, False, told.append)
    assert {run.molecule.smiles for run in both["leap-heldout"]} <= set(test)
    assert both["leap-heldout"][0].positions_A.shape[:2] == (1, 3)
    monkeypatch.setattr(rows, "long_dynamics", None)  # nothing is made again
    again = rows.judging_runs(tmp_path, False, told.append)
    for system, runs in again.items():
        for run, first in zip(runs, both[system], strict=True):
            np.testing.assert_array_equal(run.positions_A, first.positions_A)

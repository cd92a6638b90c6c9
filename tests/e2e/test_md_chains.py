"""equidrift md --chains: independent chains in processes of their own."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import equidrift
from equidrift.errors import CrashError, InputError
from equidrift.montecarlo.chains import chain_seed, run_chains
from equidrift.montecarlo.plan import Plan, checkpoint_of
from equidrift.montecarlo.result import Chain
from equidrift.montecarlo.target import ChainSettings
from tests.commands import Cli, caller

QUICK: dict[str, Any] = {"proposals": "uniform", "adapt_ps": 1.0, "md_steps": 20}


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    return caller(monkeypatch, capsys)


def torsions(output: Path) -> np.ndarray:
    with np.load(checkpoint_of(output)) as data:
        return data["torsions_rad"]


@pytest.mark.long
def test_a_chain_is_the_same_on_any_number_of_cores_and_beside_any_others(tmp_path: Path) -> None:
    for name, chains, threads in (("one", 2, 1), ("two", 3, 2)):
        (tmp_path / name).mkdir()
        output = tmp_path / name / "run.xtc"
        equidrift.md("CCCO", output, 1.2, chains=chains, threads=threads, **QUICK)
    for k in (1, 2):
        first, second = (torsions(tmp_path / name / f"run.{k}.xtc") for name in ("one", "two"))
        assert np.array_equal(first, second) and len(first) == 30
    three = [torsions(tmp_path / "two" / f"run.{k}.xtc") for k in (1, 2, 3)]
    assert all(not np.array_equal(a, b) for a, b in combinations(three, 2))


@pytest.mark.long
def test_chains_that_are_extended_are_those_of_a_long_run(tmp_path: Path) -> None:
    for name, times in (("long", [2.0]), ("two", [0.8, 2.0])):
        for time_ps in times:
            output = tmp_path / f"{name}.xtc"
            result = equidrift.md("CCCO", output, time_ps, chains=2, threads=1, **QUICK)
    assert result["resumed_at_cycle"] == 40 and result["cycles"] == 100
    for k in (1, 2):
        pair = [torsions(tmp_path / f"{name}.{k}.xtc") for name in ("long", "two")]
        assert np.array_equal(*pair)
        frames = [(tmp_path / f"{name}.{k}.xtc").read_bytes() for name in ("long", "two")]
        assert frames[0] == frames[1]


@pytest.mark.long
def test_md_prints_r_hat_and_pools_its_chains(cli: Cli, tmp_path: Path) -> None:
    output = tmp_path / "run.xtc"
    options = ("--time", "3ps", "--md-steps", 20, "--proposals", "uniform", "--adapt", "1ps")
    further = ("--chains", 2, "--threads", 1, "-o", output)
    code, printed, err = cli("md", "CCCO", *options, *further)
    assert code == 0, err
    assert "R-hat" in printed and "2 independent chains" in printed
    assert "run.1.xtc" in printed and "run.2.xtc" in printed
    code, printed, err = cli("md", "CCCO", *options, *further, "--json")
    assert code == 0, err
    result = json.loads(printed)
    assert [chain["cycles"] for chain in result["chains"]] == [75, 75]
    (torsion,) = result["torsions"]
    assert result["frames"] == 150 and 0.9 < torsion["r_hat"] < 3
    assert (tmp_path / "run.torsions.csv").is_file() and not output.exists()


def test_files_of_others_are_refused_before_a_chain_begins(tmp_path: Path) -> None:
    for name in ("run.2.xtc", "run.states.csv"):
        (tmp_path / name).write_text("mine")
        with pytest.raises(InputError, match=name):
            equidrift.md("CCCO", tmp_path / "run.xtc", 1.0, chains=2, **QUICK)
        assert [path.name for path in tmp_path.iterdir()] == [name]
        (tmp_path / name).unlink()
    with pytest.raises(InputError, match="chains must be 1 or more"):
        equidrift.md("CCCO", tmp_path / "run.xtc", 1.0, chains=0, **QUICK)
    with pytest.raises(InputError, match="threads must be 1 or more"):
        equidrift.md("CCCO", tmp_path / "run.xtc", 1.0, chains=2, threads=0, **QUICK)


def test_seeds_of_chains_are_far_from_each_other() -> None:
    """The adaptive phase takes the seeds after a chain's own."""
    seeds = np.sort([chain_seed(seed, k) for seed in range(50) for k in range(8)])
    assert np.diff(seeds).min() > 10**9 and seeds.max() < 2**62


def ends(plan: Plan, overwrite: bool, progress: Any) -> Chain:
    """A chain whose process dies."""
    os._exit(3)


def refuses(plan: Plan, overwrite: bool, progress: Any) -> Chain:
    """A chain with an error of its own."""
    raise InputError(f"no chain in {plan.output.name}")


@pytest.mark.parametrize(
    ("chain", "error", "message"),
    [
        (ends, CrashError, "process of chain 1 ended before the chain"),
        (refuses, InputError, "no chain in run.1.xtc"),
    ],
)
def test_what_ends_a_chain_is_told(
    chain: Callable[..., Chain], error: type[Exception], message: str, tmp_path: Path
) -> None:
    plan = Plan("CCCO", tmp_path / "run.xtc", 1.0, ChainSettings(**QUICK))
    with pytest.raises(error, match=message):
        run_chains(chain, plan, 2, 1, False, None)

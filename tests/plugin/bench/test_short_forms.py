"""The parts of the long benchmarks in forms of seconds: every row there with its count."""

from __future__ import annotations

from pathlib import Path

import pytest

from equidrift.bench import (
    sampling,
    sampling_blocks,
    sampling_chains,
    sampling_drugs,
    sampling_solvated,
    trajectories,
    trajectories_gfn2,
    trajectories_molecules,
)
from equidrift.bench.machine import silent
from equidrift.bench.trajectories_chains import chain_rows
from equidrift.models.trajectories.dynamics import load_gfn2_md
from tests.tools.loading import DATA

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (DATA / "gfn2_md").is_dir(), reason="needs EQUIDRIFT_DATA"),
]


def _counted(rows: list[dict]) -> dict[str, dict]:
    assert rows and all(row["values"]["n"] >= 1 for row in rows)
    return {row["row"]: row["values"] for row in rows}


@pytest.fixture(autouse=True)
def _data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EQUIDRIFT_DATA", str(DATA))


def test_nbody_rows_have_errors_and_counts() -> None:
    found = _counted(trajectories.nbody_rows("charged", 4))
    assert found["charged/equidrift"]["ADE"] < found["charged/last-frame"]["ADE"]
    assert found["charged/equidrift"]["ADE_se"] > 0


def test_molecule_trajectory_rows_have_errors_and_counts() -> None:
    data = load_gfn2_md(DATA / "gfn2_md")
    short = {"ethanol": data["ethanol"]}
    rows = trajectories_gfn2.molecule_rows("ethanol", data["ethanol"], False)
    rows += chain_rows(short, ["ethanol"], 2, energies=1)
    rows += trajectories_molecules.interpolation_rows(short, ["ethanol"], 2)
    rows += trajectories_molecules.refinement_rows(short, ["ethanol"], 2)
    rows += trajectories_molecules.spacing_rows(Path(DATA), (5.0,))
    found = _counted(rows)
    ours = found["gfn2md17-ethanol/equidrift"]
    assert ours["ADE"] < found["gfn2md17-ethanol/last-frame"]["ADE"] and ours["ADE_se"] > 0
    assert found["gfn2md17-mean/equidrift-chained"]["n"] == 2
    counts = {
        values["n"] for name, values in found.items() if name.startswith("gfn2md17-ethanol/")
    } - {2}
    assert counts == {trajectories_gfn2.WINDOWS}  # every method on the same windows
    assert found["gfn2md17-ethanol/md"]["cpu_s_per_trajectory"] > 0
    assert found["interpolate-ethanol/md"]["ADE"] < found["interpolate-ethanol/linear"]["ADE"]
    for name in ("equidrift", "md"):
        assert found[f"gfn2md17-ethanol/{name}"]["CRPS"] < found[f"gfn2md17-ethanol/{name}"]["ADE"]


def test_sampling_rows_have_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "ADAPT_CYCLES", 4)
    monkeypatch.setattr(sampling_drugs, "ADAPT_CYCLES", 80)  # the least that can be fitted
    rows = sampling.alanine(0.5, silent) + sampling_drugs.drugs(0.3, 1, silent, 0.6)
    found = _counted(rows)
    assert found["ala2/md"]["crossings_per_s"] > 0 and found["drugs/torsion"]["n"] == 1


def test_block_rows_have_counts_and_say_what_adaptation_cost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sampling_blocks, "ADAPT_CYCLES", 80)
    found = _counted(sampling_blocks.blocks(0.3, silent, ("leucine-obc",)))
    methods = {name.split("/")[1]: values for name, values in found.items()}
    assert set(methods) == set(sampling_blocks.METHODS)
    for method, values in methods.items():
        assert (values["adapt_s"] > 0) is (method in sampling_blocks.FITTED)
        assert values["ess_per_cpu_s"] > 0 and values["ess_per_cpu_s_se"] >= 0


def test_solvated_rows_keep_nine_tenths_of_the_speed_of_dynamics() -> None:
    found = _counted(sampling_solvated.solvated(3.0, silent, ("butane",)))
    ours, md = found["solvated-butane/equidrift"], found["solvated-butane/md"]
    assert ours["md_steps"] == md["md_steps"] and md["chains"] == 2
    assert set(sampling_chains.RATIOS) <= set(ours)
    assert ours["speed_over_md"] + 3 * ours["speed_over_md_se"] > 0.9

"""What is told of the properties asked for: on the targets' scale, or without an error."""

from __future__ import annotations

import numpy as np
import pytest

from equidrift.checks.judges import achieved, achieved_text, gfn2_scales
from equidrift.models.molecules.data import PROPERTIES
from tests.tools.loading import DATA, tool

QM9 = DATA / "qm9_130831.npz"


@pytest.mark.parametrize("judge", ["network", "gfn2", "pm7"])
@pytest.mark.parametrize("name", PROPERTIES)
def test_achieved_tells_an_error_only_on_the_scale_of_the_targets(name: str, judge: str) -> None:
    score = name if judge == "network" else f"{name}/{judge}"
    (row,) = achieved({name: 1.0}, {score: [0.5, 2.5, np.nan]})
    on_scale = judge == "network" or (judge == "gfn2" and name in gfn2_scales())
    text = achieved_text(row)
    assert row["molecules"] == 2 and np.isfinite(row["mean"])
    assert ("mean_absolute_error" in row) is ("off by" in text) is on_scale
    assert ("deviation" in row) is ("uncertainty" in text) is (on_scale and judge == "gfn2")
    if not on_scale:
        assert "own scale" in text


def test_gfn2_values_are_told_on_the_scale_of_b3lyp_when_it_is_known() -> None:
    assert set(gfn2_scales()) == {"homo_eV", "lumo_eV", "gap_eV", "mu_D"}
    scale = gfn2_scales()["gap_eV"]
    (row,) = achieved({"gap_eV": 7.0}, {"gap_eV/gfn2": [4.0, 6.0]})
    here = scale.slope * np.array([4.0, 6.0]) + scale.intercept
    assert row["mean"] == pytest.approx(here.mean()) and row["mean_before"] == 5.0
    assert row["mean_absolute_error"] == pytest.approx(np.abs(here - 7.0).mean())
    assert f"uncertainty of {scale.deviation:.2g}" in achieved_text(row)
    assert f"{scale.held_out_molecules} held-out molecules" in achieved_text(row)


def test_achieved_says_when_a_judge_has_no_value_of_a_target() -> None:
    rows = achieved({"alpha_bohr3": 75.0}, {"alpha_bohr3": [74.0]}, ("network", "gfn2"))
    assert [row["judge"] for row in rows] == ["network", "gfn2"]
    assert achieved_text(rows[1]) == "alpha_bohr3: target 75, the judge gfn2 has no value of it"
    (failed,) = achieved({"mu_D": 1.0}, {"mu_D/gfn2": [np.nan, np.nan]}, ("gfn2",))
    assert failed["molecules"] == 0 and "mean" not in failed


def test_scale_fit_finds_the_line_and_what_it_leaves() -> None:
    pytest.importorskip("tblite")
    rng = np.random.default_rng(0)
    gfn2 = rng.normal(size=4000)
    b3lyp = 0.5 * gfn2 + 4.0 + rng.normal(scale=0.3, size=4000)
    slope, intercept, deviation = tool("fit_gfn2_scale").fit(gfn2, b3lyp)
    assert slope == pytest.approx(0.5, abs=0.02) and intercept == pytest.approx(4.0, abs=0.02)
    assert deviation == pytest.approx(0.3, abs=0.015)


@pytest.mark.long
@pytest.mark.skipif(not QM9.is_file(), reason="needs EQUIDRIFT_DATA/qm9_130831.npz")
def test_scale_holds_its_error_on_molecules_that_were_held_out() -> None:
    pytest.importorskip("tblite")
    fitting = tool("fit_gfn2_scale")
    with np.load(QM9) as file:
        data = {name: file[name] for name in file.files}
    rows = fitting.chosen(data["smiles"], {"test": 60})["test"]
    gfn2, b3lyp = fitting.values_of(data, rows)
    for name, scale in gfn2_scales().items():
        off = np.abs(scale.b3lyp(gfn2[name]) - b3lyp[name])
        assert abs(np.nanmean(off) - scale.held_out_mae) < 4 * np.nanstd(off) / np.sqrt(len(off))

"""`forecast --every`: one new frame of several is kept, at the right times."""

from __future__ import annotations

import json
from pathlib import Path

import MDAnalysis as mda
import numpy as np
import pytest

import equidrift
from equidrift.cli.forecast import Request
from equidrift.engine import frames
from equidrift.engine import trajectories as engine
from equidrift.errors import InputError, InputTypeError
from equidrift.files.trajectories import load_trajectory
from equidrift.records import Trajectory
from tests.commands import Cli, add_doubles, caller
from tests.conftest import make_trajectory
from tests.doubles import Walker


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Cli:
    """Run `equidrift forecast` in an empty folder; its exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    add_doubles(monkeypatch)
    call = caller(monkeypatch, capsys)
    make_trajectory().save("in.npz")
    return lambda *asked: call("forecast", "in.npz", "--model", "walker", *asked)


def _whole(n_frames: int) -> Trajectory:
    (whole,) = equidrift.forecast(make_trajectory(), n_frames, model=Walker())
    return whole


def test_kept_frames_are_those_of_the_whole_forecast() -> None:
    whole = _whole(12)
    (kept,) = equidrift.forecast(make_trajectory(), 4, every=3, model=Walker())
    np.testing.assert_array_equal(kept.positions_A, whole.positions_A[2::3])
    np.testing.assert_allclose(kept.time_fs, whole.time_fs[2::3])
    assert kept.dt_fs == pytest.approx(3 * whole.dt_fs)
    assert kept.provenance["every"] == 3 and "every" not in whole.provenance


@pytest.mark.parametrize("every", [0, -2, 2.5, True])
def test_every_is_a_number_of_frames(every: object) -> None:
    with pytest.raises((InputError, InputTypeError), match="every"):
        equidrift.forecast(make_trajectory(), 4, every=every, model=Walker())  # type: ignore[arg-type]


@pytest.mark.parametrize("suffix", [".xtc", ".dcd", ".h5md", ".extxyz", ".npz"])
def test_times_in_the_file_are_those_of_the_kept_frames(suffix: str, cli: Cli) -> None:
    given = make_trajectory()
    code, out, err = cli("--frames", 4, "--every", f"{3 * given.dt_fs:g}fs", "-o", f"x{suffix}")
    assert code == 0 and "1 trajectory of 4 frames" in out, out + err
    topology = None if suffix in (".extxyz", ".npz") else "x.top.pdb"
    read = load_trajectory(f"x{suffix}", topology)
    expected = given.time_fs[-1] + 3 * given.dt_fs * np.arange(1, 5)
    if suffix == ".dcd":  # which begins at 0 in many programs, and tells the spacing alone
        np.testing.assert_allclose(np.diff(read.time_fs), 3 * given.dt_fs, rtol=1e-4)
    else:
        np.testing.assert_allclose(read.time_fs, expected, rtol=1e-5)
    np.testing.assert_allclose(read.positions_A, _whole(12).positions_A[2::3], atol=6e-3)
    if suffix in (".xtc", ".dcd"):
        universe = mda.Universe("x.top.pdb", f"x{suffix}")
        assert universe.trajectory.n_frames == 4
        assert universe.trajectory.dt == pytest.approx(3 * given.dt_fs / 1000, rel=1e-4)


def test_summary_counts_the_kept_frames(cli: Cli) -> None:
    code, out, _ = cli("--frames", 5, "--every", 4, "-n", 2, "-o", "x.npz", "--json")
    summary = json.loads(out)
    assert code == 0 and (summary["samples"], summary["frames"]) == (2, 5)
    assert all(len(load_trajectory(path)) == 5 for path in summary["output"])


@pytest.mark.parametrize("chunk", [2, 5])
def test_interrupted_forecast_goes_on_to_the_same_frames(
    chunk: int, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frames, "CHUNK", chunk)
    asked = ("--frames", 4, "--every", 3)
    assert cli(*asked, "-o", "whole.npz")[0] == 0
    original, calls = engine.Forecast.position, []

    def position(self: engine.Forecast, made: object, n: int) -> tuple[int, int]:
        calls.append(n)
        if len(calls) > 1:
            raise KeyboardInterrupt
        return original(self, made, n)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(engine.Forecast, "position", position)
        assert cli(*asked, "-o", "x.npz")[0] == 130
    code, _, err = cli("--frames", 4, "--every", 2, "-o", "x.npz")
    assert code == 2 and "unfinished run of another command" in err
    code, out, _ = cli(*asked, "-o", "x.npz")
    assert code == 0 and f"continued from frame {chunk}" in out
    assert Path("x.npz").read_bytes() == Path("whole.npz").read_bytes()


def test_every_is_refused_where_it_thins_nothing(cli: Cli) -> None:
    for mode in ("--interpolate", "--refine"):
        code, _, err = cli(mode, "--every", 2, "-o", "x.npz")
        assert code == 2 and f"and {mode} makes none" in err and "--every 2" in err


@pytest.mark.parametrize(
    ("asked", "chosen"),
    [
        ({}, "default"),
        ({"every": "3"}, "default"),
        ({"every": "900fs"}, "default"),
        ({"every": "1ps"}, "leap"),
        ({"every": "0.2ns"}, "leap"),
        ({"every": "20ps", "model": "md"}, "md"),
        ({"every": "20ps", "model": "default"}, "default"),
    ],
)
def test_frames_picoseconds_apart_are_leapt_to_unless_a_model_is_named(
    asked: dict[str, str], chosen: str
) -> None:
    request = Request(trajectory=Path("in.xtc"), output=Path("x.xtc"), frames=4, **asked)
    assert request.chosen_model == chosen

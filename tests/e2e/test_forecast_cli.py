"""`equidrift forecast` as a user or a script meets it, killed and continued; and the
two examples.
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from equidrift import registry
from equidrift.engine import frames
from equidrift.engine import trajectories as trajectory_engine
from equidrift.files.trajectories import load_trajectory
from tests.commands import Cli, caller
from tests.conftest import make_trajectory
from tests.stopping import stop_at

ROOT = Path(__file__).parents[2]
ASPIRIN = ROOT / "examples" / "data" / "aspirin.xtc"
TOP = ASPIRIN.with_suffix(".pdb")
SMILES = "CC(=O)Oc1ccccc1C(=O)O"


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Cli:
    """Run `equidrift forecast` in an empty folder; its exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(registry.TRAJECTORY_MODELS, "walker", "tests.doubles:Walker")

    return partial(caller(monkeypatch, capsys), "forecast")


def test_xtc_and_pdb_are_continued(cli: Cli) -> None:
    code, out, err = cli(
        ASPIRIN, "--top", TOP, "--frames", 20, "-n", 3, "-o", "next.xtc", "--model", "walker"
    )
    assert (
        code == 0
        and err == ""
        and out.startswith(
            "3 trajectories of 20 frames by walker -> next_0000.xtc to next_0002.xtc\n"
        )
    )
    assert "topology: next.top.pdb" in out and "not exact dynamics" in out
    assert sorted(path.name for path in Path().iterdir()) == [
        "next.top.pdb",
        *(f"next_000{k}.xtc" for k in range(3)),
    ]
    for k in range(3):
        made = load_trajectory(f"next_000{k}.xtc", "next.top.pdb")
        assert (
            len(made) == 20
            and made.time_fs[0] == pytest.approx(410, rel=1e-5)
            and made.dt_fs == pytest.approx(10, rel=1e-5)
        )


def test_one_sample_is_the_output_itself_and_json_one_object(cli: Cli) -> None:
    code, out, err = cli(
        ASPIRIN,
        "--top",
        TOP,
        "--frames",
        5,
        "-o",
        "x.npz",
        "--model",
        "walker",
        "--seed",
        7,
        "--set",
        "share=0.5",
        "--json",
    )
    told = json.loads(out)
    assert (
        code == 0
        and err == ""
        and told["output"] == ["x.npz"]
        and told["topology"] is None
        and told["mode"] == "forecast"
    )
    assert (
        told["seed"] == 7
        and told["exact"] is False
        and told["samples"] == 1
        and told["frames"] == 5
        and told["model"] == "walker"
    )
    made = load_trajectory("x.npz")
    assert made.provenance["options"] == {"broken": "redraw", "share": 0.5}
    assert (
        made.provenance["exact"] is False
        and made.provenance["seed"] == 7
        and made.provenance["rejected"] == told["rejected"]
    )
    assert [path.name for path in Path().iterdir()] == ["x.npz"]


def test_forecast_repeats_at_a_seed_and_differs_at_another(cli: Cli) -> None:
    for seed, name in ((1, "a"), (1, "b"), (2, "c")):
        cli(
            ASPIRIN,
            "--top",
            TOP,
            "--frames",
            3,
            "-o",
            f"{name}.dcd",
            "--model",
            "walker",
            "--seed",
            seed,
        )
    a, b, c = (Path(f"{name}.dcd").read_bytes() for name in "abc")
    assert a == b and a != c


def test_interpolation_on_the_command_line(cli: Cli) -> None:
    given = load_trajectory(ASPIRIN, TOP)
    code, out, _ = cli(
        ASPIRIN,
        "--top",
        TOP,
        "--interpolate",
        "--frames",
        1,
        "-n",
        2,
        "-o",
        "x.npz",
        "--model",
        "walker",
        "--json",
    )
    assert code == 0 and json.loads(out)["frames"] == 79
    for k in range(2):
        made = load_trajectory(f"x_000{k}.npz")
        np.testing.assert_array_equal(made.positions_A[::2], given.positions_A)
        assert made.dt_fs == pytest.approx(5, rel=1e-5)
    given[[0, 1, 2, 3, 8, 9]].save("gap.npz")
    assert cli("gap.npz", "--interpolate", "-o", "filled.xtc", "--model", "walker")[0] == 0
    filled = load_trajectory("filled.xtc", "filled.top.pdb")
    assert len(filled) == 10
    np.testing.assert_allclose(filled.positions_A[[0, 8]], given.positions_A[[0, 8]], atol=2e-4)


def test_refinement_on_the_command_line(cli: Cli) -> None:
    code, out, _ = cli(
        ASPIRIN, "--top", TOP, "--refine", "--level", 0.2, "-o", "x.traj", "--model", "walker"
    )
    assert code == 0 and out.startswith("1 trajectory of 40 frames by walker -> x.traj")
    assert len(load_trajectory("x.traj")) == 40


def test_topologies_on_the_command_line(cli: Cli) -> None:
    given = make_trajectory()
    given[:1].to_ensemble().save("top.sdf")
    given.save("t.dcd")
    given.save("t.extxyz")
    for top in (("--top", "top.sdf"), ("--top", SMILES)):
        assert (
            cli("t.dcd", *top, "--frames", 2, "-o", "x.xtc", "--model", "walker", "--overwrite")[0]
            == 0
        )
    assert (
        cli("t.extxyz", "--frames", 2, "-o", "y.extxyz", "--model", "walker", "--stride", 2)[0] == 0
    )
    assert load_trajectory("y.extxyz").dt_fs == pytest.approx(20)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "--frames is missing: how many new frames"),
        (("--refine", "--interpolate"), "exclude each other"),
        (("--refine", "--frames", 3), "--frames does not go with it"),
        (("--frames", 0), "--frames must be an integer of 1 or more"),
        (("--frames", 5, "-n", 0), "-n must be an integer of 1 or more"),
        (("--frames", 5, "--model", "last-fram"), "Did you mean 'last-frame'"),
        (("--frames", 5, "--seed", -1), "--seed must be an integer from 0"),
        (("--frames", 5, "--stride", 0), "--stride must be an integer of 1 or more"),
        (("--frames", 5, "--dt", 0), "--dt must be a number of fs above 0"),
        (("--frames", 5, "--dt", 0.001), "trained on 1 to 1000 fs"),
        (("--frames", 5, "--broken", "keep"), "unknown way with broken frames 'keep'"),
        (
            ("--frames", 5, "--set", "share=1.0", "--max-attempts", 2),
            "1 of 1 sample has broken frames",
        ),
        (("--frames", 5, "--set", "nonsense=1"), "the model 'walker' has no option 'nonsense'"),
        (("--interpolate",), "none is missing between them"),
        (("--frames", 5, "-o", "x.sdf"), "unknown suffix for a trajectory '.sdf'"),
        (("--frames", 5, "-o", "none/x.xtc"), "there is no folder"),
        (("--frames", 5, "--top", "none.pdb"), "there is no file 'none.pdb'"),
        (("--frames", 5, "--top", "CCO"), "has 21 atoms per frame, but the topology"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    cli: Cli, arguments: tuple[object, ...], message: str
) -> None:
    defaults = () if "--model" in arguments else ("--model", "walker")
    defaults += () if "-o" in arguments else ("-o", "x.xtc")
    defaults += () if "--top" in arguments else ("--top", TOP)
    code, out, err = cli(ASPIRIN, *defaults, *arguments)
    assert err.count("\n") == 1 and err.startswith("equidrift: ") and message in err and out == ""
    assert code == (1 if "has broken frames" in message else 2)
    assert not [path for path in Path().iterdir() if path.suffix in (".xtc", ".pdb")]


def test_trajectories_that_cannot_be_used(cli: Cli) -> None:
    given = make_trajectory()
    given[:1].save("short.npz")
    given.replace(positions_A=0.1 * given.positions_A).save("nm.npz")
    given.replace(time_fs=[*range(11), 30]).save("uneven.npz")
    for name, message in (
        ("short", "needs 2 given frames"),
        ("nm", "look like nm"),
        ("uneven", "time steps are unequal"),
        ("none", "no file"),
    ):
        code, _, err = cli(f"{name}.npz", "--frames", 3, "-o", "x.npz", "--model", "walker")
        assert code == 2 and message in err and err.count("\n") == 1


def test_forecast_says_that_the_last_frame_is_better_when_frames_are_far_apart(cli: Cli) -> None:
    far = (ASPIRIN, "--top", TOP, "--frames", 3, "--model", "walker", "--dt", 120)
    code, out, err = cli(*far, "-o", "x.npz")
    assert code == 0 and err == ""
    assert "note: the frames are 120 fs apart" in out and "--model last-frame" in out
    _, out, _ = cli(*far, "-o", "y.npz", "--json")
    told = json.loads(out)
    assert len(told["notes"]) == 1 and told["plain_md_seconds"] > 0


def test_forecast_says_nothing_of_the_kind_when_frames_are_close(cli: Cli) -> None:
    _, out, _ = cli(ASPIRIN, "--top", TOP, "--frames", 3, "--model", "walker", "-o", "x.npz")
    assert "note:" not in out


def test_forecast_refuses_unrelated_conformers(cli: Cli) -> None:
    from tests.plugin.checks.test_trajectory import unrelated_conformers

    unrelated_conformers().save("c.npz")
    code, _, err = cli("c.npz", "--frames", 3, "-o", "x.npz", "--model", "walker")
    assert code == 2 and "these are no successive frames of dynamics" in err
    assert not Path("x.npz").exists()


def test_another_command_does_not_overwrite_an_unfinished_run(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frames, "CHUNK", 2)
    with monkeypatch.context() as patch:
        patch.setattr(trajectory_engine.Forecast, "position", _interrupting(patch))
        code, _, err = cli(ASPIRIN, "--top", TOP, "--frames", 8, "-o", "x.npz", "--model", "walker")
        assert code == 130 and "give the same command again to continue" in err
    code, _, err = cli(
        ASPIRIN, "--top", TOP, "--frames", 8, "-o", "x.npz", "--model", "walker", "--seed", 1
    )
    assert code == 2 and "unfinished run of another command" in err
    code, out, _ = cli(ASPIRIN, "--top", TOP, "--frames", 8, "-o", "x.npz", "--model", "walker")
    assert code == 0 and "continued from frame 2" in out and len(load_trajectory("x.npz")) == 8
    assert [path.name for path in Path().iterdir()] == ["x.npz"]


def _interrupting(patch: pytest.MonkeyPatch) -> Callable[..., tuple[int, int]]:
    """`Job.position`, that Ctrl-C meets the second time."""
    original, calls = trajectory_engine.Forecast.position, []

    def position(self: object, chunk: object, n: int) -> tuple[int, int]:
        calls.append(n)
        if len(calls) > 1:
            raise KeyboardInterrupt
        return original(self, chunk, n)  # type: ignore[arg-type]

    return position


# kill -9 ------------------------------------------------------------------------------

SLOW = """
import equidrift.engine.frames as engine
from equidrift import registry
from equidrift.cli.main import run
registry.TRAJECTORY_MODELS["walker"] = "tests.doubles:Walker"
engine.CHUNK = 4
{hook}
run()
"""


def command(out: Path, hook: str = "") -> list[str]:
    call = [
        "forecast",
        ASPIRIN,
        "--top",
        TOP,
        "--frames",
        18,
        "-n",
        5,
        "-o",
        out.name,
        "--model",
        "walker",
        "--batch-size",
        2,
    ]
    call += ["--set", "share=0.1"]
    return [sys.executable, "-c", SLOW.format(hook=hook), *map(str, call)]


@pytest.mark.long
@pytest.mark.parametrize("suffix", [".xtc", ".extxyz"])
def test_killed_run_gives_the_same_bytes(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    whole, torn = tmp_path / "whole", tmp_path / "torn"
    for folder in (whole, torn):
        folder.mkdir()
    subprocess.run(command(whole / f"x{suffix}"), cwd=whole, check=True, capture_output=True)
    for before in (True, False):
        hook = stop_at(".journal", 2, before=before)
        killed = subprocess.run(
            command(torn / f"x{suffix}", hook), cwd=torn, check=False, capture_output=True
        )
        assert killed.returncode == -signal.SIGKILL
    last = subprocess.run(
        command(torn / f"x{suffix}"), cwd=torn, check=True, capture_output=True, text=True
    )
    assert "continued from frame" in last.stdout
    names = sorted(path.name for path in whole.iterdir())
    assert names == sorted(path.name for path in torn.iterdir()) and len(names) == 5 + (
        suffix == ".xtc"
    )
    for name in names:
        assert (whole / name).read_bytes() == (torn / name).read_bytes(), name


# Examples -----------------------------------------------------------------------------


def example(name: str, *arguments: object, cwd: Path) -> str:
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / name, *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def check_aspirin_example(model: str, cwd: Path) -> None:
    out = example("03_forecast_aspirin.py", 2, model, cwd=cwd)
    energies = re.search(r"ASE: 600 fs, (\S+) eV\nOpenMM: (\S+) eV; goes on from there", out)
    assert energies and float(energies[1]) == pytest.approx(float(energies[2]), abs=2e-3)
    assert out.count("20 frames, dt 0.010 ps") == 2 and (cwd / "next_0001.xtc").is_file()


@pytest.mark.long
def test_aspirin_example(tmp_path: Path) -> None:
    check_aspirin_example("last-frame", tmp_path)


@pytest.mark.long
def test_openmm_example(tmp_path: Path) -> None:
    out = example("04_openmm_trajectory_proposer.py", 2, "last-frame", cwd=tmp_path)
    rows = [line.split() for line in out.splitlines()]
    assert rows[0][:4] == ["round", "proposal", "driven", "plain"] and [
        row[0] for row in rows[1:]
    ] == ["0", "1", "mean", "refused:"]
    assert (
        np.isfinite([float(x) for row in rows[1:4] for x in row[1:]]).all()
        and rows[-1][-1] == "False"
    )

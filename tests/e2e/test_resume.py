"""A run ended at any moment, then the same command: the same bytes as a run that was
left alone.
"""

from __future__ import annotations

import json
import os
import random
import signal
from pathlib import Path
from typing import Any

import pytest
from rdkit import Chem

from tests.conftest import MOLECULES
from tests.killing import moments, run_until

SETUP = "import equidrift.engine.conformer_settings as engine; engine.WINDOW = 16"
TWO = ["CC(O)CN", "C[C@H](F)Cl"]


def sample(inputs: list[str], n: int, out: Path, *more: object) -> list[object]:
    return ["sample", *inputs, "-n", n, "-o", out.name, "--model", "etkdg", "--seed", 2, *more]


def left_alone(command: list[object], folder: Path) -> int:
    """The number of steps of a command that is left alone."""
    done = run_until(command, folder, setup=SETUP)
    assert done.returncode == 0, done.stderr
    return moments(done)


@pytest.mark.long
@pytest.mark.parametrize("suffix", [".sdf", ".npz"])
def test_sample_killed_at_any_step_gives_the_same_bytes(suffix: str, tmp_path: Path) -> None:
    inputs = TWO if suffix == ".sdf" else TWO[:1]
    whole, torn = tmp_path / f"whole{suffix}", tmp_path / f"torn{suffix}"
    options = ("--batch-size", 8)
    steps = left_alone(sample(inputs, 60, whole, *options), tmp_path)
    rng, command = random.Random(1), sample(inputs, 60, torn, *options)
    for _ in range(2):  # each goes on where the one before it was killed
        killed = run_until(command, tmp_path, rng.randint(2, steps // 3), setup=SETUP)
        assert killed.returncode == -signal.SIGKILL
    last = run_until(command, tmp_path, setup=SETUP)
    assert last.returncode == 0 and "continued from conformer" in last.stdout
    assert torn.read_bytes() == whole.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == [torn.name, whole.name]


@pytest.mark.long
@pytest.mark.parametrize(
    ("how", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_sample_keeps_what_is_done_when_it_is_asked_to_end(
    how: signal.Signals, code: int, tmp_path: Path
) -> None:
    out = tmp_path / "x.sdf"
    # nothing is flushed by time here, and the window is not full: only the signal brings it to disk
    setup = (
        "import equidrift.engine.windows as engine, os\n"
        + f"""
judge, calls = engine.judge, []
def counted(*arguments):
    calls.append(1)
    if len(calls) == 3:
        stream.FLUSH_S = 1e9
        os.kill(os.getpid(), {int(how)})
    judge(*arguments)
if os.environ["STOP_AT"] == "0":
    engine.judge = counted
"""
    )
    command = sample(["CC(O)CN"], 60, out, "--batch-size", 8)
    done = run_until(command, tmp_path, setup=setup)
    assert done.returncode == code and "Traceback" not in done.stderr
    assert done.stderr.startswith(
        "equidrift: interrupted; 16 conformers kept; give the same command again"
    )
    assert (tmp_path / "x.sdf.window").exists() and not out.exists()
    last = run_until(command, tmp_path, at=10**6, setup=setup)
    assert last.returncode == 0 and "continued from conformer 16" in last.stdout
    whole = sample(["CC(O)CN"], 60, tmp_path / "whole.sdf", "--batch-size", 8)
    assert run_until(whole, tmp_path, at=10**6, setup=setup).returncode == 0
    assert out.read_bytes() == (tmp_path / "whole.sdf").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["whole.sdf", "x.sdf"]


def library(folder: Path, count: int) -> Path:
    """A .csv with names and a property: of ZINC where the data are, else molecules of
    the tests.
    """
    data = Path(os.environ.get("EQUIDRIFT_DATA", "/nowhere")) / "zinc_smiles"
    found = data / "zinc_29k.smi"
    lines = found.read_text().splitlines() if found.is_file() else list(MOLECULES.values())
    smiles = [line.split()[0] for line in lines][:count]
    path = folder / "library.csv"
    rows = "".join(f"{text},name-{k:04d},{k / 8}\n" for k, text in enumerate(smiles))
    path.write_text(f"smiles,name,IC50_uM\n{rows}")
    return path


def check_names_and_properties(written: Path, count: int, told: dict[str, Any]) -> None:
    """Every molecule but the failed ones is there, with its name as title and its
    property.
    """
    failed = {failure["title"] for failure in told["failures"]}
    found = {}
    for record in Chem.SDMolSupplier(str(written), removeHs=False):
        found[record.GetProp("_Name")] = float(record.GetProp("IC50_uM"))
    wanted = {f"name-{k:04d}": k / 8 for k in range(count)}
    assert failed <= set(wanted)
    assert set(wanted) - failed <= set(found)
    assert found == {name: wanted[name] for name in found}


def killed_library(folder: Path, count: int, n: int, kills: int, model: str) -> None:
    """A library killed at random steps: identical bytes, every name and property there."""
    path = library(folder, count)
    count = len(path.read_text().splitlines()) - 1
    whole, torn = folder / "whole.sdf", folder / "torn.sdf"
    setup = "import equidrift.engine.conformer_settings as engine; engine.WINDOW = 64"

    def command(out: Path) -> list[object]:
        return ["sample", path.name, "-n", n, "-o", out.name, "--model", model, "--seed", 5]

    done = run_until(command(whole), folder, setup=setup, limit_s=3000.0)
    assert done.returncode in (0, 1), done.stderr
    rng, counted = random.Random(7), 0
    for _ in range(kills):
        at = rng.randint(1, max(2, 2 * moments(done) // kills))
        ended = run_until(command(torn), folder, at, setup=setup, limit_s=3000.0)
        counted += ended.returncode == -signal.SIGKILL
    assert counted >= kills // 2
    assert (
        run_until(command(torn), folder, setup=setup, limit_s=3000.0).returncode == done.returncode
    )
    assert torn.read_bytes() == whole.read_bytes()
    told = json.loads(
        run_until([*command(torn), "--json"], folder, setup=setup, limit_s=3000.0).stdout
    )
    assert told["finished_before"] and told["conformers"] >= 0.95 * n * count
    check_names_and_properties(torn, count, told)


@pytest.mark.long
def test_named_library_killed_at_random_steps_gives_the_same_bytes(tmp_path: Path) -> None:
    killed_library(tmp_path, 16, 5, 3, "etkdg")


@pytest.mark.slow
def test_two_hundred_named_molecules_killed_twenty_times(tmp_path: Path) -> None:
    killed_library(tmp_path, 200, 5, 20, "default")

"""`--device` and `device=`: where the networks run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import equidrift
from equidrift.engine.chains import default
from equidrift.errors import InputError
from equidrift.files.ensembles import save
from tests.commands import Cli, caller

DATA = Path(__file__).parents[2] / "examples" / "data"
CALLS = {
    "sample": ("sample", "CCO", "-o", "x.sdf"),
    "refine": ("refine", "given.sdf", "-o", "x.sdf"),
    "generate": ("generate", "-o", "x.sdf"),
    "forecast": (
        *("forecast", DATA / "aspirin.xtc", "--top", DATA / "aspirin.pdb"),
        *("--frames", 2, "-o", "x.xtc"),
    ),
}


@pytest.fixture
def call(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Cli:
    monkeypatch.chdir(tmp_path)
    save(equidrift.sample("CCO", 1, model="etkdg"), "given.sdf")
    return caller(monkeypatch, capsys)


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("device", ["cdua", "cuda:x", "gpu"])
def test_a_command_names_the_option_when_a_device_is_none(
    call: Cli, name: str, device: str
) -> None:
    code, _, err = call(*CALLS[name], "--device", device)
    assert code == 2 and "--device" in err and device in err and not Path("x.sdf").exists()


@pytest.mark.parametrize("name", CALLS)
def test_a_command_names_the_device_when_it_is_not_there(call: Cli, name: str) -> None:
    code, _, err = call(*CALLS[name], "--device", "cuda:99")
    assert code == 2 and "--device" in err and "cuda:99" in err and "Traceback" not in err


def test_a_command_gives_the_same_when_the_device_is_the_one_it_would_take(call: Cli) -> None:
    assert call("sample", "C[C@H](N)C=O", "-o", "a.npz", "--device", "cpu")[0] == 0
    assert call("sample", "C[C@H](N)C=O", "-o", "b.npz")[0] == 0
    first, second = (equidrift.load(name).positions_A for name in ("a.npz", "b.npz"))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize(
    "load",
    [
        lambda on: default(device=on),
        lambda on: equidrift.sample("CCO", 1, device=on),
        lambda on: equidrift.generate(1, device=on),
    ],
)
def test_a_function_names_the_device_when_it_is_not_there(load: Callable[[str], object]) -> None:
    with pytest.raises(InputError, match="cuda:99"):
        load("cuda:99")

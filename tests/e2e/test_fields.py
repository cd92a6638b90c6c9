"""The field examples, and `equidrift train fields` from a YAML to a model in use."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from equidrift.models.fields.functions.sampler import FieldModel
from tests.commands import caller

ROOT = Path(__file__).parents[2]


def example(name: str, *arguments: object) -> str:
    command = [sys.executable, str(ROOT / "examples" / name), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.long
def test_wind_example(tmp_path: Path) -> None:
    out = example("09_wind_field.py", 40, tmp_path / "wind.safetensors")
    assert "log density of the truth" in out
    shares = (
        FieldModel.load(tmp_path / "wind.safetensors").diffusion.kernel.log_variance.exp().numpy()
    )
    assert shares[2::3].sum() > 3 * shares[1::3].sum(), "the divergence-free part should dominate"


@pytest.mark.long
def test_cyclone_example(tmp_path: Path) -> None:
    if not (Path(os.environ.get("EQUIDRIFT_DATA", "")) / "hurdat" / "AL.csv").is_file():
        pytest.skip("HURDAT2 is not there: EQUIDRIFT_DATA names no folder with hurdat/AL.csv")
    out = example("10_cyclone_tracks.py", 2, tmp_path / "c.safetensors")
    assert "day 6: error of the mean" in out and (tmp_path / "c.json").exists()


def test_train_fields(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    x = np.sort(rng.uniform(0, 3, (30, 15, 1)), 1)
    np.savez(tmp_path / "mine.npz", x=x, y=np.sin(4 * x[..., 0] + rng.uniform(0, 6, (30, 1))))
    (tmp_path / "mine.yaml").write_text(
        "data: mine.npz\nname: sines\nlimit: white\nschedule: {steps: 2}\n"
    )

    call = caller(monkeypatch, capsys)
    code, out, _ = call("train", "fields", tmp_path / "mine.yaml", "-o", tmp_path / "out", "--json")
    assert code == 0 and json.loads(out)["steps"] == 2
    assert FieldModel.load(json.loads(out)["weights"]).sample([0.0, 1.0], 2, steps=3).shape == (
        2,
        2,
        1,
    )
    assert "--resume" in call("train", "fields", tmp_path / "mine.yaml", "-o", tmp_path / "out")[2]
    for text, message in (
        ("system: saw", "unknown system 'saw'"),
        ("name: x", "give either data: FILE.npz or system: NAME"),
        ("data: none.npz\nnetwork: none", "must be an .npz file with arrays x and y"),
        ("system: se", "how long to train is not given"),
    ):
        (tmp_path / "bad.yaml").write_text(text)
        code, _, err = call("train", "fields", tmp_path / "bad.yaml", "-o", tmp_path / "bad")
        assert code == 2 and message in err

"""Training on a user's own SDF file, from the command line to refined conformers."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from equidrift.cli import train_run
from equidrift.errors import InputError, UnknownNameError
from equidrift.files.training_data import pack_sdf, packed_files
from equidrift.models.conformers.data import ConformerSet
from equidrift.models.shared.graph_codes import LEVELS
from equidrift.models.shared.trainer import Trainer
from equidrift.registry import TRAINING_CONFIGS, resolve
from tests.commands import caller

ROOT = Path(__file__).parents[2]
TOY = ROOT / "examples" / "data" / "toy.sdf"


def call(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: object
) -> dict:
    code, out, err = caller(monkeypatch, capsys)(*arguments, "--json")
    assert code == 0, err
    return json.loads(out)


@pytest.mark.long
def test_train_resume_refine(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    config = ROOT / "examples" / "train_toy.yaml"
    first = call(monkeypatch, capsys, "train", "conformers", config, "--budget", "1s")
    assert (
        first["conformers"] == 24
        and first["skipped"] == []
        and first["weights"] == "runs/train_toy/toy.safetensors"
    )
    seconds = json.loads(Path("runs/train_toy/checkpoint.json").read_text())["seconds"]
    second = call(
        monkeypatch,
        capsys,
        "train",
        "conformers",
        config,
        "--budget",
        f"{seconds + 1:.1f}s",
        "--resume",
    )
    assert second["steps"] > first["steps"] > 0
    Path("two.sdf").write_text(
        "".join(part + "$$$$\n" for part in TOY.read_text().split("$$$$\n")[:2])
    )
    refined = call(
        monkeypatch,
        capsys,
        "refine",
        "two.sdf",
        "--model",
        second["weights"],
        "--set",
        "level=MMFF94",
        "-o",
        "out.sdf",
    )
    assert refined["conformers"] == 2 and refined["refined"] == 2 and Path("out.sdf").exists()


@pytest.mark.parametrize(
    ("at", "message"),
    [
        (0, "nothing is kept, since no checkpoint was written"),
        (2, "2 steps kept in runs/train_toy; add --resume to continue"),
    ],
)
def test_interrupted_training_says_what_is_kept(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    at: int,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    command = ("train", "conformers", ROOT / "examples" / "train_toy.yaml", "--budget", "1s")
    update = Trainer._update

    def interrupted(self: Trainer, *given: object) -> float:
        if self.step == at:
            raise KeyboardInterrupt
        return update(self, *given)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_update", interrupted)
        code, out, err = caller(monkeypatch, capsys)(*command)
    assert code == 130 and out == "" and err == f"equidrift: interrupted; {message}\n"
    if at:
        assert call(monkeypatch, capsys, *command, "--resume")["steps"] > at


def test_broken_records_are_reported_and_skipped(tmp_path: Path) -> None:
    good = TOY.read_text().split("$$$$\n")[0]
    lines = good.splitlines(keepends=True)
    atoms = [
        line.replace(line[20:30], "    0.0000") if len(line) > 60 else line for line in lines[2:]
    ]
    flat = "".join([lines[0], lines[1].replace("3D", "2D"), *atoms])
    records = [
        good,
        good.replace(" C  ", " Xx ", 1),
        good.replace(" O  ", " Se ", 1),
        flat,
        good.replace(lines[4][:10], "   90.0000", 1),
    ]
    path = tmp_path / "mine.sdf"
    path.write_text("".join(record + "$$$$\n" for record in records))
    skipped = pack_sdf(path, tmp_path / "x.npz", level="GFN2-xTB")
    data = ConformerSet.load(tmp_path / "x.npz")
    assert len(data) == 1 and data.levels == [LEVELS.index("GFN2-xTB")] and len(data.starts[0]) == 1
    assert [line.split(" (")[0] for line in skipped] == [
        f"mine.sdf record {k}" for k in (2, 3, 4, 5)
    ]
    for line, reason in zip(
        skipped,
        ("", "unsupported element Se", "no 3D coordinates", "fails the check of bond length"),
        strict=True,
    ):
        assert reason in line


def test_packed_once_and_by_content(tmp_path: Path) -> None:
    first = packed_files([str(TOY)], tmp_path, level="MMFF94")
    made = first[0][0].stat().st_mtime_ns
    assert (
        packed_files([str(TOY)], tmp_path, level="MMFF94") == first
        and first[0][0].stat().st_mtime_ns == made
    )
    held = packed_files([str(TOY)], tmp_path, level="MMFF94", hold_out=True)[0][0]
    assert held != first[0][0] and len(ConformerSet.load(held)) <= 24


def test_nothing_usable(tmp_path: Path) -> None:
    path = tmp_path / "mine.sdf"
    path.write_text("x\n\nbroken\n$$$$\n")
    with pytest.raises(
        InputError,
        match=r"holds no conformer to train on. The first of 1 skipped records: mine.sdf record 1",
    ):
        packed_files([str(path)], tmp_path, level="MMFF94")
    assert not list(tmp_path.glob("*.npz"))


@pytest.mark.parametrize(
    ("family", "variant"),
    [(family, variant) for family, variants in TRAINING_CONFIGS.items() for variant in variants],
)
def test_templates_are_configs_that_fit(family: str, variant: str) -> None:
    text = train_run.template(family, variant)
    config = yaml.safe_load(text)
    if family == "molecules":
        assert config.pop("model") == variant
    kind = resolve(TRAINING_CONFIGS[family][variant][1])
    kind.model_validate(config)
    commented = yaml.safe_load(
        "\n".join(line[2:] for line in text.splitlines() if re.match(r"# \w+: (?!equidrift)", line))
    )
    assert set(config) | set(commented) == set(kind.model_fields), "every field is there"
    kind.model_validate({**commented, **config})


def test_template_of_a_variant_that_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'joint'"):
        train_run.template("molecules", "jiont")

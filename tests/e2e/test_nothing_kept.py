"""A run that is interrupted before its first sample says why nothing is kept."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from equidrift import registry
from tests import doubles
from tests.commands import caller
from tests.conftest import make_ensemble

ASPIRIN = Path(__file__).parents[2] / "examples" / "data" / "aspirin.xtc"


@pytest.mark.parametrize(
    ("kind", "work", "noun", "arguments"),
    [
        (doubles.Shaker, "sample_many", "conformer", ("sample", "C" * 55, "-o", "x.sdf")),
        (doubles.Shrinker, "refine_many", "conformer", ("refine", "in.sdf", "-o", "x.sdf")),
        (doubles.Baker, "sample", "molecule", ("generate", "-o", "x.sdf")),
        (
            doubles.Walker,
            "complete",
            "frame",
            ("forecast", "in.xtc", "--top", "in.pdb", "--frames", 2, "-o", "x.xtc"),
        ),
    ],
    ids=["sample", "refine", "generate", "forecast"],
)
def test_interrupted_run_says_why_nothing_is_kept(
    kind: type,
    work: str,
    noun: str,
    arguments: tuple[object, ...],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(kind, work, interrupted)
    for table in (
        registry.CONFORMER_MODELS,
        registry.REFINERS,
        registry.MOLECULE_MODELS,
        registry.TRAJECTORY_MODELS,
    ):
        monkeypatch.setitem(table, "double", f"tests.doubles:{kind.__name__}")
    make_ensemble("imine").save("in.sdf")
    shutil.copy(ASPIRIN, "in.xtc")
    shutil.copy(ASPIRIN.with_suffix(".pdb"), "in.pdb")
    code, out, err = caller(monkeypatch, capsys)(*arguments, "--model", "double")
    assert code == 130 and out == "" and err.count("\n") == 1
    assert f"nothing is kept, since the first {noun} was not complete" in err

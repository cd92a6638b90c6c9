"""The command line called from within a test's process."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest

from equidrift import registry
from equidrift.cli.main import run

Cli = Callable[..., tuple[int, str, str]]


def caller(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    """A function that runs `equidrift ARGUMENTS`: its exit code, stdout and stderr."""

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["equidrift", *map(str, arguments)])
        try:
            run()
            code = 0
        except SystemExit as stop:
            code = int(stop.code or 0)
        out, err = capsys.readouterr()
        return code, out, err

    return call


def add_doubles(monkeypatch: pytest.MonkeyPatch, refiner: str = "refine") -> None:
    """Let the commands know a quick model of each kind: shaker, walker, baker, and a
    refiner of this name.
    """
    monkeypatch.setitem(registry.CONFORMER_MODELS, "shaker", "tests.doubles:Shaker")
    monkeypatch.setitem(registry.REFINERS, refiner, "tests.doubles:Shrinker")
    monkeypatch.setitem(registry.TRAJECTORY_MODELS, "walker", "tests.doubles:Walker")
    monkeypatch.setitem(registry.MOLECULE_MODELS, "baker", "tests.doubles:Baker")

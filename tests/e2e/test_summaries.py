"""What the summaries of commands name: every file that a run leaves."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from equidrift.cli.output import print_json
from tests.commands import caller


@pytest.mark.parametrize("suffix", [".xtc", ".dcd"])
def test_summaries_name_the_topology_when_the_format_holds_no_graph(
    suffix: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    call = caller(monkeypatch, capsys)
    start = tmp_path / "start.sdf"
    assert call("sample", "CCO", "--steps", 4, "-o", start)[0] == 0
    for command, given, steps in (("sample", "CCO", 4), ("refine", start, 2)):
        out = tmp_path / f"{command}{suffix}"
        topology = tmp_path / f"{command}.top.pdb"
        code, text, _ = call(command, given, "--steps", steps, "-o", out)
        assert code == 0 and topology.is_file()
        assert f"  topology: {topology}\n" in text
        _, text, _ = call(command, given, "--steps", steps, "-o", out, "--overwrite", "--json")
        assert json.loads(text)["topology"] == str(topology)


def test_summaries_are_json_that_strict_readers_take(capsys: pytest.CaptureFixture[str]) -> None:
    print_json({"rows": [{"value": np.nan, "se": np.float32("inf")}, {"value": np.arange(2.0)}]})

    def refused(word: str) -> float:
        raise ValueError(word)

    told = json.loads(capsys.readouterr().out, parse_constant=refused)
    assert told == {"rows": [{"value": None, "se": None}, {"value": [0.0, 1.0]}]}

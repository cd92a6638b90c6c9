"""Presets, effort and selection: what they set, what wins over them, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rdkit import Chem

import equidrift
from equidrift.adapters.ase.generator import ConformerGenerator
from equidrift.adapters.rdkit.embed import embed_molecule_confs
from equidrift.engine.conformer_options import ConformerOptions
from equidrift.engine.diversity import count_repeats
from equidrift.engine.presets import PRESETS, preset_text
from equidrift.errors import InputError, InputTypeError, UnknownNameError
from equidrift.records import Molecule
from tests.commands import caller
from tests.doubles import Shaker


@pytest.mark.parametrize("name", PRESETS)
def test_preset_sets_what_it_says_when_nothing_else_is_given(name: str) -> None:
    made = ConformerOptions.of(preset=name)
    assert all(getattr(made, key) == value for key, value in PRESETS[name].items())
    settings = made.settings()
    assert settings.options["preset"] == name
    assert settings.options["effort"] == settings.model.effort == PRESETS[name]["effort"]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({"effort": 3}, {"effort": 3, "distinct": True, "window_kcal_mol": 6.0}),
        ({"window_kcal_mol": 2.0}, {"effort": 16, "window_kcal_mol": 2.0}),
        ({"prune_rms_A": 0.4}, {"distinct": False, "prune_rms_A": 0.4, "sort": "energy"}),
    ],
)
def test_option_wins_over_the_preset_when_both_are_given(
    given: dict[str, Any], kept: dict[str, Any]
) -> None:
    made = ConformerOptions.of(preset="ensemble", **given)
    assert {key: getattr(made, key) for key in kept} == kept


def test_distinct_takes_the_place_of_the_presets_threshold_when_it_is_given() -> None:
    made = ConformerOptions.of(preset="docking", distinct=True)
    assert made.wanted[0] == 0.25


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"preset": "dock"}, UnknownNameError, "docking"),
        ({"effort": 0}, InputError, "effort"),
        ({"effort": 21}, InputError, r"1 \.\. 20"),
        ({"effort": 2.5}, InputTypeError, "effort"),
        ({"effort": True}, InputTypeError, "effort"),
        ({"select": "best"}, InputError, "auto, coverage, energy, diverse, none"),
        ({"effort": 2, "model": "etkdg"}, InputTypeError, "'etkdg' has no option 'effort'"),
        ({"effort": 2, "model": Shaker()}, InputTypeError, "'effort'"),
        ({"solvent": "water"}, InputError, "relax='gfn2'"),
        ({"relax": "gfn3"}, UnknownNameError, "gfn2"),
        ({"relax": 3}, InputTypeError, "relax"),
    ],
)
@pytest.mark.parametrize("offered", [equidrift.sample, equidrift.sample_many])
def test_option_is_refused_before_anything_is_drawn_when_it_is_wrong(
    offered: Any, options: dict[str, Any], error: type[Exception], said: str
) -> None:
    what = "CCO" if offered is equidrift.sample else ["CCO"]
    with pytest.raises(error, match=said):
        offered(what, 2, **options)


def test_effort_and_selection_are_those_asked_for_when_given_by_name() -> None:
    told = equidrift.sample("CCCO", 2, effort=2, select="energy", num_threads=1).provenance
    assert (told["effort"], told["selection"]) == (2, "energy")
    assert {"effort": 2, "select": "energy"}.items() <= told["options"].items()


@pytest.mark.long
@pytest.mark.parametrize(("smiles", "distinct"), [("c1ccccc1", 1), ("CCCC", 3)])
def test_repeats_are_counted_and_new_conformers_come_first_when_there_are_too_few(
    smiles: str, distinct: int
) -> None:
    n = 12
    ensemble = equidrift.sample(smiles, n, effort=3, select="energy", num_threads=1, seed=1)
    assert ensemble.provenance["repeats"] == n - distinct
    first = ensemble.positions_A[: distinct + 2]
    assert count_repeats(ensemble.molecule, first) <= 2
    left = equidrift.sample(smiles, n, effort=3, select="energy", num_threads=1, distinct=True)
    assert left.provenance["repeats"] == 0


def test_repeats_are_counted_by_torsions_and_not_by_place() -> None:
    molecule = Molecule.from_smiles("CCCC")
    x = equidrift.sample(molecule, 1, model="etkdg").positions_A
    turned = x @ np.array([[0.0, 1.0, 0.0], [-1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]) + 3.0
    assert count_repeats(molecule, np.concatenate([x, turned])) == 1
    assert count_repeats(molecule, x[:0]) == 0


def test_summary_tells_the_preset_the_effort_and_the_repeats_when_asked_by_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    call = caller(monkeypatch, capsys)
    out = tmp_path / "out.sdf"
    code, text, _ = call("sample", "c1ccccc1", "-n", 3, "--preset", "fast", "-o", out)
    assert code == 0
    assert f"  preset fast: {preset_text('fast')}\n" in text and "--effort 4" in text
    assert "2 repeat another one" in text and "ms each at effort 4" in text
    more = ("--effort", 3, "--select", "none", "-o", tmp_path / "more.sdf", "--json")
    code, text, _ = call("sample", "c1ccccc1", "-n", 3, "--preset", "fast", *more)
    told = json.loads(text)
    assert (code, told["preset"], told["effort"], told["repeats"]) == (0, "fast", 3, 2)


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--effort", 30, "from 1 to 20"),
        ("--select", "best", "energy"),
        ("--preset", "dock", "docking"),
        ("--solvent", "water", "gfn2"),
        ("--relax", "ase:nothing", "ase:MODULE:FACTORY"),
        ("--relax", "openmmml:", "openmmml:NAME"),
    ],
)
def test_command_ends_with_2_and_one_line_when_a_value_is_bad(
    option: str,
    value: object,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out.sdf"
    code, _, err = caller(monkeypatch, capsys)("sample", "CCO", option, value, "-o", out)
    assert code == 2 and said in err and len(err.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_guide_lists_what_every_preset_sets() -> None:
    guide = (Path(__file__).parents[3] / "docs" / "guide" / "conformers.md").read_text()
    for name in PRESETS:
        assert f"| `{name}` | `{preset_text(name).replace(',', '')}` |" in guide


def test_hosts_take_effort_selection_and_presets_as_sample_does() -> None:
    generator = ConformerGenerator(n=2, preset="docking", effort=2, select="energy", num_threads=1)
    assert 1 <= len(generator.generate("CCCO")) <= 2
    assert generator.ensemble is not None
    told = generator.ensemble.provenance
    assert (told["effort"], told["selection"], told["prune_rms_A"]) == (2, "energy", 0.5)
    with pytest.raises(UnknownNameError, match="preset"):
        ConformerGenerator(presett="docking")
    mol = Chem.AddHs(Chem.MolFromSmiles("CCCO"))
    ids = embed_molecule_confs(mol, 2, randomSeed=1, effort=2, select="energy", num_threads=1)
    wanted = equidrift.sample("CCCO", 2, seed=1, effort=2, select="energy", num_threads=1)
    for k, x in zip(ids, wanted.positions_A, strict=True):
        np.testing.assert_allclose(mol.GetConformer(k).GetPositions(), x, atol=1e-4)

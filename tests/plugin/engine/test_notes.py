"""Notes of a run reach Python: in the provenance, and as log records."""

from __future__ import annotations

import json
import logging
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import equidrift
from equidrift.adapters.rdkit.rmsd import distinct
from equidrift.engine.conformers import generate_windows, make_settings
from equidrift.engine.notes import notes_of
from equidrift.engine.relax import DISTINCT_RMS_A
from equidrift.errors import InputError, InputTypeError
from equidrift.records import Molecule
from equidrift.registry import make_model
from tests.commands import Cli, caller
from tests.doubles import Shaker

OPEN = "CC(F)Cl"
HEXANOL = "CCCCCCO"


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    return caller(monkeypatch, capsys)


def test_open_stereo_is_noted_in_the_provenance_and_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING, logger="equidrift"):
        ensemble = equidrift.sample(OPEN, 2, model="etkdg")
        (many,) = equidrift.sample_many([(OPEN, "mine")], 2, model="etkdg")
    told = "open stereo at C1: the conformers mix isomers"
    (note,) = ensemble.provenance["notes"]
    assert note.startswith(told)
    assert many.ensemble is not None and tuple(many.ensemble.provenance["notes"]) == (note,)
    records = [record for record in caplog.records if record.name == "equidrift.engine"]
    assert [record.getMessage() for record in records] == [f"{OPEN}: {note}", f"mine: {note}"]


def test_nothing_is_noted_when_there_is_nothing_to_say() -> None:
    for smiles in ("CCO", "C[C@H](F)Cl"):
        assert "notes" not in equidrift.sample(smiles, 1, model="etkdg").provenance
    (isomer, other) = equidrift.sample_many([OPEN], 1, model="etkdg", stereo="enumerate")
    for entry in (isomer, other):
        assert entry.ensemble is not None and "notes" not in entry.ensemble.provenance


@pytest.mark.parametrize(
    ("model", "relax", "noted"),
    [
        ("default", "mmff", True),
        ("default", "none", False),
        ("etkdg-mmff", "mmff", False),
        ("default", "gfn2", False),
    ],
)
def test_relaxation_that_undoes_the_refiner_is_noted(model: str, relax: str, noted: bool) -> None:
    settings = make_settings(model, options={"relax": relax})
    notes = notes_of(Molecule.from_smiles("CCO"), settings)
    assert len(notes) == noted and all("'etkdg-mmff'" in note for note in notes)


def test_command_says_each_note_once(cli: Cli, tmp_path) -> None:
    arguments = ("sample", OPEN, "-n", 1, "--model", "etkdg", "-o")
    code, out, err = cli(*arguments, tmp_path / "a.sdf")
    assert code == 0 and (out + err).count("open stereo at C1") == 1
    code, out, err = cli(*arguments, tmp_path / "b.sdf", "--json")
    (note,) = json.loads(out)["notes"]
    assert note["note"].startswith("open stereo at C1") and "open stereo" not in err


def test_distinct_conformers_differ_and_what_is_missing_is_noted(cli: Cli, tmp_path) -> None:
    ensemble = equidrift.sample("CCO", 12, model="etkdg-mmff", distinct=True)
    k = len(ensemble)
    assert 0 < k < 12 and ensemble.valid is not None and ensemble.valid.all()
    assert distinct(ensemble.molecule, ensemble.positions_A, DISTINCT_RMS_A).all()
    (note,) = ensemble.provenance["notes"]
    assert note.startswith(f"{k} of 12 conformers that differ by 0.25 A")
    assert f"{12 - k} are missing" in note
    assert ensemble.provenance["rejected"]["repeat"] == ensemble.provenance["drawn"] - k
    code, out, _ = cli(
        *("sample", "CCO", "-n", 12, "--model", "etkdg-mmff", "--distinct", "--json"),
        *("-o", tmp_path / "a.sdf"),
    )
    summary = json.loads(out)
    assert code == 0 and summary["conformers"] == k
    assert [told["note"] for told in summary["notes"]] == [note]


class FirstAllAlike:
    """ETKDG, but that all conformers of its first call are the same one."""

    name, weights_sha256, block, batch_size = "first-all-alike", None, 1, None
    elements, max_atoms = None, None

    def __init__(self) -> None:
        self.etkdg, self.calls = make_model("etkdg"), 0

    def sample(
        self, molecule: Molecule, seeds: NDArray[np.int64], *, steps: object = None, **_: object
    ) -> NDArray[np.float64]:
        self.calls += 1
        drawn = self.etkdg.sample(molecule, seeds)
        return np.repeat(drawn[:1], len(drawn), 0) if self.calls == 1 else drawn


def test_distinct_draws_replacements_when_draws_repeat_each_other() -> None:
    pruned = equidrift.sample(HEXANOL, 5, model=FirstAllAlike(), prune_rms_A=DISTINCT_RMS_A)
    assert len(pruned) == 1
    ensemble = equidrift.sample(HEXANOL, 5, model=FirstAllAlike(), distinct=True)
    assert len(ensemble) == 5 and "notes" not in ensemble.provenance
    assert distinct(ensemble.molecule, ensemble.positions_A, DISTINCT_RMS_A).all()
    assert ensemble.provenance["rejected"]["repeat"] == ensemble.provenance["drawn"] - 5 >= 4


def test_search_for_distinct_conformers_goes_on_from_what_was_kept() -> None:
    molecules = [Molecule.from_smiles(smiles) for smiles in ("CCO", "CCCO")]
    settings = make_settings("etkdg", distinct_A=DISTINCT_RMS_A)
    states: list[dict[str, NDArray[Any]]] = []
    (whole,) = generate_windows(molecules, 5, settings=settings, keep=states.append)
    assert len(states) > 2
    for state in states:
        (again,) = generate_windows(molecules, 5, settings=settings, kept=state)
        for piece, other in zip(whole, again, strict=True):
            assert piece.ensemble is not None and other.ensemble is not None
            assert piece.ensemble.positions_A.tobytes() == other.ensemble.positions_A.tobytes()
            assert piece.ensemble.provenance == other.ensemble.provenance


def test_distinct_conformers_of_many_molecules_are_those_of_each_alone() -> None:
    alone = equidrift.sample(HEXANOL, 4, model="etkdg-mmff", distinct=True)
    first, second = equidrift.sample_many(["CCO", HEXANOL], 4, model="etkdg-mmff", distinct=True)
    assert first.ensemble is not None and 0 < len(first.ensemble) < 4 and first.error is None
    assert second.ensemble is not None
    np.testing.assert_allclose(second.ensemble.positions_A, alone.positions_A, atol=1e-4)


def test_distinct_and_a_threshold_exclude_each_other() -> None:
    with pytest.raises(InputError, match=r"distinct prunes at 0.25 A, and prune_rms_A=0.5"):
        equidrift.sample("CCO", 2, model=Shaker(), distinct=True, prune_rms_A=0.5)
    with pytest.raises(InputTypeError, match="distinct must be True or False"):
        equidrift.sample("CCO", 2, model=Shaker(), distinct=1)

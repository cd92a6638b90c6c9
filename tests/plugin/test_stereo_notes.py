"""Open and relative stereo is noted by every command, and only where it is real."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import numpy as np
import pytest

import equidrift
from equidrift.adapters.rdkit.stereo import open_stereo, with_stereo_in_space
from equidrift.engine.frames import check_of
from equidrift.engine.molecule_settings import make_settings
from equidrift.files.ensembles import load, save
from equidrift.records import Ensemble, Molecule, Trajectory
from equidrift.stereo import SAMPLED, isomers_of, stereo_notes
from tests.commands import Cli, caller

OPEN = "CC(F)Cl"
RACEMATE = "C[C@H](F)Cl |&1:1|"
BIARYL = "Cc1cccc(Cl)c1-c1c(C)cccc1Br"

EXCHANGED = [
    "CP(=O)(O)OC",
    "CP(=O)([O-])OC",
    "CP(=O)(O)c1ccccc1",
    "COP(=O)(O)OP(=O)(O)OC",
    "COP(=S)([S-])OCC",
    "CP(=O)(O)N",
    "CP(=NC)(NC)CC",
    "C[As](=O)(O)CC",
    "CS(=O)O",
    "CS(=O)[O-]",
    "C[Se](=O)O",
    "CS(=O)(=N)O",
    "CS(=O)(=N)[O-]",
    "CS(=O)(=NC)NC",
    "CC[NH+](C)CCC",
    "CNC(=N)N",
    "CN=C(N)NCC",
    "CN=C(C)[N-]C",
    "CC(O)=NC",
    "CC(=N)CC",
    "C[NH+]=C(C)N(C)C",
]
REAL = {
    "COP(=S)(O)CC": "P2",
    "COP(=O)(N)CC": "P2",
    "CP(=O)(OC)OCC": "P1",
    "CS(=O)CC": "S1",
    "CS(=O)N": "S1",
    "CS(=O)(=N)CC": "S1",
    "CS(=O)(=NC)NCC": "S1",
    "C[N+]([O-])(CC)CCC": "N1",
    "CC(C=C)=NO": "C1=N4",
    "CC(N)=NO": "C1=N3",
    "CC=NC": "C1=N2",
    "CC(O)=CC": "C1=C3",
    "CC(F)[N-]S(C)(=O)=O": "C1",
}


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Cli:
    """Run a command in an empty folder; its exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    return caller(monkeypatch, capsys)


@pytest.mark.parametrize("smiles", EXCHANGED)
def test_stereo_is_not_open_when_a_hydrogen_or_a_charge_changes_its_place(smiles: str) -> None:
    molecule = Molecule.from_smiles(smiles)
    assert stereo_notes(molecule, SAMPLED) == []
    assert isomers_of(molecule, "require") == isomers_of(molecule, "enumerate") == [molecule]


@pytest.mark.parametrize(("smiles", "place"), REAL.items())
def test_stereo_is_open_when_its_ligands_stay_different(smiles: str, place: str) -> None:
    molecule = Molecule.from_smiles(smiles)
    assert open_stereo(molecule) == (place,)
    assert len(isomers_of(molecule, "enumerate")) == 2


def test_centre_that_exchanges_is_no_isomer_beside_an_open_one() -> None:
    isomers = isomers_of(Molecule.from_smiles("CC(F)P(=O)(O)OC"), "enumerate")
    assert [isomer.smiles.count("@") for isomer in isomers] in ([1, 2], [2, 1])
    assert all("P@" not in isomer.smiles for isomer in isomers)
    labelled = Molecule.from_smiles("CO[P@](=O)(O)C")
    assert labelled.tetrahedral[:, 0].tolist() == [2], "a label that was given stays"


@pytest.mark.parametrize(
    ("extension", "isomers", "notes"),
    [
        ("|wU:7.7,&1:7,8|", 2, ["the stereo at C7-C8 is a racemate"]),
        ("|wU:7.7,o1:7|", 2, ["the stereo at C7-C8 is one enantiomer or the other"]),
        ("|wU:7.7|", 1, []),
    ],
)
def test_relative_stereo_of_an_axis_is_noted_enumerated_and_refused(
    extension: str, isomers: int, notes: list[str]
) -> None:
    molecule = Molecule.from_smiles(f"{BIARYL} {extension}")
    assert [note.partition(":")[0] for note in stereo_notes(molecule, SAMPLED)] == notes
    made = isomers_of(molecule, "enumerate")
    hands = {Molecule.from_smiles(isomer.smiles).axial[0, 4] for isomer in made}
    assert len(made) == len(hands) == isomers
    assert all(not len(isomer.stereo_groups) for isomer in made[: isomers * bool(notes)])
    if notes:
        with pytest.raises(equidrift.errors.MoleculeError, match="stereo of C7-C8 open"):
            isomers_of(molecule, "require")


def test_axis_and_centre_of_one_racemate_are_turned_over_together() -> None:
    smiles = "Cc1cccc(Cl)c1-c1c([C@H](F)Cl)cccc1Br"
    together = isomers_of(Molecule.from_smiles(f"{smiles} |wU:7.7,&1:7,10|"), "enumerate")
    apart = isomers_of(Molecule.from_smiles(f"{smiles} |wU:7.7,&1:7,&2:10|"), "enumerate")
    assert (len(together), len(apart)) == (2, 4)
    first, second = together
    assert first.axial[0, 4] != second.axial[0, 4]
    assert first.smiles.count("@@") != second.smiles.count("@@")


def test_isomers_of_an_open_centre_keep_the_hand_of_an_axis() -> None:
    molecule = Molecule.from_smiles("Cc1cccc(Cl)c1-c1c(C(F)Cl)cccc1Br |wU:7.7|")
    for isomer in isomers_of(molecule, "enumerate"):
        assert "|w" in isomer.smiles and isomer.axial.tolist() == molecule.axial.tolist()


@pytest.mark.parametrize("suffix", [".sdf", ".npz", ".pdb", ".extxyz"])
@pytest.mark.parametrize("smiles", [RACEMATE, f"{BIARYL} |wU:7.7,&1:7|"])
def test_relative_stereo_comes_back_from_a_file(smiles: str, suffix: str, tmp_path: Path) -> None:
    made = equidrift.sample(smiles, 1, model="etkdg")
    save(made, tmp_path / f"a{suffix}")
    groups = load(tmp_path / f"a{suffix}").molecule.stereo_groups
    assert groups.tolist() == made.molecule.stereo_groups.tolist() != []


def _past(smiles: str) -> Trajectory:
    start = equidrift.sample(smiles, 1, model="etkdg")
    return Trajectory(start.molecule, start.positions_A.repeat(3, 0), [0.0, 5.0, 10.0])


@pytest.mark.parametrize(
    ("smiles", "told"), [(OPEN, "open stereo at C1"), (RACEMATE, "the stereo at C1 is a racemate")]
)
def test_trajectories_note_stereo_that_is_not_told(smiles: str, told: str) -> None:
    past = _past(smiles)
    ways = (
        lambda: equidrift.forecast(past, 2, model="last-frame"),
        lambda: equidrift.interpolate(past, 1, model="last-frame"),
        lambda: equidrift.refine_trajectory(past, level=0.01, broken="report"),
    )
    for way in ways:
        with pytest.warns(UserWarning, match=told) as caught:
            (made,) = way()
        (note,) = [str(one.message) for one in caught if told in str(one.message)]
        assert note in made.provenance["notes"]


def test_trajectories_of_known_stereo_are_without_a_note() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (made,) = equidrift.forecast(_past("C[C@H](F)Cl"), 2, model="last-frame")
    assert "notes" not in made.provenance


def test_check_of_frames_holds_an_open_centre_to_the_given_frames() -> None:
    past = _past(OPEN)
    check = check_of(past)
    assert (check(past.positions_A) == "").all()
    assert (check(past.positions_A * [1, 1, -1]) == "tetrahedral stereo").all()
    hand = with_stereo_in_space(past.molecule, past.positions_A[0])
    assert hand.tetrahedral[:, 0].tolist() == [1] and not len(past.molecule.tetrahedral)


def test_refine_notes_stereo_that_is_not_told(cli: Cli) -> None:
    made = equidrift.sample(RACEMATE, 2, model="etkdg")
    again = equidrift.refine(made.replace(provenance={}), model="refine", steps=1)
    (note,) = again.provenance["notes"]
    assert note.startswith("the stereo at C1 is a racemate: only the form")
    twice = equidrift.refine(made, model="refine", steps=1)
    assert tuple(twice.provenance["notes"]) == tuple(made.provenance["notes"])
    save(equidrift.sample(OPEN, 2, model="etkdg"), "a.sdf")
    code, out, _ = cli("refine", "a.sdf", "--steps", 1, "-o", "b.sdf", "--json")
    (told,) = json.loads(out)["notes"]
    assert code == 0 and told["note"].startswith("open stereo at C1: each conformer is refined")
    code, out, _ = cli("refine", "a.sdf", "--steps", 1, "-o", "c.sdf")
    assert code == 0 and out.count("open stereo at C1") == 1


def test_md_notes_stereo_that_is_not_told(cli: Cli) -> None:
    asked = ("--time", "0.2ps", "--proposals", "none", "-o")
    code, out, err = cli("md", OPEN, *asked, "a.xtc")
    assert code == 0 and (out + err).count("open stereo at C1: one isomer is simulated") == 1
    code, out, _ = cli("md", RACEMATE, *asked, "b.xtc", "--json")
    (note,) = json.loads(out)["notes"]
    assert note.startswith("the stereo at C1 is a racemate: only the drawn form is simulated")
    save(equidrift.sample(OPEN, 1, model="etkdg"), "shown.sdf")
    code, out, _ = cli("md", "shown.sdf", *asked, "c.xtc", "--json")
    assert code == 0 and json.loads(out)["notes"] == [], "the coordinates tell the isomer"


def test_generate_notes_the_stereo_of_its_fragment() -> None:
    for smiles, told in (
        ("C[C@H](F)O |&1:1|", "the stereo at C1 is a racemate: the fragment is kept"),
        ("CC(F)O", "open stereo at C1: the fragment is kept"),
    ):
        core = equidrift.sample(smiles, 1, model="etkdg")
        with pytest.warns(UserWarning, match=told):
            settings = make_settings(fragment=Ensemble(core.molecule, core.positions_A))
        assert told in settings.notes[0]


def test_seen_stereo_leaves_labels_alone() -> None:
    made = equidrift.sample("C[C@H](F)C(Cl)Br", 1, model="etkdg")
    seen = with_stereo_in_space(made.molecule, np.asarray(made.positions_A[0]))
    assert seen.tetrahedral[: len(made.molecule.tetrahedral)].tolist() == (
        made.molecule.tetrahedral.tolist()
    )
    assert sorted(seen.tetrahedral[:, 0].tolist()) == [1, 3]

"""Open stereo is found and told."""

import json
import subprocess
import sys

import pytest

from equidrift.inputs import as_molecule
from equidrift.registry import host_function


@pytest.mark.parametrize(
    ("smiles", "expected"),
    [
        ("CC(F)Cl", ("C1",)),
        ("C[C@H](F)Cl", ()),
        ("CC=CC", ("C1=C2",)),
        ("C/C=C/C", ()),
        ("CC=C=CC", ()),
        ("CCO", ()),
        ("c1ccccc1", ()),
    ],
)
def test_open_stereo_names_the_atoms_when_no_label_is_given(smiles, expected):
    assert host_function("rdkit", "open_stereo")(as_molecule(smiles)) == expected


@pytest.mark.long
@pytest.mark.parametrize(("smiles", "notes"), [("CC(F)Cl", 1), ("C[C@H](F)Cl", 0)])
def test_sample_notes_open_stereo_only_when_the_input_leaves_it_open(smiles, notes, tmp_path):
    out = str(tmp_path / "a.sdf")
    words = ["sample", smiles, "-n", "1", "--model", "etkdg", "-o", out, "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "equidrift", *words], capture_output=True, timeout=60, check=True
    )
    told = json.loads(done.stdout)["notes"]
    assert len(told) == notes
    assert all("open stereo at C1" in note["note"] for note in told)

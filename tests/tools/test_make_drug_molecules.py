"""Drug-size molecules: neutral, of the right part, and the same whether the run was
stopped or not.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from rdkit import Chem

from equidrift.models.molecules.joint.drugs import DrugSet
from equidrift.models.shared.split import held_out
from tests.tools.loading import tool

ZINC = (
    "CCC[NH3+]",
    "CCCN",
    "OC(=O)CCC",
    "[O-]C(=O)CCC",
    "CCC[N+](=O)[O-]",
    "C[N+](C)(C)C",
    "CC[Si](C)C",
    "CCSCC",
    "CCCCF",
    "c1ccccc1Cl",
    "CC.CC",
    "NCCC=O",
    "CCOCC",
)


@pytest.fixture
def source(tmp_path: Path) -> list[str]:
    (tmp_path / "zinc.smi").write_text("\n".join(ZINC))
    return ["--zinc", str(tmp_path / "zinc.smi"), "--draws", "2"]


def test_candidates_are_neutral_and_of_the_part_that_their_smiles_and_form_have(source) -> None:
    making = tool("make_drug_molecules")
    found = dict(making.candidates(making.arguments(["out.npz", *source])))
    assert len(found) >= 4 and set(found.values()) <= {"train", "val"}
    for smiles, part in found.items():
        assert held_out(making.key_of(smiles)) == part
        assert Chem.GetFormalCharge(Chem.MolFromSmiles(smiles)) == 0
    assert not any("." in smiles or "(C)(C)C" in smiles for smiles in found)


def test_run_that_was_stopped_goes_on_as_one_that_was_not(source, tmp_path) -> None:
    making = tool("make_drug_molecules")
    for name, counts in (("whole", ("6",)), ("parts", ("2", "5", "6"))):
        for count in counts:
            making.main([str(tmp_path / name / "d.npz"), "--molecules", count, *source])
    assert len(making.shards_of(tmp_path / "parts" / "d.npz")) > 1
    whole, parts = (DrugSet.load(tmp_path / name / "d.npz") for name in ("whole", "parts"))
    assert len(whole) >= 3
    for name in DrugSet.__dataclass_fields__:
        assert np.array_equal(getattr(whole, name), getattr(parts, name)), name


def test_kept_minima_begin_with_the_lowest_and_lie_within_the_window(tmp_path) -> None:
    making = tool("make_drug_molecules")
    args = making.arguments(["out.npz", "--draws", "6", "--window", "3"])
    found = making.entry("CCCCCO", "train", args, 0)
    assert found["energies_kcal"][0] == 0 and (np.diff(found["energies_kcal"]) >= 0).all()
    assert found["energies_kcal"].max() <= 3 and len(found["energies_kcal"]) > 1
    assert found["positions_A"].shape == (6 * len(found["energies_kcal"]), 3)


def test_molecule_with_an_atom_that_the_alphabet_has_not_is_told() -> None:
    making = tool("make_drug_molecules")
    assert "alphabet" in making.entry("CC[SiH2]C", "train", making.arguments(["out.npz"]), 0)

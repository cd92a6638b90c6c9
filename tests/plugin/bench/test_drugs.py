"""`equidrift bench molecules --drugs` in a form of a few seconds: which rows there are,
that samples without fault are near ZINC, and that broken ones are counted and no more.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rdkit import Chem

from equidrift.adapters.rdkit.brics import functional_groups, pieces, recombined, ring_sizes
from equidrift.bench import drugs as benchmark
from equidrift.bench.molecules import run
from equidrift.checks.molecule import Raw
from equidrift.errors import InputError
from equidrift.models.molecules.joint import drug_train
from tests.models.molecules.test_drug import SIZES
from tests.models.molecules.test_drug import made as drug_file

made = drug_file  # the file of a few molecules, as a fixture of this module
STEM = "CC(=O)Nc1ccc({})cc1"
TAILS = ("OCC", "OC", "N(C)C", "C(=O)NCC", "S(=O)(=O)NC", "CN1CCOCC1", "Cl", "F", "C#N", "OCCN(C)C")


def library() -> list[str]:
    """Molecules of all three parts."""
    found = [STEM.format(tail) for tail in TAILS]
    found += [f"CCN(CC)C(=O)c1ccc({tail})nc1" for tail in TAILS]
    found += [f"O=C(NC{'C' * k}c1ccccc1)C1CCN({tail})CC1" for k in range(9) for tail in ("C", "CC")]
    return found


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    # a file in which each part has molecules, whatever the hash says of these few
    known = library()
    monkeypatch.setattr(
        benchmark, "held_out", lambda key: ("test", "train")[hash_of(key) % 2 if key else 0]
    )
    (tmp_path / "zinc_smiles").mkdir()
    (tmp_path / "zinc_smiles" / "zinc_29k.smi").write_text("\n".join(known))
    monkeypatch.setenv("EQUIDRIFT_DATA", str(tmp_path))
    return tmp_path


def hash_of(key: str) -> int:
    return sum(map(ord, key))


@pytest.mark.long
def test_rows_of_a_model_beside_controls(data: Path, made: Path, tmp_path: Path) -> None:
    config = {"data": str(made), "network": SIZES, "batch": 3, "schedule": {"steps": 4}}
    weights = str(drug_train.run_training(config, tmp_path / "run", None)["weights"])
    said: list[str] = []
    result = run(drugs=weights, limit=4, progress=lambda text: said.append(str(text)))
    rows: dict[str, dict[str, Any]] = {row["row"]: row["values"] for row in result["rows"]}
    assert list(rows) == [
        *(f"drug/{name}" for name in ("raw", "no-refine", "no-repair", "neither", "brics", "zinc"))
    ]
    assert rows["drug/zinc"]["valid"] == 100.0 and rows["drug/brics"]["valid"] == 100.0
    assert rows["drug/zinc"]["QED_W"] < 0.3 and "QED_W_se" in rows["drug/zinc"]
    assert all(0 <= values["valid"] <= 100 and values["n"] == 4 for values in rows.values())
    assert len(said) == 6


@pytest.mark.long
def test_samples_without_fault_are_nearer_to_zinc_than_others(data: Path) -> None:
    zinc = benchmark.Zinc.read(30)
    assert set(zinc.reference).isdisjoint(zinc.others) and zinc.reference and zinc.others
    size = benchmark.Size(20, 20, 0, 0)
    own = benchmark.quality([benchmark._embedded(s) for s in zinc.others], zinc, size)
    alkanes = [benchmark._embedded("C" * k) for k in range(5, 12)]
    other = benchmark.quality(alkanes, zinc, size)
    for name in ("QED_W", "TPSA_W", "rings_TV", "groups_TV"):
        assert own[name] < other[name], name
    assert other["novel"] == 100.0 and own["valid"] == other["valid"] == 100.0


def test_samples_that_are_no_molecules_have_shares_alone(data: Path) -> None:
    zinc = benchmark.Zinc.read(10)
    none: list[Raw | None] = [None] * 5
    values = benchmark.quality(none, zinc, benchmark.Size(5, 5, 2, 2))
    assert values["valid"] == 0.0 and values["connected"] == 0.0 and "QED_W" not in values


def test_weights_of_qm9_and_missing_smiles_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EQUIDRIFT_DATA", str(tmp_path))
    with pytest.raises(InputError, match="does not make drug-size molecules"):
        benchmark.run("joint")
    with pytest.raises(InputError, match="SMILES of ZINC"):
        benchmark.Zinc.read(5)


@pytest.mark.long
def test_recombined_molecules_are_new_of_known_pieces_and_the_same_at_a_seed() -> None:
    known = library()
    found = recombined(known, 6, np.random.default_rng(3))
    assert found == recombined(known, 6, np.random.default_rng(3)) and len(found) == 6
    assert found != recombined(known, 6, np.random.default_rng(4))
    stock = set(pieces(known))
    for smiles in found:
        assert Chem.MolFromSmiles(smiles) is not None and "*" not in smiles
        assert 8 <= Chem.MolFromSmiles(smiles).GetNumHeavyAtoms() <= 40
    assert stock and recombined(["CC"], 3, np.random.default_rng(0)) == []


def test_rings_and_groups_are_counted() -> None:
    assert ring_sizes("c1ccc2[nH]ccc2c1") == {"5": 1, "6": 1}
    assert ring_sizes("C1CCCCCCCCCCC1") == {"9": 1} and ring_sizes("CC") == {}
    groups = functional_groups("CC(=O)Nc1ccccc1")
    assert groups["fr_amide"] == 1 and groups["fr_benzene"] == 1 and "fr_halogen" not in groups

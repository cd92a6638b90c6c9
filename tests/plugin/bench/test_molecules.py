"""`equidrift bench molecules` in a form of a few seconds: which rows there are, and
that they say what they should.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from equidrift import registry
from equidrift.bench import molecule_work, reconstruction
from equidrift.bench import molecules as benchmark
from equidrift.bench.molecule_known import Known
from equidrift.bench.molecule_targets import errors
from equidrift.bench.molecule_work import cached_model, sampled, spread
from equidrift.bench.molecules import Size
from equidrift.checks.molecule import judge
from equidrift.errors import InputError, UnknownNameError
from equidrift.models.molecules.data import PROPERTIES
from equidrift.records import Molecule
from tests.doubles import Baker, geometry
from tests.models.molecules.test_properties import network, toy_qm9

SOME = Size(samples=6, embedded=3, conditional=3, relaxed=0, busted=0, energies=1, cell=2)


@pytest.fixture
def rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[dict[str, dict], list[str]]:
    np.savez(
        tmp_path / "qm9_molecules.npz", **{**vars(toy_qm9()), "half_b": np.arange(12) % 2 == 0}
    )
    monkeypatch.setenv("EQUIDRIFT_DATA", str(tmp_path))
    monkeypatch.setattr(benchmark, "QUICK", SOME)
    monkeypatch.setattr(benchmark, "load_properties", network)
    monkeypatch.setattr(reconstruction, "LatentSpace", absent)
    monkeypatch.setattr(benchmark, "ablation_rows", absent)
    monkeypatch.setitem(
        registry.MOLECULE_MODELS, "joint", "tests.plugin.bench.test_molecules:of_any_options"
    )
    monkeypatch.setitem(
        registry.MOLECULE_MODELS, "joint-best-of", "tests.plugin.bench.test_molecules:absent"
    )
    monkeypatch.setitem(
        registry.MOLECULE_MODELS, "latent", "tests.plugin.bench.test_molecules:absent"
    )
    cached_model.cache_clear()
    said: list[str] = []
    result = benchmark.run(progress=lambda text: said.append(str(text)), limit=6)
    cached_model.cache_clear()
    assert result["name"] == "molecules" and result["machine"]["cores"]
    return {row["row"]: row["values"] for row in result["rows"]}, said


def of_any_options(**_: object) -> Baker:
    return Baker()


def absent(*_: object) -> None:
    raise UnknownNameError("weights", "latent", ["joint"])


@pytest.mark.long
def test_rows_are_those_of_the_table_and_of_the_papers(
    rows: tuple[dict[str, dict], list[str]],
) -> None:
    values, said = rows
    assert {
        "joint/raw",
        "joint/refined",
        "joint/mmff",
        "rdkit/mmff",
        "train/random",
        "qm9/eqgat-diff-published",
    } <= set(values)
    assert not any("latent" in name for name in values) and any(
        text.startswith("left out: latent") for text in said
    )
    assert any(text.startswith("left out: reconstruction") for text in said)
    assert any(text.startswith("left out: ablations") for text in said)
    joint = values["joint/raw"]
    assert (
        joint["samples"] == 6
        and joint["molecule_stability"] == 100.0
        and joint["valid_unique"] < 100.0
        and joint["molecules_per_s"] > 0
    )
    assert values["train/random"]["novel"] == 0.0 and values["train/random"]["MW_W"] > 0
    assert values["conditional-gap_eV/geoldm-published"] == {"MAE": 0.587}
    assert all("n" in row for name, row in values.items() if not name.endswith("-published"))
    assert {
        "conditional-gap_eV/equidrift",
        "conditional-gap_eV/network",
        "conditional-gap_eV/joint-no-target",
        "conditional-alpha_bohr3/floor",
    } <= set(values)
    assert "conditional-alpha_bohr3/equidrift" not in values  # the double takes no such target
    assert values["conditional-gap_eV/equidrift"]["judged"] == 100.0


def test_parts_are_measured_alone_and_put_into_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other rows stay, with their commit; rows of the same name are replaced."""
    np.savez(tmp_path / "qm9_molecules.npz", **{**vars(toy_qm9()), "half_b": np.ones(12, bool)})
    monkeypatch.setenv("EQUIDRIFT_DATA", str(tmp_path))
    monkeypatch.setattr(benchmark, "QUICK", SOME)
    file = tmp_path / "bench.json"
    old = {"row": "spectra/random", "values": {"top-1": 0.5}}
    stale = {"row": "train/random", "values": {"n": 10_000}}
    earlier = {"name": "molecules", "commit": "abc", "machine": {}, "rows": [old, stale]}
    file.write_text(json.dumps(earlier))
    result = benchmark.run(limit=6, parts="controls", into=str(file))
    names = [row["row"] for row in result["rows"]]
    assert names[0] == "train/random" and all(name.endswith("-published") for name in names[1:])
    kept = json.loads(file.read_text())
    assert kept["rows"][0] == {"commit": "abc", **old} and kept["commit"] == result["commit"]
    assert kept["rows"][1]["values"]["n"] == 3 and len(kept["rows"]) == 1 + len(names)
    with pytest.raises(UnknownNameError, match="Did you mean 'replaced'"):
        benchmark.run(parts="replace")
    file.write_text("{}")
    with pytest.raises(InputError, match=r"holds no result of `equidrift bench molecules --json`"):
        benchmark.run(parts="controls", into=str(file))


def test_training_molecules_are_known_with_their_stereo() -> None:
    data = toy_qm9()
    known = Known(data)
    molecule = data.molecule(3)  # C[C@H](O)C#N
    draw = judge((molecule, data.positions(3)))
    mirror = judge((molecule, data.positions(3) * [1, 1, -1]))
    assert draw.molecule is not None and mirror.molecule is not None
    found = known.among([draw, mirror])
    assert draw.molecule.smiles in found and mirror.molecule.smiles not in found
    ethane = Molecule.from_smiles("CC")
    assert known.among([judge((ethane, geometry(ethane))), judge(None)]) == set()


def test_errors_leave_out_what_is_no_molecule_and_say_how_much() -> None:
    class Five:
        def predict(self, systems: list) -> dict[str, np.ndarray]:
            return {"gap_eV": np.full(len(systems), 5.0)}

    ethanol = Molecule.from_smiles("CCO")
    sound, broken = (ethanol, geometry(ethanol)), (ethanol, geometry(ethanol) * np.nan)
    assert errors(
        Five(), [sound, None, broken, sound], "gap_eV", np.array([4.0, 9.0, 9.0, 8.0])
    ) == {"MAE": 2.0, "MAE_se": 1.0, "judged": 50.0}
    assert errors(Five(), [None], "gap_eV", np.array([4.0])) == {"judged": 0.0}


def test_each_sample_has_its_own_target(monkeypatch: pytest.MonkeyPatch) -> None:
    model = Baker()
    monkeypatch.setattr(molecule_work, "cached_model", lambda name: model)
    wanted = np.full((2, len(model.properties)), np.nan)
    wanted[:, list(model.properties).index("mu_D")] = [1.0, 3.0]
    assert len(sampled(("baker", np.array([5, 6]), wanted))) == 2
    assert [call["targets"] for call in model.calls] == [{"mu_D": 1.0}, {"mu_D": 3.0}]
    model.sample_many = lambda seeds, table: [("many", row) for row in table]  # type: ignore[attr-defined]
    assert sampled(("baker", np.array([5, 6]), wanted))[1][1] is not None
    assert spread(list(range(10)), 3) == [0, 4, 9] and spread([], 3) == [] and len(PROPERTIES) == 12

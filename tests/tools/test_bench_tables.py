"""The measured numbers of docs and README are those of the committed benchmarks."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from tests.tools.loading import tool

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


TOOL = tool("bench_tables")
RESULT = {
    "name": "conformers",
    "machine": {"cpu": "test", "cores": 2, "python": "3.12", "os": "Linux"},
    "commit": "abc",
    "rows": [
        {
            "row": "qm9-test/etkdg",
            "values": {
                "AMR-R": 0.2,
                "AMR-R-median": 0.1,
                "stereo": 100.0,
                "calls": 0,
                "cpu_ms_per_conformer": 3.0,
            },
        },
        {
            "row": "qm9-test/equidrift",
            "values": {
                "AMR-R": 0.1,
                "AMR-R-median": 0.05,
                "stereo": 100.0,
                "calls": 2,
                "cpu_ms_per_conformer": 30.0,
            },
        },
        {
            "row": "qm9-test/new",
            "values": {"AMR-R": math.inf, "AMR-R-median": 0.3, "stereo": 90.0},
        },
        {"row": "zinc-test/equidrift", "values": {"AMR-R": 0.5, "AMR-R_se": 0.1, "n": 7}},
        {"row": "ensembles/equidrift", "values": {"gap_error_eV": 0.5, "n": 8}},
        {"row": "qm9-test/se3-distance-sde-20", "values": {"AMR-R": 0.3, "COV-R@0.5": 80.0}},
        {"row": "qm9/geodiff-published", "values": {"AMR-R": 0.05, "calls": 5000}},
    ],
}


@pytest.mark.parametrize("name", TOOL.TABLES)
def test_one_page_of_the_docs_shows_each_benchmark(name: str) -> None:
    marker = f"<!-- table: {name} -->"
    pages = [path for path in TOOL.DOCS.rglob("*.md") if marker in path.read_text()]
    assert len(pages) == 1
    made = TOOL.inserted(pages[0].read_text())
    assert marker not in made and "commit" in made and made.count("\n|") > 5


def test_cards_carry_the_committed_numbers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cards = {path.name: path.read_text() for path in (ROOT / "models/zoo").glob("*.json")}
    for name, text in cards.items():
        (tmp_path / name).write_text(text)
    TOOL.main(["--cards", str(tmp_path)])
    assert "| " in capsys.readouterr().out
    stale = [name for name, text in cards.items() if (tmp_path / name).read_text() != text]
    assert not stale, "run `python tools/bench_tables.py`"


def readme_row(label: str, values: dict[str, float], found: str, ms_digits: int) -> str:
    """A row of the README's table; `found` names the share that it shows."""
    metrics = (("AMR-R", 3), (found, 0), ("energy_released_kcal_mol", 2))
    cells = [
        f"{values[key]:.{d}f} ± {values[f'{key}_se']:.{d}f}" if key in values else "–"
        for key, d in metrics
    ]
    ms = f"{values['cpu_ms_per_conformer']:.{ms_digits}f}"
    return f"| {label} | {' | '.join(cells)} | {ms} |"


@pytest.mark.parametrize(
    ("heading", "file", "part", "count", "found", "ms_digits", "labels"),
    [
        (
            *("56 QM9 molecules", "bench_rivals.json", "qm9-test", 56, "COV-R@0.1", 1),
            {
                "ETKDG (RDKit)": "etkdgv3",
                "ETKDG + MMFF94 (RDKit)": "etkdgv3-mmff94",
                "ETKDGv4 + MMFF94s (RDKit)": "etkdgv4-mmff94s",
                "equidrift": "equidrift",
            },
        ),
        (
            *("24 drug-size molecules of ZINC", "bench_conformers.json", "zinc-test", 24),
            *("COV-R@0.5", 0),
            {
                "ETKDG + MMFF94 (RDKit)": "etkdg-mmff",
                "the lowest of four of these": "etkdg-mmff-lowest",
                "equidrift, `--effort 4`": "effort-4",
                "equidrift": "equidrift",
            },
        ),
    ],
)
def test_the_readme_carries_the_committed_numbers(
    heading: str,
    file: str,
    part: str,
    count: int,
    found: str,
    ms_digits: int,
    labels: dict[str, str],
) -> None:
    result = json.loads((TOOL.DOCS / file).read_text())
    rows = {row["row"]: row["values"] for row in result["rows"]}
    _, there, below = README.partition(f"| **{heading}** |")
    assert there
    for label, name in labels.items():
        values = rows[f"{part}/{name}"]
        assert values["n"] == count
        assert f"\n{readme_row(label, values, found, ms_digits)}" in below


def test_rows_columns_and_the_best() -> None:
    lines = TOOL.conformers(RESULT).splitlines()
    assert lines[0] == "| | AMR-R, A | stereo right, % | network calls |"
    assert lines[2:6] == [
        "| **equidrift** (`default`) | **0.100 / 0.050** | **100.0** | 2 |",
        "| ETKDG (RDKit) | 0.200 / 0.100 | **100.0** | 0 |",
        "| GeoDiff, published ¹ | 0.050 | – | 5000 |",
        "| qm9-test/new | – / 0.300 | 90.0 | – |",
    ]
    assert (
        "7 drug-size molecules of ZINC's test part:" in lines
        and "| **equidrift** (`default`) | 0.500 ± 0.100 |" in lines
        and "| **equidrift** (`default`) | 0.5000 |" in lines
    )
    assert lines[lines.index("| solver | 20 calls |") + 2] == "| sde | 0.300 / 80.0 |"
    assert "| ETKDG (RDKit) | **3.0** |" in lines and lines[-1].endswith("Python 3.12; commit abc.")
    assert sum("GeoDiff" in line for line in lines) == 1, "published rows have no speed"


def test_only_the_marker_changes(tmp_path: Path) -> None:
    (tmp_path / "bench_conformers.json").write_text(json.dumps(RESULT))
    made = TOOL.inserted("a\n<!-- table: conformers -->\nb\n", tmp_path)
    assert made == f"a\n{TOOL.conformers(RESULT)}\nb\n"
    assert TOOL.inserted(made, tmp_path) == made
    with pytest.raises(ValueError, match="no benchmark 'nothing'"):
        TOOL.inserted("<!-- table: nothing -->", tmp_path)


def test_other_tables() -> None:
    rows = [
        {"row": "spring/equidrift", "values": {"ADE": 0.00123, "FDE": 0.5}},
        {"row": "spring/geotdm-published", "values": {"ADE": 0.003, "FDE": 0.0079}},
        {"row": "gfn2md17-x/equidrift", "values": {"ADE": 0.1, "FDE": 0.2}},
        {"row": "ala2/md", "values": {"crossings_per_s": 0.5, "P_positive": math.nan}},
        {"row": "drugs/CCO", "values": {"ess_per_s": 3.0}},
        {"row": "rigid-flip/uniform", "values": {"flips": 3.0}},
        {"row": "ala2/x-published", "values": {"ess": 6.03}},
        {"row": "se/interpolation", "values": {"loglik": 0.7}},
        {"row": "se/interpolation-gp-optimum", "values": {"loglik": 0.734}},
        {"row": "fix/free", "values": {"AMR": 0.2}},
    ]
    result = {**RESULT, "rows": rows}
    lines = TOOL.trajectories(result).splitlines()
    assert (
        "| **equidrift** | 0.00123 / 0.5 |" in lines
        and "| geotdm, published | 0.003 / 0.0079 |" in lines
    )
    assert "| **equidrift** | 0.1 / 0.2 |" in lines
    assert TOOL.sampling(result).splitlines()[:3] == [
        "| | crossings per s |",
        "|---|---:|",
        "| ala2/md | 0.5 |",
    ]
    lines = TOOL.sampling(result).splitlines()
    assert "| rigid-flip/uniform | 3 |" in lines and "| ala2/x-published | 6.03 |" in lines
    lines = TOOL.fields(result).splitlines()
    assert (
        "| **equidrift** | 0.7 |" in lines
        and "| `gp-optimum` | 0.734 |" in lines
        and "| fix/free | 0.2 |" in lines
    )


def test_cards_get_their_rows(tmp_path: Path) -> None:
    for name in tool("tables/cards").CARDS:
        (tmp_path / f"{name}.json").write_text(json.dumps({"name": name, "quality": {"kept": 1}}))
    TOOL.update_cards(RESULT, tmp_path)
    assert (
        json.loads((tmp_path / "refine.json").read_text())["quality"]["qm9-test/equidrift"]["AMR-R"]
        == 0.1
    )
    assert json.loads((tmp_path / "se3-distance.json").read_text())["quality"] == {"kept": 1}


@pytest.mark.parametrize(
    ("card", "row"),
    [
        ("nbody-spring", "spring/equidrift"),
        ("egnn-spring", "spring/egnn"),
        ("pedestrians-eth", "eth-ucy-eth/equidrift"),
        ("field-se", "se/interpolation"),
        ("field-se-network", "se/interpolation-network"),
        ("torsions", "drugs/torsion"),
        ("atom-forces", "forces-10/equidrift"),
    ],
)
def test_every_card_gets_its_own_rows_alone(card: str, row: str, tmp_path: Path) -> None:
    (tmp_path / f"{card}.json").write_text(json.dumps({"name": card}))
    rows = [
        {"row": name, "values": {"ADE": 1.0}}
        for name in (row, "other/equidrift", "se/interpolation-gp-optimum", "spring/last-frame")
    ]
    TOOL.update_other_cards({**RESULT, "rows": rows}, tmp_path)
    assert json.loads((tmp_path / f"{card}.json").read_text())["quality"] == {row: {"ADE": 1.0}}


def test_molecules_tables_and_cards(tmp_path: Path) -> None:
    result = {
        "name": "molecules",
        "machine": RESULT["machine"],
        "commit": "abc",
        "rows": [
            {
                "row": "joint/raw",
                "values": {"molecule_stability": 99.25, "valid": 99.0, "MW_W": 1.5, "calls": 50},
            },
            {"row": "qm9/edm-published", "values": {"edm_stability": 82.0}},
            {"row": "conditional-gap_eV/equidrift", "values": {"MAE": 0.1234}},
            {"row": "conditional-mu_D/equidrift", "values": {"MAE": 0.5}},
            {"row": "conditional-gap_eV/geoldm-published", "values": {"MAE": 0.587}},
            {"row": "reconstruction/graphs", "values": {"exact": 91.0}, "commit": "old"},
            {
                "row": "me-better-linker-SA/draw",
                "values": {"better": 50.0, "better_se": 16.7, "valid": 20.0, "n": 10},
            },
        ],
    }
    text = TOOL.molecules(result)
    assert "| linker-SA/draw | 50 ± 20 | 20 | 10 |" in text and "me-better" not in text
    assert "| joint/raw | 99.25 | – | 99 |" in text and "| edm-published | – | 82 |" in text
    assert (
        "| | gap_eV | mu_D |" in text
        and "| **equidrift** | 0.123 | 0.5 |" in text
        and "| geoldm, published | 0.587 | – |" in text
    )
    assert "| reconstruction/graphs | 91 |" in text
    assert text.endswith("commit abc; rows reconstruction of commit old.")
    (tmp_path / "joint.json").write_text(json.dumps({"quality": {"old": {}}}))
    TOOL.update_molecule_cards(result, tmp_path)
    quality = json.loads((tmp_path / "joint.json").read_text())["quality"]
    assert set(quality) == {
        "old",
        "joint/raw",
        "conditional-gap_eV/equidrift",
        "conditional-mu_D/equidrift",
    }


def test_trajectories_show_standard_errors_and_spread_where_it_was_measured() -> None:
    rows = [
        {"row": "gfn2md17-uracil/equidrift", "values": {"ADE": 0.2, "ADE_se": 0.01, "n": 4}},
        {"row": "gfn2md17-uracil/md", "values": {"ADE": 0.3, "CRPS": 0.15, "n": 4}},
    ]
    made = TOOL.trajectories(RESULT | {"rows": rows})
    assert "| 0.2 ± 0.01 |" in made
    assert "| gfn2md17-uracil/md | 0.3 | 0.15 | 4 |" in made
    assert "gfn2md17-uracil/equidrift |" not in made  # no spread was measured of it

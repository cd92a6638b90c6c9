"""Rewrite the README's tables and the cards' quality from a benchmark's JSON, so that
no number in them is typed by hand.

    equidrift bench NAME --full --json > docs/bench_NAME.json
    python tools/readme_tables.py

For every NAME measured, the part of README.md between `<!-- table: NAME -->` and `<!--
end table -->` is replaced, and `quality` in the cards of the models that the rows of
`conformers` measure; nothing else changes.
"""

from __future__ import annotations

import argparse
import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
RESULT = DOCS / "bench_conformers.json"

# card -> rows that go into its `quality`
CARDS = {
    "refine": ("qm9-val/refine", "qm9-val/equidrift", "zinc-val/equidrift"),
    "conformer": ("qm9-val/conformer", "qm9-val/conformer-refine"),
    "se3-distance": ("qm9-val/se3-distance",),
}
LABELS = {
    "qm9-val/equidrift": "**equidrift** (`default`)",
    "qm9-val/refine": "`refine` on ETKDG + MMFF94",
    "qm9-val/etkdg": "ETKDG (RDKit)",
    "qm9-val/etkdg-mmff": "ETKDG + MMFF94 (RDKit)",
    "qm9-val/etkdg-refine": "`etkdg-refine`: ETKDG, refined",
    "qm9-val/etkdg-mmff-refine": "`etkdg-mmff-refine`: ETKDG + MMFF94, refined, no pick",
    "qm9-val/conformer": "`conformer`: from noise, not refined",
    "qm9-val/conformer-refine": "`conformer-refine`: from noise, refined",
    "qm9-val/se3-distance": "`se3-distance`: distance scores, 100 steps",
    "zinc-val/equidrift": "**equidrift** (`default`)",
    "zinc-val/etkdg-mmff-refine": "`etkdg-mmff-refine`: no pick of new torsions",
    "zinc-val/etkdg": "ETKDG (RDKit)",
    "zinc-val/etkdg-mmff": "ETKDG + MMFF94 (RDKit)",
    "qm9/se3-invariant-diffusion-published": "SE(3)-invariant diffusion, published ¹",
    "qm9/geodiff-published": "GeoDiff, published ¹",
}
# heading, metrics of the cell, decimals, which end is the better one (+1 more, -1 less, 0 neither)
Column = tuple[str, tuple[str, ...], int, int]
QUALITY: tuple[Column, ...] = (
    ("AMR-R, A", ("AMR-R", "AMR-R-median"), 3, -1),
    ("AMR-P, A", ("AMR-P", "AMR-P-median"), 3, -1),
    ("COV-R 0.05 A, %", ("COV-R@0.05",), 1, 1),
    ("COV-R 0.1 A, %", ("COV-R@0.1",), 1, 1),
    ("COV-R 0.5 A, %", ("COV-R@0.5",), 1, 1),
    ("COV-P 0.1 A, %", ("COV-P@0.1",), 1, 1),
    ("stereo right, %", ("stereo",), 1, 1),
    ("energy released, kcal/mol", ("energy_released_kcal_mol",), 2, -1),
    ("network calls", ("calls",), 0, 0),
)
DRUGS: tuple[Column, ...] = (
    *QUALITY[:2],
    *QUALITY[3:7],
    ("conformers/s", ("conformers_per_s",), 1, 1),
)
SPEED: tuple[Column, ...] = (
    ("conformers/s", ("conformers_per_s",), 1, 1),
    ("over ETKDG + MMFF94", ("over_etkdg-mmff",), 2, 1),
    ("over ETKDG + MMFF94 + GFN2-xTB", ("over_etkdg-mmff-gfn2",), 1, 1),
    ("over GFN2-xTB relaxation alone", ("over_gfn2",), 1, 1),
    ("peak memory, MB", ("peak_memory_MB",), 0, -1),
)


def usable(value: Any) -> bool:
    """Whether a value is a number that a table can show."""
    return isinstance(value, int | float) and math.isfinite(value)


def cell(values: Mapping[str, Any], column: Column, best: float | None) -> str:
    """A cell: the mean, or `mean / median`; bold where the mean is the best of its
    column as printed.
    """
    _, metrics, decimals, _ = column
    shown = [f"{values[name]:.{decimals}f}" for name in metrics if usable(values.get(name))]
    if not shown:
        return "–"
    text = " / ".join(shown)
    return f"**{text}**" if best is not None and shown[0] == f"{best:.{decimals}f}" else text


def table(rows: Sequence[Mapping[str, Any]], columns: Sequence[Column]) -> list[str]:
    """A Markdown table of the rows and columns that have a number; published rows take
    no part in the choice of the best.
    """
    with_numbers = [c for c in columns if any(usable(row["values"].get(c[1][0])) for row in rows)]
    lines = [
        "| | " + " | ".join(c[0] for c in with_numbers) + " |",
        "|---|" + "---:|" * len(with_numbers),
    ]
    best: list[float | None] = []
    for _, (metric, *_), _, sign in with_numbers:
        ours = [
            row["values"][metric]
            for row in rows
            if not published(row) and usable(row["values"].get(metric))
        ]
        best.append(sign * max(sign * value for value in ours) if sign and len(ours) > 1 else None)
    for row in rows:
        values = row["values"]
        if any(usable(values.get(c[1][0])) for c in with_numbers):
            cells = [
                cell(values, c, None if published(row) else top)
                for c, top in zip(with_numbers, best, strict=True)
            ]
            lines.append(f"| {LABELS.get(row['row'], row['row'])} | " + " | ".join(cells) + " |")
    return lines


def pivot(result: Mapping[str, Any], metrics: Sequence[tuple[str, int]]) -> str:
    """A line a method, a column a system; cells hold the metrics (name, digits) with
    slashes between. Rows without them are left out.
    """
    cells: dict[str, dict[str, str]] = {}
    for row in result["rows"]:
        system, _, method = str(row["row"]).partition("/")
        shown = [
            f"{row['values'][name]:.{digits}g}"
            for name, digits in metrics
            if usable(row["values"].get(name))
        ]
        if shown:
            cells.setdefault(method, {})[system] = " / ".join(shown)
    systems = list(dict.fromkeys(system for line in cells.values() for system in line))
    lines = ["| | " + " | ".join(systems) + " |", "|---|" + "---:|" * len(systems)]
    lines += [
        f"| {method_label(name)} | " + " | ".join(line.get(s, "–") for s in systems) + " |"
        for name, line in cells.items()
    ]
    return "\n".join(lines)


def method_label(method: str) -> str:
    """A method as the README names it."""
    name = method.removesuffix("-published")
    return (
        f"{name}, published"
        if name != method
        else f"**{name}**"
        if name == "equidrift"
        else f"`{name}`"
    )


def listed(result: Mapping[str, Any], metrics: Sequence[tuple[str, int]], rows: str = "") -> str:
    """A line a row whose name fits the pattern `rows`, a column a metric (name,
    digits).
    """
    chosen = [row for row in result["rows"] if re.search(rows, str(row["row"]))]
    used = [
        (name, digits)
        for name, digits in metrics
        if any(usable(row["values"].get(name)) for row in chosen)
    ]
    lines = [
        "| | " + " | ".join(name.replace("_", " ") for name, _ in used) + " |",
        "|---|" + "---:|" * len(used),
    ]
    for row in chosen:
        shown = [
            f"{row['values'][name]:.{digits}g}" if usable(row["values"].get(name)) else "–"
            for name, digits in used
        ]
        if any(cell != "–" for cell in shown):
            lines.append(f"| {row['row']} | " + " | ".join(shown) + " |")
    return "\n".join(lines)


def measured_on(result: Mapping[str, Any]) -> str:
    """Where and with which commit a table was measured."""
    machine = result["machine"]
    where = f"{machine['cores']} cores of {machine['cpu']}, {machine['os']}, Python {machine['python']}; commit {result['commit']}"
    return f"Measured on {where}."


def solver(row: Mapping[str, Any]) -> tuple[str, int] | None:
    """(solver, network calls) of a row that compares the solvers of system A."""
    found = re.fullmatch(r"qm9-val/se3-distance-(\w+)-(\d+)", str(row["row"]))
    return (found[1], int(found[2])) if found else None


def solvers(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line a solver, a column a number of calls."""
    values = {which: row["values"] for row in rows if (which := solver(row))}
    calls = sorted({n for _, n in values})
    lines = [
        "| solver | " + " | ".join(f"{n} calls" for n in calls) + " |",
        "|---|" + "---:|" * len(calls),
    ]
    for name in dict.fromkeys(name for name, _ in values):
        found = [values[name, n] for n in calls]
        cells = [
            f"{v['AMR-R']:.3f} / {v['COV-R@0.5']:.1f}"
            if usable(v["AMR-R"])
            else "a molecule without a valid sample"
            for v in found
        ]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


def published(row: Mapping[str, Any]) -> bool:
    """Whether a row holds figures of a paper."""
    return str(row["row"]).endswith("-published")


def conformers(result: Mapping[str, Any]) -> str:
    """Both tables of `equidrift bench conformers --json`, with what they were measured
    on.
    """
    order = list(LABELS)
    rows = sorted(
        result["rows"],
        key=lambda row: order.index(row["row"]) if row["row"] in order else len(order),
    )
    small = [row for row in rows if not row["row"].startswith("zinc-val/") and solver(row) is None]
    drugs = [row for row in rows if row["row"].startswith("zinc-val/")]
    parts = [*table(small, QUALITY), ""]
    if any(published(row) for row in rows):
        parts += [
            "¹ From the papers, on other QM9 molecules with other references: for orientation, not for comparison.",
            "",
        ]
    parts += [*table([row for row in small if not published(row)], SPEED), ""]
    if drugs:
        count = drugs[0]["values"].get("molecules")
        parts += [
            f"The same on {count} drug-size molecules of ZINC's validation part:",
            "",
            *table(drugs, DRUGS),
            "",
        ]
    if any(map(solver, rows)):
        parts += [
            "System A's reverse SDE and ODE against annealed Langevin dynamics with the same network, AMR-R (A) / COV-R@0.5 (%):",
            "",
        ]
        parts += [*solvers(rows), ""]
    parts += [measured_on(result)]
    return "\n".join(parts)


def rewritten(readme: str, name: str, text: str) -> str:
    """The README with another text between the markers of a table.

    Raises `ValueError` where the markers are not there once.
    """
    made, count = re.subn(
        rf"(<!-- table: {re.escape(name)} -->\n).*?(<!-- end table -->)",
        lambda m: f"{m[1]}\n{text}\n\n{m[2]}",
        readme,
        flags=re.DOTALL,
    )
    if count != 1:
        raise ValueError(
            f"README.md must hold '<!-- table: {name} -->' ... '<!-- end table -->' once, not {count} times"
        )
    return made


def update_cards(result: Mapping[str, Any], folder: Path) -> None:
    """Put the rows of `CARDS` into the cards of a folder; a row that was not measured
    keeps what the card says.
    """
    rows = {row["row"]: row["values"] for row in result["rows"]}
    for name, wanted in CARDS.items():
        add_quality(folder / f"{name}.json", {row: rows[row] for row in wanted if row in rows})


def own_rows(name: str) -> str:
    """A pattern of the rows of trajectories, sampling and fields that a card carries;
    empty for none.
    """
    fixed = {
        "trajectory": r"^(gfn2md17|heldout|speed|interpolate)-.*/equidrift(-chained)?$",
        "geotdm": "^(gfn2md17-.*|speed-aspirin)/geotdm(-1000)?$",
        "torsions": "^(ala2|drugs)/torsion$",
        "ala2": "^ala2/boltzmann$",
        "field-cyclones": "^cyclones/(inter|extra)polation$",
    }
    family, _, rest = name.partition("-")
    by_family = {
        "nbody": f"^{rest}/equidrift$",
        "egnn": f"^{rest}/egnn$",
        "pedestrians": f"^eth-ucy-{rest}/equidrift$",
        "geotdm": f"^{rest}/geotdm$",
        "atom": f"^{rest}-.*/equidrift$",
        "field": f"^{rest.removesuffix('-network')}/[a-z]+"
        + ("-network$" if "-network" in name else "$"),
    }
    return fixed.get(name, by_family.get(family, "") if rest else "")


def update_other_cards(result: Mapping[str, Any], folder: Path) -> None:
    """Put the rows of `own_rows` into the cards of a folder."""
    for path in sorted(folder.glob("*.json")):
        pattern = own_rows(path.stem)
        rows = {
            str(row["row"]): row["values"]
            for row in result["rows"]
            if pattern and re.search(pattern, str(row["row"]))
        }
        if rows:
            add_quality(path, rows)


def update_molecule_cards(result: Mapping[str, Any], folder: Path) -> None:
    """Put a model's own rows, those that begin as `MOLECULE_CARDS` says, into its card
    where there is one.
    """
    for name, prefixes in MOLECULE_CARDS.items():
        own = {
            str(row["row"]): row["values"]
            for row in result["rows"]
            if str(row["row"]).startswith(prefixes)
        }
        own = {
            row: values
            for row, values in own.items()
            if row.endswith(("equidrift", name)) or not row.startswith("conditional-")
        }
        if (folder / f"{name}.json").exists():
            add_quality(folder / f"{name}.json", own)


def add_quality(path: Path, rows: Mapping[str, Any]) -> None:
    """Put measured rows into a card."""
    card = json.loads(path.read_text())
    card["quality"] = card.get("quality", {}) | rows
    text = json.dumps(card, indent=1)
    text = re.sub(
        r"\[\s+([^\[\]{}]*?)\s+\]", lambda found: "[" + " ".join(found[1].split()) + "]", text
    )  # a list of numbers is one line
    path.write_text(text + "\n")


def trajectories(result: Mapping[str, Any]) -> str:
    """Forecasts as a table of systems; physics, speed and the rest below."""

    def chosen(pattern: str) -> dict[str, Any]:
        return {
            **result,
            "rows": [row for row in result["rows"] if re.search(pattern, str(row["row"]))],
        }

    displacement = (("ADE", 3), ("FDE", 3))
    parts = [
        pivot(chosen(p), displacement)
        for p in ("^(charged|spring|gravity)/", "^eth-ucy", "^gfn2md17-[a-z]+/")
    ]
    physics = (
        ("broken_percent", 3),
        ("frames", 4),
        ("JSD_bonds", 3),
        ("JSD_torsions", 3),
        ("VACF_error", 2),
        ("energy_shift_eV", 2),
    )
    parts += [
        pivot(chosen("^heldout-"), displacement),
        listed(
            result,
            (*physics, ("energy_std_ratio", 3)),
            "-chained$|^heldout-.*/(equidrift|mmff94-restart)",
        ),
        pivot(chosen("^(interpolate|spacing)-"), (("ADE", 3),)),
        listed(
            chosen("^(charged|spring|gravity)/"),
            (("calls", 3), ("layers_per_call", 3), ("ms_per_sample", 3)),
        ),
        listed(
            result, (("marginal", 3), ("classification", 3), ("prediction", 3)), "-unconditional/"
        ),
        listed(result, (("cpu_s_per_128", 3), ("over_equidrift", 3)), "^speed-"),
        listed(result, (("ms_per_trajectory", 3),), "^cost-"),
    ]
    return "\n\n".join([*(part for part in parts if part.count("\n") > 1), measured_on(result)])


SAMPLING = (
    ("crossings_per_s", 3),
    ("crossings_per_s_over_md", 3),
    ("acceptance", 3),
    ("acceptance_across", 3),
    ("P_positive", 3),
    ("P_positive_error", 2),
    ("P_error", 2),
    ("ess", 3),
    ("delta_F_error_kT", 2),
    ("adapt_s", 3),
    ("ess_per_s_over_md_median", 3),
    ("ess_per_s_over_md_min", 3),
    ("mean_ess_per_s_over_md_median", 3),
    ("mean_ess_per_s_over_md_min", 3),
)


def sampling(result: Mapping[str, Any]) -> str:
    """Barriers and effective samples."""
    return "\n\n".join(
        [listed(result, SAMPLING, "^ala2/|^drugs/(torsion|diffusion)$"), measured_on(result)]
    )


def fields(result: Mapping[str, Any]) -> str:
    """Log-likelihoods, a line a method and a column a system; then the other rows as
    they are.
    """
    parts = []
    for part in ("interpolation", "generalisation", "equivariant"):
        rows = []
        for row in result["rows"]:
            system, _, rest = str(row["row"]).partition("/")
            if (rest == part or rest.startswith(f"{part}-")) and system != "cyclones":
                rows.append(
                    {
                        **row,
                        "row": f"{system}/{rest.removeprefix(part).removeprefix('-') or 'equidrift'}",
                    }
                )
        if rows:
            parts += [
                f"Log-likelihood per target, {part}:",
                pivot({**result, "rows": rows}, (("loglik", 3),)),
            ]
    metrics: list[tuple[str, int]] = [
        ("loglik", 3),
        ("error_km", 3),
        ("mean_error_sd", 2),
        ("covariance_error", 2),
        ("seconds", 2),
    ]
    metrics += [
        ("success", 3),
        ("AMR", 3),
        ("core_moved_A", 2),
        ("energy_released_kcal_mol", 2),
        ("samples_per_s", 3),
    ]
    others = ("^2d-.*/(gp-optimum|plain)-", "^cost/", "^corrector/", "^cyclones/", "^fix/")
    tables = [listed(result, metrics, pattern) for pattern in others]
    parts += [table for table in tables if table.count("\n") > 1]
    for field in ("forces", "virial", "charges"):
        rows = [row for row in result["rows"] if str(row["row"]).startswith(f"{field}-")]
        if rows:
            parts.append(
                f"{field.capitalize()} on atoms, 10, 50 and 90 % given: log-likelihood a number / MAE / coverage of 90 %:"
            )
            parts.append(
                pivot({**result, "rows": rows}, (("loglik", 3), ("MAE", 2), ("coverage90", 3)))
            )
    return "\n\n".join([*(part for part in parts if part), measured_on(result)])


MOLECULES = (
    ("molecule_stability", 4),
    ("edm_stability", 4),
    ("valid", 4),
    ("valid_unique", 4),
    ("novel", 3),
    ("sound", 4),
    ("posebusters", 3),
    ("relax_rmsd_A", 2),
    ("relax_kcal_mol", 2),
    ("calls", 4),
    ("molecules_per_s", 3),
    ("training_minutes", 3),
)
DISTANCES = (
    ("MW_W", 3),
    ("MW_TV", 2),
    ("logP_W", 2),
    ("logP_TV", 2),
    ("PSA_W", 3),
    ("PSA_TV", 2),
    ("QED_W", 2),
    ("QED_TV", 2),
)
MOLECULE_CARDS = {
    "joint": ("joint/", "conditional-"),
    "latent": ("latent/",),
    "spectra": ("spectra",),
}


def molecules(result: Mapping[str, Any]) -> str:
    """New molecules, their distances from held-out ones, errors of the targeted
    properties, and the rest row by row.
    """
    own_rows = re.compile("^(qm9/|train/|(joint|latent)/(raw|mmff)$|rdkit/mmff)")
    rows = [
        {**row, "row": str(row["row"]).removeprefix("qm9/")}
        for row in result["rows"]
        if own_rows.search(str(row["row"]))
    ]
    own = {**result, "rows": rows}
    errors = [row for row in result["rows"] if str(row["row"]).startswith("conditional-")]
    errors = [{**row, "row": str(row["row"]).removeprefix("conditional-")} for row in errors]
    rest = [
        row
        for row in result["rows"]
        if not own_rows.search(str(row["row"])) and not str(row["row"]).startswith("conditional-")
    ]
    families = list(dict.fromkeys(str(row["row"]).partition("/")[0] for row in rest))
    tables = [
        listed(own, MOLECULES),
        listed(own, (*DISTANCES, ("energy_eV_W", 3), ("energy_eV_TV", 2))),
    ]
    tables.append(pivot({**result, "rows": errors}, (("MAE", 3),)))
    for family in families:  # a table each: their metrics are others
        part = [row for row in rest if str(row["row"]).startswith(f"{family}/")]
        metrics = list(dict.fromkeys((name, 3) for row in part for name in row["values"]))
        tables.append(listed({**result, "rows": part}, metrics))
    return "\n\n".join([*(text for text in tables if text.count("\n") > 1), measured_on(result)])


TABLES = {
    "conformers": conformers,
    "trajectories": trajectories,
    "sampling": sampling,
    "fields": fields,
    "molecules": molecules,
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--docs", type=Path, default=DOCS, help="folder of the files bench_NAME.json"
    )
    parser.add_argument("--readme", type=Path, default=ROOT / "README.md")
    parser.add_argument(
        "--cards", type=Path, default=ROOT / "models" / "zoo", help="folder of the model cards"
    )
    options = parser.parse_args()
    text = options.readme.read_text()
    for name, show in TABLES.items():
        path = options.docs / f"bench_{name}.json"
        if path.exists():
            result = json.loads(path.read_text())
            text = rewritten(text, name, show(result))
            if name == "conformers":
                update_cards(result, options.cards)
            if name == "molecules":
                update_molecule_cards(result, options.cards)
            if name in ("trajectories", "sampling", "fields"):
                update_other_cards(result, options.cards)
    options.readme.write_text(text)


if __name__ == "__main__":
    main()

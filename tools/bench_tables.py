"""The tables of docs/measured, made of what the benchmarks printed; and the cards'
quality, so that no number in them is typed by hand.

    equidrift bench NAME --full --json > docs/bench_NAME.json
    python tools/bench_tables.py [NAME]     print the tables; update the cards

A page of the docs says `<!-- table: NAME -->` where the tables of docs/bench_NAME.json
belong; `docs/conf.py` puts them there when it builds the site, so they are committed
nowhere else. `quality` is written into the cards of the models that the rows measure.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

# siblings of this script, whose folder Python puts on its path
from tables.cards import update_cards, update_molecule_cards, update_other_cards
from tables.markdown import (
    LABELS,
    Column,
    listed,
    measured_on,
    method_label,
    pivot,
    published,
    table,
    usable,
)

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
MARKER = re.compile(r"<!-- table: ([\w-]+) -->")

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
    ("COV-R 0.1 A, %", ("COV-R@0.1",), 0, 1),
    ("0.25 A", ("COV-R@0.25",), 0, 1),
    ("0.5 A", ("COV-R@0.5",), 0, 1),
    ("0.75 A", ("COV-R@0.75",), 0, 1),
    ("energy released, kcal/mol", ("energy_released_kcal_mol",), 2, -1),
    ("core ms a conformer", ("cpu_ms_per_conformer",), 0, -1),
)
ENSEMBLES: tuple[Column, ...] = (
    ("energy, kcal/mol", ("energy_error_kcal_mol",), 3, -1),
    ("lowest energy, kcal/mol", ("lowest_error_kcal_mol",), 3, -1),
    ("gap, eV", ("gap_error_eV",), 4, -1),
    ("dipole moment, D", ("dipole_error_D",), 3, -1),
)
# parts of `equidrift bench conformers` with tables of their own, and what stands before these
CONFORMER_PARTS = {
    "zinc-test": "{} drug-size molecules of ZINC's test part:",
    "zinc-test-flexible": "{} molecules of ZINC's test part with seven and more rotatable "
    "bonds, some of them those above:",
    "ensembles": "What the ensembles are for: {} molecules of QM9, every conformer (at most 32) "
    "relaxed by GFN2-xTB; median errors of the Boltzmann means at 298 K and of the lowest energy "
    "beside those of the references:",
}
SPEED: tuple[Column, ...] = (
    ("core ms a conformer", ("cpu_ms_per_conformer",), 1, -1),
    ("over ETKDG + MMFF94", ("over_etkdg-mmff",), 2, 1),
    ("over ETKDG + MMFF94 + GFN2-xTB", ("over_etkdg-mmff-gfn2",), 1, 1),
    ("over GFN2-xTB relaxation alone", ("over_gfn2",), 1, 1),
    ("peak memory, MB", ("peak_memory_MB",), 0, -1),
)


def solver(row: Mapping[str, Any]) -> tuple[str, int] | None:
    """(solver, network calls) of a row that compares the solvers of system A."""
    found = re.fullmatch(r"qm9-test/se3-distance-(\w+)-(\d+)", str(row["row"]))
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


def conformers(result: Mapping[str, Any]) -> str:
    """The tables of `equidrift bench conformers --json`, with what they were measured
    on.
    """
    order = list(LABELS)
    rows = sorted(
        result["rows"],
        key=lambda row: order.index(row["row"]) if row["row"] in order else len(order),
    )
    small = [
        row for row in rows if row["row"].startswith(("qm9-test/", "qm9/")) and solver(row) is None
    ]
    parts = [*table(small, QUALITY), ""]
    if any(published(row) for row in rows):
        parts += [
            "¹ From the papers, on other QM9 molecules with other references: for orientation, not "
            "for comparison.",
            "",
        ]
    parts += [*table([row for row in small if not published(row)], SPEED), ""]
    for part, what in CONFORMER_PARTS.items():
        chosen = [row for row in rows if row["row"].startswith(f"{part}/")]
        if chosen:
            count = chosen[0]["values"]["n"]
            columns = ENSEMBLES if part == "ensembles" else DRUGS
            parts += [what.format(count), "", *table(chosen, columns), ""]
    if any(map(solver, rows)):
        parts += [
            "System A's reverse SDE and ODE against annealed Langevin dynamics with the same "
            "network, AMR-R (A) / COV-R@0.5 (%):",
            "",
        ]
        parts += [*solvers(rows), ""]
    parts += [measured_on(result)]
    return "\n".join(parts)


def inserted(page: str, docs: Path = DOCS) -> str:
    """A page of the docs with the tables in the places of its markers.

    Raises `ValueError` for a marker of no benchmark.
    """

    def tables(marker: re.Match[str]) -> str:
        name = marker[1]
        path = docs / f"bench_{name}.json"
        if name not in TABLES or not path.exists():
            raise ValueError(f"no benchmark {name!r} in {docs}; there are {', '.join(TABLES)}")
        return TABLES[name](json.loads(path.read_text()))

    return MARKER.sub(tables, page)


DISPLACEMENT = (("ADE", 3), ("FDE", 3))
SPREAD = (
    ("ADE", 3),
    ("CRPS", 3),
    ("CRPS_distances", 3),
    ("coverage_50_distances", 3),
    ("coverage_90_distances", 3),
    ("coverage_50_torsions", 3),
    ("coverage_90_torsions", 3),
    ("cpu_s_per_trajectory", 2),
    ("n", 4),
)
PHYSICS = (
    ("broken_percent", 3),
    ("frames", 4),
    ("JSD_bonds", 3),
    ("JSD_torsions", 3),
    ("VACF_error", 2),
    ("energy_shift_eV", 2),
    ("energy_std_ratio", 3),
)
INVENTED = (("marginal", 3), ("classification", 3), ("prediction", 3), ("n", 4))
CALLS = (("calls", 3), ("layers_per_call", 3), ("ms_per_sample", 3))
# samples with a spread: neither a paper's rows nor chains
SPREAD_ROWS = (
    "^(charged|spring|gravity|gfn2md17-[a-z]+|heldout-[a-z0-9]+)/(?!.*(published|chained))"
)


def chosen(result: Mapping[str, Any], pattern: str) -> dict[str, Any]:
    """The result with the rows alone whose name fits a pattern."""
    rows = [row for row in result["rows"] if re.search(pattern, str(row["row"]))]
    return {**result, "rows": rows}


def with_value(result: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The result with the rows alone that hold a value."""
    return {**result, "rows": [row for row in result["rows"] if name in row["values"]]}


def trajectories(result: Mapping[str, Any]) -> str:
    """Forecasts as a table of systems; spread, physics, speed and the rest below."""
    nbody, cost = "^(charged|spring|gravity)/", (("ADE", 3), ("cpu_s_per_trajectory", 2))
    parts = [
        pivot(chosen(result, pattern), DISPLACEMENT, errors=True)
        for pattern in (nbody, "^eth-ucy", "^gfn2md17-[a-z]+/")
    ]
    parts += [
        listed(with_value(result, "CRPS"), SPREAD, SPREAD_ROWS, errors=True),
        pivot(chosen(result, "^heldout-"), DISPLACEMENT, errors=True),
        listed(result, PHYSICS, "-chained$|^heldout-.*/(equidrift|md|mmff94-restart)"),
        pivot(chosen(result, "^(interpolate|spacing)-"), cost, errors=True),
        listed(chosen(result, nbody), CALLS),
        listed(result, INVENTED, "-unconditional/", errors=True),
        listed(result, LEAPS, "^leap-", errors=True),
        listed(result, (("cpu_s_per_128", 3), ("over_equidrift", 3)), "^speed-"),
        listed(result, (("ms_per_trajectory", 3),), "^cost-"),
    ]
    return "\n\n".join([*(part for part in parts if part.count("\n") > 1), measured_on(result)])


LEAPS = (
    *((f"torsion_JSD_{leaps}{end}", 3) for leaps in (1, 10, 100) for end in ("", "_floor")),
    ("pair_JSD_100", 3),
    ("pair_JSD_100_floor", 3),
    ("JSD_halves", 3),
    ("rate_ratio", 3),
    ("timescale_ratio", 3),
    ("ns_per_cpu_s_over_md", 3),
    ("acceptance", 3),
    ("ess_per_s_over_md", 3),
)
CROSSINGS = (
    ("crossings_per_s", 3),
    ("crossings_per_s_over_md", 3),
    ("P_positive", 3),
    ("P_positive_error", 2),
    ("P_entries", 3),
    ("P_error", 2),
    ("P_error_in_se", 2),
    ("acceptance", 3),
    ("acceptance_across", 3),
    ("adapt_s", 3),
    ("reference_s", 4),
)
GENERATORS = (
    ("ess", 3),
    ("ess_rare_basin", 3),
    ("acceptance", 3),
    ("delta_F_error_kT", 2),
    ("profile_error_kT", 2),
)
DRUG_CHAINS = (
    ("ess_per_s_over_md_median", 3),
    ("ess_per_s_over_md_q25", 3),
    ("ess_per_s_over_md_q75", 3),
    ("ess_per_s_over_md_min", 3),
    ("md_stayed", 2),
    ("mean_ess_per_s_over_md_median", 3),
    ("mean_ess_per_s_over_md_min", 3),
    ("n", 3),
)
RIGID = (
    ("ess_per_cpu_s", 3),
    ("O_ion_A", 4),
    ("flips", 4),
    ("flips_per_cpu_s", 3),
    ("N_up", 3),
    ("N_up_reference", 3),
    ("acceptance", 3),
    ("adapt_s", 3),
)


CHAINS = (
    ("ess_per_cpu_s", 3),
    ("ess_per_cpu_s_over_md", 3),
    ("mean_ess_per_cpu_s_over_md", 3),
    ("speed_over_md", 3),
    ("acceptance", 3),
    ("turned", 3),
    ("chains_that_stayed", 2),
    ("chains", 2),
    ("md_steps", 3),
    ("reference_spread", 2),
    ("adapt_s", 3),
)


GENERATED = "(boltzmann|.*-published)"  # rows of Boltzmann generators


def sampling(result: Mapping[str, Any]) -> str:
    """Barriers, effective samples by system, rigid bodies, Boltzmann generators."""
    parts = [
        listed(result, CROSSINGS, f"^ala2/(?!{GENERATED})"),
        listed(result, DRUG_CHAINS, "^drugs/(torsion|diffusion)$"),
        listed(result, CHAINS, "^solvated-", errors=True),
        listed(result, CHAINS, "^blocks-", errors=True),
        listed(result, RIGID, "^rigid-water-ion/", errors=True),
        listed(result, RIGID, "^rigid-flip/", errors=True),
        listed(result, GENERATORS, f"^ala2/{GENERATED}"),
    ]
    return "\n\n".join([*(part for part in parts if part.count("\n") > 1), measured_on(result)])


def likelihoods(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line per method, a column per system: the log-likelihood, its standard error and the
    number of functions; last, whether the method knows the law that the functions are of.
    """
    cells: dict[str, dict[str, str]] = {}
    knows: dict[str, str] = {}
    for row in rows:
        system, _, method = str(row["row"]).partition("/")
        values = row["values"]
        text = f"{values['loglik']:.3g}"
        if usable(values.get("loglik_se")):
            text += f" ± {values['loglik_se']:.2g} ({values['n']})"
        cells.setdefault(method, {})[system] = text
        if usable(values.get("knows_generator")):
            knows[method] = "yes" if values["knows_generator"] else "no"
    systems = list(dict.fromkeys(system for line in cells.values() for system in line))
    head = ["", *systems, *(["knows the generator"] if knows else [])]
    lines = [f"| {' | '.join(head).lstrip()} |", "|---|" + "---:|" * (len(head) - 1)]
    for method, line in cells.items():
        shown = [method_label(method), *(line.get(s, "–") for s in systems)]
        if knows:
            shown.append(knows.get(method, "–"))
        lines.append(f"| {' | '.join(shown)} |")
    return lines


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
                method = rest.removeprefix(part).removeprefix("-") or "equidrift"
                rows.append({**row, "row": f"{system}/{method}"})
        if rows:
            parts += [f"Log-likelihood per target, {part}:", "\n".join(likelihoods(rows))]
    metrics: list[tuple[str, int]] = [
        ("loglik", 3),
        ("loglik_se", 2),
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
        ("knows_generator", 1),
        ("n", 6),
    ]
    others = ("^2d-.*/(gp-optimum|plain)-", "^cost/", "^corrector/", "^cyclones/", "^fix/")
    learnt = [("loss", 4), ("above_optimum", 3), ("loglik", 3), ("below_optimum", 3)]
    learnt += [("over_white", 3), ("steps", 5), ("cpu_s", 3), ("n", 6)]
    tables = [listed(result, metrics, pattern) for pattern in others]
    tables += [listed(result, learnt, pattern) for pattern in ("^few-", "^limit-")]
    parts += [table for table in tables if table.count("\n") > 1]
    for field in ("forces", "virial", "charges"):
        rows = [row for row in result["rows"] if str(row["row"]).startswith(f"{field}-")]
        if rows:
            parts.append(
                f"{field.capitalize()} on atoms, 10, 50 and 90 % given: log-likelihood per "
                "number / MAE / coverage of 50 and of 90 % / number of molecules or frames:"
            )
            shown = (("loglik", 3), ("MAE", 2), ("coverage50", 3), ("coverage90", 3), ("n", 4))
            parts.append(pivot({**result, "rows": rows}, shown))
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
RULES = r"^(joint|bfn)-\d+/"  # rows of so many steps of a sampler, with its rules or without
BETTER = "me-better-"  # begins rows of molecules a part of which is replaced
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


def molecules(result: Mapping[str, Any]) -> str:
    """New molecules, their distances from held-out ones, errors of the targeted
    properties, and the rest row by row.
    """
    own_rows = re.compile("^(qm9/|train/|(joint|latent)/(raw|refined|mmff)$|rdkit/mmff)")
    rows = [
        {**row, "row": str(row["row"]).removeprefix("qm9/")}
        for row in result["rows"]
        if own_rows.search(str(row["row"]))
    ]
    own = {**result, "rows": rows}
    errors = [row for row in result["rows"] if str(row["row"]).startswith("conditional-")]
    errors = [{**row, "row": str(row["row"]).removeprefix("conditional-")} for row in errors]
    replaced = chosen(result, f"^{BETTER}")["rows"]
    replaced = [{**row, "row": str(row["row"]).removeprefix(BETTER)} for row in replaced]
    rules = chosen(result, RULES)
    shown_before = re.compile(f"{own_rows.pattern}|^conditional-|^{BETTER}|{RULES}")
    rest = [row for row in result["rows"] if not shown_before.search(str(row["row"]))]
    families = list(dict.fromkeys(str(row["row"]).partition("/")[0] for row in rest))
    tables = [
        listed(own, MOLECULES),
        listed(own, (*DISTANCES, ("energy_eV_W", 3), ("energy_eV_TV", 2))),
    ]
    tables.append(pivot({**result, "rows": errors}, (("MAE", 3),)))
    shares = [("better", 3), ("valid", 3), ("draws", 4), ("n", 4)]
    better = listed({**result, "rows": replaced}, shares, errors=True)
    if replaced:
        tables.append(
            f"Parts replaced, share of draws that are better than the start, %:\n\n{better}"
        )
    if rules["rows"]:
        shown = [(name, 3) for name in ("molecule_stability", "edm_stability", "valid_unique")]
        columns = [*shown, ("sound", 3), ("calls", 3), ("n", 4)]
        tables.append(f"With and without the rules:\n\n{listed(rules, columns, errors=True)}")
    for family in families:  # a table each: their metrics are others
        part = [row for row in rest if str(row["row"]).startswith(f"{family}/")]
        names = dict.fromkeys(name for row in part for name in row["values"])
        metrics = [(name, 3) for name in names if not name.endswith("_se")]
        tables.append(listed({**result, "rows": part}, metrics, errors=True))
    return "\n\n".join([*(text for text in tables if text.count("\n") > 1), measured_on(result)])


def with_errors(result: Mapping[str, Any], metrics: Sequence[tuple[str, int]]) -> str:
    """A line a row, a column a metric with its standard error, and the row's n."""
    lines = [
        "| | " + " | ".join([*(name.replace("_", " ") for name, _ in metrics), "n"]) + " |",
        "|---|" + "---:|" * (len(metrics) + 1),
    ]
    for row in result["rows"]:
        values, cells = row["values"], []
        for name, digits in metrics:
            text = f"{values[name]:.{digits}f}" if usable(values.get(name)) else "–"
            if usable(values.get(f"{name}_se")):
                text += f" ± {values[f'{name}_se']:.{digits}f}"
            cells.append(text)
        lines.append(f"| {row['row']} | " + " | ".join([*cells, str(values["n"])]) + " |")
    return "\n".join(lines)


def poses(result: Mapping[str, Any]) -> str:
    """Skeletons, then backbones."""
    parts = []
    for system, unit, covered, own in (
        ("skeleton", "m", "0.06", (("bone_error_percent", 2), ("apart", 0))),
        ("hexapeptide", "A", "1", ()),
    ):
        rows = [row for row in result["rows"] if str(row["row"]).startswith(f"{system}/")]
        metrics = [(f"AMR-{letter}_{unit}", 3) for letter in "RP"]
        metrics += [(f"COV-{letter}@{covered}", 0) for letter in "RP"]
        metrics += [*own, ("samples", 0), ("cpu_ms_per_set", 0)]
        if rows:
            parts.append(with_errors({**result, "rows": rows}, metrics))
    return "\n\n".join([*parts, measured_on(result)])


def distance_maps(result: Mapping[str, Any]) -> str:
    """All molecules, small and large ones."""
    metrics = [("AMR-R", 3), ("AMR-P", 3), ("COV-R@0.5", 0), ("valid", 0)]
    metrics += [("AMR-R-small", 3), ("AMR-R-large", 3)]
    return "\n\n".join([with_errors(result, metrics), measured_on(result)])


def elements(result: Mapping[str, Any]) -> str:
    """A line per element, and one of all molecules."""
    metrics = [(f"energy_released{which}_kcal_mol", 1) for which in ("", "_mean", "_worst")]
    metrics += [("above_25", 0), ("answered", 0), ("refined", 0), ("changed", 0)]
    return "\n\n".join([with_errors(result, metrics), measured_on(result)])


def align(result: Mapping[str, Any]) -> str:
    """Pairs of molecules, then clouds of points."""
    pairs = [("found", 0), ("excess_A", 2), ("cpu_ms_per_pair", 0)]
    scans = [("found", 0), ("turn_deg", 2), ("shift_percent", 2), ("ADD_percent", 2), ("cpu_s", 1)]
    parts = [
        with_errors(chosen(result, "^align-"), pairs),
        with_errors(chosen(result, "^cloud-"), scans),
    ]
    return "\n\n".join([*parts, measured_on(result)])


def dipeptides(result: Mapping[str, Any]) -> str:
    """Annealed importance sampling, then replica exchange."""
    annealed = [("ess", 1), ("e_w2_kT", 2), ("e_w2_floor_kT", 2), ("torsion_chi2", 1)]
    annealed += [("first_ess", 0), ("ess_per_cpu_s", 2), ("cpu_s", 0)]
    exchanged = [("ess_per_cpu_s", 2), ("e_w2_of_halves_kT", 2), ("cpu_s", 0)]
    parts = [
        with_errors(chosen(result, "/equidrift$"), annealed),
        with_errors(chosen(result, "/replica-exchange$"), exchanged),
    ]
    return "\n\n".join([*parts, measured_on(result)])


def backbones(result: Mapping[str, Any]) -> str:
    """Trunks on N-body, then the products of spherical features."""
    trunks = [("MSE", 3), ("equivariance_error", 2), ("ms", 3)]
    trunks += [("parameters", 6), ("steps", 6), ("cpu_s", 3), ("n", 5)]
    molecules = [("energy_meV", 3), ("forces_meV_A", 3), *trunks[1:]]
    products = pivot(chosen(result, "^product-"), (("ms", 3), ("couplings", 4)))
    parts = [
        listed(result, trunks, "^nbody/", errors=True),
        listed(result, molecules, "^(rmd17|qm9)", errors=True),
        products,
    ]
    return "\n\n".join([*(part for part in parts if part.count("\n") > 1), measured_on(result)])


RIVALS = (
    ("AMR-R", 3),
    ("AMR-P", 3),
    ("COV-R@0.1", 0),
    ("COV-R@0.5", 0),
    ("failed", 0),
    ("energy_released_kcal_mol", 2),
    ("cpu_ms_per_conformer", 1),
)


def rivals(result: Mapping[str, Any]) -> str:
    """Molecules of QM9, then of drug size: a line per generator."""
    systems = list(dict.fromkeys(str(row["row"]).partition("/")[0] for row in result["rows"]))
    parts = []
    for system in systems:
        rows = [
            {**row, "row": str(row["row"]).partition("/")[2]}
            for row in chosen(result, f"^{system}/")["rows"]
        ]
        parts += [f"`{system}`:", with_errors({**result, "rows": rows}, RIVALS)]
    return "\n\n".join([*parts, measured_on(result)])


TABLES = {
    "rivals": rivals,
    "conformers": conformers,
    "distance-maps": distance_maps,
    "elements": elements,
    "poses": poses,
    "align": align,
    "dipeptides": dipeptides,
    "trajectories": trajectories,
    "sampling": sampling,
    "fields": fields,
    "molecules": molecules,
    "backbones": backbones,
}


def main(given: Sequence[str] | None = None) -> None:
    """Print the tables and update the cards."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", help="benchmarks, default all")
    parser.add_argument(
        "--docs", type=Path, default=DOCS, help="folder of the files bench_NAME.json"
    )
    parser.add_argument(
        "--cards", type=Path, default=ROOT / "models" / "zoo", help="folder of the model cards"
    )
    options = parser.parse_args(given)
    for name, show in TABLES.items():
        path = options.docs / f"bench_{name}.json"
        if not path.exists() or (options.names and name not in options.names):
            continue
        result = json.loads(path.read_text())
        print(f"## {name}\n\n{show(result)}\n")
        if name == "conformers":
            update_cards(result, options.cards)
        elif name == "molecules":
            update_molecule_cards(result, options.cards)
        else:
            update_other_cards(result, options.cards)


if __name__ == "__main__":
    main()

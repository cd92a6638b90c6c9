"""Sections of conformers: one ensemble, a library of them, or a set of new molecules."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equidrift.files.fields import properties_of
from equidrift.records import Ensemble
from equidrift.registry import host_function
from equidrift.report import analysis, known, plots, targets
from equidrift.report.cards import MAX_FRAMES, card
from equidrift.report.parts import Card, Figure, Section, Table, packed
from equidrift.report.sources import rows_of
from equidrift.text import counted
from equidrift.units import KCAL_MOL_PER_EV

MAX_MATRIX = 40  # conformers of an RMSD matrix, the lowest ones
MAX_ROSES = 12  # torsions with a rose
MAX_PLOTS = 6  # properties of a set with a histogram
# energies in kcal/mol, as scores: of the learned energy, and over the lowest conformer
SCORES_OF_ENERGY = ("energy_kcal_mol", "relative_energy_kcal_mol")

Told = Mapping[str, Any]


@dataclass
class Library:
    """What is gathered while the molecules go by, one at a time."""

    told: Told
    details: int
    molecules: int = 0
    conformers: int = 0
    rows: list[list[Any]] = field(default_factory=list)
    keys: Counter[str] = field(default_factory=Counter)
    scores: dict[str, list[float]] = field(default_factory=dict)
    models: Counter[str] = field(default_factory=Counter)
    weights: set[str] = field(default_factory=set)
    seeds: set[int] = field(default_factory=set)
    versions: dict[str, str] = field(default_factory=dict)
    # (model, elements, charge) -> how many molecules: no molecule is kept
    kinds: Counter[tuple[str, tuple[str, ...], int]] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)
    invalid: int = 0

    def cards(self, ensembles: Iterable[Ensemble]) -> Iterator[Card]:
        """A card for each molecule that has conformers."""
        for ensemble in ensembles:
            if len(ensemble):
                self._note(ensemble)
                yield ensemble_card(ensemble, detailed=self.molecules <= self.details)

    def _note(self, ensemble: Ensemble) -> None:
        molecule, origin = ensemble.molecule, ensemble.provenance
        model = str(origin.get("model", "given"))
        self.molecules += 1
        self.conformers += len(ensemble)
        self.models[model] += 1
        if origin.get("weights_sha256"):
            self.weights.update(str(origin["weights_sha256"]).split(" + "))
        if "seed" in origin and isinstance(origin["seed"], int):
            self.seeds.add(origin["seed"])
        versions = origin.get("versions")
        if isinstance(versions, Mapping):
            self.versions |= {str(name): str(value) for name, value in versions.items()}
        self.rejected.update(_counts(origin.get("rejected")))
        self.invalid += int(np.count_nonzero(~np.asarray(ensemble.valid)))
        self.kinds[model, *known.kind_of(molecule)] += 1
        key = str(host_function("rdkit", "canonical_key")(molecule))
        self.keys[key] += 1
        spread = relative_energies(ensemble)
        self.rows.append(
            [
                molecule.name or f"molecule {self.molecules}",
                molecule.smiles or key,
                molecule.n_atoms,
                molecule.charge,
                len(ensemble),
                None if spread is None else float(np.nanmax(spread)),
            ]
        )
        for name, values in ensemble.scores.items():
            self.scores.setdefault(name, []).append(float(values[0]))


def section_of(
    title: str, ensembles: Iterable[Ensemble], told: Told, problems: Sequence[str], details: int
) -> Section:
    """The section of a file of conformers.

    Parameters
    ----------
    title : str
        Name of the file.
    ensembles : iterable of Ensemble
        One for each molecule; they are taken one after the other.
    told : mapping
        The summary of the run that wrote the file, empty if it is not known.
    problems : sequence of str
        Entries that could not be read; it may grow while the ensembles go by.
    details : int
        How many molecules get figures of their own.
    """
    library = Library(told, details)
    chunks = tuple(packed(library.cards(ensembles)))
    made_new = "achieved" in told or told.get("command") == "generate"
    one = library.molecules == 1
    kind = "new molecules" if made_new else "ensemble" if one else "library"
    return Section(
        title=title,
        kind=kind,
        facts=_facts(library),
        warnings=_warnings(library),
        notes=_notes(library),
        figures=[] if one else _overview(library, made_new=made_new),
        tables=_tables(library, problems, made_new=made_new),
        chunks=chunks,
        n_cards=library.molecules,
    )


def relative_energies(ensemble: Ensemble) -> NDArray[np.float64] | None:
    """Energies (n,) over the lowest in kcal/mol, None if there are none: those of the
    ensemble, else those that the model gave as a score.
    """
    columns = [ensemble.scores[name] for name in SCORES_OF_ENERGY if name in ensemble.scores]
    if ensemble.energies_eV is not None:
        columns.insert(0, ensemble.energies_eV * KCAL_MOL_PER_EV)
    for energies in columns:
        if np.isfinite(energies).any():
            return np.asarray(energies - np.nanmin(energies))
    return None


def ensemble_card(ensemble: Ensemble, *, detailed: bool) -> Card:
    """The card of one molecule's conformers; `detailed`: with the figures."""
    relative = relative_energies(ensemble)
    order = np.arange(len(ensemble)) if relative is None else np.argsort(relative, kind="stable")
    kept = order[:MAX_FRAMES]
    lines = [counted(len(ensemble), "conformer")]
    if len(ensemble) > MAX_FRAMES:
        lines.append(f"the first {MAX_FRAMES} are in this page")
    if relative is not None and len(ensemble) > 1:
        lines.append(f"energies up to {np.nanmax(relative):.1f} kcal/mol over the lowest")
    lines += [f"{name} {values[0]:.4g}" for name, values in _own_scores(ensemble).items()][:4]
    chosen = ensemble[kept]
    return card(
        ensemble.molecule,
        chosen.positions_A,
        _labels(chosen, kept, None if relative is None else relative[kept]),
        lines=lines,
        figures=ensemble_figures(ensemble[order]) if detailed else (),
        data=_data(chosen),
    )


def _own_scores(ensemble: Ensemble) -> dict[str, NDArray[np.float64]]:
    return {k: v for k, v in ensemble.scores.items() if k not in SCORES_OF_ENERGY}


def _labels(
    ensemble: Ensemble, numbers: NDArray[np.int64], relative: NDArray[np.float64] | None
) -> list[str]:
    seeds, valid = np.asarray(ensemble.seeds), np.asarray(ensemble.valid)
    drawn = "model" in ensemble.provenance  # conformers of other programs have no seed
    return [
        f"conformer {numbers[k] + 1}"
        + ("" if relative is None else f", {relative[k]:.2f} kcal/mol")
        + (f", seed {seeds[k]}" if drawn else "")
        + ("" if valid[k] else ", fails the checks")
        for k in range(len(ensemble))
    ]


def _data(ensemble: Ensemble) -> dict[str, list[str]]:
    """Fields of the SDF file that the page gives: the user's, then ours."""
    given = properties_of(ensemble)
    names = dict.fromkeys(name for row in given for name in row)
    fields = {name: [row.get(name, "") for row in given] for name in names}
    fields["seed"] = [str(seed) for seed in np.asarray(ensemble.seeds).tolist()]
    numbers = {"energy_eV": ensemble.energies_eV, **ensemble.scores}
    for name, values in numbers.items():
        if values is not None:
            fields[name] = [f"{value:.10g}" for value in values]
    return fields


def ensemble_figures(ensemble: Ensemble) -> list[Figure]:
    """Ladder of energies, matrix of RMSD with its clusters, roses of the torsions; the
    conformers in the order of their energies.
    """
    figures = []
    relative = relative_energies(ensemble)
    if relative is not None and len(ensemble) > 1:
        figures.append(Figure(plots.svg_of(energies_figure(relative)), "Relative energies"))
    if len(ensemble) > 1:
        figures.append(rmsd_section(ensemble))
    angles, names = analysis.torsions_of(ensemble.molecule, ensemble.positions_A)
    if names and len(ensemble) > 1:
        left = f"; the first {MAX_ROSES} of {len(names)}" if len(names) > MAX_ROSES else ""
        told = analysis.atoms_told(names, ensemble.molecule)
        caption = f"Torsions about rotatable bonds{left}{told}"
        drawn = plots.roses(angles[:, :MAX_ROSES], names[:MAX_ROSES])
        figures.append(
            Figure(
                plots.svg_of(drawn),
                caption,
                wide=True,
            )
        )
    return figures


def energies_figure(relative_kcal_mol: NDArray[np.float64]) -> Any:
    """The ladder of relative energies as a matplotlib Figure."""
    figure = plots.canvas()
    finite = relative_kcal_mol[np.isfinite(relative_kcal_mol)]
    plots.energy_ladder(finite, figure.add_subplot())
    return figure


def rmsd_section(ensemble: Ensemble) -> Figure:
    """The matrix of RMSD, and in words how many clusters there are."""
    lowest = ensemble[:MAX_MATRIX]
    matrix = analysis.rmsd_matrix(ensemble.molecule, lowest.positions_A)
    groups = analysis.clusters(matrix)
    sizes = ", ".join(str(len(group)) for group in groups[:10])
    order = [k for group in groups for k in group]
    figure = plots.canvas()
    plots.rmsd_map(matrix[np.ix_(order, order)], figure.add_subplot())
    part = f" of the first {MAX_MATRIX}" if len(ensemble) > MAX_MATRIX else ""
    return Figure(
        plots.svg_of(figure),
        f"Heavy-atom RMSD{part}, sorted by cluster. Clusters within {analysis.CLUSTER_A} Å of "
        f"their first conformer: {len(groups)}, of sizes {sizes}"
        + ("..." if len(groups) > 10 else ""),
    )


def _facts(library: Library) -> dict[str, str]:
    told = library.told
    models = ", ".join(library.models) or "none"
    weights = str(told.get("weights_sha256") or " + ".join(sorted(library.weights)))
    facts = {"molecules": str(library.molecules), "conformers": str(library.conformers)}
    facts |= {"model": models, "weights (sha256)": known.weights_text(models, weights)}
    seed = told.get("seed", ", ".join(map(str, sorted(library.seeds))))
    facts |= {"seed": str(seed)} if str(seed) else {}
    facts |= {name: str(told[name]) for name in ("command", "preset", "effort") if told.get(name)}
    if told.get("drawn"):
        facts["drawn"] = str(told["drawn"])
    rejected = _counts(told.get("rejected")) or library.rejected
    if rejected or told:
        facts["rejected and drawn again"] = (
            ", ".join(f"{reason} {n}" for reason, n in sorted(rejected.items())) or "none"
        )
    if told and not rows_of(told, "failures"):
        facts["failed entries"] = "none"
    if library.versions:
        facts["versions"] = ", ".join(f"{k} {v}" for k, v in library.versions.items())
    return facts


def _warnings(library: Library) -> list[str]:
    weights = str(library.told.get("weights_sha256") or " + ".join(sorted(library.weights)))
    lines = []
    for model in library.models:
        kinds = {
            (symbols, charge): n
            for (name, symbols, charge), n in library.kinds.items()
            if name == model
        }
        lines += known.outside(kinds, known.cards_of(model, weights))
    if library.invalid:
        failing = counted(library.invalid, "conformer", "fails", "fail")
        lines.append(f"{failing} the checks of geometry.")
    return lines


def _notes(library: Library) -> list[str]:
    several = library.conformers > library.molecules  # of one conformer there is no figure
    if several and 1 < library.details < library.molecules:
        first = counted(library.details, "molecule", "has", "have")
        return [
            f"The first {first} figures of energies, RMSD and torsions (--details N changes that)."
        ]
    return []


def _overview(library: Library, *, made_new: bool) -> list[Figure]:
    """Histograms over the molecules; of new molecules those of their properties."""
    figures = []
    names = [name for name in library.scores if name not in SCORES_OF_ENERGY]
    columns = {name: library.scores[name] for name in names} if made_new else {}
    if not made_new:
        columns["atoms"] = [float(row[2]) for row in library.rows]
        columns["conformers"] = [float(row[4]) for row in library.rows]
    aims = targets.targets_of(library.told)
    model, weights = next(iter(library.models), ""), str(library.told.get("weights_sha256") or "")
    for name, column in list(columns.items())[:MAX_PLOTS]:
        values = np.asarray(column)
        figure = plots.canvas(3.6, 2.5)
        training = known.training_of(model, weights, name) if made_new else None
        ax = figure.add_subplot()
        plots.histogram(values[np.isfinite(values)], name, training, ax)
        caption = f"{name} of {counted(len(values), 'molecule')}"
        if name.partition("/")[0] in aims:
            caption += "; dashed: the target"
            ax.axvline(aims[name.partition("/")[0]], color="#b3261e", linestyle="--")
        figures.append(Figure(plots.svg_of(figure), caption))
    return figures + targets.pareto_figures(library.scores, aims)


def _tables(library: Library, problems: Sequence[str], *, made_new: bool) -> list[Table]:
    columns = ["name", "SMILES", "atoms", "charge", "conformers", "energy spread, kcal/mol"]
    tables = [Table("Molecules", columns, library.rows)] if library.molecules > 1 else []
    tables += targets.target_tables(library.told)
    repeated = [[key, n] for key, n in library.keys.most_common() if n > 1]
    if made_new or repeated:
        tables.append(Table("Molecules that come more than once", ["SMILES", "times"], repeated))
    failed = [[one.get("title"), one.get("error")] for one in rows_of(library.told, "failures")]
    failed += [["", text] for text in problems]
    if failed:
        tables.append(Table("Failed entries", ["entry", "reason"], failed))
    noted = [[one.get("title"), one.get("note")] for one in rows_of(library.told, "notes")]
    return tables + ([Table("Notes of the run", ["entry", "note"], noted)] if noted else [])


def _counts(value: object) -> Counter[str]:
    if not isinstance(value, Mapping):
        return Counter()
    return Counter({str(name): int(n) for name, n in value.items() if isinstance(n, int)})

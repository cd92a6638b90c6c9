"""Sections of `equidrift md` runs: acceptance, free energies of torsions with errors,
effective samples, basins, traces.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equidrift.errors import InputError
from equidrift.files.trajectories import load_trajectory
from equidrift.montecarlo.basins import summary
from equidrift.registry import host_function
from equidrift.report import analysis, known, plots
from equidrift.report.parts import Figure, Section, Table, packed
from equidrift.report.sources import Source, checkpoint_beside, topology_of
from equidrift.report.trajectories import molecule_text, player
from equidrift.units import KJ_MOL_PER_EV

Floats = NDArray[np.float64]

MAX_TRACES = 8  # torsions with a trace and a profile


@dataclass(frozen=True, eq=False)
class Chains:
    """What the checkpoints of one or more chains of a run hold.

    Parameters
    ----------
    labels : tuple of str
        (m,) names of the torsions.
    torsions_rad : (n, m) array
        After each cycle, one chain after the other.
    energies_eV : (n,) array
        Potential energies after each cycle.
    lengths : tuple of int
        Cycles of each chain.
    temperature_K : float
        Of all chains.
    meta : tuple of mapping
        Plain data of each checkpoint.
    """

    labels: tuple[str, ...]
    torsions_rad: Floats
    energies_eV: Floats
    lengths: tuple[int, ...]
    temperature_K: float
    meta: tuple[Mapping[str, Any], ...]

    @property
    def acceptance_by_torsion(self) -> list[float | None]:
        """Share of the turns about each torsion that were accepted, None without any."""
        counts = np.zeros((2, len(self.labels)))
        for one in self.meta:
            stored = one["statistics"]
            for row, name in enumerate(("turned", "turned_accepted")):
                if stored[name]:
                    counts[row] += stored[name]
        return [float(a / n) if n else None for n, a in counts.T.tolist()]

    def total(self, name: str) -> int:
        """A count of the proposals, over all chains."""
        return sum(int(one["statistics"][name]) for one in self.meta)


def read_chains(paths: Sequence[Path]) -> Chains:
    """The chains of a run, from their checkpoints.

    Raises
    ------
    InputError
        If a checkpoint is damaged, or the chains are of different molecules.
    """
    read = [host_function("openmm", "read_checkpoint")(checkpoint_beside(one)) for one in paths]
    labels = {tuple(meta["statistics"]["labels"]) for meta, _ in read}
    temperatures = {float(meta["temperature_K"]) for meta, _ in read}
    if len(labels) > 1 or len(temperatures) > 1:
        raise InputError(
            f"{', '.join(map(str, paths))} are no chains of one run: their torsions or "
            "temperatures differ; report on each of them"
        )
    lengths = tuple(len(arrays["energies_eV"]) for _, arrays in read)
    energies = np.concatenate([arrays["energies_eV"] for _, arrays in read])
    names = labels.pop()
    torsions = [
        arrays["torsions_rad"].reshape(n, len(names))
        for (_, arrays), n in zip(read, lengths, strict=True)
    ]
    return Chains(
        labels=names,
        torsions_rad=np.concatenate(torsions),
        energies_eV=energies,
        lengths=lengths,
        temperature_K=temperatures.pop(),
        meta=tuple(meta for meta, _ in read),
    )


def section_of(source: Source, top: str | None) -> Section:
    """The section of one run; errors as `read_chains` and `load_trajectory`."""
    chains = read_chains(source.paths)
    path = source.paths[0]
    trajectory = load_trajectory(path, topology_of(path, top), dt_fs=None)
    enough = min(chains.lengths, default=0) > 1
    found = (
        summary(chains.torsions_rad, chains.labels, chains.temperature_K, chains.lengths)
        if enough and chains.labels
        else {"torsions": [], "states": [], "warnings": []}
    )
    proposer = str(chains.meta[0]["extra"].get("proposer", {}).get("proposer", "none"))
    outside = known.outside(
        {known.kind_of(trajectory.molecule): 1}, known.cards_of(_network(proposer))
    )
    short = [] if enough else ["There are fewer than two cycles: too few for any statistics."]
    return Section(
        title=source.title,
        kind="md run",
        facts=_facts(chains, source.told, molecule_text(trajectory.molecule), proposer),
        warnings=[*found["warnings"], *outside, *short],
        figures=figures_of(chains) if enough else [],
        tables=tables_of(chains, found),
        chunks=tuple(packed([player(trajectory)])),
        n_cards=1,
    )


def _network(proposer: str) -> str:
    """The card of a stored proposer's network; "torsions" is the plain proposer."""
    return "torsions" if proposer == "torsion" else ""


def _facts(chains: Chains, told: Mapping[str, Any], molecule: str, proposer: str) -> dict[str, str]:
    proposed, accepted = chains.total("proposed"), chains.total("accepted")
    facts = {"molecule": molecule, "temperature": f"{chains.temperature_K:g} K"}
    facts["cycles"] = ", ".join(map(str, chains.lengths))
    facts["chains"] = str(len(chains.lengths))
    facts["seed"] = ", ".join(str(meta["seed"]) for meta in chains.meta)
    if proposed:
        facts["proposals accepted"] = f"{accepted} of {proposed} ({accepted / proposed:.1%})"
    facts["proposer"] = proposer
    weights = known.weights_text(_network(proposer), "")
    if weights != "none":
        facts["weights (sha256)"] = weights
    report = chains.meta[0]["extra"].get("adaptation", {})
    for name in ("note", "is"):
        if isinstance(report, Mapping) and report.get(name):
            facts["adaptation"] = str(report[name])
    for name in ("potential", "platform", "time_ps"):
        if told.get(name) is not None:
            facts[name.replace("_ps", ", ps")] = str(told[name])
    mean = float(np.mean(chains.energies_eV)) if len(chains.energies_eV) else float("nan")
    return facts | {"mean potential energy": f"{mean * KJ_MOL_PER_EV:.2f} kJ/mol"}


def figures_of(chains: Chains) -> list[Figure]:
    """Profiles and map of free energies, acceptance, traces of torsions and energy."""
    figures = []
    names = list(chains.labels)
    if names:
        figures.append(Figure(plots.svg_of(profiles_figure(chains)), _PROFILES + _left(names)))
        pair = analysis.map_pair(names)
        if pair is not None:
            figures.append(Figure(plots.svg_of(map_figure(chains, pair)), _MAP, wide=True))
        if any(share is not None for share in chains.acceptance_by_torsion):
            figures.append(Figure(plots.svg_of(acceptance_figure(chains)), _ACCEPTED))
        figures.append(
            Figure(plots.svg_of(traces_figure(chains)), _TRACES + _left(names), wide=True)
        )
    energies = Figure(plots.svg_of(energy_figure(chains)), "Potential energy after each cycle")
    return [*figures, energies]


def energy_figure(chains: Chains) -> Any:
    """Potential energy after each cycle of each chain as a matplotlib Figure."""
    figure = plots.canvas()
    ax = figure.add_subplot()
    for k, part in enumerate(_parts(chains.energies_eV, chains.lengths)):
        ax.plot(part * KJ_MOL_PER_EV, linewidth=0.6, label=f"chain {k + 1}")
    if len(chains.lengths) > 1:
        ax.legend(fontsize=7)
    ax.set(xlabel="cycle", ylabel="potential energy, kJ/mol")
    return figure


def plot_run(outputs: Sequence[Path], png: Path) -> None:
    """Write the free energies along the torsions of a run as PNG; of a molecule without
    torsions, its potential energy.

    Parameters
    ----------
    outputs : sequence of Path
        The trajectories of its chains.
    png : Path
        The picture.
    """
    chains = read_chains(outputs)
    drawn = profiles_figure if chains.labels and min(chains.lengths) > 1 else energy_figure
    plots.save_png(drawn(chains), png)


_PROFILES = "Free energy along each torsion; the band is one standard error"
_MAP = (
    "Free energy over two torsions, and its standard error from the autocorrelation of the chains; "
    "white was never seen"
)
_ACCEPTED = "Turns about each torsion that were accepted, of those proposed (more than 60°)"
_TRACES = "Torsions after each cycle, one chain after the other"


def _left(names: Sequence[str]) -> str:
    first = f"; the first {MAX_TRACES} of {len(names)}" if len(names) > MAX_TRACES else ""
    return first + analysis.atoms_told(names)


def _parts(values: Floats, lengths: Sequence[int]) -> list[Floats]:
    return np.split(values, np.cumsum(lengths)[:-1])


def profiles_figure(chains: Chains) -> Any:
    """Free energy along the torsions as a matplotlib Figure."""
    rows = [
        analysis.torsion_profile(column, chains.temperature_K, chains.lengths)
        for column in chains.torsions_rad.T[:MAX_TRACES]
    ]
    free, errors = [row[1] for row in rows], [row[2] for row in rows]
    return plots.profiles(rows[0][0], free, errors, chains.labels[:MAX_TRACES])


def map_figure(chains: Chains, pair: tuple[int, int]) -> Any:
    """Free energy over two torsions with its error as a matplotlib Figure."""
    first, second = (chains.torsions_rad[:, k] for k in pair)
    free, error = analysis.torsion_map(first, second, chains.temperature_K, chains.lengths)
    return plots.surface(free, error, [chains.labels[k] for k in pair])


def acceptance_figure(chains: Chains) -> Any:
    """Acceptance by torsion as a matplotlib Figure."""
    figure = plots.canvas(plots.WIDTH_IN, 0.9 + 0.25 * len(chains.labels))
    ax = figure.add_subplot()
    shares = [100 * (share or 0.0) for share in chains.acceptance_by_torsion]
    ax.barh(range(len(shares)), shares, color="#2667a8")
    ax.set_yticks(range(len(shares)))
    ax.set_yticklabels(chains.labels, fontsize=7, parse_math=False)
    ax.invert_yaxis()
    ax.set_xlabel("accepted, %")
    return figure


def traces_figure(chains: Chains) -> Any:
    """Each torsion after each cycle as a matplotlib Figure."""
    columns = np.degrees(chains.torsions_rad.T[:MAX_TRACES])
    figure = plots.canvas(plots.WIDTH_IN * 1.4, 0.6 + 0.9 * len(columns))
    for k, column in enumerate(columns):
        ax = figure.add_subplot(len(columns), 1, k + 1)
        ax.plot(column, ",", color="#2667a8")
        ax.set_ylim(-180, 180)
        ax.set_yticks([-180, 0, 180])
        ax.set_ylabel("torsion, °", fontsize=7)
        ax.set_title(chains.labels[k], fontsize=7, parse_math=False)
        for border in np.cumsum(chains.lengths)[:-1]:
            ax.axvline(border, color="#d39e00", linewidth=0.8)
        if k + 1 < len(columns):
            ax.set_xticks([])
    ax.set_xlabel("cycle")
    return figure


def tables_of(chains: Chains, found: Mapping[str, Any]) -> list[Table]:
    """Effective samples, R-hat and acceptance; basins; states."""
    shares = dict(zip(chains.labels, chains.acceptance_by_torsion, strict=True))
    rows = [
        [one["torsion"], shares[one["torsion"]], one["ess"], one["r_hat"], len(one["basins"])]
        for one in found["torsions"]
    ]
    columns = ["torsion", "accepted (share)", "effective samples", "R-hat", "basins"]
    basins = [[one["torsion"], *_basin(b)] for one in found["torsions"] for b in one["basins"]]
    states = [_basin(state) for state in found["states"]]
    tables = [Table("Torsions", columns, rows)] if rows else []
    tables += [Table("Basins", ["torsion", *_BASIN], basins)] if basins else []
    return tables + ([Table("States", _BASIN, states)] if len(chains.labels) > 1 else [])


_BASIN = ["centres, °", "population", "± error", "F, kJ/mol", "± error, kJ/mol", "entries"]


def _basin(basin: Mapping[str, Any]) -> list[Any]:
    return [
        " ".join(f"{angle:.0f}" for angle in basin["centres_deg"]),
        basin["population"],
        basin["population_error"],
        round(basin["free_energy_kJ_mol"], 9) + 0.0,
        basin["free_energy_error_kJ_mol"],
        basin["entries"],
    ]

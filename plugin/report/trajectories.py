"""Sections of trajectories: player, RMSD, radius of gyration, torsions, energy drift."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equidrift.errors import EquidriftError
from equidrift.records import Molecule, Trajectory
from equidrift.registry import host_function
from equidrift.report import analysis, known, plots
from equidrift.report.cards import card, evenly
from equidrift.report.parts import Card, Figure, Section, Table, packed
from equidrift.text import counted
from equidrift.units import KCAL_MOL_PER_EV, PS_PER_FS

Floats = NDArray[np.float64]

MAX_ENERGIES = 300  # frames of which MMFF94 energies are calculated
MAP_COLOURS = "viridis"
MAX_ROSES = 12


def section_of(title: str, trajectory: Trajectory, told: Mapping[str, Any]) -> Section:
    """The section of one trajectory.

    Parameters
    ----------
    title : str
        Name of the file.
    trajectory : Trajectory
        Its frames.
    told : mapping
        The summary of the run that wrote it, empty if it is not known.
    """
    rmsd, rg = rmsd_and_radius(trajectory)
    times_ps = trajectory.time_fs * PS_PER_FS
    figures = [*course(times_ps, rmsd, rg), *torsion_figures(trajectory)]
    drift = energy_drift(trajectory)
    figures += [drift] if drift is not None else []
    table = Table(
        "Frames",
        ["time, ps", "RMSD to the first, Å", "radius of gyration, Å"],
        [list(row) for row in np.stack([times_ps, rmsd, rg], axis=1).round(6).tolist()],
        shown=10,
    )
    model = str(trajectory.provenance.get("model", told.get("model", "given")))
    weights = str(told.get("weights_sha256") or trajectory.provenance.get("weights_sha256") or "")
    return Section(
        title=title,
        kind="trajectory",
        facts=_facts(trajectory, told, model, weights),
        warnings=known.outside(
            {known.kind_of(trajectory.molecule): 1}, known.cards_of(model, weights)
        ),
        figures=figures,
        tables=[table],
        chunks=tuple(packed([player(trajectory)])),
        n_cards=1,
    )


def _facts(
    trajectory: Trajectory, told: Mapping[str, Any], model: str, weights: str
) -> dict[str, str]:
    molecule = trajectory.molecule
    facts = {"molecule": molecule_text(molecule), "atoms": str(molecule.n_atoms)}
    facts["frames"] = str(len(trajectory))
    facts["time"] = (
        f"{trajectory.time_fs[0] * PS_PER_FS:g} to {trajectory.time_fs[-1] * PS_PER_FS:g} ps"
    )
    facts |= {"model": model, "weights (sha256)": known.weights_text(model, weights)}
    origin = {**trajectory.provenance, **told}
    for name in ("command", "seed", "seeds", "exact", "source", "versions"):
        if origin.get(name) not in (None, ""):
            facts[name] = str(origin[name])
    return facts


def molecule_text(molecule: Molecule) -> str:
    """Its name, else its SMILES."""
    given = molecule.name or molecule.smiles
    return given or str(host_function("rdkit", "canonical_key")(molecule))


def player(trajectory: Trajectory) -> Card:
    """The card whose frames are played, at most `MAX_FRAMES` of them."""
    picked = evenly(len(trajectory))
    shown = trajectory[picked]
    lines = [f"{counted(len(trajectory), 'frame')}"]
    if len(picked) < len(trajectory):
        lines.append(f"{len(picked)} of them, evenly spread, are in this page")
    labels = [
        f"frame {k + 1}, {time * PS_PER_FS:g} ps"
        for k, time in zip(picked.tolist(), shown.time_fs.tolist(), strict=True)
    ]
    times = {"time_fs": [f"{time:.10g}" for time in shown.time_fs]}
    return card(
        trajectory.molecule, shown.positions_A, labels, lines=lines, data=times, frames=True
    )


def rmsd_and_radius(trajectory: Trajectory) -> tuple[Floats, Floats]:
    """Heavy-atom RMSD to the first frame and radius of gyration, each (n_frames,) in A."""
    x = trajectory.positions_A
    rmsd = analysis.rmsd_to(trajectory.molecule, x, x[0])
    return rmsd, analysis.radius_of_gyration(trajectory.molecule, x)


def course(times_ps: Floats, rmsd: Floats, rg: Floats) -> list[Figure]:
    """RMSD and radius of gyration in time."""
    figures = []
    for values, label, caption in (
        (rmsd, "RMSD, Å", "Heavy-atom RMSD to the first frame"),
        (rg, "radius of gyration, Å", "Radius of gyration of the heavy atoms"),
    ):
        figure = plots.canvas()
        plots.lines(times_ps, {label: values}, "time, ps", label, figure.add_subplot())
        figures.append(Figure(plots.svg_of(figure), caption))
    return figures


def torsion_figures(trajectory: Trajectory) -> list[Figure]:
    """Roses of the torsions, and where two of them are together."""
    angles, names = analysis.torsions_of(trajectory.molecule, trajectory.positions_A)
    if not names:
        return []
    left = f"; the first {MAX_ROSES} of {len(names)}" if len(names) > MAX_ROSES else ""
    told = analysis.atoms_told(names, trajectory.molecule)
    caption = f"Torsions about rotatable bonds{left}{told}"
    drawn = plots.roses(angles[:, :MAX_ROSES], names[:MAX_ROSES])
    figures = [
        Figure(
            plots.svg_of(drawn),
            caption,
            wide=True,
        )
    ]
    pair = analysis.map_pair(names)
    if pair is not None:
        figures.append(_torsion_path(angles, pair, names, trajectory.time_fs * PS_PER_FS))
    return figures


def _torsion_path(angles: Floats, pair: tuple[int, int], names: list[str], ps: Floats) -> Figure:
    """The frames in the plane of two torsions, coloured by time."""
    figure = plots.canvas()
    ax = figure.add_subplot()
    first, second = (np.degrees(angles[:, k]) for k in pair)
    points = ax.scatter(first, second, c=ps, s=8, cmap=MAP_COLOURS)
    figure.colorbar(points, ax=ax, label="time, ps")
    ax.set(xlim=(-180, 180), ylim=(-180, 180), aspect="equal")
    ax.set_xlabel(f"{names[pair[0]]}, °", parse_math=False)
    ax.set_ylabel(f"{names[pair[1]]}, °", parse_math=False)
    return Figure(plots.svg_of(figure), "Two torsions together, each frame a point")


def energy_drift(trajectory: Trajectory) -> Figure | None:
    """MMFF94 energies of the frames and their slope, None if MMFF94 cannot type the
    molecule.
    """
    if len(trajectory) < 3:
        return None
    try:
        energy = host_function("rdkit", "MMFFEnergy")(trajectory.molecule)
    except EquidriftError:
        return None
    picked = evenly(len(trajectory), MAX_ENERGIES)
    frames = trajectory.positions_A[picked]
    kcal = np.array([energy(x)[0] for x in frames]) * KCAL_MOL_PER_EV
    ps = trajectory.time_fs[picked] * PS_PER_FS
    slope, error = slope_with_error(ps, kcal)
    figure = plots.canvas()
    label = "MMFF94 energy, kcal/mol"
    plots.lines(ps, {label: kcal}, "time, ps", label, figure.add_subplot())
    return Figure(
        plots.svg_of(figure),
        f"Energy of the frames by MMFF94 (not by the force field of the run): drift "
        f"{slope:.3g} ± {error:.2g} kcal/mol per ps by least squares, frames taken as independent",
    )


def slope_with_error(x: Floats, y: Floats) -> tuple[float, float]:
    """Slope of y over x by least squares, and its standard error for independent
    residuals.
    """
    dx = x - x.mean()
    spread = float(np.square(dx).sum())
    if not spread:
        return float("nan"), float("nan")
    slope = float((dx * (y - y.mean())).sum() / spread)
    left = y - y.mean() - slope * dx
    return slope, float(np.sqrt(np.square(left).sum() / max(1, len(x) - 2) / spread))

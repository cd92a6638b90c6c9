"""How records show themselves in a notebook: a table, and a 3D view if a viewer is
installed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equidrift.errors import InputError, MissingDependencyError
from equidrift.files.fields import properties_of
from equidrift.records import Ensemble, Molecule, Trajectory
from equidrift.registry import host_function
from equidrift.report import analysis, plots
from equidrift.report.cards import evenly
from equidrift.report.ensembles import energies_figure, relative_energies
from equidrift.report.page import cell_text
from equidrift.text import counted
from equidrift.units import PS_PER_FS

MAX_ROWS = 10  # conformers or frames in a table
MAX_VIEWED = 100  # conformers or frames in a 3D view
MAX_RMSD = 100  # conformers of a matrix of RMSD
WIDTH, HEIGHT = 480, 320  # px
VIEWERS = ("py3Dmol", "nglview")

Row = Mapping[str, object]


def molecule_html(molecule: Molecule) -> str:
    """A molecule: its picture and its numbers."""
    facts: dict[str, object] = {"name": molecule.name} if molecule.name else {}
    facts |= {"SMILES": molecule.smiles or "not known", "atoms": molecule.n_atoms}
    facts |= {"charge": molecule.charge, "multiplicity": molecule.multiplicity}
    facts |= dict(molecule.properties)
    return (
        f"<div>{host_function('rdkit', 'depiction')(molecule)}{_table([facts], upright=True)}</div>"
    )


def html(record: Molecule | Ensemble | Trajectory) -> str:
    """What a notebook shows of a record."""
    if isinstance(record, Molecule):
        return molecule_html(record)
    if isinstance(record, Trajectory):
        return trajectory_html(record)
    return ensemble_html(record)


def ensemble_html(ensemble: Ensemble) -> str:
    """Conformers: a row for each, and a 3D view by py3Dmol if that is installed."""
    relative = relative_energies(ensemble)
    given = properties_of(ensemble[:MAX_ROWS])
    rows = []
    for k in range(min(len(ensemble), MAX_ROWS)):
        row: dict[str, object] = {"conformer": k + 1, "seed": int(np.asarray(ensemble.seeds)[k])}
        row["valid"] = bool(np.asarray(ensemble.valid)[k])
        row |= {} if relative is None else {"kcal/mol over the lowest": float(relative[k])}
        row |= {name: float(values[k]) for name, values in ensemble.scores.items()}
        rows.append({**row, **given[k]})
    told = f"<p>{escape(repr(ensemble))}</p>"
    return f"<div>{told}{_seen(ensemble)}{_table(rows)}{_left(ensemble)}</div>"


def trajectory_html(trajectory: Trajectory) -> str:
    """Frames: a row for each of the first, and a 3D view by py3Dmol if that is installed."""
    shown = trajectory[:MAX_ROWS]
    rows: list[Row] = []
    if len(shown):
        x = shown.positions_A
        rmsd = analysis.rmsd_to(trajectory.molecule, x, x[0])
        radius = analysis.radius_of_gyration(trajectory.molecule, x)
        rows = [
            {
                "frame": k + 1,
                "time, ps": float(shown.time_fs[k]) * PS_PER_FS,
                "RMSD to the first, Å": float(rmsd[k]),
                "radius of gyration, Å": float(radius[k]),
            }
            for k in range(len(shown))
        ]
    told = f"<p>{escape(repr(trajectory))}</p>"
    return f"<div>{told}{_seen(trajectory)}{_table(rows)}{_left(trajectory)}</div>"


def _left(record: Ensemble | Trajectory) -> str:
    left = len(record) - MAX_ROWS
    return f"<p>and {left} more</p>" if left > 0 else ""


def _table(rows: Sequence[Row], *, upright: bool = False) -> str:
    """Rows under their columns; `upright`: one row, each of its values in a line."""
    if upright:
        lines = ((name, value) for row in rows for name, value in row.items())
        cells = (f"<th>{escape(name)}</th><td>{escape(cell_text(v))}</td>" for name, v in lines)
        return f"<table>{''.join(f'<tr>{cell}</tr>' for cell in cells)}</table>"
    columns = list(dict.fromkeys(name for row in rows for name in row))
    head = "".join(f"<th>{escape(name)}</th>" for name in columns)
    body = "".join(
        "<tr>"
        + "".join(f"<td>{escape(cell_text(row.get(name)))}</td>" for name in columns)
        + "</tr>"
        for row in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>" if rows else ""


def _seen(record: Ensemble | Trajectory) -> str:
    """The 3D view as HTML; nothing if there is no py3Dmol or nothing to see."""
    if not len(record) or find_spec("py3Dmol") is None:
        return ""
    # its `_repr_html_` shows the view by itself, and returns nothing
    return str(_by_py3dmol(record).write_html())


def view(record: Ensemble | Trajectory) -> Any:
    """A 3D view: of py3Dmol if it is installed, else of nglview.

    Raises
    ------
    MissingDependencyError
        If neither is installed.
    InputError
        If there is no conformer.
    """
    if not len(record):
        raise InputError(f"{record!r} has nothing to show; sample conformers first")
    if find_spec("py3Dmol") is not None:
        return _by_py3dmol(record)
    if find_spec("nglview") is not None:
        import nglview

        return nglview.show_mdanalysis(record.to_mdanalysis())
    raise MissingDependencyError("py3Dmol", "notebook")


def _by_py3dmol(record: Ensemble | Trajectory) -> Any:
    """Frames that play if they follow each other in time; else conformers on each other."""
    import py3Dmol

    picked = evenly(len(record), MAX_VIEWED)
    x = record.positions_A[picked]
    laid = analysis.aligned(record.molecule, x, x[0])
    # py3Dmol puts the text into a script as it is: a name could end that
    nameless = record.molecule.replace(name="", properties={})
    records = [host_function("rdkit", "mol_block")(nameless, one) for one in laid]
    text = "".join(f"{block}$$$$\n" for block in records)
    shown = py3Dmol.view(width=WIDTH, height=HEIGHT)
    if isinstance(record, Trajectory):
        shown.addModelsAsFrames(text, "sdf")
        shown.animate({"loop": "forward"})
    else:
        shown.addModels(text, "sdf")
    shown.setStyle({"stick": {"radius": 0.1}})
    shown.zoomTo()
    return shown


def plot_energies(ensemble: Ensemble) -> Any:
    """The ladder of relative energies in kcal/mol, as a matplotlib Figure.

    Raises
    ------
    InputError
        If the ensemble has no energies.
    """
    relative = relative_energies(ensemble)
    if relative is None:
        raise InputError(
            f"{ensemble!r} has no energies to plot; sample it with relax='mmff', or relax it by "
            "equidrift.relax"
        )
    return energies_figure(relative)


def plot_rmsd(ensemble: Ensemble) -> Any:
    """Heavy-atom RMSD in A between the conformers, in the order of their energies if
    they have any, as a matplotlib Figure.

    Raises
    ------
    InputError
        If there are fewer than two conformers, or more than `MAX_RMSD`.
    """
    if not 2 <= len(ensemble) <= MAX_RMSD:
        raise InputError(
            f"plot_rmsd takes 2 to {counted(MAX_RMSD, 'conformer')}, not {len(ensemble)}; "
            f"pick some of them: ensemble[:{MAX_RMSD}].plot_rmsd()"
        )
    ordered = ensemble[_order(ensemble)]
    figure = plots.canvas()
    matrix = analysis.rmsd_matrix(ordered.molecule, ordered.positions_A)
    plots.rmsd_map(matrix, figure.add_subplot())
    return figure


def _order(ensemble: Ensemble) -> NDArray[np.int64]:
    relative = relative_energies(ensemble)
    return np.arange(len(ensemble)) if relative is None else np.argsort(relative, kind="stable")

"""How records show themselves in a notebook."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import equidrift
from equidrift.errors import InputError, MissingDependencyError
from equidrift.report import notebook

EVIL = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def propanol() -> equidrift.Ensemble:
    return equidrift.sample(
        equidrift.Molecule.from_smiles("CCCO", EVIL), 4, model="etkdg", relax="mmff"
    )


class FakeView:
    """What py3Dmol's view is called with."""

    def __init__(self, **size: int) -> None:
        self.size, self.calls = size, []  # type: ignore[var-annotated]

    def __getattr__(self, name: str) -> Any:
        return lambda *arguments: self.calls.append((name, arguments))

    def write_html(self) -> str:
        return "<div>viewer</div>"


@pytest.fixture
def with_py3dmol(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("py3Dmol")
    module.view = FakeView  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "py3Dmol", module)
    monkeypatch.setattr(notebook, "find_spec", lambda name: name == "py3Dmol" or None)


@pytest.fixture
def without_viewer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notebook, "find_spec", lambda name: None)


def trajectory_of(ensemble: equidrift.Ensemble) -> equidrift.Trajectory:
    return equidrift.Trajectory(ensemble.molecule, ensemble.positions_A, 5.0 * np.arange(4))


@pytest.mark.usefixtures("without_viewer")
def test_records_show_a_plain_table_without_a_viewer(propanol: equidrift.Ensemble) -> None:
    for record in (propanol, trajectory_of(propanol), propanol.molecule):
        html = record._repr_html_()
        assert "<table>" in html and EVIL not in html and "viewer" not in html
    assert propanol._repr_html_().count("<tr>") == 5
    assert "<svg" in propanol.molecule._repr_html_()


@pytest.mark.usefixtures("with_py3dmol")
def test_records_show_a_3d_view_with_py3dmol(propanol: equidrift.Ensemble) -> None:
    assert "<div>viewer</div>" in propanol._repr_html_()
    assert "<div>viewer</div>" in trajectory_of(propanol)._repr_html_()
    conformers, frames = propanol.view(), trajectory_of(propanol).view()
    assert conformers.calls[0][0] == "addModels"
    assert conformers.calls[0][1][0].count("$$$$") == 4
    assert [name for name, _ in frames.calls][:2] == ["addModelsAsFrames", "animate"]


def test_view_is_py3dmols_own_where_it_is_installed(propanol: equidrift.Ensemble) -> None:
    py3dmol = pytest.importorskip("py3Dmol")
    for record in (propanol, trajectory_of(propanol)):
        assert isinstance(record.view(), py3dmol.view)
        html = record._repr_html_()
        assert "3dmolviewer" in html and "addModels" in html
        assert EVIL not in html, "a name is no script"


@pytest.mark.usefixtures("without_viewer")
def test_view_names_what_to_install_when_there_is_no_viewer(
    propanol: equidrift.Ensemble,
) -> None:
    with pytest.raises(MissingDependencyError, match=r"equidrift\[notebook\]"):
        propanol.view()
    with pytest.raises(InputError, match="nothing to show"):
        propanol[[]].view()


def test_plot_energies_draws_a_rung_for_each_conformer(propanol: equidrift.Ensemble) -> None:
    figure = propanol.plot_energies()
    rungs = figure.axes[0].collections[0].get_segments()
    assert propanol.energies_eV is not None
    wanted = (np.sort(propanol.energies_eV) - propanol.energies_eV.min()) * 23.0605
    assert np.allclose([rung[0][1] for rung in rungs], wanted, atol=1e-3)
    assert "<svg" in figure._repr_svg_()


def test_plot_energies_says_how_to_get_energies_when_there_are_none(
    propanol: equidrift.Ensemble,
) -> None:
    with pytest.raises(InputError, match="no energies"):
        propanol.replace(energies_eV=None, scores={}).plot_energies()


def test_plot_rmsd_draws_the_matrix(propanol: equidrift.Ensemble) -> None:
    matrix = np.asarray(propanol.plot_rmsd().axes[0].images[0].get_array())
    assert matrix.shape == (4, 4)
    assert np.allclose(matrix, matrix.T, atol=1e-3) and np.allclose(np.diag(matrix), 0, atol=1e-3)
    assert (matrix[~np.eye(4, dtype=bool)] > 0.01).any()


def test_plot_rmsd_refuses_a_single_conformer(propanol: equidrift.Ensemble) -> None:
    with pytest.raises(InputError, match="2 to"):
        propanol[0].plot_rmsd()


def test_plots_leave_pyplot_alone(propanol: equidrift.Ensemble) -> None:
    import matplotlib

    before = dict(matplotlib.rcParams)
    propanol.plot_energies()._repr_svg_()
    assert dict(matplotlib.rcParams) == before

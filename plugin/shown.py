"""How records show themselves in a notebook; `equidrift.report.notebook` draws it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NOTEBOOK = "equidrift.report.notebook"


class Tabled:
    """A record that a notebook shows as a table."""

    def _repr_html_(self) -> str:
        from equidrift.registry import resolve

        return str(resolve(f"{NOTEBOOK}:html")(self))


class Viewed(Tabled):
    """A record of positions, whose table has a 3D view, and that view alone."""

    def view(self) -> Any:
        """In 3D by py3Dmol, or else by nglview: conformers on each other, frames played.

        Returns
        -------
        py3Dmol.view or nglview.NGLWidget
            What a notebook shows.

        Raises
        ------
        MissingDependencyError
            If neither is installed.

        Examples
        --------
        >>> import equidrift
        >>> ensemble = equidrift.sample("CCO", 2, model="etkdg")
        >>> ensemble.view()  # doctest: +SKIP
        """
        from equidrift.registry import resolve

        return resolve(f"{NOTEBOOK}:view")(self)


class Plotted(Viewed):
    """Conformers, of which energies and RMSD can be drawn: as figures of matplotlib,
    without pyplot's state, that `savefig` writes.
    """

    def plot_energies(self) -> Figure:
        """The relative energies in kcal/mol.

        Returns
        -------
        matplotlib.figure.Figure
            A rung for each conformer.

        Raises
        ------
        InputError
            If the conformers have no energies.

        Examples
        --------
        >>> import equidrift
        >>> ensemble = equidrift.sample("CCCO", 3, model="etkdg", relax="mmff")
        >>> len(ensemble.plot_energies().axes)
        1
        """
        from equidrift.registry import resolve

        figure: Figure = resolve(f"{NOTEBOOK}:plot_energies")(self)
        return figure

    def plot_rmsd(self) -> Figure:
        """The heavy-atom RMSD in A between each two conformers.

        Returns
        -------
        matplotlib.figure.Figure
            The matrix, its rows in the order of the energies, else as they were drawn.

        Examples
        --------
        >>> import equidrift
        >>> ensemble = equidrift.sample("CCCO", 3, model="etkdg")
        >>> ensemble.plot_rmsd().axes[0].get_xlabel()
        'conformer'
        """
        from equidrift.registry import resolve

        figure: Figure = resolve(f"{NOTEBOOK}:plot_rmsd")(self)
        return figure

"""Ensembles as tables of pandas, in the manner of RDKit's PandasTools."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from rdkit import Chem

from equidrift.errors import InputError, MissingDependencyError
from equidrift.records import Ensemble

if TYPE_CHECKING:
    import pandas

MOL, NAME, SMILES = "ROMol", "ID", "SMILES"  # columns, named as PandasTools.LoadSDF names them


def to_frame(ensembles: Ensemble | Iterable[Ensemble]) -> pandas.DataFrame:
    """A table with one row per conformer.

    Parameters
    ----------
    ensembles : Ensemble or iterable of Ensemble
        One or several molecules.

    Returns
    -------
    pandas.DataFrame
        Columns `ID` (the molecule's name), `SMILES`, `ROMol` (an RDKit Mol with this one
        conformer, in A), `sample` (counting from 0 in each molecule), and what is known of
        the conformer: `seed`, `valid`, `energy_eV`, `log_prob`, the scores, the properties
        of conformers and molecules. `PandasTools.WriteSDF` and `SaveXlsxFromFrame` take it.

    Raises
    ------
    MissingDependencyError
        If pandas is not installed.
    InputError
        If there is no conformer.

    Examples
    --------
    >>> import equidrift
    >>> frame = to_frame(equidrift.sample("CCO", 2, model="etkdg", relax="mmff"))
    >>> frame["energy_eV"].shape, frame["ROMol"][0].GetNumConformers()
    ((2,), 1)
    """
    try:
        import pandas
    except ImportError as error:
        raise MissingDependencyError(
            "pandas is not installed; install it: pip install pandas"
        ) from error
    several = [ensembles] if isinstance(ensembles, Ensemble) else list(ensembles)
    rows = [row for ensemble in several for row in _rows(ensemble)]
    if not rows:
        raise InputError("there is no conformer; give an ensemble with at least one")
    return pandas.DataFrame(rows)


def _rows(ensemble: Ensemble) -> Iterable[dict[str, Any]]:
    molecule = ensemble.molecule
    for k in range(len(ensemble)):
        mol = ensemble[k].to_rdkit()
        conformer = mol.GetConformer()
        own = conformer.GetPropsAsDict(includePrivate=False, includeComputed=False)
        seed = {} if ensemble.seeds is None else {"seed": int(ensemble.seeds[k])}
        named = {
            NAME: molecule.name,
            SMILES: molecule.smiles or Chem.MolToSmiles(Chem.RemoveHs(mol)),
        }
        yield {**named, MOL: mol, "sample": k, **molecule.properties, **own, **seed}

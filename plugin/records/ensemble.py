"""Conformers of one molecule."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from equidrift.errors import InputError
from equidrift.frozen import Pick, frozen_array, text_columns
from equidrift.records.geometries import Geometries
from equidrift.shown import Plotted
from equidrift.text import counted
from equidrift.units import BOLTZMANN_EV_PER_K

if TYPE_CHECKING:
    import pandas
    from rdkit import Chem


@dataclass(frozen=True, eq=False)
class Ensemble(Plotted, Geometries):
    """Conformers of one molecule.

    Parameters
    ----------
    molecule : Molecule
        Their graph.
    positions_A : (n_samples, n_atoms, 3) array_like
        Coordinates in A.
    seeds : (n_samples,) array_like of int, optional
        What each sample was drawn from; 0, 1, ... if None.
    log_prob : (n_samples,) array_like, optional
        Log densities of the samples, if the model has them.
    energies_eV : (n_samples,) array_like, optional
        Energies in eV; provenance["energies"] says whose.
    valid : (n_samples,) array_like of bool, optional
        Which samples pass the checks; all if None.
    scores : mapping
        Name -> (n_samples,) further numbers.
    provenance : mapping
        Model, weights hash, options and versions.
    properties : mapping
        Name -> n_samples texts that came with the samples and are not the same for all,
        such as the fields of an SDF file (what is the same is in
        `molecule.properties`); the titles of the samples, if they differ, under
        "_Name".

    Raises
    ------
    InputError
        If shapes do not fit each other or the molecule.

    Examples
    --------
    >>> import equidrift
    >>> ethanol = equidrift.Molecule.from_smiles("CCO")
    >>> ensemble = equidrift.Ensemble(ethanol, [[[0.0, 0.0, 1.5 * k] for k in range(9)]])
    >>> len(ensemble), ensemble.molecule.n_atoms
    (1, 9)
    """

    seeds: NDArray[np.int64] | None = None
    log_prob: NDArray[np.float64] | None = None
    energies_eV: NDArray[np.float64] | None = None
    valid: NDArray[np.bool_] | None = None
    scores: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    properties: Mapping[str, Sequence[str]] = field(default_factory=dict)

    _SAVE: ClassVar[str] = "equidrift.files.ensembles:save"
    _TO_ASE: ClassVar[str] = "equidrift.adapters.ase.atoms:to_atoms"

    def __post_init__(self) -> None:
        super().__post_init__()
        put, n = object.__setattr__, len(self)
        seeds = np.arange(n) if self.seeds is None else self.seeds
        put(self, "seeds", frozen_array(seeds, np.int64, (n,), "seeds"))
        valid = np.ones(n, bool) if self.valid is None else self.valid
        put(self, "valid", frozen_array(valid, np.bool_, (n,), "valid"))
        for label, value in self.named(("log_prob", "energies_eV")).items():
            if value is not None:
                put(self, label, frozen_array(value, np.float64, (n,), label))
        scores = {
            key: frozen_array(value, np.float64, (n,), f"scores[{key!r}]")
            for key, value in self.scores.items()
        }
        put(self, "scores", MappingProxyType(scores))
        put(self, "provenance", MappingProxyType(dict(self.provenance)))
        put(self, "properties", MappingProxyType(text_columns(self.properties, n)))

    def __getitem__(self, index: Pick) -> Ensemble:
        """The samples that `index` (int, slice, mask or list) picks, as an Ensemble."""
        pick = np.arange(len(self))[index]
        pick = np.atleast_1d(pick)
        return dataclasses.replace(
            self,
            positions_A=self.positions_A[pick],
            seeds=self.seeds[pick] if self.seeds is not None else None,
            log_prob=None if self.log_prob is None else self.log_prob[pick],
            energies_eV=None if self.energies_eV is None else self.energies_eV[pick],
            valid=self.valid[pick] if self.valid is not None else None,
            scores={key: value[pick] for key, value in self.scores.items()},
            properties={
                key: [texts[k] for k in pick.tolist()] for key, texts in self.properties.items()
            },
        )

    def __repr__(self) -> str:
        model = self.provenance.get("model", "?")
        return f"Ensemble({self.molecule!r}, {counted(len(self), 'conformer')}, model {model})"

    def boltzmann_weights(self, temperature_K: float = 298.15) -> NDArray[np.float64]:
        """Weights of the conformers by their energies.

        Each conformer counts once, without the width of its basin: an ensemble of
        distinct, relaxed conformers (`distinct=True`, `relax=`) is meant.

        Parameters
        ----------
        temperature_K : float
            Above 0.

        Returns
        -------
        (n_samples,) array
            exp(-E / kT), with the sum 1; 0 for a conformer without energy.

        Raises
        ------
        InputError
            If no conformer has an energy; for a temperature that is not above 0 and
            finite.

        Examples
        --------
        >>> import equidrift
        >>> water = equidrift.Molecule.from_smiles("O")
        >>> two = equidrift.Ensemble(water, [[[0, 0, k] for k in range(3)]] * 2)
        >>> two.replace(energies_eV=[0.0, 0.05]).boltzmann_weights(300.0).round(2)
        array([0.87, 0.13])
        """
        if not 0 < temperature_K < np.inf:
            raise InputError(
                f"temperature_K must be above 0 and finite, not {temperature_K}; give for "
                "example 298.15"
            )
        if self.energies_eV is None or not np.isfinite(self.energies_eV).any():
            raise InputError(
                f"{self!r} has no energies; relax it (relax='mmff' of equidrift.sample), or set "
                "them: ensemble.replace(energies_eV=...)"
            )
        above_eV = self.energies_eV - np.nanmin(self.energies_eV)
        weights = np.exp(
            -np.nan_to_num(above_eV, nan=np.inf) / (BOLTZMANN_EV_PER_K * temperature_K)
        )
        return np.asarray(weights / weights.sum())

    def to_rdkit(self) -> Chem.Mol:
        """An RDKit Mol with one conformer per sample, in A.

        Returns
        -------
        Chem.Mol
            With name, isotopes, atom maps and the molecule's properties; each conformer
            has `seed`, `valid`, `energy_eV`, `log_prob`, the scores and the sample's own
            properties. `equidrift.refine` and its kin read them back.

        Examples
        --------
        >>> import equidrift
        >>> equidrift.sample("CCO", 2, model="etkdg").to_rdkit().GetNumConformers()
        2
        """
        from equidrift.registry import resolve

        mol: Chem.Mol = resolve("equidrift.adapters.rdkit.carried:carried_mol")(self)
        return mol

    def to_pandas(self) -> pandas.DataFrame:
        """A table as RDKit's PandasTools make it, one row per conformer.

        Returns
        -------
        pandas.DataFrame
            See `equidrift.adapters.rdkit.frames.to_frame`.

        Examples
        --------
        >>> import equidrift
        >>> ensemble = equidrift.sample("CCO", 2, model="etkdg")
        >>> len(ensemble.to_pandas())  # doctest: +SKIP
        2
        """
        from equidrift.registry import resolve

        return resolve("equidrift.adapters.rdkit.frames:to_frame")(self)

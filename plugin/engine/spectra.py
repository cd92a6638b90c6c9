"""A spectrum that new molecules are made for: read and checked, and how well each
molecule fits it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np

from equidrift.checks.molecule import Raw
from equidrift.errors import InputError, UnknownNameError, WeightsError
from equidrift.geometry import Floats
from equidrift.protocols import MoleculeModel
from equidrift.registry import host_function
from equidrift.spectrum import GRID_CM1, HOW_TO_TRAIN, MODEL, spectrum_of

SCORE = "spectrum_log_likelihood"  # of a molecule, by its name in `scores`


def model_for(model: object, spectrum: object) -> object:
    """The model that is asked for; that of spectra if it is the default one, and there is
    a spectrum.
    """
    return MODEL if model == "default" and spectrum is not None else model


def check_spectrum(spectrum: object, model: MoleculeModel) -> Floats:
    """The spectrum as a vector (bins,); see `equidrift.spectrum.spectrum_of`.

    Raises
    ------
    InputError, InputTypeError
        If it cannot be read, or the model takes none.
    """
    vector = spectrum_of(spectrum)
    if not model.takes_spectrum:
        raise InputError(f"the model {model.name!r} takes no spectrum. {HOW_TO_TRAIN}")
    return vector


def spectrum_told(vector: Floats) -> dict[str, object]:
    """What the provenance says of a spectrum (bins,)."""
    known = np.flatnonzero(~np.isnan(vector))
    relative = vector / np.nanmean(vector)
    return {
        "sha256": hashlib.sha256(np.round(relative, 4).tobytes()).hexdigest()[:12],
        "from_cm1": float(GRID_CM1[known[0]]),
        "to_cm1": float(GRID_CM1[known[-1]]),
    }


def spectrum_scores(vector: Floats, systems: Sequence[Raw]) -> dict[str, Floats]:
    """How likely the spectrum is for each molecule, up to a constant, by the network that
    ranks molecules (weights `spectra`); nothing if its weights are not there.
    """
    try:
        values: Floats = host_function("molecules", "spectrum_likelihood")(vector, systems)
    except (WeightsError, UnknownNameError):
        return {}
    return {SCORE: values}


def spectrum_fit(scores: Mapping[str, Sequence[float]]) -> dict[str, dict[str, float]]:
    """Mean and greatest of the molecules' scores, of those that have one."""
    values = [value for value in scores.get(SCORE, ()) if np.isfinite(value)]
    if not values:
        return {}
    return {SCORE: {"mean": sum(values) / len(values), "greatest": max(values)}}

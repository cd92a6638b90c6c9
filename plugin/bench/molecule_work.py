"""What `equidrift bench molecules` does to one molecule or one batch of samples: plain
functions, so that a pool of processes can be given them.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equidrift.adapters.ase.xtb import gfn2_values
from equidrift.adapters.rdkit.relaxing import mmff_relax
from equidrift.checks.molecule import Raw
from equidrift.errors import EquidriftError
from equidrift.protocols import BatchedMoleculeModel, MoleculeModel
from equidrift.registry import make_model, make_molecule_model


def one_thread() -> None:
    """Keep a process of the pool to one core."""
    os.environ["OMP_NUM_THREADS"] = "1"


BATCH = 125  # samples that a process draws at once


def in_parts(count: int) -> list[slice]:
    """Slices of at most `BATCH` that cover `count`."""
    return [slice(k, min(k + BATCH, count)) for k in range(0, count, BATCH)]


def spread(systems: Sequence[Any], count: int) -> list[Any]:
    """At most `count` of them, evenly."""
    return [
        systems[k] for k in np.linspace(0, len(systems) - 1, min(count, len(systems))).astype(int)
    ]


def values_of_one(system: Raw) -> dict[str, NDArray[np.float64]]:
    """GFN2-xTB's values of one molecule, as arrays of one."""
    return gfn2_values([system])


def gfn2_energy(system: Raw) -> float:
    """GFN2-xTB's energy of a molecule as it is, in eV."""
    return float(values_of_one(system)["energy_eV"][0])


def mmff(system: Raw | None) -> Raw | None:
    """The molecule in the MMFF94 minimum next to its geometry; as it is if MMFF94
    has no parameters.
    """
    if system is None:
        return None
    molecule, x = system
    try:
        moved = mmff_relax(molecule, x[None])[0][0]
    except EquidriftError:
        return system
    return molecule, moved


def embedded(system: Raw | None) -> Raw | None:
    """The molecule's graph embedded by ETKDG and relaxed by MMFF94; None if RDKit
    cannot.
    """
    if system is None:
        return None
    molecule, _ = system
    try:
        x = make_model("etkdg-mmff", timeout_s=10).sample(molecule, np.array([0]))[0]
    except EquidriftError:
        return None
    return (molecule, x) if np.isfinite(x).all() else None


# Names of rows' models that are a shipped one with other options.
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "joint-raw": ("joint", {"refine": 0}),
    "latent-raw": ("latent", {"refine": False}),
    "network": ("joint", {"steer": 0.0}),  # targets by the network alone
}


@lru_cache(maxsize=2)
def cached_model(name: str) -> MoleculeModel:
    """The model of that name, or variant of one, loaded once per process."""
    shipped, options = VARIANTS.get(name, (name, {}))
    model: MoleculeModel = make_molecule_model(shipped, **options)
    return model


def sampled(part: tuple[str, NDArray[np.int64], NDArray[np.float64] | None]) -> list[Raw | None]:
    """Samples of (model, seeds, wanted): raw; wanted (k, properties) has a row of
    targets a sample, NaN if there is none.
    """
    name, seeds, wanted = part
    model = cached_model(name)
    if wanted is None:
        return list(model.sample(seeds))
    if isinstance(model, BatchedMoleculeModel):
        return list(model.sample_many(seeds, wanted))
    names = list(model.properties)
    targets = [
        {name: float(v) for name, v in zip(names, row, strict=True) if np.isfinite(v)}
        for row in wanted
    ]
    return [model.sample(seeds[k : k + 1], targets=targets[k])[0] for k in range(len(seeds))]

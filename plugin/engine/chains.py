"""The chains that have names: `default` is the one that measured best."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from equidrift.engine.chain import Chain
from equidrift.registry import host_function

# the second for molecules with Si, P or I alone: of others it knows less
ENERGIES = ("conformer-energy", "conformer-energy-elements")


def default(
    name: str = "default", *, energy: str | Sequence[str] | None = "auto", **options: Any
) -> Chain:
    """The default of `equidrift sample`: ETKDG, MMFF94, the choice of conformers that
    stand for the low ones, the refiner, and the learned energy, this for all molecules
    but those as in QM9.

    Parameters
    ----------
    name : str
        For provenance.
    energy : str, sequence of str or None
        Names of learned energies, of which the first that knows a molecule's elements
        ranks candidates and goes on from the refiner (not for molecules as in QM9); None
        for the refiner alone. "auto" is "conformer-energy", and for molecules with
        Si, P or I "conformer-energy-elements"; none with a refiner of your own.
    **options
        Of `Chain`.
    """
    if energy == "auto":
        energy = None if "refiner" in options else ENERGIES
    return Chain(name, energy=energy, **options)


def with_refiner(weights: str, **options: Any) -> Chain:
    """The default with the refiner of these weights alone."""
    return default(refiner=weights, **options)


def with_turns(
    weights: str = "torsions-all",
    device: str | None = None,
    start: str = "etkdg",
    **options: Any,
) -> Chain:
    """The default from conformers of `start` whose bonds are turned by the torsion
    diffusion of these weights.
    """
    turned = host_function("torsions", "turned")(weights, start=start, device=device)
    return default(Path(weights).name, start=turned, device=device, **options)


def etkdg_refine(**options: Any) -> Chain:
    """The refiner on raw ETKDG conformers."""
    return Chain("etkdg-refine", **{"relax": "none", "candidates": 1, **options})


def etkdg_mmff_refine(**options: Any) -> Chain:
    """The refiner on ETKDG + MMFF94 conformers, without a pick."""
    return Chain("etkdg-mmff-refine", **{"candidates": 1, **options})


def conformer_refine(**options: Any) -> Chain:
    """The generator from noise, then the refiner: no force field and no embedding
    inside.
    """
    return Chain(
        "conformer-refine", **{"start": "conformer", "relax": "none", "candidates": 1, **options}
    )

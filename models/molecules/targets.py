"""What the models of molecules that take property targets have in common."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypedDict, Unpack

import numpy as np
from numpy.typing import NDArray

from equidrift.checks.molecule import Raw
from equidrift.errors import InputError
from equidrift.protocols import BatchedMoleculeModel, Callback
from equidrift.vina import Pocket

MOST_STEPS = 1000  # network calls of a draw


class DrawOptions(TypedDict, total=False):
    """Options of a draw beside its targets; see `Draw`."""

    guidance: float | None
    fragment: Raw | None
    sites: NDArray[np.int64] | None
    pocket: Pocket | None
    spectrum: NDArray[np.float64] | None
    steps: int | None
    callback: Callback | None


@dataclass(frozen=True)
class Draw:
    """What a draw is asked for beside its targets.

    Parameters
    ----------
    guidance : float or None
        0 ignores targets and spectrum, 1 is plain conditioning, more is classifier-free
        guidance; the model's own if None.
    fragment : (Molecule, positions_A) or None
        What is kept as it is.
    sites : int64, shape (k,), or None
        Hydrogens of the fragment where alone something grows.
    pocket : Pocket or None
        What the molecules are to fit into; they are drawn in its frame.
    spectrum : float64, shape (bins,), or None
        What the molecules are to absorb, of `equidrift.spectrum.spectrum_of`.
    steps : int or None
        Of one draw; the model's `default_steps` if None.
    callback : callable or None
        Told how far the draw has come.
    """

    guidance: float | None = None
    fragment: Raw | None = None
    sites: NDArray[np.int64] | None = None
    pocket: Pocket | None = None
    spectrum: NDArray[np.float64] | None = None
    steps: int | None = None
    callback: Callback | None = None


def check_steps(steps: int) -> None:
    """Refuse a number of network calls that is out of range; raises `InputError`."""
    if not 1 <= steps <= MOST_STEPS:
        raise InputError(f"steps must lie in 1 .. {MOST_STEPS}, not {steps}")


def check_draw(steps: int, guidance: float) -> None:
    """Refuse numbers of a draw that are out of range; raises `InputError`."""
    check_steps(steps)
    if not 0 <= guidance < np.inf:
        raise InputError(
            "guidance must be 0 (targets are ignored), 1 (plain conditioning) or more, "
            f"and finite, not {guidance}"
        )


class TargetModel(BatchedMoleculeModel):
    """A model whose `sample` is `sample_many` with one row of targets for all.

    Subclasses give `sample_many`, and `_wanted`, which makes that row.
    """

    def sample(
        self,
        seeds: NDArray[np.int64],
        *,
        targets: Mapping[str, float] | None = None,
        **options: Unpack[DrawOptions],
    ) -> list[Raw | None]:
        """New molecules as they were drawn; see `MoleculeModel.sample`.

        Parameters
        ----------
        seeds : int64, shape (k,)
            Sample k depends on seeds[k] alone.
        targets : mapping or None
            Property -> value, in the unit that ends the property's name.
        **options
            guidance, fragment, sites, pocket, spectrum, steps and callback; see `Draw`.

        Returns
        -------
        list of (Molecule, positions_A (n_atoms, 3)) or None
            One per seed; None if no molecule was made.

        Raises
        ------
        UnknownNameError
            For a property that is not among `properties`.
        InputError
            For a target that is not a finite number, a guidance or steps out of range,
            or a fragment that cannot be held.
        """
        wanted = self._wanted(targets) if targets else None
        return self.sample_many(seeds, wanted, **options)

    def sample_many(
        self,
        seeds: NDArray[np.int64],
        wanted: NDArray[np.float64] | None,
        **options: Unpack[DrawOptions],
    ) -> list[Raw | None]:
        """`sample` with targets of its own for each sample.

        Parameters
        ----------
        seeds : int64, shape (k,)
        wanted : float64, shape (k, n_properties) or (n_properties,), or None
            In the order of `properties`, NaN where a property is free.
        **options
            guidance, fragment, sites, pocket, spectrum, steps and callback; see `Draw`.
        """
        raise NotImplementedError

    def _wanted(self, targets: Mapping[str, float]) -> NDArray[np.float64]:
        """The row (n_properties,) of targets; raises as `sample` does."""
        raise NotImplementedError

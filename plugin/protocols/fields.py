"""What completes the values that belong to the atoms of a molecule."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from equidrift.protocols.values import Floats


class ConditionedField(Protocol):
    """A field of which some values are known."""

    def mean_std(self, n: int, seed: int, **options: Any) -> tuple[Floats, Floats]:
        """Mean and standard deviation (n_atoms, ...) of n draws; known values as they
        are.
        """
        ...


class AtomField(Protocol):
    """A model of values on atoms.

    Attributes
    ----------
    quantity : str
        What it gives, such as "forces".
    unit : str
        Of the values, such as "eV/A"; empty for none.
    """

    quantity: str
    unit: str

    def sample(
        self,
        numbers: NDArray[np.int64],
        positions_A: NDArray[np.floating],
        n: int,
        seed: int,
        **options: Any,
    ) -> Floats:
        """n draws (n, n_atoms, ...) without known values."""
        ...

    def condition(
        self,
        numbers: NDArray[np.int64],
        positions_A: NDArray[np.floating],
        values: Floats,
        given: ArrayLike | None = None,
    ) -> ConditionedField:
        """The field given its values (n_atoms, ...): those of the atoms `given` (mask or
        indices), or all that are not NaN.
        """
        ...

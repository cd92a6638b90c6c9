"""What every model and refiner says of itself."""

from __future__ import annotations

from typing import Protocol


class Model(Protocol):
    """What models of all kinds have in common.

    Attributes
    ----------
    name : str
        For provenance.
    batch_size : int or None
        Samples in one call; None leaves it to the caller.
    default_steps : int or None
        Network calls of a sample if `steps` is None; None if it calls none.
    weights_sha256 : str or None
        Hash of its weights, or None.
    """

    name: str
    batch_size: int | None = None
    default_steps: int | None = None
    weights_sha256: str | None = None


class MoleculeBoundModel(Model, Protocol):
    """A model of given molecules, of which it may know some only.

    Attributes
    ----------
    elements : tuple of int or None
        Atomic numbers it takes; None for all that the checks know.
    max_atoms : int or None
        Most atoms it takes, hydrogens included; None for what the checks allow.
    """

    elements: tuple[int, ...] | None = None
    max_atoms: int | None = None

"""What draws new molecules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from equidrift.protocols.models import Model
from equidrift.protocols.values import Callback, Floats, Raw, Seeds
from equidrift.vina import Pocket


@runtime_checkable
class MoleculeModel(Model, Protocol):
    """Draws new molecules, one random stream per sample; sample k depends on seeds[k]
    alone, given the other arguments.

    Attributes
    ----------
    max_atoms : int
        Most atoms of a sample, hydrogens included.
    max_heavy_atoms : int or None
        Most heavy atoms of a sample; None if only `max_atoms` counts.
    properties : mapping
        Name -> (least, greatest) value of each property it can be conditioned on; the
        unit ends the name, as in `gap_eV`.
    takes_fragment : bool
        Whether `fragment` can be given.
    takes_sites : bool
        Whether `sites` can be given.
    takes_pocket : bool
        Whether `pocket` can be given.
    takes_spectrum : bool
        Whether `spectrum` can be given.
    default_calls : int or None
        Network calls of a sample at the default steps, those of decoders and of a
        refiner among them; None if they are `default_steps`.
    elements : tuple of int
        Atomic numbers of its samples.
    name, batch_size, default_steps, weights_sha256
        See `Model`.
    """

    max_atoms: int
    max_heavy_atoms: int | None = None
    properties: Mapping[str, tuple[float, float]] = {}
    takes_fragment: bool = False
    takes_sites: bool = False
    takes_pocket: bool = False
    takes_spectrum: bool = False
    default_calls: int | None = None
    elements: tuple[int, ...] = (1, 6, 7, 8, 9)

    def sample(  # noqa: PLR0913 - what a draw may be asked for
        self,
        seeds: Seeds,
        *,
        targets: Mapping[str, float] | None = None,
        guidance: float | None = None,
        fragment: Raw | None = None,
        sites: NDArray[np.int64] | None = None,
        pocket: Pocket | None = None,
        spectrum: Floats | None = None,
        steps: int | None = None,
        callback: Callback | None = None,
    ) -> list[Raw | None]:
        """For each seed the raw (Molecule without stereo tags, positions_A (n_atoms,
        3)) before any check, relaxation or filter; None if no molecule was made.

        `targets` maps property -> value; `guidance` 0 ignores them, 1 is plain
        conditioning, more is classifier-free guidance. `fragment` is kept as it is.
        `sites` (k,) are hydrogens of the fragment: with them every other atom of it stays,
        and each heavy atom that carries one of them is bonded to something new.
        `pocket` pulls at the molecules, which are drawn in its frame. `spectrum` (bins,)
        is what they are to absorb, see `equidrift.spectrum`; `guidance` is of it, too.
        """
        ...


@runtime_checkable
class BatchedMoleculeModel(MoleculeModel, Protocol):
    """A model that draws for different targets in one batch."""

    def sample_many(
        self, seeds: Seeds, wanted: Floats, *, steps: int | None = None
    ) -> list[Raw | None]:
        """`sample` with targets (k, n_properties) of its own for each seed, in the
        order of `properties`; NaN leaves a property free.
        """
        ...

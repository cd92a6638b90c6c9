"""The trunks by name: what `backbone:` of a training file picks from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from pydantic import AfterValidator

from equidrift.errors import UnknownNameError
from equidrift.models.shared.backbones.egcl import EgclNetwork
from equidrift.models.shared.backbones.frames import FrameAveraged
from equidrift.models.shared.backbones.local_frames import LocalFrameNetwork
from equidrift.models.shared.backbones.plain import PlainNetwork
from equidrift.models.shared.backbones.ponita import PonitaNetwork
from equidrift.models.shared.backbones.radial import RadialNetwork
from equidrift.models.shared.backbones.spherical import SphericalNetwork
from equidrift.models.shared.backbones.subequivariant import SubequivariantNetwork
from equidrift.models.shared.backbones.trunk import Sizes, Trunk


def _known(name: str) -> str:
    if name not in TRUNKS:
        raise ValueError(f"unknown backbone {name!r}; known are {', '.join(sorted(TRUNKS))}")
    return name


# `backbone` of a training file: the name of a trunk
Backbone = Annotated[str, AfterValidator(_known)]


def _frames(sizes: Sizes) -> Trunk:
    return FrameAveraged(sizes, PlainNetwork(sizes))


def _grid(sizes: Sizes) -> Trunk:
    return SphericalNetwork(sizes, product="gaunt-grid")


def _fourier(sizes: Sizes) -> Trunk:
    return SphericalNetwork(sizes, product="gaunt-fourier")


TRUNKS: dict[str, Callable[[Sizes], Trunk]] = {
    "radial": RadialNetwork,
    "egcl": EgclNetwork,
    "ponita": PonitaNetwork,
    "frames": _frames,
    "subequivariant": SubequivariantNetwork,
    "clebsch-gordan": SphericalNetwork,
    "gaunt-grid": _grid,
    "gaunt-fourier": _fourier,
    "local-frames": LocalFrameNetwork,
}


def make_trunk(name: str, sizes: Sizes) -> Trunk:
    """A fresh trunk, with weights of torch's current generator.

    Parameters
    ----------
    name : str
        One of `TRUNKS`.
    sizes : Sizes
        Channels, width and layers.

    Raises
    ------
    UnknownNameError
        For another name.
    """
    if name not in TRUNKS:
        raise UnknownNameError("backbone", name, tuple(TRUNKS))
    return TRUNKS[name](sizes)

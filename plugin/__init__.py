"""Equivariant diffusion models where molecular simulators already work.

`import equidrift` loads numpy and the standard library only; torch and the hosts are
imported on first use.
"""

from __future__ import annotations

import importlib
import logging
from typing import Any

from equidrift._version import __version__

logging.getLogger(__name__).addHandler(
    logging.NullHandler()
)  # silent unless the user asks for records
_LAZY = {
    "Molecule": "equidrift.records",
    "Ensemble": "equidrift.records",
    "Trajectory": "equidrift.records",
    "sample": "equidrift.api",
    "sample_many": "equidrift.scale.many",
    "place": "equidrift.api.poses",
    "align": "equidrift.api.poses",
    "md": "equidrift.montecarlo.run",
    "refine": "equidrift.api",
    "mmff_system": "equidrift.mmff",
    "swarm": "equidrift.simulate",
    "generate": "equidrift.scale.molecules",
    "forecast": "equidrift.api",
    "interpolate": "equidrift.api",
    "refine_trajectory": "equidrift.api",
    "load_trajectory": "equidrift.files.trajectories",
    "load": "equidrift.files.ensembles",
    "list_models": "equidrift.registry",
}
__all__ = [
    "Ensemble",
    "Molecule",
    "Trajectory",
    "__version__",
    "align",
    "forecast",
    "generate",
    "interpolate",
    "list_models",
    "load",
    "load_trajectory",
    "md",
    "mmff_system",
    "place",
    "refine",
    "refine_trajectory",
    "sample",
    "sample_many",
    "swarm",
]


# Any: the names are of many kinds, and none is imported before it is asked for
def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'equidrift' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__

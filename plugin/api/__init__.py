"""What `import equidrift` offers to call: conformers, trajectories, MMFF94 in OpenMM."""

from __future__ import annotations

from equidrift.api.conformers import refine, sample
from equidrift.api.poses import align, place
from equidrift.api.trajectories import forecast, interpolate, refine_trajectory
from equidrift.mmff import mmff_system

__all__ = [
    "align",
    "forecast",
    "interpolate",
    "mmff_system",
    "place",
    "refine",
    "refine_trajectory",
    "sample",
]

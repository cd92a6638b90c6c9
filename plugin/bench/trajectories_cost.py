"""What a forecast costs against the number of frames and of atoms, ours and GeoTDM at
its published size, in CPU milliseconds.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from equidrift.bench.rows import Row, row
from equidrift.models.shared.run import own_random_state
from equidrift.models.trajectories.data import windows
from equidrift.models.trajectories.diffusion.egtn import EGTNConfig
from equidrift.models.trajectories.diffusion.frames import KnownFrames
from equidrift.models.trajectories.diffusion.geotdm import GeoTDM, GeoTDMConfig
from equidrift.models.trajectories.dynamics import Dynamics
from equidrift.models.trajectories.graphs import (
    EDGE_FEATURES,
    NODE_FEATURES,
    linked,
    molecule_graph,
)
from equidrift.records import Molecule, Trajectory
from equidrift.registry import make_trajectory_model
from equidrift.seeds import sample_seeds

GIVEN, STRIDE = 10, 10
STEPS = 100  # of GeoTDM, the fewer of the two published numbers
CALL_BATCH = 2  # trajectories on which a call of the published network is timed
NEW_FRAMES = (10, 20, 40)  # of aspirin
MOLECULES = ("ethanol", "toluene", "aspirin")  # 9, 15 and 21 atoms, 20 new frames


def rows(data: Mapping[str, Dynamics], batch: int) -> list[Row]:
    """Milliseconds per trajectory: rows cost-frames-10/..., cost-atoms-9/..., each for
    `equidrift` and `geotdm`.
    """
    cases = [(f"cost-frames-{frames}", "aspirin", frames) for frames in NEW_FRAMES]
    cases += [(f"cost-atoms-{data[name].molecule.n_atoms}", name, 20) for name in MOLECULES]
    return [row for label, name, frames in cases for row in _case(label, data[name], frames, batch)]


def _case(label: str, dynamics: Dynamics, frames: int, batch: int) -> list[Row]:
    part = dynamics.part(0.8, 1.0)
    window = windows(part.positions_A[0], GIVEN + frames, STRIDE, 1)[0]
    spacing = STRIDE * part.spacing_fs
    given = Trajectory(part.molecule, window[:GIVEN], spacing * np.arange(GIVEN, dtype=np.float64))
    model = make_trajectory_model("default")
    model.continue_(given, 1, sample_seeds(4, 0, 1))  # what only the first call pays
    begun = time.process_time()
    model.continue_(given, frames, sample_seeds(4, 0, batch))
    ours = 1000 * (time.process_time() - begun) / batch
    theirs = 1000 * STEPS * published_call(part.molecule, window, 1) / 128
    sizes = {"frames": frames, "atoms": part.molecule.n_atoms}
    return [
        row(f"{label}/equidrift", {"ms_per_trajectory": ours, **sizes}, batch),
        row(f"{label}/geotdm", {"ms_per_trajectory": theirs, **sizes}, 1),
    ]


def published_call(
    molecule: Molecule, window: NDArray[np.float64], batch: int = CALL_BATCH
) -> float:
    """CPU seconds of one network call for 128 trajectories, at the published sizes (6
    layers, width 128); measured on `batch`.
    """
    config = GeoTDMConfig(EGTNConfig(NODE_FEATURES, EDGE_FEATURES))
    with own_random_state():
        model = GeoTDM(config).eval()
    graph = molecule_graph(molecule, "GFN2-xTB", batch)
    graph.linked = linked(graph, 3)
    x = torch.from_numpy(np.repeat(window[None], batch, 0)).float()
    given = torch.arange(len(window)) < GIVEN
    clock, tau = (
        torch.arange(len(window), dtype=torch.float32),
        torch.zeros(batch, dtype=torch.long),
    )
    known = KnownFrames(graph, x, clock, given)
    with torch.no_grad():
        model.noise_of(known, x, tau)
        begun = time.process_time()
        model.noise_of(known, x, tau)
    return (time.process_time() - begun) * 128 / batch

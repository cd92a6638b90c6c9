"""Rows of one table are of the same windows, and no method reads what it is asked for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from equidrift.bench import trajectories_gfn2 as gfn2
from equidrift.models.trajectories.baselines import LastFrame
from equidrift.models.trajectories.dynamics import Dynamics
from tests.conftest import make_trajectory


class Watching(LastFrame):
    """The last frame; what it was asked for is kept."""

    def __init__(self, seen: list[Any]) -> None:
        self.seen = seen

    def complete(self, trajectory: Any, given: Any, seeds: Any, **options: Any) -> Any:
        """See `TrajectoryModel.complete`."""
        self.seen.append((trajectory.positions_A, given))
        return super().complete(trajectory, given, seeds, **options)


def test_every_method_forecasts_the_same_windows_and_counts_them_alike(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    x = make_trajectory("CCO", 2000).positions_A
    run = Dynamics(
        make_trajectory("CCO").molecule, x[None].astype(np.float32), 0.5, "GFN2-xTB", 500.0, 0.01
    )
    seen: dict[str, list[Any]] = {name: [] for name in gfn2.methods(run)}
    assert {"equidrift", "md", "last-frame", "constant-velocity"} <= set(seen)
    asked = {name: gfn2.Method(name, how.samples) for name, how in gfn2.methods(run).items()}
    monkeypatch.setattr(gfn2, "methods", lambda _part: asked)
    monkeypatch.setattr(gfn2.Method, "make", lambda how: Watching(seen[how.model]))
    rows = gfn2.molecule_rows("another", run, full=False)
    assert {row["values"]["n"] for row in rows} == {gfn2.WINDOWS} and len(rows) == len(seen)
    first = seen["equidrift"]
    for windows in seen.values():
        assert len(windows) == gfn2.WINDOWS
        for (one, given), (other, _) in zip(windows, first, strict=True):
            np.testing.assert_array_equal(one, other)
            assert np.isnan(one[~given]).all() and np.isfinite(one[given]).all()

"""Candidates are measured at an equal count and at equal time, on the same molecules."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from equidrift.models.shared.run import fresh
from equidrift.models.torsions.distances.network import DistanceConfig, DistanceNetwork
from tests.models.networks import conformer
from tests.models.torsions.ensembles import saved
from tests.tools.loading import tool

SMILES = "CCCCCCCCCO"  # 32 atoms
SOURCES = ("etkdg", "diffusion", "uniform")


@pytest.mark.long
def test_every_way_is_measured_at_equal_count_and_at_equal_time(tmp_path: Path) -> None:
    molecule, x = conformer(SMILES)
    np.savez(
        tmp_path / "known.npz",
        smiles=np.array([SMILES]),
        conf_offset=np.array([0, 1]),
        coord_offset=np.array([0, molecule.n_atoms]),
        R=x.astype(np.float32),
    )
    sizes = DistanceConfig(width=8, rounds=1, radial=8, forces=2, orders=2)
    weights = saved(fresh(lambda: DistanceNetwork(sizes), 0), tmp_path / "w.safetensors")
    options = ["--weights", str(weights), "--effort", "2", "--json", str(tmp_path / "out.json")]
    tool("measure_torsions").main([str(tmp_path / "known.npz"), *options])
    figures = json.loads((tmp_path / "out.json").read_text())
    kinds = {f"{source}{how}" for source in SOURCES for how in ("", ", crossed")}
    assert kinds <= set(figures) <= kinds | {f"{kind}, equal time" for kind in kinds}
    for name, row in figures.items():
        assert row["conformers"] == 2
        assert 0 < row["values"]["AMR-R"] < 5
        assert 1 <= row["effort"] <= 20
        assert ("time" in name) == (row["effort"] != 2)


@pytest.mark.parametrize(("ms", "effort"), [(10.0, 8), (20.0, 4), (80.0, 1), (1e4, 1), (0.1, 20)])
def test_effort_of_equal_time_follows_the_price_within_what_a_chain_takes(ms, effort):
    measuring = tool("measure_torsions")
    assert measuring.equal_effort(measuring.Measured(4, ms, 1, {}), 20.0) == effort

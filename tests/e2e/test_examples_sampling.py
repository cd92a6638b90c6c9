"""The examples of exact sampling run as a user would run them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


def output_of(name: str, argument: str, folder: Path, *more: str) -> list[str]:
    script = EXAMPLES / name
    assert len(script.read_text().splitlines()) <= 50
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, script, argument, *more],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    return done.stdout.splitlines()


@pytest.mark.long
def test_openmm_example_accepts_proposals_and_writes_a_trajectory(tmp_path):
    lines = output_of("05_openmm_proposals.py", "60", tmp_path)
    assert (
        "of 300 proposals accepted" in lines[0]
        and "degrees" in lines[1]
        and (tmp_path / "butane.xtc").stat().st_size > 0
    )


@pytest.mark.long
def test_openmmtools_example_accepts_proposals_at_every_temperature(tmp_path):
    lines = [
        line
        for line in output_of("06_openmmtools_replica_exchange.py", "2", tmp_path)
        if "of 20 proposals accepted" in line
    ]
    assert [line.split()[0] for line in lines] == ["300", "400", "550"] and (
        tmp_path / "exchange.nc"
    ).is_file()


@pytest.mark.long
def test_ase_with_gfn2(tmp_path):
    pytest.importorskip("tblite")
    lines = output_of("07_ase_gfn2_monte_carlo.py", "3", tmp_path)
    assert (
        "of 9 accepted, 0 failed" in lines[0]
        and len(lines) == 4
        and (tmp_path / "glycol.traj").is_file()
    )


@pytest.mark.long
def test_rigid_water_with_gfn2(tmp_path):
    pytest.importorskip("tblite")
    lines = output_of("15_rigid_water.py", "40", tmp_path)
    assert "components" in lines[0] and lines[1].startswith("O-Na 2.")


@pytest.mark.long
def test_ligand_turns_over_in_its_pocket(tmp_path):
    lines = output_of("21_ligand_flip.py", "100", tmp_path)
    assert lines[0].startswith(("1", "2", "3", "4", "5")) and " components, " in lines[0]
    assert lines[1].startswith("N up in ") and int(lines[1].split()[-2]) > 5


def test_constant_pressure(tmp_path):
    lines = output_of("16_constant_pressure.py", "40", tmp_path)
    assert "of the moves accepted" in lines[0] and lines[1].endswith("g/cm^3")


@pytest.mark.long
def test_ligand_in_water(tmp_path):
    pace, *lines = output_of("17_ligand_in_water_proposals.py", "6", tmp_path)
    assert pace.startswith("a proposal after every ") and pace.endswith("steps of dynamics")
    share = int(lines[0].split("%")[0])
    assert share > 50 and lines[0].endswith("% of 6 proposals accepted")
    assert any("degrees" in line for line in lines[1:])


@pytest.mark.long
def test_dipeptide_example_prints_weighted_means_and_writes_frames(tmp_path):
    lines = output_of("20_dipeptide.py", "GA", tmp_path, "4", "0.5")
    assert lines[0].startswith("Ace-GA-NMe: 4 samples") and "% effective" in lines[0]
    assert sum(line.startswith("P(phi > 0)") for line in lines) == 2
    assert lines[-1].startswith("mean energy -") and (tmp_path / "dipeptide.pdb").stat().st_size

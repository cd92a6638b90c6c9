"""Short dynamics from every conformer."""

from __future__ import annotations

import os
from pathlib import Path

import MDAnalysis
import numpy as np
import openmm
import pytest
from openmm import app

from equidrift.errors import InputError, InputTypeError, NoValidSamplesError, UnknownNameError
from equidrift.mmff import mmff_system
from equidrift.records import Ensemble, Molecule
from equidrift.simulate import swarm
from tests.adapters.openmm.starting import REFERENCE, embedded


@pytest.mark.parametrize("format", ["xtc", "dcd"])
def test_swarm_writes_one_readable_trajectory_per_conformer(tmp_path, format):
    ensemble = embedded("C[C@H](F)CO", 3)
    seen = []
    result = swarm(
        ensemble,
        None,
        0.05,
        output=f"{tmp_path}/new/",
        format=format,
        interval_ps=0.01,
        platform="Reference",
        progress=seen.append,
    )
    assert [path.name for path in result.trajectories] == [
        f"conformer_000{k}.{format}" for k in range(3)
    ]
    assert result.topology == tmp_path / "new" / "topology.pdb"
    assert len(result) == 3 and not result.failures and np.isfinite(result.energies_eV).all()
    assert seen[-1] == {"stage": "swarm", "done": 3, "total": 3, "failed": 0} and len(seen) == 3
    assert "3 of 3 trajectories" in repr(result)
    bonds = ensemble.molecule.bonds
    lengths = np.linalg.norm(
        ensemble.positions_A[0][bonds[:, 0]] - ensemble.positions_A[0][bonds[:, 1]], axis=1
    )
    for path in result.trajectories:
        universe = MDAnalysis.Universe(str(result.topology), str(path))
        assert universe.atoms.elements.tolist() == ensemble.molecule.symbols
        frames = np.array([universe.atoms.positions.copy() for _ in universe.trajectory])
        assert len(frames) == 5
        drawn = np.linalg.norm(frames[:, bonds[:, 0]] - frames[:, bonds[:, 1]], axis=2)
        assert np.abs(drawn - lengths).max() < 0.3
        assert np.abs(np.diff(frames, axis=0)).max() > 0.005
        assert [ts.time for ts in universe.trajectory] == pytest.approx(
            [0.01, 0.02, 0.03, 0.04, 0.05], abs=1e-4
        )


@pytest.mark.parametrize(
    ("platform", "properties"), [("Reference", None), ("CPU", {"Threads": "1"})]
)
def test_swarm_is_reproducible_by_seed_and_each_conformer_by_itself(tmp_path, platform, properties):
    ensemble = embedded("CCO", 2)
    options = {
        "time_ps": 0.02,
        "interval_ps": 0.01,
        "platform": platform,
        "platform_properties": properties,
    }

    def frames(name: str, seed: int, system: openmm.System | None = None) -> list[bytes]:
        result = swarm(ensemble, system, output=tmp_path / name, seed=seed, **options)
        return [path.read_bytes() if path else b"" for path in result.trajectories]

    first = frames("a", 0)
    assert frames("b", 0) == first
    assert all(one != other for one, other in zip(frames("c", 1), first, strict=True))
    assert sorted(path.name for path in tmp_path.glob("a*")) == [
        "a.top.pdb",
        "a_0000.xtc",
        "a_0001.xtc",
    ]


def test_swarm_takes_a_system_and_a_force_field(tmp_path):
    water = embedded("O", 2)
    forcefield = app.ForceField("tip3p.xml")
    water = water.replace(
        molecule=water.molecule.replace(
            atom_names=("O", "H1", "H2"), residue_names=("HOH",) * 3, residue_ids=(1,) * 3
        )
    )
    result = swarm(water, forcefield, 0.01, output=tmp_path / "tip3p", platform="Reference")
    assert np.isfinite(result.energies_eV).all()
    ethanol = embedded("CCO", 2)
    for system in (
        mmff_system("CCO", hydrogenMass_amu=3.0),
        mmff_system("CCO", constraints="HBonds"),
    ):
        assert not swarm(
            ethanol, system, 0.01, output=tmp_path / "own", platform=REFERENCE, overwrite=True
        ).failures
    with pytest.raises(
        InputError,
        match=r"ForceField has no parameters for Molecule\(CCO.*No template "
        r"found.*system=None for MMFF94",
    ):
        swarm(ethanol, forcefield, 0.01, output=tmp_path / "x")


def test_one_failing_conformer_costs_only_itself(tmp_path):
    ensemble = embedded("CCO", 3)
    x = ensemble.positions_A.copy()
    x[1, 4] = x[1, 0]
    result = swarm(
        ensemble.replace(positions_A=x), None, 0.01, output=tmp_path / "r", platform="Reference"
    )
    assert result.trajectories[1] is None and result.trajectories[2] == tmp_path / "r_0002.xtc"
    assert list(result.failures) == [1] and "atoms 0 and 4 lie 0.000 A apart" in result.failures[1]
    assert np.isnan(result.energies_eV).tolist() == [False, True, False]
    alone = swarm(ensemble, None, 0.01, output=tmp_path / "alone", platform="Reference")
    assert alone.trajectories[2].read_bytes() == result.trajectories[2].read_bytes()


def test_every_conformer_failing_is_an_error_with_the_reasons(tmp_path):
    ensemble = embedded("CCO", 2)
    with pytest.raises(
        NoValidSamplesError,
        match=r"failed for every conformer. Rejected: positions of atom 0 are not finite.* 2\.",
    ):
        swarm(
            ensemble.replace(positions_A=ensemble.positions_A * np.nan),
            None,
            0.01,
            output=tmp_path / "r",
        )


def test_a_run_that_blows_up_leaves_no_half_file(tmp_path):
    ensemble = embedded("CCO", 1)
    with pytest.raises(NoValidSamplesError, match="every conformer"):
        swarm(
            ensemble,
            None,
            5,
            timestep_fs=50,
            interval_ps=0.05,
            output=tmp_path / "r",
            platform="Reference",
        )
    assert sorted(path.name for path in tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        (
            {"time_ps": 0.0001},
            InputError,
            "time_ps=0.0001 is less than one step of timestep_fs=1; give at least 0.001",
        ),
        ({"time_ps": -1}, InputError, "time_ps must be positive and finite, not -1"),
        (
            {"time_ps": "1ns"},
            InputTypeError,
            "time_ps must be a number without OpenMM units, not '1ns'",
        ),
        ({"timestep_fs": 0}, InputError, "timestep_fs must be positive and finite, not 0"),
        ({"friction_per_ps": -1}, InputError, "friction_per_ps must be positive"),
        ({"temperature_K": -5}, InputError, "temperature_K must be positive and finite, not -5"),
        (
            {"interval_ps": 2},
            InputError,
            r"interval_ps=2 must lie between one step \(0.001 ps\) and the whole time \(0.01 ps\)",
        ),
        (
            {"format": "xtv"},
            UnknownNameError,
            "unknown trajectory format 'xtv'. Did you mean 'xtc'",
        ),
        (
            {"platform": "Refrence"},
            UnknownNameError,
            "unknown OpenMM platform 'Refrence'. Did you mean 'Reference'",
        ),
        ({"seed": -1}, InputError, "seed must lie in"),
        (
            {"system": "mmff"},
            InputTypeError,
            r"system must be an openmm.System or app.ForceField, not str",
        ),
        (
            {"output": "/proc/nowhere/x"},
            InputError,
            "cannot make the folder /proc/nowhere for output='/proc/nowhere/x'",
        ),
    ],
)
def test_swarm_refuses_bad_options(tmp_path, options, error, words):
    with pytest.raises(error, match=words):
        swarm(
            **({"ensemble": embedded("C", 1), "time_ps": 0.01, "output": tmp_path / "x"} | options)
        )


def test_swarm_refuses_a_folder_it_cannot_write_in(tmp_path, monkeypatch):
    (tmp_path / "x.top.pdb").mkdir()
    with pytest.raises(
        InputError, match=r"x.top.pdb' exists and is no run of this command; .*overwrite=True"
    ):
        swarm(embedded("C", 1), None, 0.01, output=tmp_path / "x")
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write anywhere
    with pytest.raises(
        InputError,
        match=r"cannot write in the folder .*; choose another, or change its permissions",
    ):
        swarm(embedded("C", 1), None, 0.01, output=tmp_path / "y")


def test_swarm_refuses_an_empty_ensemble(tmp_path):
    with pytest.raises(InputError, match="the ensemble holds no conformers"):
        swarm(
            Ensemble(Molecule.from_smiles("C"), np.zeros((0, 5, 3))),
            None,
            0.01,
            output=tmp_path / "x",
        )


def test_swarm_refuses_the_system_of_another_molecule(tmp_path):
    ensemble = embedded("CCO", 1)

    def run(system: openmm.System) -> None:
        swarm(ensemble, system, 0.01, output=Path(tmp_path) / "x", platform="Reference")

    with pytest.raises(
        InputError,
        match=r"System has 6 particles, but Molecule\(CCO, 9 atoms, charge \+0\) has 9 "
        r"atoms; .*no solvent",
    ):
        run(mmff_system("CO"))
    with pytest.raises(
        InputError,
        match=r"particle 1 of the System weighs 15.999 amu, but atom 1 of .* is C \(12.011 "
        r"amu\); .*its order",
    ):
        run(mmff_system("COC"))
    swapped = mmff_system("CCO")
    swapped.setParticleMass(0, 1.008)
    swapped.setParticleMass(3, 12.011)
    with pytest.raises(
        InputError, match=r"particle 3 of the System weighs 12.011 amu, but atom 3 .* is H"
    ):
        run(swapped)


def test_fixed_atoms_are_no_mismatch(tmp_path):
    held = mmff_system("CCO")
    held.setParticleMass(0, 0.0)
    assert not swarm(
        embedded("CCO", 1), held, 0.01, output=tmp_path / "x", platform="Reference"
    ).failures

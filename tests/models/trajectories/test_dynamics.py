"""Files of molecular dynamics: what was changed is refused in one line."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from equidrift.errors import InputError
from equidrift.models.trajectories.dynamics import Dynamics, load_dynamics, save_dynamics
from equidrift.records import Molecule


def water_run(**changes: Any) -> Dynamics:
    """Dynamics of a water molecule with forces, two bursts of four frames."""
    x = np.random.default_rng(0).random((2, 4, 3, 3)).astype(np.float32)
    run = Dynamics(Molecule.from_smiles("O"), x, 0.5, "MMFF94", 300.0, 0.01, forces_eV_A=x)
    return replace(run, **changes)


TAMPERED = {
    "shape": {"shape": [2, 4, 3, 2]},
    "spacing_fs": {"spacing_fs": "0.5"},
    "temperature_K": {"temperature_K": -1.0},
    "friction_per_fs": {"friction_per_fs": None},
    "level": {"level": 3},
    "molecule": {"molecule": {"numbers": [8]}},
    "unknown": {"colour": "red"},
    "forces": {"forces": "yes"},
    "positions_A": {"shape": [3, 4, 3, 3]},
    "forces_eV_A": {"forces": False},
}


@pytest.mark.parametrize("field", TAMPERED)
def test_dynamics_are_refused_in_one_line_when_the_header_was_changed(
    tmp_path: Path, field: str
) -> None:
    path = tmp_path / "a.npz"
    save_dynamics(path, [water_run(), water_run()])
    with np.load(path) as file:
        arrays = dict(file)
    header = json.loads(str(arrays["header"][()]))
    header[1] |= TAMPERED[field]
    np.savez(path, **{**arrays, "header": np.array(json.dumps(header))})
    with pytest.raises(InputError, match=field) as caught:
        load_dynamics(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("value", ["not json", "3", "[" * 200 + "]" * 200])
def test_dynamics_are_refused_in_one_line_when_the_header_is_no_list_of_runs(
    tmp_path: Path, value: str
) -> None:
    path = tmp_path / "a.npz"
    save_dynamics(path, [water_run()])
    with np.load(path) as file:
        arrays = dict(file)
    np.savez(path, **{**arrays, "header": np.array(value)})
    with pytest.raises(InputError, match=r"header|runs") as caught:
        load_dynamics(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_dynamics_are_refused_when_positions_are_not_finite(tmp_path: Path) -> None:
    run = water_run()
    run.positions_A[0, 0, 0, 0] = np.nan
    save_dynamics(tmp_path / "a.npz", [run])
    with pytest.raises(InputError, match="positions_A: holds NaN"):
        load_dynamics(tmp_path / "a.npz")


def test_dynamics_are_refused_when_the_file_is_no_archive(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros(3))
    save_dynamics(tmp_path / "b.npz", [water_run()])
    (tmp_path / "c.npz").write_bytes((tmp_path / "b.npz").read_bytes()[:-100])
    for name in ("a.npy", "c.npz"):
        with pytest.raises(InputError, match="holds no molecular dynamics"):
            load_dynamics(tmp_path / name)

"""Every message about bad trajectories, and unwrapping."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from equidrift.api import forecast
from equidrift.checks.frames import worth
from equidrift.checks.trajectory import (
    apparent_temperature_K,
    check_related,
    check_same_atoms,
    check_trajectory,
    unwrap,
    unwrapped,
)
from equidrift.errors import InputError, InputTypeError, MoleculeError
from equidrift.records import Molecule, Trajectory
from equidrift.registry import make_trajectory_model
from tests.conftest import make_trajectory
from tests.doubles import Walker

BOX = np.diag([20.0, 20.0, 20.0])
TILTED = np.array([[20.0, 0, 0], [5.0, 19, 0], [-4.0, 6, 18]])


def changed(change: Any, **more: Any) -> Trajectory:
    trajectory = make_trajectory()
    positions_A = trajectory.positions_A.copy()
    result = change(positions_A)
    return trajectory.replace(positions_A=positions_A if result is None else result, **more)


def put(index: Any, value: float) -> Any:
    return lambda x: x.__setitem__(index, value)


def moved(index: Any, by: float) -> Any:
    return lambda x: x.__setitem__(index, x[index] + by)


class Ten(Walker):
    """A model of ten frames, 5 to 20 fs, of C, H and O."""

    name, min_frames, dt_range_fs, elements, max_atoms = "ten", 10, (5.0, 20.0), (1, 6, 8), 30


@pytest.mark.parametrize(
    ("trajectory", "message"),
    [
        (
            changed(put((3, 2, 1), np.nan)),
            r"of frame 3, atom 2 \(O\) are not finite \(NaN or infinity in 1 of 12 .*run the dyn",
        ),
        (changed(put((4, 0, 0), np.inf)), "frame 4, atom 0"),
        (make_trajectory().replace(time_fs=np.full(12, np.nan)), "time_fs holds NaN"),
        (changed(lambda x: 0.1 * x), "look like nm.*multiply the positions by 10 "),
        (changed(lambda x: x / 0.529177), "look like bohr.*multiply the positions by 0.529177 "),
        (changed(lambda x: x[:, ::-1]), "do not come in the topology's order; give the topology"),
        (
            changed(moved((slice(5, 8), slice(0, 6)), 20.0)),
            r"is \d+\.\d+ A long in frame 5: does the molecule jump.*Give the box.*unwrap",
        ),
        (
            changed(moved(slice(6, None), 20.0)),
            r"moves by 34.6\d A from frame 5 to frame 6 \(10 fs\): does it jump.*Give the box",
        ),
        (
            changed(moved((5, slice(0, 6)), 9.0), box_A=BOX),
            "whatever periodic image is taken: the box is wrong",
        ),
        (make_trajectory().replace(box_A=np.zeros((3, 3))), "box_A has no volume"),
        (
            make_trajectory().replace(time_fs=[*range(0, 110, 10), 130]),
            "time steps are unequal: 30 fs from frame 10 to 11, 10 fs usually",
        ),
        (
            make_trajectory().replace(time_fs=np.zeros(12)),
            "from 0 to 0 fs in 12 frames; give dt_fs",
        ),
        (make_trajectory().replace(time_fs=np.arange(0, -12, -1)), "from 0 to -11 fs in 12 frames"),
        (
            make_trajectory().replace(time_fs=1e9 + 10 * np.arange(12)),
            "single precision resolves no more than .* give dt_fs",
        ),
        (make_trajectory()[:0], "has no frames"),
        (
            make_trajectory()[:9],
            "the model 'ten' needs 10 given frames, and there are 9; give a longer trajectory",
        ),
        (
            make_trajectory().replace(time_fs=30 * np.arange(12)),
            r"30 fs apart, and the model 'ten' was trained on 5 to 20 fs; write frames more",
        ),
        (
            make_trajectory().replace(time_fs=2 * np.arange(12)),
            r"2 fs apart.*keep one frame in 3: trajectory\[::3\] or --stride 3",
        ),
        (
            make_trajectory().replace(time_fs=0.01 * np.arange(12)),
            r"Are the times in ps\? time_fs is in fs",
        ),
        (make_trajectory("CCN"), "unsupported element N"),
        (make_trajectory("CCCCCCCCCCCCCC"), "too many atoms: at most 30"),
    ],
)
def test_frames_that_do_not_follow_each_other_are_refused_with_the_reason(
    trajectory: Trajectory, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        forecast(trajectory, 5, model=Ten())


def test_one_frame_has_no_spacing() -> None:
    with pytest.raises(
        InputError, match="has a single frame, from which no spacing can be told; give at least two"
    ):
        forecast(make_trajectory()[:1], 5, model="last-frame")


@pytest.mark.parametrize("thing", [None, 3, "run.xtc", np.zeros((3, 4, 3)), [], [np.zeros((4, 3))]])
def test_other_objects(thing: Any) -> None:
    with pytest.raises(
        InputTypeError, match=r"expected a Trajectory, not \w+; equidrift\.load_trajectory"
    ):
        forecast(thing, 5, model="last-frame")


@pytest.mark.parametrize("box_A", [BOX, TILTED], ids=["cube", "tilted"])
@given(seed=st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_unwrapping_undoes_wrapping(box_A: np.ndarray, seed: int) -> None:
    """Every atom put into the cell on its own; after unwrapping only one lattice
    vector for the whole trajectory is left.
    """
    rng = np.random.default_rng(seed)
    trajectory = make_trajectory()
    whole = (
        trajectory.positions_A
        + 15 * rng.standard_normal(3)
        + np.cumsum(2.0 * rng.standard_normal((12, 1, 3)), axis=0)
    )
    fractions = whole @ np.linalg.inv(box_A)
    wrapped = (fractions - np.floor(fractions)) @ box_A
    again = unwrapped(trajectory.molecule, wrapped, box_A)
    shift = (whole - again) @ np.linalg.inv(box_A)
    np.testing.assert_allclose(shift, np.broadcast_to(np.rint(shift[0, 0]), shift.shape), atol=1e-9)


def test_wrapped_input_is_unwrapped_and_said() -> None:
    inside = changed(lambda x: x - np.floor(x / 20.0) * 20.0, box_A=BOX)
    (made,) = forecast(inside, 3, model=Walker())
    assert 0 < made.provenance["unwrapped_frames"] <= 12
    lengths = np.linalg.norm(made.positions_A[:, 0] - made.positions_A[:, 1], axis=-1)
    assert (lengths < 2).all()
    np.testing.assert_array_equal(made.box_A, BOX)


def test_whole_input_is_untouched() -> None:
    given_ = make_trajectory().replace(box_A=100 * np.eye(3))
    assert (
        unwrap(given_) is given_
        and "unwrapped_frames" not in forecast(given_, 1, model="last-frame")[0].provenance
    )


def test_ions_are_unwrapped_apart() -> None:
    """Fragments hang together by no bond: each follows its own nearest image from frame
    to frame.
    """
    salt = Molecule(
        numbers=[11, 17], bonds=np.zeros((0, 2)), bond_orders=[], formal_charges=[1, -1]
    )
    x = np.array([[[9.9, 0, 0], [3.0, 0, 0]], [[0.1, 0, 0], [3.1, 0, 0]]])
    made = unwrapped(salt, x, 10 * np.eye(3))
    np.testing.assert_allclose(made[:, 0, 0], [9.9, 10.1])
    np.testing.assert_allclose(made[:, 1, 0], [3.0, 3.1])


def test_a_proton_that_changes_its_partner_is_no_jump() -> None:
    """As in GFN2-xTB dynamics of salicylic acid at 500 K: such frames are gone on with,
    and the fault is not the model's.
    """
    trajectory = changed(moved((slice(6, None), 20), 1.0))
    bond = trajectory.molecule.bonds[(trajectory.molecule.bonds == 20).any(axis=1)][0]
    assert (
        2.0
        < np.linalg.norm(trajectory.positions_A[-1, bond[0]] - trajectory.positions_A[-1, bond[1]])
        < 4.0
    )
    (made,) = forecast(trajectory, 2, model=Walker())
    assert made.provenance["rejected"] == {} == made.provenance["broken_frames"]


def test_slow_diffusion_is_no_jump() -> None:
    steps = np.full((12, 1, 3), 1.0)
    trajectory = changed(lambda x: x + np.cumsum(steps, axis=0), time_fs=10_000.0 * np.arange(12))
    assert check_trajectory(trajectory) is not None


def test_single_precision_times_are_put_on_the_grid() -> None:
    late = make_trajectory().replace(
        time_fs=(np.float32(100.0) + np.arange(12, dtype=np.float32) * np.float32(0.01)).astype(
            float
        )
        * 1000
    )
    assert np.ptp(np.diff(late.time_fs)) > 1e-4
    np.testing.assert_allclose(np.diff(check_trajectory(late).time_fs), 10.0, rtol=1e-3)
    assert np.ptp(np.diff(check_trajectory(late).time_fs)) < 1e-9


@pytest.mark.parametrize(
    ("n_atoms", "numbers", "message"),
    [
        (13, None, "has 13 atoms per frame.*seems to lack hydrogens"),
        (3000, None, "has 3000 atoms.*write the molecule alone"),
        (21, "reversed", "atom 0 is H in run.xtc, but C.*come in another order"),
        (21, "other", "atom 1 is N in run.xtc, but C.*give the topology of this molecule"),
    ],
)
def test_atoms_of_another_molecule(n_atoms: int, numbers: str | None, message: str) -> None:
    molecule = make_trajectory().molecule
    z = molecule.numbers.copy()
    z[1] = 7
    given_numbers = {None: None, "reversed": molecule.numbers[::-1], "other": z}[numbers]
    with pytest.raises(MoleculeError, match=message):
        check_same_atoms(molecule, n_atoms, given_numbers, "run.xtc")


def test_baselines_take_any_element() -> None:
    trajectory = make_trajectory("C[Si](C)(C)C")
    assert len(forecast(trajectory, 2, model=make_trajectory_model("last-frame"))[0]) == 2


# Whether a forecast is worth its cost -------------------------------------------------


def frames_of_dynamics(dt_fs=5.0, n_frames=20):
    """Atoms of a rigid molecule that swing by 0.1 A within 100 fs."""
    from tests.conftest import make_ensemble

    ensemble = make_ensemble("anion")
    time_fs = dt_fs * np.arange(n_frames)
    phases = np.arange(ensemble.molecule.n_atoms * 3).reshape(-1, 3)
    swings = 0.1 * np.sin(2 * np.pi * time_fs[:, None, None] / 100.0 + phases)
    return Trajectory(ensemble.molecule, ensemble.positions_A[:1] + swings, time_fs)


def unrelated_conformers(dt_fs=5.0, n_frames=40):
    from rdkit import Chem
    from rdkit.Chem import rdDistGeom

    from equidrift.records import Molecule

    mol = Chem.AddHs(Chem.MolFromSmiles("CCCCCO"))
    rdDistGeom.EmbedMultipleConfs(mol, n_frames, randomSeed=4)
    frames = np.array([conformer.GetPositions() for conformer in mol.GetConformers()])
    return Trajectory(Molecule.from_smiles("CCCCCO"), frames, dt_fs * np.arange(n_frames))


def test_unrelated_conformers_are_refused_as_frames():
    with pytest.raises(InputError, match=r"move as at [\d,]+ K: these are no successive frames"):
        check_related(unrelated_conformers())


def test_frames_of_dynamics_are_taken_as_related():
    given = frames_of_dynamics()
    assert 10 < apparent_temperature_K(given) < 2000
    check_related(given)


@pytest.mark.parametrize(
    ("dt_fs", "said"), [(5.0, False), (95.0, False), (100.0, True), (1000.0, True)]
)
def test_last_frame_is_recommended_when_frames_are_100_fs_apart(dt_fs, said):
    given = frames_of_dynamics(dt_fs)
    notes = worth(Walker(), given)
    assert bool(notes) == said
    assert all("--model last-frame" in note and "plain MD" in note for note in notes)

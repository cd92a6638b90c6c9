"""What a trajectory must satisfy before a model continues it: finite, in A, whole
across periodic boundaries, evenly spaced in time.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from equidrift.checks.geometry import COVALENT_RADII_A
from equidrift.errors import InputError, InputTypeError, MoleculeError
from equidrift.graph import walks
from equidrift.records import Molecule, Trajectory
from equidrift.text import counted
from equidrift.units import BOHR_PER_A, BOLTZMANN_AMU_A2_PER_FS2_K, NM_PER_A

# Bond lengths over the sum of covalent radii are near 1 in A.
_UNITS = {"nm": NM_PER_A, "bohr": BOHR_PER_A}
_UNIT_WINDOW = 1.25  # how far off, as a factor, the median bond may be
# no bond is twice as long as its covalent radii; a proton that has changed its partner is,
_TORN = 2.0
_APART_A = 4.0  # but not this far away, as an atom across a boundary is
_SCRAMBLED = 0.3  # share of torn bonds that a boundary does not explain
_FREE_STEP_A = 3.0  # a molecule moves less than this between frames, unless ...
# ... the frames are far apart: several times the thermal speed of a small molecule,
_FASTEST_A_PER_FS = 0.02
_USUAL = 8.0  # ... or its other steps are as long
_HOTTEST_K = 10_000.0  # molecules break long before; unrelated conformers 5 fs apart show 1e5 K
UNEVEN = 0.01  # deviation of a time from the even grid, over the spacing


def check_trajectory(trajectory: object, *, whole: bool = True, spaced: bool = True) -> Trajectory:
    """The trajectory ready for a model: unwrapped if its box is known, its times on
    an even grid.

    Parameters
    ----------
    trajectory : object
        What a user gave.
    whole : bool
        Whether its bonds must hold together; False for a coarse trajectory that is to
        be refined.
    spaced : bool
        Whether its times must be even; False for one whose gaps are to be filled.

    Raises
    ------
    InputTypeError
        For another object.
    InputError
        For no frames or NaN, units that look like nm or bohr, atoms in another order
        than the topology's, jumps across a periodic boundary without a box, or unequal
        time steps; each message says the way out.
    """
    trajectory = check_is_trajectory(trajectory)
    if not len(trajectory) or not trajectory.molecule.n_atoms:
        raise InputError(f"{trajectory!r} has no frames or no atoms; give at least one of each")
    check_finite(trajectory)
    if whole:
        check_units(trajectory)
        trajectory = unwrap(trajectory)
    return even(trajectory) if spaced else trajectory


def check_is_trajectory(what: object) -> Trajectory:
    """The object itself, if it is a Trajectory; raises `InputTypeError` otherwise."""
    if not isinstance(what, Trajectory):
        raise InputTypeError(
            f"expected a Trajectory, not {type(what).__name__}; "
            f"equidrift.load_trajectory(file, topology) reads one, and "
            "Trajectory(molecule, positions_A, time_fs) makes one of arrays"
        )
    return what


def check_finite(trajectory: Trajectory) -> None:
    """Raise `InputError` that names the first frame and atom that are not finite."""
    bad = np.argwhere(~np.isfinite(trajectory.positions_A).all(axis=-1))
    if len(bad):
        frame, atom = bad[0].tolist()
        frames = len(np.unique(bad[:, 0]))
        raise InputError(
            f"positions_A of frame {frame}, atom {atom} "
            f"({trajectory.molecule.symbols[atom]}) are not finite "
            f"(NaN or infinity in {frames} of {counted(len(trajectory), 'frame')}); cut the "
            f"trajectory before that frame, or run "
            "the dynamics again with a shorter time step"
        )
    if not np.isfinite(trajectory.time_fs).all():
        raise InputError(
            "time_fs holds NaN or infinity; give the time of each frame, or dt_fs if the "
            "file is read"
        )


def check_units(trajectory: Trajectory) -> None:
    """Raise `InputError` if the bonds tell that positions are in nm or bohr."""
    if not len(trajectory.molecule.bonds):
        return
    ratio = float(np.median(_bonds(trajectory.molecule, trajectory.positions_A)[1]))
    for name, factor in _UNITS.items():
        if factor / _UNIT_WINDOW < ratio < factor * _UNIT_WINDOW:
            raise InputError(
                f"positions_A look like {name}: the bonds are {ratio:.2f} of their length in "
                f"A at the median; multiply the positions by "
                f"{1 / factor:.6g} (OpenMM quantities: value_in_unit(unit.angstrom))"
            )


def _bonds(
    molecule: Molecule, positions_A: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Bond lengths in A, and over the sums of covalent radii, (n_frames, n_bonds)."""
    i, j = molecule.bonds.T
    radii = COVALENT_RADII_A[molecule.numbers]
    lengths = np.linalg.norm(positions_A[:, i] - positions_A[:, j], axis=-1)
    return lengths, lengths / (radii[i] + radii[j])


def unwrap(trajectory: Trajectory) -> Trajectory:
    """The trajectory with its molecule whole and without jumps, by nearest images if
    box_A is known.

    Raises
    ------
    InputError
        For a box without volume; and, box or not, for bonds that are torn or steps that
        no dynamics makes.
    """
    if trajectory.box_A is not None:
        x = unwrapped(trajectory.molecule, trajectory.positions_A, trajectory.box_A)
        changed = int((x != trajectory.positions_A).any(axis=(1, 2)).sum())
        if changed:
            trajectory = trajectory.replace(
                positions_A=x, provenance={**trajectory.provenance, "unwrapped_frames": changed}
            )
    _check_torn(trajectory)
    _check_jumps(trajectory)
    return trajectory


def unwrapped(
    molecule: Molecule, positions_A: NDArray[np.float64], box_A: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Nearest images: along the bonds within a frame, and of each fragment's centre
    from frame to frame.

    Parameters
    ----------
    molecule : Molecule
        The graph whose bonds are to be made whole.
    positions_A : (n_frames, n_atoms, 3) array
        In A.
    box_A : (3, 3) or (n_frames, 3, 3) array
        Rows are the cell's vectors; one for each frame if the box changes.
    """
    x = np.array(positions_A, np.float64)
    boxes = np.broadcast_to(np.asarray(box_A, np.float64), (len(x), 3, 3))
    if not (np.abs(np.linalg.det(boxes)) > 1e-6).all():
        raise InputError(
            f"box_A has no volume: {np.asarray(box_A).tolist()}; give three cell vectors as "
            f"rows in A, or None for no box"
        )
    inverse = np.linalg.inv(boxes)

    def image(step: NDArray[np.float64]) -> NDArray[np.float64]:
        """The lattice vectors (n_frames, 3) nearest to steps (n_frames, 3)."""
        lattice: NDArray[np.float64] = np.einsum(
            "fi,fij->fj", np.rint(np.einsum("fi,fij->fj", step, inverse)), boxes
        )
        return lattice

    for fragment in walks(molecule):
        for atom, parent in fragment:
            if parent >= 0:
                x[:, atom] -= image(x[:, atom] - x[:, parent])
        atoms = [atom for atom, _ in fragment]
        centre = x[:, atoms].mean(axis=1)
        jumps = image(np.diff(centre, axis=0, prepend=centre[:1]))
        x[:, atoms] -= np.cumsum(jumps, axis=0)[:, None]
    return x


def _check_torn(trajectory: Trajectory) -> None:
    molecule = trajectory.molecule
    if not len(molecule.bonds):
        return
    lengths, ratios = _bonds(molecule, trajectory.positions_A)
    torn = ratios > _TORN

    def first(which: NDArray[np.bool_]) -> str:
        frame, bond = np.argwhere(which)[0].tolist()
        i, j = molecule.bonds[bond].tolist()
        atoms = f"atoms {i} ({molecule.symbols[i]}) and {j} ({molecule.symbols[j]})"
        return f"the bond of {atoms} is {lengths[frame, bond]:.2f} A long in frame {frame}"

    if torn.mean(axis=1).min() > _SCRAMBLED:
        raise InputError(
            f"{first(torn)}, and {torn[0].sum()} of {torn.shape[1]} bonds are as long: the "
            f"atoms of the trajectory do not come in the "
            "topology's order; give the topology (PDB, SDF) that the trajectory was made with"
        )
    apart = torn & (lengths > _APART_A)
    if apart.any() and trajectory.box_A is None:
        raise InputError(
            f"{first(apart)}: does the molecule jump across a periodic boundary? {_UNWRAP}"
        )
    if apart.any():
        raise InputError(
            f"{first(apart)}, whatever periodic image is taken: the box is wrong, or the "
            f"bond broken; cut the trajectory before it breaks"
        )


_UNWRAP = (
    "Give the box (box_A=, or a file that carries it), or unwrap the trajectory first: "
    "MDAnalysis.transformations.unwrap and NoJump, "
    "or gmx trjconv -pbc nojump"
)


def _check_jumps(trajectory: Trajectory) -> None:
    """Refuse steps of the whole molecule that no dynamics makes: longer than its other
    steps and than the fastest motion.
    """
    centre = trajectory.positions_A.mean(axis=1)
    steps = np.linalg.norm(np.diff(centre, axis=0), axis=1)
    if not len(steps):
        return
    apart = np.diff(trajectory.time_fs)
    longest = _FREE_STEP_A + _FASTEST_A_PER_FS * np.abs(apart)
    usual = _USUAL * float(np.median(steps)) if len(steps) > 2 else math.inf
    wrong = np.flatnonzero((steps > _FREE_STEP_A) & ((steps > longest) | (steps > usual)))
    if len(wrong):
        k = int(wrong[0])
        raise InputError(
            f"the molecule moves by {steps[k]:.2f} A from frame {k} to frame {k + 1} "
            f"({apart[k]:g} fs): does it jump across a periodic boundary? {_UNWRAP}"
        )


def even(trajectory: Trajectory) -> Trajectory:
    """The trajectory with its times exactly on the even grid that they approximate.

    Raises
    ------
    InputError
        If time does not advance, steps are unequal, or single-precision times (XTC)
        are too late to tell the spacing.
    """
    if len(trajectory) < 2:
        return trajectory
    time_fs, dt_fs = trajectory.time_fs, trajectory.dt_fs
    if not dt_fs > 0:
        raise InputError(
            f"time_fs goes from {time_fs[0]:g} to {time_fs[-1]:g} fs in {len(time_fs)} "
            f"frames; give dt_fs, the time between frames"
        )
    rounding = 2.0 * float(np.finfo(np.float32).eps) * float(np.abs(time_fs).max())
    if rounding > 0.5 * dt_fs:
        raise InputError(
            f"the frames are {dt_fs:g} fs apart at {time_fs[0]:g} fs, where a file's single "
            f"precision resolves no "
            f"more than {rounding:.2g} fs; give dt_fs, the time between frames"
        )
    grid = time_fs[0] + dt_fs * np.arange(len(time_fs))
    off = np.abs(time_fs - grid)
    if off.max() > UNEVEN * dt_fs + rounding:
        steps = np.diff(time_fs)
        k = int(np.abs(steps - np.median(steps)).argmax())
        raise InputError(
            f"time steps are unequal: {steps[k]:g} fs from frame {k} to {k + 1}, "
            f"{np.median(steps):g} fs usually; give evenly spaced "
            "frames (trajectory[::stride]), fill what is missing by equidrift.interpolate, "
            "or give dt_fs if the file's times are wrong"
        )
    return trajectory.replace(time_fs=grid)


def check_related(trajectory: Trajectory) -> None:
    """Refuse frames that no dynamics makes in a row, such as unrelated conformers.

    Their steps, taken as velocities, are those of a temperature far above any
    molecule's: finite steps of real dynamics show a lower one than it has. Nothing can
    be foretold from such frames, and what a model draws from them is without meaning.

    Raises
    ------
    InputError
        with that temperature.
    """
    temperature_K = apparent_temperature_K(trajectory)
    if temperature_K > _HOTTEST_K:
        raise InputError(
            f"from one frame to the next, {trajectory.dt_fs:g} fs later, the atoms move as at "
            f"{temperature_K:,.0f} K: these are no successive frames of dynamics but unrelated "
            "conformers, or their times are wrong; give a trajectory of dynamics, with dt_fs "
            "(--dt) "
            "if the file's times are wrong"
        )


def apparent_temperature_K(trajectory: Trajectory) -> float:
    """Temperature of the mean squared step between frames, if steps were velocities."""
    steps = np.diff(trajectory.positions_A, axis=0)
    if not len(steps):
        return 0.0
    steps = steps - steps.mean(axis=1, keepdims=True)  # drift is no heat
    masses = np.where(trajectory.molecule.numbers == 1, 1.0, 2.0 * trajectory.molecule.numbers)
    speeds = (steps**2).sum(axis=-1) / trajectory.dt_fs**2  # (n_steps, n_atoms), A^2/fs^2
    twice_kinetic = float(np.median((masses * speeds).mean(axis=1)))  # amu A^2/fs^2
    return twice_kinetic / (3 * BOLTZMANN_AMU_A2_PER_FS2_K)


def check_same_atoms(
    molecule: Molecule, n_atoms: int, numbers: NDArray[np.int64] | None, where: str
) -> None:
    """Refuse frames of other atoms than the topology's. Raises `MoleculeError`.

    Parameters
    ----------
    n_atoms : int
        Atoms of a frame.
    numbers : (n_atoms,) array of int or None
        Their atomic numbers, None if the file holds no elements.
    where : str
        What the frames came from, for the message.
    """
    if n_atoms != molecule.n_atoms:
        hydrogens = int((molecule.numbers == 1).sum())
        hint = (
            "the trajectory seems to lack hydrogens; write it with all atoms"
            if n_atoms == molecule.n_atoms - hydrogens
            else (
                "give the topology of exactly these atoms; of a solvated system, write the "
                "molecule alone: select_atoms(...).write(...)"
            )
        )
        raise MoleculeError(
            f"{where} has {counted(n_atoms, 'atom')} per frame, but the topology {molecule!r} has "
            f"{molecule.n_atoms}; {hint}"
        )
    if numbers is None:
        return
    wrong = np.flatnonzero(numbers != molecule.numbers)
    if len(wrong):
        from equidrift.records import SYMBOLS

        k = int(wrong[0])
        same = sorted(numbers.tolist()) == sorted(molecule.numbers.tolist())
        hint = (
            "the atoms come in another order; give a PDB or SDF in the trajectory's order"
            if same
            else "give the topology of this molecule"
        )
        raise MoleculeError(
            f"atom {k} is {SYMBOLS[int(numbers[k])]} in {where}, but {molecule.symbols[k]} "
            f"in the topology {molecule!r}; {hint}"
        )

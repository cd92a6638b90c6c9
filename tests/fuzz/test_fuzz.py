"""No input, however broken, brings anything but a result or an error of ours: no crash,
no hang, no bare exception.

The short form is part of every run; `pytest -m slow tests/fuzz` throws 10,000 SMILES
and files at reading, checking and writing, and 1,000 SMILES at sampling. A seed that
failed stays in `FOUND`.
"""

from __future__ import annotations

import contextlib
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from equidrift.checks.geometry import check_supported
from equidrift.errors import EquidriftError
from equidrift.files.ensembles import load, load_all
from equidrift.files.trajectories import load_trajectory
from equidrift.records import Ensemble, Molecule
from tests.fuzz.mutations import CORPUS, good_files, mutated_bytes, mutated_smiles

TOPOLOGY = r"[2H]C[C@H](F)/C=C\C(=O)N"
SUFFIXES = (
    ".sdf",
    ".mol",
    ".pdb",
    ".xyz",
    ".extxyz",
    ".traj",
    ".npz",
    ".xtc",
    ".trr",
    ".dcd",
    ".nc",
    ".h5md",
    ".smi",
)
SHORT_SMILES, SHORT_FILES, LONG_SMILES, LONG_FILES, LONG_SAMPLES = 400, 12, 10_000, 800, 1_000


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Sound files of every format."""
    return good_files(tmp_path_factory.mktemp("good"))


def read_check_write(smiles: str, folder: Path) -> bool:
    """Whether a SMILES is a molecule of ours; written and read where it is."""
    try:
        molecule = Molecule.from_smiles(smiles)
        check_supported(molecule)
    except EquidriftError:
        return False
    grid = np.stack(np.meshgrid(*[np.arange(8) * 1.5] * 3), -1).reshape(-1, 3)
    if molecule.n_atoms <= len(grid):
        ensemble = Ensemble(molecule, grid[None, : molecule.n_atoms])
        for suffix in (".sdf", ".npz", ".extxyz"):
            ensemble.save(folder / f"a{suffix}")
            try:
                load(folder / f"a{suffix}")
            except EquidriftError:  # a grid is no geometry: stereo may come out impossible
                assert suffix == ".sdf"
    return True


def read_file(path: Path) -> None:
    """Everything that reads a file, each with its own errors."""
    topology = TOPOLOGY if path.suffix in (".xtc", ".trr", ".dcd", ".nc", ".h5md") else None
    readings = [lambda: list(load_all(path, top=topology, problems=[]))]
    if path.suffix not in (".sdf", ".mol", ".smi"):
        readings.append(lambda: load_trajectory(path, topology, dt_fs=1.0))
    for reading in readings:
        with contextlib.suppress(EquidriftError):
            reading()


def throw_files(good: dict[str, bytes], suffix: str, seeds: range, folder: Path) -> None:
    path = folder / f"broken{suffix}"
    for seed in seeds:
        path.write_bytes(mutated_bytes(good[suffix], seed))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                read_file(path)
            except Exception as error:
                error.add_note(f"{suffix} of seed {seed}")
                raise


@pytest.mark.long
@pytest.mark.parametrize("part", range(4))
def test_smiles_brings_a_molecule_or_an_error_of_ours(part, tmp_path):
    accepted = [
        read_check_write(mutated_smiles(seed), tmp_path) for seed in range(part, SHORT_SMILES, 4)
    ]
    assert any(accepted) and not all(accepted)


@pytest.mark.long
@pytest.mark.parametrize("smiles", CORPUS, ids=[f"{k}" for k in range(len(CORPUS))])
def test_smiles_of_the_corpus_brings_a_molecule_or_an_error_of_ours(smiles, tmp_path):
    read_check_write(smiles, tmp_path)


@pytest.mark.long
@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(text=st.text(max_size=40))
def test_any_text_brings_a_molecule_or_an_error_of_ours(text, tmp_path):
    read_check_write(text, tmp_path)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_broken_file_is_read_or_refused(suffix, good, tmp_path):
    throw_files(good, suffix, range(SHORT_FILES), tmp_path)


FOUND = (
    (".sdf", 1324),
    (".traj", 20046),
    (".traj", 20168),
    (".traj", 20544),
    (".mol", 1210),
    (".pdb", 1351),
    (".pdb", 1779),
)  # which brought errors of others in an earlier run


@pytest.mark.parametrize(("suffix", "seed"), FOUND)
def test_file_that_brought_an_error_of_others_is_refused(suffix, seed, good, tmp_path):
    throw_files(good, suffix, range(seed, seed + 1), tmp_path)


@pytest.mark.parametrize(
    ("suffix", "content"),
    [
        (".xyz", b"999999999\n\nH 0 0 0\n"),
        (".extxyz", b"999999999999\nProperties=species:S:1:pos:R:3\nH 0 0 0\n"),
        (".xyz", b"-1\n\n"),
        (".xtc", b"\x00\x00\x07\xcb\x7f\xff\xff\xff" + bytes(100)),
        (".trr", b"\x00\x00\x07\xc9" + b"\x7f\xff\xff\xff" * 30),
        (".dcd", b"\x54\x00\x00\x00CORD" + b"\xff" * 200),
        (".nc", b"CDF\x02" + b"\xff" * 60),
        (".h5md", b"\x89HDF\r\n\x1a\n" + b"\xff" * 60),
        (".traj", b"- of UlmASE-Trajectory  " + b"\x7f" * 24),
        (".npz", b"PK\x05\x06" + b"\xff" * 18),
    ],
)
def test_counts_that_the_file_cannot_hold_are_refused(suffix, content, tmp_path):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(content)
    with pytest.raises(EquidriftError):
        list(load_all(path, top=TOPOLOGY))


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_reading_leaves_nothing_beside_the_file(suffix, good, tmp_path):
    path = tmp_path / f"mine{suffix}"
    path.write_bytes(good[suffix])
    read_file(path)
    assert [entry.name for entry in tmp_path.iterdir()] == [
        path.name
    ] and path.read_bytes() == good[suffix]


@pytest.mark.slow
@pytest.mark.parametrize("part", range(20))
def test_ten_thousand_smiles(part, tmp_path):
    for seed in range(part, LONG_SMILES, 20):
        read_check_write(mutated_smiles(seed), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_ten_thousand_files(suffix, good, tmp_path):
    throw_files(good, suffix, range(1000, 1000 + LONG_FILES), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("part", range(20))
def test_a_thousand_smiles_are_sampled_or_refused(part):
    import equidrift

    for seed in range(part, LONG_SAMPLES, 20):
        with contextlib.suppress(EquidriftError):
            equidrift.sample(mutated_smiles(seed), 1, model="etkdg", max_attempts=2)

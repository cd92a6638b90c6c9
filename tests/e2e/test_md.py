"""equidrift md as a user runs it: results, refusals, and the identical chain after kill
-9.
"""

from __future__ import annotations

import gzip
import json
import os
import signal
import subprocess
import sys
from contextlib import chdir
from pathlib import Path
from typing import Any

import MDAnalysis as mda
import numpy as np
import pytest
from typer.testing import CliRunner

from equidrift.cli.main import build
from equidrift.cli.md import picoseconds
from equidrift.errors import InputError
from equidrift.files.topologies import load_topology
from equidrift.montecarlo.plan import checkpoint_of
from tests.stopping import stop_at


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "equidrift.cli.main", "md", *arguments]


def run(*arguments: str, folder: Path, check: bool = True) -> Any:
    """The command in this process, in a folder."""
    with chdir(folder):
        done = CliRunner().invoke(build(), ["md", *arguments])
    if check and done.exit_code:
        raise AssertionError(done.output) from done.exception
    return done


@pytest.fixture(scope="module")
def alanine_dipeptide(tmp_path_factory) -> Path:
    from openmm import app
    from openmmtools import testsystems

    system = testsystems.AlanineDipeptideVacuum()
    path = tmp_path_factory.mktemp("pdb") / "ala2.pdb"
    with open(path, "w") as handle:
        app.PDBFile.writeFile(system.topology, system.positions, handle)
    return path


QUICK = ["--adapt", "8ps", "--time", "6ps", "--md-steps", "50", "--n-proposals", "5"]


@pytest.mark.long
def test_smiles_prints_basins_with_errors(tmp_path):
    done = run("CCCC", *QUICK, "--proposals", "mixture", "-o", "b.xtc", folder=tmp_path)
    assert "MMFF94 at 300 K, 6 ps on Reference -> b.xtc" in done.stdout
    told = " ".join(done.stdout.split())
    assert "then frozen (nothing of that phase is in the result): a mixture" in told
    assert "C0-C1-C2-C3" in done.stdout and "±" in done.stdout and "accepted" in done.stdout
    assert len(mda.Universe(str(tmp_path / "b.top.pdb"), str(tmp_path / "b.xtc")).trajectory) == 60


@pytest.mark.long
def test_pdb_with_amber_files_as_json(tmp_path, alanine_dipeptide):
    options = ["--forcefield", "amber96.xml,amber96_obc.xml", "--proposals", "histogram", "--json"]
    done = run(str(alanine_dipeptide), *QUICK, *options, "-o", "a.dcd", folder=tmp_path)
    result = json.loads(done.stdout)
    assert (
        result["potential"] == "amber96.xml + amber96_obc.xml"
        and result["cycles"] == result["frames"] == 60
    )
    assert len(result["torsions"]) == 2 and 0 < result["acceptance"] < 1
    assert sum(basin["population"] for basin in result["torsions"][0]["basins"]) == pytest.approx(1)
    assert result["adaptation"]["frames"] and result["exact"] is True


def test_extended_run_equals_a_long_one_and_plain_dynamics_run(tmp_path):
    for name, times in (("long", ["6ps"]), ("two", ["3ps", "6ps"])):
        for span in times:
            done = run(
                "CCCC",
                "--proposals",
                "none",
                "--time",
                span,
                "--json",
                "-o",
                f"{name}.xtc",
                folder=tmp_path,
            )
            result = json.loads(done.stdout)
    assert result["resumed_at_cycle"] == 15 and result["cycles"] == 30 and result["proposed"] == 0
    assert (tmp_path / "long.xtc").read_bytes() == (tmp_path / "two.xtc").read_bytes()


def chain_of(output: Path) -> tuple[np.ndarray, np.ndarray]:
    with np.load(checkpoint_of(output)) as data:
        return data["torsions_rad"], data["energies_eV"]


@pytest.mark.parametrize(
    "suffix",
    [pytest.param(".xtc", marks=pytest.mark.long), pytest.param(".dcd", marks=pytest.mark.slow)],
)
def test_kill_and_resume_gives_the_identical_chain(tmp_path, suffix):
    options = [
        "CCCO",
        "--proposals",
        "uniform",
        "--adapt",
        "2ps",
        "--time",
        "12ps",
        "--md-steps",
        "20",
        "--json",
    ]
    run(*options, "-o", f"whole{suffix}", folder=tmp_path)
    output = tmp_path / f"killed{suffix}"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    for count, before in (
        (3, False),
        (40, True),
        (80, False),
    ):  # cycles after the start or the last kill
        hook = stop_at(".checkpoint", count, before=before)
        (tmp_path / "sitecustomize.py").write_text(
            f"import equidrift.montecarlo.run as md\nmd.SAVE_EVERY_S = 0.0\n{hook}"
        )
        killed = subprocess.run(
            command(*options, "-o", output.name),
            cwd=tmp_path,
            env=environment,
            check=False,
            capture_output=True,
        )
        assert killed.returncode == -signal.SIGKILL
    run(*options, "-o", output.name, folder=tmp_path)
    for ours, theirs in zip(chain_of(output), chain_of(tmp_path / f"whole{suffix}"), strict=True):
        assert np.array_equal(ours, theirs)
    universes = [
        mda.Universe(str(tmp_path / "whole.top.pdb"), str(tmp_path / f"{name}{suffix}"))
        for name in ("whole", "killed")
    ]
    frames = [
        np.array([step.positions.copy() for step in universe.trajectory]) for universe in universes
    ]
    assert np.array_equal(*frames) and len(frames[0]) == 300


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["CCCC", "--time", "200"], "--time must be a number with a unit"),
        (["CCCC", "--proposals", "torsions"], "Did you mean 'torsion'?"),
        (["CCCC", "--time", "0ps"], "--time must be a time above 0"),
        (["CCCC", "--forcefield", "amber96.xml"], "--forcefield is for .pdb files"),
        (["CC", "--proposals", "uniform"], "no rotatable bond"),
        (["CCCCCCC", "--proposals", "histogram", "--adapt", "16ps"], "a histogram of 4 torsions"),
        (["nonsense(", "--proposals", "none"], "SMILES"),
        (["missing.pdb", "--forcefield", "amber96.xml"], "no file 'missing.pdb'"),
        (["CCCC", "--temperature", "-3"], "--temperature must be a number of K above 0"),
        (["CCCC", "--adapt", "1ps", "--proposals", "mixture"], "80 are needed"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(tmp_path, arguments, message):
    done = run(*arguments, "-o", "x.xtc", folder=tmp_path, check=False)
    assert done.exit_code == 2 and len(done.stderr.strip().splitlines()) == 1
    assert message in done.stderr


def test_outputs_of_others_are_left_alone(tmp_path):
    (tmp_path / "x.xtc").write_text("mine")
    done = run("CCCC", "-o", "x.xtc", folder=tmp_path, check=False)
    assert (
        done.exit_code == 2
        and "--overwrite" in done.stderr
        and (tmp_path / "x.xtc").read_text() == "mine"
    )
    assert "trajectory suffix" in run("CCCC", "-o", "x.sdf", folder=tmp_path, check=False).stderr
    options = ["--proposals", "none", "--time", "1ps"]
    run("CCCC", *options, "-o", "y.xtc", folder=tmp_path)
    done = run(
        "CCCC", *options, "--temperature", "310", "-o", "y.xtc", folder=tmp_path, check=False
    )
    assert done.exit_code == 2 and "run of another command" in done.stderr


def test_times_with_units():
    assert [picoseconds(text) for text in ("200ps", "1 ns", "2.5fs", "1e-3us")] == pytest.approx(
        [200, 1000, 0.0025, 1000]
    )
    for bad in ("", "ps", "3", "3 s", "-1ps", "1.2.3ps", ".ps"):
        with pytest.raises(InputError, match="a number with a unit"):
            picoseconds(bad)


# What a PDB file says of a box --------------------------------------------------------

O01 = Path(__file__).parents[1] / "data" / "cases" / "O01-CRYST1-implicit-crash"
SHORT = ["--time", "1ps", "--md-steps", "50", "--proposals", "none", "--json"]


@pytest.mark.long
@pytest.mark.parametrize("name", ["ala2_cryst1.pdb", "ala2_smallbox.pdb"])
def test_md_runs_in_implicit_solvent_when_the_pdb_has_a_box(tmp_path, name):
    fields = ["--forcefield", "amber14-all.xml,implicit/obc2.xml"]
    done = run(str(O01 / name), *SHORT, *fields, "-o", "a.xtc", folder=tmp_path)
    assert json.loads(done.stdout)["cycles"] == 10


def test_md_takes_a_box_of_1_A_for_none(tmp_path):
    fields = ["--forcefield", "amber14-all.xml"]
    run(str(O01 / "ala2_cryst1.pdb"), *SHORT, *fields, "-o", "a.xtc", folder=tmp_path)
    universe = mda.Universe(str(O01 / "ala2_cryst1.pdb"), str(tmp_path / "a.xtc"))
    assert universe.trajectory.ts.dimensions is None


def test_md_refuses_a_box_that_the_cutoff_does_not_fit_into(tmp_path):
    fields = ["--forcefield", "amber14-all.xml"]
    done = run(
        str(O01 / "ala2_smallbox.pdb"), *SHORT, *fields, "-o", "a.xtc", folder=tmp_path, check=False
    )
    assert isinstance(done.exception, InputError) or done.exit_code
    text = f"{done.output} {done.exception}"
    assert "15.0 A wide" in text.replace("\n", " ") and "remove the CRYST1 record" in text.replace(
        "\n", " "
    )


def test_md_names_the_option_and_the_time_when_adaptation_is_too_short(tmp_path):
    short = ["CCCC", "--proposals", "mixture", "--md-steps", "4000", "-o", "a.xtc"]
    for options, need in (
        ([], "--adapt 640ps, or --time 6400ps"),
        (["--adapt", "100ps"], "--adapt 640ps"),
    ):
        done = run(*short, *options, folder=tmp_path, check=False)
        text = " ".join(f"{done.output} {done.exception}".split())
        assert f"needs {need}" in text
    assert not list(tmp_path.iterdir())


def test_md_writes_its_tables_as_csv(tmp_path):
    import csv

    done = run("CCCC", *QUICK, "--proposals", "uniform", "--json", "-o", "b.xtc", folder=tmp_path)
    result = json.loads(done.stdout)
    with open(tmp_path / "b.torsions.csv", newline="") as stream:
        rows = list(csv.DictReader(stream))
    basins = [basin for torsion in result["torsions"] for basin in torsion["basins"]]
    assert [float(row["population"]) for row in rows] == [basin["population"] for basin in basins]
    assert {row["torsion"] for row in rows} == {"C0-C1-C2-C3"}
    assert (tmp_path / "b.states.csv").is_file()


def test_md_of_a_peptide_names_its_torsions_by_residue(tmp_path):
    (path,) = (Path(__file__).parents[1] / "data" / "cases").glob("*/gly_icode.pdb")
    fields = ["--forcefield", "amber14-all.xml"]
    done = run(str(path), *SHORT, *fields, "-o", "a.xtc", folder=tmp_path)
    names = {torsion["torsion"] for torsion in json.loads(done.stdout)["torsions"]}
    assert names == {"GLY52A phi", "GLY52A psi", "GLY52B phi", "GLY52B psi"}


@pytest.mark.long
def test_interrupted_adaptation_goes_on_where_it_stopped(tmp_path):
    """Killed twice within the adaptive phase: its cycles are not run again, and the
    chain is that of an uninterrupted run.
    """
    options = ["CCCO", "--proposals", "mixture", "--adapt", "4ps", "--time", "2ps"]
    options += ["--md-steps", "20", "--json"]
    whole = json.loads(run(*options, "-o", "whole.xtc", folder=tmp_path).stdout)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    for count in (30, 40):  # saved cycles after the start and after the first kill, of 80
        (tmp_path / "sitecustomize.py").write_text(
            "import equidrift.montecarlo.run as md\nmd.SAVE_EVERY_S = 0.0\n"
            + stop_at(".checkpoint", count)
        )
        killed = subprocess.run(
            command(*options, "-o", "killed.xtc"),
            cwd=tmp_path,
            env=environment,
            check=False,
            capture_output=True,
        )
        assert killed.returncode == -signal.SIGKILL
        with np.load(checkpoint_of(tmp_path / "killed.xtc")) as data:
            assert "adapting" in json.loads(str(data["meta"]))["extra"]
    resumed = json.loads(run(*options, "-o", "killed.xtc", folder=tmp_path).stdout)
    told = [{**result["adaptation"], "seconds": 0.0} for result in (whole, resumed)]
    assert told[0] == told[1]
    for ours, theirs in zip(
        chain_of(tmp_path / "killed.xtc"), chain_of(tmp_path / "whole.xtc"), strict=True
    ):
        assert np.array_equal(ours, theirs)


ETHANOL_MOL2 = """@<TRIPOS>MOLECULE
ethanol mine
9 8 0 0 0
SMALL
NO_CHARGES

@<TRIPOS>ATOM
1 C1 -0.888 0.167 -0.027 C.3
2 C2 0.466 -0.512 -0.037 C.3
3 O1 1.437 0.320 0.584 O.3
4 H1 -1.640 -0.460 -0.512 H
5 H2 -0.824 1.117 -0.565 H
6 H3 -1.213 0.368 0.999 H
7 H4 0.780 -0.716 -1.065 H
8 H5 0.404 -1.466 0.495 H
9 H6 1.480 1.180 0.133 H
@<TRIPOS>BOND
1 1 2 1
2 2 3 1
3 1 4 1
4 1 5 1
5 1 6 1
6 2 7 1
7 2 8 1
8 3 9 1
"""


@pytest.mark.parametrize("name", ["e.mol2", "e.mol2.gz", "e.smi"])
def test_md_reads_every_file_of_molecules_that_sample_reads(tmp_path: Path, name: str) -> None:
    text = "CCO ethanol\n" if name.endswith(".smi") else ETHANOL_MOL2
    packed = gzip.compress(text.encode()) if name.endswith(".gz") else text.encode()
    (tmp_path / name).write_bytes(packed)
    done = run(name, *SHORT, "-o", "e.xtc", folder=tmp_path)
    assert json.loads(done.stdout)["potential"] == "MMFF94"
    assert len(mda.Universe(str(tmp_path / "e.top.pdb")).atoms) == 9


def test_md_names_the_suffix_of_a_file_that_it_does_not_read(tmp_path: Path) -> None:
    (tmp_path / "e.docx").write_text("no molecule")
    done = run("e.docx", *SHORT, "-o", "e.xtc", folder=tmp_path, check=False)
    assert done.exit_code == 2 and "unknown suffix '.docx'" in done.output


def test_topology_is_read_from_a_mol2(tmp_path: Path) -> None:
    (tmp_path / "e.mol2").write_text(ETHANOL_MOL2)
    molecule = load_topology(tmp_path / "e.mol2")
    assert molecule.n_atoms == 9 and molecule.name == "ethanol mine"


# A box of water -----------------------------------------------------------------------


@pytest.mark.long
def test_md_of_a_box_of_water_turns_the_solute_alone(tmp_path):
    """As a user's file comes: psi and phi, few proposals lost, and the whole box in the
    trajectory.
    """
    from openmm import app, unit
    from openmmtools import testsystems

    made = testsystems.AlanineDipeptideVacuum()
    modeller = app.Modeller(made.topology, made.positions)
    files = ("amber14-all.xml", "amber14/tip3p.xml")
    modeller.addSolvent(app.ForceField(*files), boxSize=[1.85] * 3 * unit.nanometer)
    with open(tmp_path / "box.pdb", "w") as handle:
        app.PDBFile.writeFile(modeller.topology, modeller.positions, handle)
    quick = ["--adapt", "0.16ps", "--time", "0.01ps", "--md-steps", "1"]
    done = run(
        *("box.pdb", "--forcefield", ",".join(files), *quick, "--json", "-o", "a.xtc"),
        folder=tmp_path,
    )
    result = json.loads(done.stdout)
    assert [t["torsion"] for t in result["torsions"]] == ["ALA2 psi", "ALA2 phi"]
    assert result["adaptation"]["chosen"] == "heat-bath" and result["acceptance"] > 0.5
    assert result["proposed"] == result["cycles"]  # one in each round, and not ten
    frames = mda.Universe(str(tmp_path / "a.top.pdb"), str(tmp_path / "a.xtc"))
    assert len(frames.atoms) == modeller.topology.getNumAtoms() > 500
    # the same command goes on where it ended
    longer = [*quick[:3], "0.014ps", *quick[4:]]
    again = run(
        *("box.pdb", "--forcefield", ",".join(files), *longer, "--json", "-o", "a.xtc"),
        folder=tmp_path,
    )
    assert json.loads(again.stdout)["cycles"] == 7

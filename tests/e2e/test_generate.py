"""`equidrift generate` as a user runs it: summary, JSON, files, messages, kill -9 and
resume. A double stands for the model.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import ase.io
import pytest
from rdkit import Chem

from equidrift.files.ensembles import load_all
from tests.stopping import stop_at

ROOT = Path(__file__).parents[2]
RUN = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
import equidrift.registry as registry
import equidrift.engine.molecules as molecules
registry.MOLECULE_MODELS["baker"] = "tests.doubles:Baker"
molecules.JUDGES["network"] = "tests.plugin.engine.test_molecules:five"
from equidrift.cli.main import run
run()
"""


def command(out: str, *more: str, hook: str = "") -> list[str]:
    return [
        sys.executable,
        "-c",
        hook + RUN,
        "generate",
        "-o",
        out,
        "--model",
        "baker",
        "--set",
        "share=0.4",
        *more,
    ]


def done(folder: Path, out: str, *more: str, hook: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(out, *more, hook=hook), cwd=folder, capture_output=True, text=True, check=False
    )


@pytest.mark.long
def test_summary_and_sdf(tmp_path: Path) -> None:
    ran = done(
        tmp_path,
        "new.sdf",
        "-n",
        "6",
        "--target",
        "gap_eV=7.0",
        "--target",
        "dipole_D=2.5",
        "--guidance",
        "2",
    )
    assert ran.returncode == 0, ran.stderr
    lines = ran.stdout.splitlines()
    assert lines[0] == "6 molecules by baker -> new.sdf" and "rejected: no molecule" in lines[1]
    assert "gap_eV: target 7, achieved (judge network) mean 5, off by 2 on average" in ran.stdout
    mols = list(Chem.SDMolSupplier(str(tmp_path / "new.sdf"), removeHs=False))
    assert (
        len({Chem.MolToSmiles(mol) for mol in mols}) == 6
        and mols[0].GetProp("gap_eV") == "5"
        and mols[0].GetConformer().Is3D()
    )


@pytest.mark.long
def test_targets_of_the_graph_end_in_a_pareto_table(tmp_path: Path) -> None:
    aims = ("--target", "logP=0.5", "--target", "QED=max", "--target", "TPSA<90")
    ran = done(tmp_path, "new.sdf", "-n", "4", *aims, "--candidates", "2")
    assert ran.returncode == 0, ran.stderr
    assert "QED: target max, achieved (judge rdkit)" in ran.stdout
    assert "TPSA: target <90" in ran.stdout and "Pareto front" in ran.stdout
    ran = done(tmp_path, "new2.sdf", "-n", "4", *aims, "--candidates", "2", "--json")
    result = json.loads(ran.stdout)
    assert {"smiles", "logP", "QED", "TPSA"} == set(result["pareto"][0])
    mols = [m for m in Chem.SDMolSupplier(str(tmp_path / "new2.sdf")) if m is not None]
    written = {Chem.MolToSmiles(mol) for mol in mols}
    assert len(mols) == 4 and {row["smiles"] for row in result["pareto"]} <= written
    assert all(float(mol.GetProp("TPSA")) < 90 for mol in mols)


@pytest.mark.long
def test_json_traj_and_extxyz(tmp_path: Path) -> None:
    for name in ("new.traj", "new.extxyz"):
        ran = done(tmp_path, name, "-n", "4", "--json", "--seed", "2")
        result = json.loads(ran.stdout)
        assert result["command"] == "generate" and result["molecules"] == 4 and result["seed"] == 2
        assert result["drawn"] == 4 + sum(result["rejected"].values())
        images = ase.io.read(tmp_path / name, ":")
        assert len(images) == 4 and len({image.info["smiles"] for image in images}) == 4


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--target", "gap=7"], "unknown property 'gap'. Did you mean 'gap_eV'?"),
        (
            ["--target", "gap_eV"],
            "--target takes PROPERTY=VALUE, say --target gap_eV=7.0; got 'gap_eV'",
        ),
        (["--target", "gap_eV=big"], "has a value that is no number"),
        (["--target", "gap_eV=max"], "has a value that is no number"),
        (["--target", "loqP=2"], "unknown property 'loqP'. Did you mean 'logP'?"),
        (["--target", "QED=best"], "the target of QED must be a number, 'max', 'min'"),
        (["--target", "QED=7"], "the target of QED must be between 0 and 1, not 7"),
        (["--target", "TPSA<90", "--target", "TPSA=min"], "--target TPSA is given twice, <90 and"),
        (["--candidates", "4"], "needs a target that says which of them is best"),
        (
            ["--target", "gap_eV=7", "--target", "gap_eV=6"],
            "--target gap_eV is given twice, 7 and 6",
        ),
        (["--target", "gap_eV=99"], "lies outside what the model was trained on, 4 to 10"),
        (["--guidance", "2"], "has nothing to guide to"),
        (["--replace", "[OH]"], "--replace: replace='[OH]' has no molecule to replace"),
        (["--replace", "C", "--fragment", "none.sdf"], "--fragment: there is no file 'none.sdf'"),
        (["--fragment", "none.sdf"], "--fragment: there is no file 'none.sdf'"),
        (["--set", "colour=red"], "the model 'baker' has no option 'colour'"),
        (["-n", "0"], "-n must be an integer of 1 or more"),
    ],
)
def test_generate_refuses_what_cannot_be_in_one_line(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In this process, so that it costs little."""
    import typer.testing

    from equidrift import registry
    from equidrift.cli.main import build

    output = ("generate", "-o", str(tmp_path / "x.sdf"), "--model", "baker")
    registry.MOLECULE_MODELS["baker"] = "tests.doubles:Baker"
    try:
        ran = typer.testing.CliRunner().invoke(build(), [*output, *arguments])
    finally:
        del registry.MOLECULE_MODELS["baker"]
    assert ran.exit_code == 2 and message in ran.output, ran.output
    assert not list(tmp_path.iterdir())


@pytest.mark.long
def test_one_molecule_formats_and_force(tmp_path: Path) -> None:
    ran = done(tmp_path, "x.npz", "-n", "2")
    assert (
        ran.returncode == 2
        and "a .npz file holds one molecule, and 2 are asked for; write .sdf" in ran.stderr
    )
    ran = done(tmp_path, "x.npz", "--target", "gap_eV=12", "--force")
    assert ran.returncode == 0 and "note: the target gap_eV=12 lies outside" in ran.stdout
    assert len(list(load_all(tmp_path / "x.npz"))) == 1


@pytest.mark.long
def test_too_few_fail_with_the_counts(tmp_path: Path) -> None:
    ran = done(tmp_path, "x.sdf", "-n", "20", "--strict")
    assert (
        ran.returncode == 1
        and "of 20 molecules are valid and unique after 400 draws" in ran.stderr
        and "repeated" in ran.stderr
    )
    assert not (tmp_path / "x.sdf").exists()


@pytest.mark.long
def test_too_few_are_written_with_a_note(tmp_path: Path) -> None:
    for again in (False, True):
        ran = done(tmp_path, "x.sdf", "-n", "20", "--json")
        told = json.loads(ran.stdout)
        assert ran.returncode == 1 and told["finished_before"] is again
        assert 0 < told["molecules"] == (tmp_path / "x.sdf").read_text().count("$$$$") < 20
        assert (
            "valid and unique after 400 draws" in told["notes"][0]
            and "--strict" in told["notes"][0]
        )
    ran = done(tmp_path, "x.sdf", "-n", "20", "--max-attempts", "30")
    assert ran.returncode == 2 and "draw anew with --overwrite" in ran.stderr


@pytest.mark.long
@pytest.mark.parametrize("suffix", [".sdf", ".traj"])
def test_killed_run_gives_the_same_molecules(suffix: str, tmp_path: Path) -> None:
    whole, torn = tmp_path / f"whole{suffix}", tmp_path / f"torn{suffix}"
    options = ("-n", "11", "--batch-size", "2")
    assert done(tmp_path, whole.name, *options).returncode == 0
    for before in (True, False):
        killed = done(tmp_path, torn.name, *options, hook=stop_at(".journal", 4, before=before))
        assert killed.returncode == -signal.SIGKILL
    last = done(tmp_path, torn.name, *options)
    assert last.returncode == 0 and "continued from molecule" in last.stdout
    if suffix == ".sdf":
        assert torn.read_bytes() == whole.read_bytes()
    else:
        pair = [ase.io.read(path, ":") for path in (torn, whole)]
        assert [image.info["smiles"] for image in pair[0]] == [
            image.info["smiles"] for image in pair[1]
        ]
        assert all((a.positions == b.positions).all() for a, b in zip(*pair, strict=True))
    assert sorted(path.name for path in tmp_path.iterdir()) == [torn.name, whole.name]


@pytest.mark.long
def test_another_command_does_not_take_up_the_journal(tmp_path: Path) -> None:
    assert (
        done(tmp_path, "x.sdf", "-n", "20", "--strict").returncode == 1
    )  # leaves its journal: more attempts would go on
    ran = done(tmp_path, "x.sdf", "-n", "3", "--seed", "9")
    assert ran.returncode == 2 and "has an unfinished run of another command" in ran.stderr
    assert done(tmp_path, "x.sdf", "-n", "3", "--seed", "9", "--overwrite").returncode == 0

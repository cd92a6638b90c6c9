"""Reports of trajectories, md runs, trainings and new molecules."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

import equidrift
from equidrift.errors import InputError
from equidrift.report import analysis, targets, write_report
from equidrift.report.md import read_chains
from equidrift.report.trajectories import slope_with_error
from equidrift.report.write import Options
from tests.plugin.report.pages import cards_of, tables_of

DATA = Path(__file__).parents[3] / "examples" / "data"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two short chains of pentane."""
    folder = tmp_path_factory.mktemp("md")
    settings = {"proposals": "uniform", "md_steps": 5, "n_proposals": 2, "platform": "Reference"}
    equidrift.md("CCCCC", folder / "run.xtc", 0.4, chains=2, adapt_ps=0.1, **settings)
    return folder / "run.xtc"


@pytest.mark.long
def test_trajectory_is_played_with_its_times(tmp_path: Path) -> None:
    options = Options(top=str(DATA / "aspirin.pdb"))
    done = write_report([DATA / "aspirin.xtc"], tmp_path / "r.html", options=options)
    assert done["sections"][0]["kind"] == "trajectory"
    ((card,),) = cards_of(tmp_path / "r.html")
    whole = equidrift.load_trajectory(DATA / "aspirin.xtc", DATA / "aspirin.pdb")
    assert card["m"] == "frames" and len(card["p"]) == len(whole)
    assert [float(text) for text in card["d"]["time_fs"]] == pytest.approx(whole.time_fs.tolist())
    text = (tmp_path / "r.html").read_text()
    assert text.count("<figure") == 5
    rows = tables_of(tmp_path / "r.html")["Frames"].splitlines()
    assert len(rows) == 1 + len(whole) and float(rows[1].split(",")[1]) == pytest.approx(
        0, abs=1e-6
    )


@pytest.mark.long
def test_md_run_of_chains_shows_acceptance_basins_and_errors(run: Path, tmp_path: Path) -> None:
    write_report([run], tmp_path / "r.html")
    text = (tmp_path / "r.html").read_text()
    chains = read_chains([run.with_name(f"run.{k}.xtc") for k in (1, 2)])
    assert len(chains.lengths) == 2 and chains.total("proposed") == 2 * sum(chains.lengths)
    told = f"{chains.total('accepted')} of {chains.total('proposed')}"
    assert told in text and "md run" in text
    assert {"Torsions", "Basins", "States"} <= set(tables_of(tmp_path / "r.html"))
    table = tables_of(tmp_path / "r.html")["Torsions"].splitlines()
    assert [row.split(",")[0] for row in table[1:]] == list(chains.labels)
    assert text.count("<figure") == 5


@pytest.mark.long
def test_md_run_with_a_damaged_checkpoint_is_refused(run: Path, tmp_path: Path) -> None:
    for name in ("run.1.xtc", "run.1.top.pdb"):
        (tmp_path / name).write_bytes((run.parent / name).read_bytes())
    (tmp_path / "run.1.xtc.checkpoint").write_bytes(b"broken")
    with pytest.raises(InputError, match=r"run\.1\.xtc\.checkpoint"):
        write_report([tmp_path / "run.1.xtc"], tmp_path / "r.html")


def test_training_folder_shows_losses_and_cards(tmp_path: Path) -> None:
    folder = tmp_path / "toy"
    folder.mkdir()
    stored = {"file": "checkpoint-40.safetensors", "step": 40, "samples": 320, "seconds": 12.0}
    stored["held_out_losses"] = {"before": 2.0, "after": 0.5}
    (folder / "checkpoint.json").write_text(json.dumps(stored))
    lines = ["step,loss,learning_rate,seconds", "20,1.5,0.001,6.0", "40,0.7,0.0001,12.0"]
    (folder / "losses.csv").write_text("\n".join(lines) + "\n")
    done = write_report([folder], tmp_path / "r.html")
    assert done["sections"][0]["kind"] == "training run"
    assert tables_of(tmp_path / "r.html")["Held-out loss"].splitlines()[1:] == [
        "before training,2.0",
        "after training,0.5",
    ]
    assert (tmp_path / "r.html").read_text().count("<figure>") == 2
    (folder / "losses.csv").write_text("step,loss\n")
    with pytest.raises(InputError, match=r"losses\.csv"):
        write_report([folder], tmp_path / "r.html", overwrite=True)


def test_new_molecules_show_properties_beside_the_training_data(tmp_path: Path) -> None:
    from equidrift.adapters.rdkit.io import write_sdf

    for k, smiles in enumerate(("CCO", "CCN", "OCC")):
        made = equidrift.sample(smiles, 1, model="etkdg")
        made = made.replace(scores={"gap_eV": [5.0 + k]}, provenance={"model": "joint"})
        write_sdf(made, tmp_path / "new.sdf", append=k > 0, first_sample=0)
    told = {"command": "generate", "output": "new.sdf", "molecules": 3, "rejected": {"valence": 2}}
    told |= {"drawn": 5, "targets": [], "notes": [], "seed": 7}
    (tmp_path / "new.json").write_text(json.dumps(told))
    done = write_report([tmp_path / "new.sdf", tmp_path / "new.json"], tmp_path / "r.html")
    assert [one["kind"] for one in done["sections"]] == ["new molecules"]
    text = (tmp_path / "r.html").read_text()
    assert "gap_eV of 3 molecules" in text and "valence 2" in text
    repeated = tables_of(tmp_path / "r.html")["Molecules that come more than once"]
    assert repeated.splitlines()[1:] == ["CCO,2"]


def test_free_energy_of_uniform_torsions_is_flat_within_its_errors() -> None:
    angles = np.random.default_rng(0).uniform(-np.pi, np.pi, 20_000)
    _, free, error = analysis.torsion_profile(angles, 300.0)
    away = free - free.mean()
    assert np.isfinite(error).all() and (np.abs(away) < 5 * error).all()
    assert 0.5 < np.sqrt(np.mean((away / error) ** 2)) < 1.5


def test_torsion_map_is_empty_where_nothing_was_seen() -> None:
    angles = np.zeros(50)
    free, _ = analysis.torsion_map(angles, angles + 0.01, 300.0)
    assert np.isfinite(free).sum() == 1 and np.nanmin(free) == 0


def test_clusters_are_within_the_threshold_of_their_first_one() -> None:
    rmsd = np.abs(np.subtract.outer([0.0, 0.1, 1.0, 1.2], [0.0, 0.1, 1.0, 1.2]))
    assert analysis.clusters(rmsd, 0.5) == [[0, 1], [2, 3]]


def test_captions_tell_what_the_numbers_in_names_of_torsions_are() -> None:
    assert "atoms, counted from 0" in analysis.atoms_told(["ALA 2 phi", "0-1-2-11"])
    butane = equidrift.Molecule.from_smiles("CCCC")
    assert "counted from 0" in analysis.atoms_told(["C0-C1-C2-C3"], butane)
    assert analysis.atoms_told(["ALA 2 phi"]) == ""


def test_drift_of_a_line_is_its_slope() -> None:
    slope, error = slope_with_error(np.arange(10.0), 3 * np.arange(10.0) + 1)
    assert slope == pytest.approx(3) and error == pytest.approx(0, abs=1e-9)


def test_several_results_become_sections_in_order(tmp_path: Path) -> None:
    for name in ("a", "b"):
        equidrift.sample("C", 1, model="etkdg").save(tmp_path / f"{name}.npz")
    write_report([tmp_path / "b.npz", tmp_path / "a.npz"], tmp_path / "r.html")
    heads = re.findall(r"<section[^>]*><h2>(\S+)", (tmp_path / "r.html").read_text())
    assert heads == ["b.npz", "a.npz"]


def test_pareto_front_is_what_no_other_row_beats() -> None:
    errors = np.array([[0.0, 2.0], [1.0, 1.0], [2.0, 0.0], [2.0, 2.0], [1.0, 1.5], [1.0, 1.0]])
    assert targets.pareto_front(errors).tolist() == [True, True, True, False, False, True]


def test_targets_of_a_run_have_a_table_and_a_pareto_front() -> None:
    rows = [
        {"property": name, "target": 1.0, "judge": "network", "molecules": 2, "mean": 1.5}
        for name in ("gap_eV", "mu_D")
    ]
    (table,) = targets.target_tables({"targets": rows})
    assert [row[0] for row in table.rows] == ["gap_eV", "mu_D"]
    scores = {"gap_eV": [1.0, 2.0], "mu_D": [3.0, 4.0]}
    (figure,) = targets.pareto_figures(scores, targets.targets_of({"targets": rows}))
    assert "1 molecule is on the Pareto front" in figure.caption
    assert targets.pareto_figures(scores, {"gap_eV": 1.0}) == []

"""The table of other people's generators: what counts as missed, and references of the
user's own.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

import equidrift
from equidrift.adapters.ase.xtb import gfn2_relax
from equidrift.adapters.rdkit.etkdg import ETKDGMMFF
from equidrift.adapters.rdkit.rivals import Rival, onto, rivals
from equidrift.adapters.rdkit.rmsd import rmsd_matrix
from equidrift.bench import rivals as bench
from equidrift.errors import InputError, UnknownNameError
from equidrift.records import Molecule
from equidrift.units import KCAL_MOL_PER_EV

ALANINOL = "C[C@H](N)CO"


def of(smiles: str, n: int = 2) -> tuple[Molecule, np.ndarray]:
    molecule = Molecule.from_smiles(smiles)
    return molecule, ETKDGMMFF().sample(molecule, np.arange(n))


@pytest.mark.parametrize("name", [name for name, one in rivals().items() if one.is_installed()])
def test_rival_makes_conformers_in_the_order_of_our_atoms_when_it_is_installed(name: str) -> None:
    if "auto3d" in name:
        pytest.skip("takes minutes")
    molecule = Molecule.from_smiles(ALANINOL)
    made = rivals()[name].generate(molecule, 3, 0)
    assert made.shape == (3, molecule.n_atoms, 3)
    lengths = np.linalg.norm(made[:, molecule.bonds[:, 0]] - made[:, molecule.bonds[:, 1]], axis=-1)
    assert (lengths > 0.8).all() and (lengths < 1.7).all()
    assert np.array_equal(made, rivals()[name].generate(molecule, 3, 0))


def test_failures_and_other_stereoisomers_count_as_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    mirrored = of(ALANINOL.replace("@", "@@"))[1]

    def broken(molecule: Molecule, n: int, seed: int) -> np.ndarray:
        del seed
        if molecule.n_atoms == 3:
            raise RuntimeError("no")
        return np.concatenate([mirrored, mirrored])[:n]

    monkeypatch.setattr(bench, "generators", lambda: {"broken": Rival(broken)})
    systems = [of(ALANINOL), of("O", 1)]
    samples, values = bench.sampled("broken", systems)
    assert [len(x) for x in samples] == [0, 0]
    assert values["failed"] == 1 and values["stereo"] == 0.0
    assert values["conformers"] == 4 and values["conformers_asked"] == 6
    matrices = [rmsd_matrix(m, x, y) for (m, x), y in zip(systems, samples, strict=True)]
    found = bench.coverage(matrices, bench.THRESHOLDS_A)
    assert found["COV-R@0.75"] == 0.0 and math.isinf(found["AMR-R"])


def test_own_references_are_read_and_laid_on_the_molecules_of_input(tmp_path: Path) -> None:
    molecule, x = of(ALANINOL)
    crystal = equidrift.Ensemble(molecule, x, seeds=np.arange(2))
    crystal.save(tmp_path / "refs.sdf")
    (tmp_path / "in.smi").write_text("OC[C@H](C)N other-order\nCCC none\n")
    part = bench._own(str(tmp_path / "refs.sdf"), str(tmp_path / "in.smi"))
    ((named, laid),) = part.systems
    assert named.name == "other-order" and laid.shape == (2, molecule.n_atoms, 3)
    heavy = named.numbers > 1
    assert np.isnan(laid[:, ~heavy]).all()
    assert rmsd_matrix(named, np.nan_to_num(laid), np.nan_to_num(laid)).diagonal() == (
        pytest.approx(0, abs=1e-4)
    )
    assert onto(Molecule.from_smiles(ALANINOL.replace("@", "@@")), molecule, x) is None
    (tmp_path / "else.smi").write_text("CCC\n")
    with pytest.raises(InputError, match="leave --input out"):
        bench._own(str(tmp_path / "refs.sdf"), str(tmp_path / "else.smi"))


def test_search_finds_distinct_minima_of_gfn2_lowest_first() -> None:
    molecule = Molecule.from_smiles("CCCO")
    made = bench.search(molecule, 4, 0)
    assert 2 <= len(made) <= 4
    energies = gfn2_relax(molecule, made, 0)[1]
    assert (np.diff(energies) >= 0).all()
    apart = rmsd_matrix(molecule, made, made)
    assert apart[~np.eye(len(made), dtype=bool)].min() >= bench.SAME_A
    released = energies - gfn2_relax(molecule, made)[1]
    assert (released < 0.1 / KCAL_MOL_PER_EV).all()


def test_molecules_without_references_are_asked_for_as_many_conformers_each(tmp_path: Path) -> None:
    (tmp_path / "in.smi").write_text("CCCO a\nnonsense b\nCCN c\n")
    part = bench._unknown(str(tmp_path / "in.smi"))
    assert [molecule.name for molecule, _ in part.systems] == ["a", "c"]
    assert {2 * len(block) for _, block in part.systems} == {bench.OWN_CONFORMERS}
    assert part.relaxed == bench.FULL_RELAXED and not part.compared
    (tmp_path / "none.smi").write_text("nonsense\n")
    with pytest.raises(InputError, match="holds no molecule that can be read"):
        bench._unknown(str(tmp_path / "none.smi"))


def test_unknown_method_is_refused_before_anything_runs() -> None:
    with pytest.raises(UnknownNameError, match="omega"):
        bench.run(methods=["omega"])


@pytest.mark.slow  # a process of its own, 4 s
def test_whole_table_has_counts_and_errors_of_own_references(tmp_path: Path) -> None:
    molecule, x = of("CCCCO", 2)
    equidrift.Ensemble(molecule, x, seeds=np.arange(2)).save(tmp_path / "refs.sdf")
    made = bench.run(references=str(tmp_path / "refs.sdf"), methods=["etkdgv3-mmff94"])
    (row,) = made["rows"]
    assert row["row"] == "own/etkdgv3-mmff94" and row["values"]["n"] == 1
    assert row["values"]["conformers"] == 4 and row["values"]["cpu_ms_per_conformer"] > 0
    (tmp_path / "in.smi").write_text("CCCO\n")
    (row,) = bench.run(molecules=str(tmp_path / "in.smi"), methods=["etkdgv3"])["rows"]
    assert row["values"]["energy_released_kcal_mol"] > 1 and "AMR-R" not in row["values"]

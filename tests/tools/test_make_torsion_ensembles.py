"""The ensembles of the torsion diffusion: never of a held-out molecule, and the same
whether the run was stopped or not.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from equidrift.models.shared.split import held_out
from equidrift.models.torsions.distances.data import EnsembleSet, measured
from equidrift.models.torsions.distances.graph import turned
from equidrift.records import Molecule
from equidrift.torsions import TorsionTree
from tests.tools.loading import tool

ZINC = ("CCCC=O", "CCOC(=O)C", "CCCN", "OCCCO", "c1ccccc1", "CC(C)CCO", "CCSCC", "NCCC=O", "CCCCF")
QM9 = ("CCCO", "CCNC", "OCCO", "CCC=C")


@pytest.fixture
def sources(tmp_path: Path) -> list[str]:
    (tmp_path / "zinc.smi").write_text("\n".join(ZINC))
    np.savez(tmp_path / "qm9.npz", smiles=np.array(QM9))
    np.savez(tmp_path / "known.npz", smiles=np.array(["CCOC(C)=O"]))
    named = {"--zinc": "zinc.smi", "--qm9": "qm9.npz", "--leave-out": "known.npz"}
    return [word for key, name in named.items() for word in (key, str(tmp_path / name))]


def shards(folder: Path) -> dict[str, np.ndarray]:
    """Energies and relaxed positions of the shards of a folder by SMILES, joined."""
    out = {}
    for path in sorted(folder.glob("*.npz")):
        with np.load(path) as data:
            row = 0
            for k, smiles in enumerate(data["smiles"].tolist()):
                begin, end = data["minima"][k : k + 2]
                rows = int(data["n_atoms"][k] * (end - begin))
                out[smiles] = data["R"][row : row + rows].reshape(end - begin, -1, 3)
                row += rows
    return out


@pytest.mark.parametrize("part", ["train", "val", "test"])
def test_candidates_are_of_the_part_asked_for_and_never_left_out_ones(sources, part):
    making = tool("make_torsion_ensembles")
    found = list(making.candidates(making.arguments(["out", "--part", part, *sources])))
    assert all(held_out(making.key_of(smiles)) == part for smiles in found)
    assert "CCOC(=O)C" not in found
    if part == "train":
        assert set(found) & set(ZINC)
        assert set(found) & set(QM9)


def test_run_that_was_stopped_goes_on_as_one_that_was_not(sources, tmp_path):
    making = tool("make_torsion_ensembles")
    for name in ("whole", "parts"):
        (tmp_path / name).mkdir()
    making.main([str(tmp_path / "whole" / "e"), "--molecules", "6", *sources])
    for count in ("2", "5", "6"):
        making.main([str(tmp_path / "parts" / "e"), "--molecules", count, *sources])
    whole, parts = shards(tmp_path / "whole"), shards(tmp_path / "parts")
    assert list(whole) == list(parts)
    assert len(whole) >= 2
    for smiles, positions in whole.items():
        assert np.array_equal(positions, parts[smiles])


def test_minima_are_sorted_within_the_window_and_differ_in_their_torsions(sources, tmp_path):
    making = tool("make_torsion_ensembles")
    args = making.arguments([str(tmp_path / "e"), "--window", "5", *sources])
    found = making.ensemble("CCCCO", args, 0)
    molecule = Molecule.from_smiles("CCCCO")
    phi = TorsionTree.of(molecule).torsions(found.relaxed_A)
    assert found.energies_kcal[0] == 0
    assert (np.diff(found.energies_kcal) >= 0).all()
    assert found.energies_kcal[-1] <= 5
    assert found.drawn_A.shape == found.relaxed_A.shape
    assert len(np.unique(np.round(phi, 1), axis=0)) > 1  # gauche and anti at least


def test_mirror_image_counts_as_the_same_minimum():
    making = tool("make_torsion_ensembles")
    molecule = Molecule.from_smiles("CCCCO")
    found = making.ensemble("CCCCO", making.arguments(["out"]), 0)
    both = np.concatenate([found.relaxed_A, found.relaxed_A * [1, 1, -1]])
    energies = np.concatenate([found.energies_kcal] * 2)
    assert len(making.distinct(molecule, energies, both)) == len(found.energies_kcal)


def test_packed_draws_turned_to_the_torsions_of_a_minimum_have_its_shape(sources, tmp_path):
    making, packing = tool("make_torsion_ensembles"), tool("pack_torsion_ensembles")
    making.main([str(tmp_path / "e"), "--molecules", "5", *sources])
    packing.main([str(tmp_path / "packed.npz"), *map(str, tmp_path.glob("e-*.npz"))])
    packed = EnsembleSet.load(tmp_path / "packed.npz")
    assert len(packed) >= 2
    for e in packed.ensembles:
        assert e.energy_kcal.min() == 0
        delta = e.phi[:, None] - measured(e.graph, e.drawn_A)  # (minimum, draw, m)
        for k, turns in enumerate(delta):
            x = torch.from_numpy(e.drawn_A).double()
            made = turned(e.graph, x, torch.from_numpy(turns)).numpy()
            off = packing.rmsd(made, np.repeat(e.relaxed_A[k : k + 1], len(made), axis=0))
            assert (off[e.fits[k]] < 0.75).all()
            assert e.fits[k, k]


def test_rmsd_is_zero_for_a_rotated_set_and_not_for_a_mirrored_one():
    packing, rng = tool("pack_torsion_ensembles"), np.random.default_rng(0)
    x = rng.normal(size=(3, 8, 3))
    rotation, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    rotation *= np.linalg.det(rotation)
    assert packing.rmsd(x @ rotation + 2.0, x) == pytest.approx(0, abs=1e-6)
    assert packing.rmsd(x * [1, 1, -1], x).min() > 0.1

"""Graph codes and the training set on disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from equidrift.errors import UnknownNameError
from equidrift.models.conformers.data import ConformerSet
from equidrift.models.shared.graph_codes import (
    MAX_HOPS,
    exchange_hydrogens,
    graph_codes,
    with_hydrogen_rows,
)
from equidrift.models.shared.split import held_out
from equidrift.records import Molecule
from tests.models.networks import conformer, small_set


@pytest.mark.parametrize(
    ("smiles", "code"),
    [
        ("C1CC1", 1),
        ("C1CCC1", 2),
        ("C1CCCC1", 3),
        ("c1ccccc1", 4),
        ("C1CCCCCC1", 5),
        ("C1CCCCCCCC1", 6),
    ],
)
def test_ring_sizes(smiles: str, code: int) -> None:
    codes = graph_codes(Molecule.from_smiles(smiles))
    heavy = codes.atom[:, 0] == 3
    assert set(codes.atom[heavy, 4]) == {code} and set(codes.atom[~heavy, 4]) == {0}
    assert (codes.pair[..., 2][np.ix_(heavy, heavy)] == code).all()


def test_the_smallest_common_ring_counts() -> None:
    codes = graph_codes(
        Molecule.from_smiles("C1CC12CCCC2")
    )  # spiro: a three-ring and a five-ring share atom 2
    assert (
        codes.pair[0, 1, 2] == 1
        and codes.pair[3, 4, 2] == 3
        and codes.pair[2, 2, 2] == 1
        and codes.pair[0, 3, 2] == 0
    )


def test_hops_and_bonds() -> None:
    codes = graph_codes(Molecule.from_smiles("CCCCCCCCCC=C"))
    assert codes.pair[0, :11, 1].tolist() == [min(k, MAX_HOPS) + 1 for k in range(11)]
    assert codes.pair[9, 10, 0] == 2 and codes.pair[0, 1, 0] == 1 and codes.pair[0, 2, 0] == 0
    assert (codes.pair == codes.pair.transpose(1, 0, 2)).all()


@pytest.mark.parametrize(("smiles", "code"), [("F/C=C/Cl", 1), (r"F/C=C\Cl", 2), ("FC=CCl", 0)])
def test_cis_and_trans(smiles: str, code: int) -> None:
    molecule = Molecule.from_smiles(smiles)
    pair = graph_codes(molecule).pair[..., 3]
    assert set(pair[pair > 0]) == ({code} if code else set())
    for a, _, _, b, cis in molecule.double_bonds.tolist():
        assert pair[a, b] == pair[b, a] == 1 + cis


def test_set_survives_the_disk(tmp_path: Path) -> None:
    data = small_set(("CCO", "C[C@H](N)C(=O)O"))
    molecule, x = conformer("CC=O")
    data.add(molecule, "GFN2-xTB", x, [])
    data.save(tmp_path / "set.npz")
    again = ConformerSet.load(tmp_path / "set.npz")
    assert (
        [path.name for path in tmp_path.iterdir()] == ["set.npz"]
        and len(again) == 3
        and again.levels == data.levels
    )
    for a, b in zip(data.graphs, again.graphs, strict=True):
        assert all(
            (getattr(a, name) == getattr(b, name)).all() for name in ("atom", "pair", "tetrahedral")
        )
    flat = [[*s.targets, *(x for starts in s.starts for x in starts)] for s in (data, again)]
    for a, b in zip(*flat, strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(UnknownNameError, match="level of theory"):
        data.add(molecule, "GFN-xTB", x, [])


def test_hydrogens_get_hands() -> None:
    molecule, x = conformer("CCO")
    plain, handed = graph_codes(molecule), with_hydrogen_rows(graph_codes(molecule))
    assert len(plain.tetrahedral) == 0 and len(handed.tetrahedral) == 2
    for positions in (x, x * [1, 1, -1]):
        fixed = exchange_hydrogens(handed, positions)
        for _, a, b, c, d in handed.tetrahedral.tolist():
            assert (
                np.dot(fixed[a] - fixed[d], np.cross(fixed[b] - fixed[d], fixed[c] - fixed[d])) > 0
            )
        assert sorted(map(tuple, fixed)) == sorted(map(tuple, positions)), (
            "positions are exchanged, not moved"
        )


def test_held_out_parts_are_stable_and_of_their_size() -> None:
    parts = [held_out("C" * k + "O" * j) for k in range(40) for j in range(40)]
    assert (
        0.03 < parts.count("val") / len(parts) < 0.07
        and 0.03 < parts.count("test") / len(parts) < 0.07
    )
    assert held_out("CCO") == held_out("CCO")

"""The search for reference conformers: what counts as one, what is kept, and that a
stopped run goes on.
"""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from rdkit import Chem
from rdkit.Chem import AllChem, rdDistGeom

from equidrift.bench.machine import references
from tests.tools.loading import tool

for needed in ("gfnff", "tblite"):
    pytest.importorskip(needed, reason="the tool needs gfnff and tblite")


@pytest.fixture(scope="module")
def making() -> ModuleType:
    return tool("make_gfn2_references")


def _geometry(mol: Chem.Mol, seed: int = 1) -> np.ndarray:
    three = Chem.Mol(mol)
    rdDistGeom.EmbedMolecule(three, randomSeed=seed)
    AllChem.MMFFOptimizeMolecule(three)
    return three.GetConformer().GetPositions()


def test_search_finds_both_gauche_and_the_anti_butane_when_time_is_enough(
    making: ModuleType,
) -> None:
    search, _, spent = making.search_molecule("CCCC", 4.0, seed=0)
    positions, energies = search.kept()
    assert spent < 20
    assert len(positions) == 3, "anti, gauche+, gauche-"
    gaps = (energies - energies[0]) / making.KCAL_MOL
    assert gaps[1] == pytest.approx(gaps[2]) and 0.2 < gaps[1] < 1.5


def test_triangle_has_no_pucker_and_cyclobutane_has_one(making: ModuleType) -> None:
    triangle, square = (Chem.AddHs(Chem.MolFromSmiles(one)) for one in ("C1CC1C", "C1CCC1"))
    assert making.puckers(triangle, _geometry(triangle)) == ()
    assert len(making.puckers(square, _geometry(square))) == 4


def test_minimum_counts_once_when_its_symmetric_atoms_are_swapped(making: ModuleType) -> None:
    mol = Chem.AddHs(Chem.MolFromSmiles("FCC(C)C"))
    x = _geometry(mol)
    match = [list(m) for m in mol.GetSubstructMatches(mol, uniquify=False, maxMatches=999)]
    other = next(m for m in match if m[:5] != list(range(5)))
    search = making.Search(mol)
    assert search.add(x, 0.0)
    assert not search.add(x[other], 0.0)
    assert search.add(x, 1.0), "another energy is another minimum: a polar hydrogen, say"


@pytest.mark.parametrize(("smiles", "images"), [("OCCC=C", 2), ("C[C@H](O)CC=C", 1)])
def test_mirror_image_is_kept_when_no_stereocentre_forbids_it(
    making: ModuleType, smiles: str, images: int
) -> None:
    search = making.Search(Chem.AddHs(Chem.MolFromSmiles(smiles)))
    search.add(_geometry(search.mol), 0.0)
    assert len(search.minima) == images


def test_conformers_end_at_the_window_when_minima_lie_above_it(making: ModuleType) -> None:
    mol = Chem.AddHs(Chem.MolFromSmiles("C[C@H](O)CC=C"))
    search = making.Search(mol)
    for seed, gap in enumerate((6.1, 0.0, 5.9)):
        search.add(_geometry(mol, seed + 1), gap * making.KCAL_MOL)
    _, energies = search.kept()
    np.testing.assert_allclose(energies / making.KCAL_MOL, [0.0, 5.9])


def test_pucker_tells_chair_from_twist_and_a_chair_from_its_flip(making: ModuleType) -> None:
    mol = Chem.AddHs(Chem.MolFromSmiles("C1CCCCC1"))
    found = {making.puckers(mol, x) for x in making.candidates(mol, 0)[0]}
    assert {(1, -1) * 3, (-1, 1) * 3} <= found


def test_stopped_run_goes_on_where_it_stood_and_the_bench_reads_its_file(
    making: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed, out = tmp_path / "list.smi", tmp_path / "out.npz"
    listed.write_text("CCCl\nC1CC1 cyclopropane\n\nC=CCF\n")
    searched = []

    def search(smiles: str, each_s: float, seed: int) -> tuple:
        searched.append(smiles)
        if smiles == "C1CC1" and len(searched) == 2:
            raise KeyboardInterrupt
        mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
        found = making.Search(mol)
        found.add(_geometry(mol), -1.0)
        return found, True, 1.0

    monkeypatch.setattr(making, "search_molecule", search)
    args = Namespace(list=str(listed), out=str(out), each=1.0, seconds=1e9, seed=0)
    with pytest.raises(KeyboardInterrupt):
        making.make(args)
    making.make(args)
    assert searched == ["CCCl", "C1CC1", "C1CC1", "C=CCF"]
    systems = references(out, None)
    assert [molecule.smiles for molecule, _ in systems] == ["CCCl", "C1CC1", "C=CCF"]
    assert [known.shape[0] for _, known in systems] == [1, 1, 2]


def test_macrocycle_is_a_ring_of_the_promised_size_when_one_can_be_built(
    making: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(making, "held_out", lambda _: "val")
    mol = Chem.MolFromSmiles("CCOC(=O)CCNC(=O)Cc1ccc(C)cc1")
    built = Chem.MolFromSmiles(making.macrocycle(mol, np.random.default_rng(0), "val"))
    largest = max(map(len, built.GetRingInfo().AtomRings()))
    assert making.RING[0] <= largest <= making.RING[1]
    assert making.macrocycle(Chem.MolFromSmiles("CCO"), np.random.default_rng(0), "val") is None


def test_embeddings_that_time_ends_are_left_out(
    making: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    embed, kinds = rdDistGeom.EmbedMultipleConfs, []

    def ended(mol: Chem.Mol, count: int, options: object) -> list[int]:
        kinds.append(count)
        mol.RemoveAllConformers()
        return [-1] if len(kinds) < 3 else list(embed(mol, 2, options))

    monkeypatch.setattr(rdDistGeom, "EmbedMultipleConfs", ended)
    positions, energies = making.candidates(Chem.AddHs(Chem.MolFromSmiles("CCCC")), seed=1)
    assert positions.shape == (2, 14, 3) and len(energies) == 2 and len(kinds) == 3

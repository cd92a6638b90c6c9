"""Molecules every adapter must carry unharmed, and small ensembles of them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings

from equidrift.adapters.rdkit.etkdg import ETKDG
from equidrift.records import Ensemble, Molecule, Trajectory
from equidrift.seeds import sample_seeds
from equidrift.testing.trajectory_model import breathing

# no timing asserts: a slow machine is no fault of the code
settings.register_profile("equidrift", deadline=None)
settings.load_profile("equidrift")


def pytest_configure() -> None:
    """Warnings are errors, and PyTorch tells some of its own once in a process: told each
    time, they fail the test that they come from, whatever ran before it.
    """
    import torch

    torch.set_warn_always(True)
    # an installed package has the weights of the default models alone
    os.environ.setdefault("EQUIDRIFT_WEIGHTS", str(Path(__file__).parents[1] / "models" / "zoo"))


def pytest_report_header() -> str:
    """Which floats the run has: a test must hold with all of them
    (tools/sweep_tests.py).
    """
    import torch

    capability = torch.backends.cpu.get_cpu_capability()
    return f"torch {torch.__version__}: {capability}, threads {torch.get_num_threads()}"


MOLECULES = {
    "R centre": "C[C@H](N)C(=O)O",
    "S centre": "C[C@@H](N)C(=O)O",
    "E alkene": r"F/C=C/Cl",
    "Z alkene": r"F/C=C\Cl",
    "R and Z": r"C[C@H](F)/C=C\Br",
    "sulfoxide": "CC[S@](=O)C",
    "other sulfoxide": "CC[S@@](=O)C",
    "anion": "CC(=O)[O-]",
    "cation": "C[NH2+]CCO",
    "zwitterion": "[NH3+][C@@H](CO)C(=O)[O-]",
    "nitro": "O=[N+]([O-])c1ccccc1",
    "rings": "C1CC1c1ccc2[nH]ccc2c1",
    "halogens": "F[C@](Cl)(Br)CI",
    "sulfur": "CS(=O)(=O)Nc1nccs1",
    "phosphorus": "COP(=O)(O)OC",
    "chiral phosphorus": "C[P@](=O)(O)OC",
    "triple bond": "N#CC#CC",
    "ibuprofen": "CC(C)Cc1ccc(cc1)[C@@H](C)C(=O)O",
    "imine": r"C/C=N\O",
}
SULFOXIDES = ("sulfoxide", "other sulfoxide")


@lru_cache
def make_ensemble(name: str) -> Ensemble:
    """Two ETKDG conformers with everything an ensemble can carry."""
    molecule = Molecule.from_smiles(MOLECULES[name], name=name)
    seeds = sample_seeds(0, 0, 2)
    provenance = {"model": "etkdg", "options": {"max_attempts": 100}}
    return Ensemble(
        molecule,
        ETKDG().sample(molecule, seeds),
        seeds=seeds,
        energies_eV=np.array([-1.25, 0.5]),
        scores={"clash": np.array([0.0, 1.5])},
        provenance=provenance,
    )


def make_trajectory(
    smiles: str = "CC(=O)Oc1ccccc1C(=O)O", n_frames: int = 12, dt_fs: float = 10.0
) -> Trajectory:
    """A molecule that drifts and breathes a little."""
    return breathing(smiles, n_frames, dt_fs)


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Finished runs are remembered in a cache of the tests' own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def leap_training(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The summary of a short training of leaps; its weights are of no molecule's dynamics."""
    from tests.leaps import trained

    return trained(tmp_path_factory.mktemp("leap"))


@pytest.fixture(params=sorted(MOLECULES))
def ensemble(request: pytest.FixtureRequest) -> Ensemble:
    """An ensemble of every molecule of the list in turn."""
    return make_ensemble(request.param)


@pytest.fixture
def chiral() -> Ensemble:
    """One ensemble, of a molecule with a centre, a double bond and halogens."""
    return make_ensemble("R and Z")


def graph_key(molecule: Molecule) -> tuple:
    """The graph with its stereo, however the rows are written: equal for equal
    molecules in the same atom order.
    """
    bonds = sorted(
        (min(i, j), max(i, j), o)
        for (i, j), o in zip(molecule.bonds.tolist(), molecule.bond_orders.tolist(), strict=True)
    )
    centres = []
    for centre, *around in molecule.tetrahedral.tolist():
        odd = sum(p > q for k, p in enumerate(around) for q in around[k + 1 :]) % 2
        centres.append((centre, *sorted(around), odd))
    doubles = [
        (a, i, j, b, cis) if i < j else (b, j, i, a, cis)
        for a, i, j, b, cis in molecule.double_bonds.tolist()
    ]
    return (
        molecule.numbers.tolist(),
        bonds,
        molecule.formal_charges.tolist(),
        molecule.multiplicity,
        sorted(centres),
        sorted(doubles),
    )

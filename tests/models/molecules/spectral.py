"""Toy molecules with made-up spectra, and weights of the joint model that take them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from equidrift.models.molecules.joint.train import run_training
from equidrift.spectrum import GRID_CM1, broaden, spectrum_of
from tests.models.molecules.sizes import SIZES
from tests.models.molecules.test_latent import dataset, made

TOYS = ("CCO", "CC#N", "FC=O", "C1CC1", "NCCO", "OCC=O")
STRENGTHS = np.array([3.0, 1.0])


def lines_of(k: int) -> np.ndarray:
    """The two lines of toy k."""
    return np.array([700.0 + 450.0 * k, 3000.0])


def spectrum(k: int) -> np.ndarray:
    """The spectrum of toy k on the grid."""
    return spectrum_of(broaden(lines_of(k), STRENGTHS))


def curve_file(path: Path, k: int = 0) -> Path:
    """Its curve from 400 to 4000 cm^-1, as a file of two columns."""
    x = np.arange(400.0, 4000.1, 5.0)
    y = np.interp(x, GRID_CM1, broaden(lines_of(k), STRENGTHS))
    np.savetxt(path, np.stack([x, y], 1), delimiter=",", header="wavenumber_cm1,intensity")
    return path


def toy_data(folder: Path, *, copies: int = 1, held_out: int = 0) -> dict[str, str]:
    """The `data` and `spectra` of a config: so many copies of each toy, the last ones in
    the validation part.
    """
    data = dataset([made(smiles) for smiles in TOYS] * copies)
    count = len(data)
    data.split[count - held_out :] = 1
    np.savez(folder / "toy_molecules.npz", **vars(data))
    np.savez(
        folder / "toy_spectra.npz",
        index=data.index,
        mode_offset=np.arange(0, 2 * count + 1, 2),
        frequencies_cm1=np.concatenate([lines_of(k % len(TOYS)) for k in range(count)]),
        intensities=np.tile(STRENGTHS, count),
    )
    return {
        "data": str(folder / "toy_molecules.npz"),
        "spectra": str(folder / "toy_spectra.npz"),
    }


def config_of(folder: Path, steps: int = 2, **more: Any) -> dict[str, Any]:
    """The config of a short training on the toys."""
    return {
        **toy_data(folder),
        "name": "toy",
        "network": {**SIZES, "spectrum": 3},
        "batch": 4,
        "half_precision": False,
        "schedule": {"steps": steps, "warmup_steps": 2, "learning_rate": 1e-3, "ema": 0.5},
        **more,
    }


def weights_like_joint(folder: Path) -> str:
    """Weights that take spectra and make molecules as the shipped ones do: a step from
    these.
    """
    sizes = {"spectrum": 3}
    config = config_of(folder, 1, init="joint", network=sizes, batch=2)
    return str(run_training(config, folder / "run", None, False, None)["weights"])

"""The conformer model's denoiser as a force: walk-jump sampling (Saremi and Hyvarinen,
JMLR 2019, 20, 181) at one noise level.

The walk is Langevin dynamics on noisy positions y = x + sigma eps with the score (D(y)
- y) / sigma^2 (Tweedie's formula), the jump is the denoised D(y). **This is no force
field**: the walk samples the model's density of conformers smoothed by sigma, not
Boltzmann's, at no temperature of any potential; there is no energy; and as D comes
straight from a network, the force is no gradient. It makes seeds and shows what the
model knows. For Boltzmann's distribution use `equidrift md` or `ProposalSampler`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from equidrift.checks.geometry import check_supported
from equidrift.errors import InputError
from equidrift.files.plain import molecule_from_dict, molecule_to_dict
from equidrift.protocols import DenoisingConformerModel
from equidrift.records import Molecule
from equidrift.registry import make_model
from equidrift.units import BOLTZMANN_EV_PER_K

SIGMA_A = 0.4  # as JAMUN's 0.04 nm
RANGE_A = (0.02, 8.0)  # noise the model was trained on
NOTICE = "smoothed walk-jump dynamics of a generative model: not a force field, not Boltzmann"


class DenoiserScore:
    """Forces and jumps of one molecule; picklable as plain data (the weights stay where
    they are).

    Parameters
    ----------
    molecule : Molecule
        Whose conformers.
    sigma_A : float, optional
        Noise level of the walk.
    temperature_K : float, optional
        Of the thermostat that will drive the walk: forces are kT times the score, so
        that at this temperature the walk samples the smoothed density, whatever the
        temperature is.
    model : str, optional
        A conformer model with a denoiser, by name or path.

    Raises
    ------
    InputError
        For a noise level the model was not trained on, or a model without a denoiser.
        MoleculeError for a molecule it does not know.
    """

    exact = False
    notice = NOTICE

    def __init__(
        self,
        molecule: Molecule,
        *,
        sigma_A: float = SIGMA_A,
        temperature_K: float = 300.0,
        model: str = "conformer",
    ) -> None:
        if not RANGE_A[0] <= sigma_A <= RANGE_A[1]:
            raise InputError(
                f"sigma_A must lie in {RANGE_A[0]} .. {RANGE_A[1]}, not {sigma_A}; give for "
                f"example {SIGMA_A}"
            )
        if not 0 < temperature_K < math.inf:
            raise InputError(
                f"temperature_K must be positive and finite, not {temperature_K}; give that of "
                "the thermostat"
            )
        check_supported(molecule)
        self.molecule, self.sigma_A, self.temperature_K, self.model = (
            molecule,
            float(sigma_A),
            float(temperature_K),
            model,
        )
        self._denoiser: DenoisingConformerModel | None = None

    def jump(self, positions_A: ArrayLike) -> NDArray[np.float64]:
        """The denoised conformers D(y) of noisy positions (n, 3) or (k, n, 3); at large
        sigma they are averages, so refine them.
        """
        y = np.asarray(positions_A, np.float64)
        if y.ndim not in (2, 3) or y.shape[-2:] != (self.molecule.n_atoms, 3):
            raise InputError(
                f"positions_A has shape {y.shape}, expected (..., {self.molecule.n_atoms}, 3)"
            )
        if self._denoiser is None:
            model = make_model(self.model)
            if not isinstance(model, DenoisingConformerModel):
                raise InputError(
                    f"model {self.model!r} has no denoiser; take 'conformer', or weights that "
                    "`equidrift train` made for it"
                )
            self._denoiser = model
        block = y.reshape(-1, *y.shape[-2:])
        centre = block.mean(axis=1, keepdims=True)
        seeds = np.zeros(len(block), np.int64)  # one step down to no noise draws none
        (clean,) = self._denoiser.denoise_many(
            [(self.molecule, block - centre)], [seeds], self.sigma_A, 1
        )
        out: NDArray[np.float64] = (clean - clean.mean(axis=1, keepdims=True) + centre).reshape(
            y.shape
        )
        return out

    def forces_eV_A(self, positions_A: ArrayLike) -> NDArray[np.float64]:
        """kT (D(y) - y) / sigma^2, of the shape of the positions."""
        y = np.asarray(positions_A, np.float64)
        return (self.jump(y) - y) * (BOLTZMANN_EV_PER_K * self.temperature_K / self.sigma_A**2)

    def to_dict(self) -> dict[str, Any]:
        """Plain data; `from_dict` is the inverse."""
        options = {
            "sigma_A": self.sigma_A,
            "temperature_K": self.temperature_K,
            "model": self.model,
        }
        return {"molecule": molecule_to_dict(self.molecule), **options}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> DenoiserScore:
        """The score that `to_dict` wrote."""
        return cls(
            molecule_from_dict(data["molecule"]),
            **{key: value for key, value in data.items() if key != "molecule"},
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return DenoiserScore.from_dict, (self.to_dict(),)

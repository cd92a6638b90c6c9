"""Vibrational spectra as a condition: molecules ranked by how likely an infrared
spectrum is (the task of DiffSpectra, arXiv:2507.06853).

The spectrum of a molecule is a sum over its atoms of what each, in its surroundings,
absorbs: a network of distances predicts that sum and how far it may be off, so that
p(spectrum | molecule) is a density, a normal one in the roots of the absorbances in
whitened combinations of bins.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn
from torch.nn import functional

from equidrift.errors import InputError
from equidrift.models.molecules.latent.geometry import ConformerEncoder, GeometryConfig
from equidrift.models.molecules.latent.graph_data import plain_codes
from equidrift.models.molecules.latent.space import PAIRS_PER_BATCH
from equidrift.models.molecules.spectra.whitening import Whitened
from equidrift.models.shared.batches import Batched
from equidrift.models.shared.devices import Device, batch_size, pick_device
from equidrift.models.shared.graph_codes import (
    Batch,
    GraphCodes,
    collate,
    like_sized,
    pad_positions,
)
from equidrift.models.shared.run import load_network
from equidrift.records import SYMBOLS, Molecule
from equidrift.spectrum import GRID_CM1, broaden

LOG_VARIANCE = (-6.0, 4.0)
ROOT_FLOOR = 1e-4  # km/mol per cm^-1, added before a root is taken


@dataclass(frozen=True)
class Spectra:
    """Spectra of a file of `tools/make_spectra.py`: number (n,) of the molecule in QM9,
    vectors (n, bins) in km/mol per cm^-1.
    """

    number: NDArray[np.int64]
    vectors: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.number)


def read_spectra(path: Path | str) -> Spectra:
    """Read and broaden the spectra of a file.

    Raises `InputError` where there is none.
    """
    if not Path(path).is_file():
        raise InputError(
            f"there are no spectra {str(path)!r}; make some with tools/make_spectra.py"
        )
    with np.load(path, allow_pickle=False) as data:
        f = {
            name: data[name] for name in ("index", "mode_offset", "frequencies_cm1", "intensities")
        }
    parts = [slice(a, b) for a, b in pairwise(f["mode_offset"])]
    vectors = np.stack([broaden(f["frequencies_cm1"][p], f["intensities"][p]) for p in parts])
    return Spectra(f["index"].astype(np.int64), vectors)


@dataclass(frozen=True)
class SpectrumConfig:
    """Sizes of the encoder (as `GeometryConfig`), and the number of whitened
    combinations of bins in which likelihoods are taken.
    """

    width: int = 64
    pair_width: int = 32
    vectors: int = 4
    blocks: int = 2
    bins: int = len(GRID_CM1)
    components: int = 40


class SpectrumNetwork(Whitened):
    """p(spectrum | molecule, conformer)."""

    def __init__(self, config: SpectrumConfig):
        super().__init__(config.bins, config.components)
        self.config = config
        self.encoder = ConformerEncoder(
            GeometryConfig(
                latent=1,
                width=config.width,
                pair_width=config.pair_width,
                vectors=config.vectors,
                blocks=config.blocks,
            )
        )
        w = config.width
        last = nn.Linear(2 * w, config.bins)
        self.lines = nn.Sequential(nn.Linear(w, 2 * w), nn.SiLU(), last)
        self.doubt = nn.Sequential(nn.Linear(w, w), nn.SiLU(), nn.Linear(w, config.components))
        with torch.no_grad():
            last.bias.fill_(-5.0)

    def forward(self, batch: Batch, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(root spectrum (b, bins), mean and log variance (b, components) of its
        whitened combinations).
        """
        h = self.encoder.atoms(batch, x) * batch.mask[..., None]
        heap = functional.softplus(self.lines(h)) * batch.mask[..., None]
        root = (heap.sum(1) + ROOT_FLOOR).sqrt()
        doubt = self.doubt(h.sum(1) / batch.mask.sum(1, keepdim=True)).clamp(*LOG_VARIANCE)
        return root, self.whitened(root), doubt


@dataclass
class SpectrumExample(Batched):
    """A training batch: graphs, conformers (b, n, 3), root spectra (b, bins)."""

    batch: Batch
    positions: Tensor
    root: Tensor


def spectrum_loss(network: Any, example: SpectrumExample) -> Tensor:
    """Minus the log likelihood per component, and the squared error of the root spectrum,
    which steadies the mean early on.
    """
    root, mean, log_variance = network(example.batch, example.positions)
    error = (mean - network.whitened(example.root)).square()
    nll = 0.5 * (error * (-log_variance).exp() + log_variance).mean()
    loss: Tensor = nll + 5.0 * (root - example.root).square().mean()
    return loss


class SpectrumBatches:
    """Batch number `step` of an endless, seeded sequence; coordinates carry a little
    noise, and either hand.
    """

    def __init__(
        self,
        codes: list[GraphCodes],
        positions_A: list[NDArray[Any]],
        roots: NDArray[np.float64],
        *,
        batch: int,
        seed: int,
        jitter_A: float,
    ):
        self.codes, self.positions, self.roots, self.seed, self.jitter = (
            codes,
            positions_A,
            roots,
            seed,
            jitter_A,
        )
        self.batch = min(batch, len(codes))

    def __call__(self, step: int) -> SpectrumExample:
        """The training batch of a step."""
        rng = np.random.default_rng((self.seed, 1 << 32, step))
        rows = rng.choice(len(self.codes), self.batch, replace=False)
        moved = [
            self.positions[k] + self.jitter * rng.standard_normal(self.positions[k].shape)
            for k in rows
        ]
        batch, x = padded([self.codes[k] for k in rows], moved)
        return SpectrumExample(batch, x, torch.from_numpy(self.roots[rows]).float())


def padded(
    codes: Sequence[GraphCodes], positions_A: Sequence[NDArray[np.floating]]
) -> tuple[Batch, Tensor]:
    """Graphs and coordinates padded to one size."""
    batch = collate(list(codes))
    return batch, pad_positions(positions_A, batch.mask.shape[1])


class SpectrumModel:
    """Ranks molecules by the likelihood of a spectrum.

    Parameters
    ----------
    weights : str
        Name of a shipped model, or the path of a trained one.
    device : Device
        Torch device; None is CUDA if there is one, else the CPU.
    """

    def __init__(self, weights: str = "spectra", *, device: Device = None):
        network, self.card = load_network(
            weights, "spectra", lambda sizes: SpectrumNetwork(SpectrumConfig(**sizes))
        )
        self.device = pick_device(device)
        self.network = network.to(self.device)
        self.name = str(self.card["name"])

    def predict(
        self, items: Sequence[tuple[Molecule, NDArray[np.floating]]]
    ) -> NDArray[np.float64]:
        """Expected spectra (n, bins), km/mol per cm^-1 at `GRID_CM1`, of (molecule,
        positions_A) pairs.
        """
        return self._all(items)[0] ** 2

    def log_likelihood(
        self, spectra: ArrayLike, items: Sequence[tuple[Molecule, NDArray[np.floating]]]
    ) -> NDArray[np.float64]:
        """log p(spectrum | molecule) (k, n), up to a constant of each spectrum, of
        spectra (k, bins) and (molecule, positions_A) pairs.

        Raises
        ------
        InputError
            for spectra of another length, negative or not finite.
        """
        table = np.atleast_2d(np.asarray(spectra, np.float64))
        bins = self.network.config.bins
        if (
            table.ndim != 2
            or table.shape[1] != bins
            or not np.isfinite(table).all()
            or (table < 0).any()
        ):
            raise InputError(
                "spectra must be finite, not negative and of shape (any, "
                f"{bins}), not {np.shape(spectra)}; see `broaden`"
            )
        _, mean, log_variance = self._all(items)
        return np.stack([_density(one, mean, log_variance) for one in self._whitened(table)])

    def shape_likelihood(
        self, spectrum: NDArray[np.float64], items: Sequence[tuple[Molecule, NDArray[np.floating]]]
    ) -> NDArray[np.float64]:
        """log p(spectrum | molecule) (n,), up to a constant, of a spectrum (bins,) whose
        unit is not known, NaN where it says nothing.

        For each molecule the spectrum is brought to the total intensity that the molecule
        is expected to have; bins without a value take the expected one.
        """
        root, mean, log_variance = self._all(items)
        expected = (root**2 - ROOT_FLOOR).clip(0.0)
        known = ~np.isnan(spectrum)
        scale = expected[:, known].sum(1) / spectrum[known].sum()
        table = np.where(known, spectrum * scale[:, None], expected)
        return _density(self._whitened(table), mean, log_variance)

    def _whitened(self, table: NDArray[np.float64]) -> NDArray[np.float64]:
        """Whitened combinations (n, components) of spectra (n, bins)."""
        with torch.inference_mode():
            roots = torch.from_numpy(np.sqrt(table + ROOT_FLOOR)).float().to(self.device)
            out: NDArray[np.float64] = self.network.whitened(roots).double().cpu().numpy()
        return out

    def rank(
        self, spectrum: ArrayLike, items: Sequence[tuple[Molecule, NDArray[np.floating]]]
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """(places of the candidates, likeliest first, their log likelihoods in that
        order) for one spectrum (bins,).
        """
        values = self.log_likelihood(spectrum, items)[0]
        order = np.argsort(-values, kind="stable")
        return order, values[order]

    def _all(
        self, items: Sequence[tuple[Molecule, NDArray[np.floating]]]
    ) -> tuple[NDArray[np.float64], ...]:
        codes = [plain_codes(molecule) for molecule, _ in items]
        sizes = (
            self.network.config.bins,
            self.network.config.components,
            self.network.config.components,
        )
        out = tuple(np.zeros((len(items), size)) for size in sizes)
        with torch.inference_mode():
            pairs = batch_size(PAIRS_PER_BATCH, self.device)
            for rows in like_sized([c.n_atoms for c in codes], pairs):
                batch, x = padded([codes[k] for k in rows], [np.asarray(items[k][1]) for k in rows])
                made = self.network(batch.to(self.device), x.to(self.device))
                for table, value in zip(out, made, strict=True):
                    table[rows] = value.double().cpu().numpy()
        return out


def load_spectra(weights: str = "spectra", **options: Any) -> SpectrumModel:
    """The shipped model of spectra, or one of your own by path; options as for
    `SpectrumModel`.
    """
    return SpectrumModel(weights, **options)


@lru_cache(maxsize=1)
def _shipped() -> SpectrumModel:
    return load_spectra()


def spectrum_likelihood(
    spectrum: NDArray[np.float64], items: Sequence[tuple[Molecule, NDArray[np.floating]]]
) -> NDArray[np.float64]:
    """`SpectrumModel.shape_likelihood` of the shipped model (n,); NaN for a molecule with
    an element that it does not know.
    """
    model = _shipped()
    known = {SYMBOLS.index(symbol) for symbol in model.card["elements"]}
    rows = [k for k, (m, _) in enumerate(items) if known.issuperset(m.numbers.tolist())]
    out = np.full(len(items), np.nan)
    if rows:
        out[rows] = model.shape_likelihood(spectrum, [items[k] for k in rows])
    return out


def _density(
    given: NDArray[np.float64], mean: NDArray[np.float64], log_variance: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The log of the normal density (n,), but for a constant, of points (n, components)
    or one (components,).
    """
    off = np.square(given - mean) * np.exp(-log_variance) + log_variance
    out: NDArray[np.float64] = -0.5 * off.sum(1)
    return out

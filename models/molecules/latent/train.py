"""`equidrift train molecules CONFIG` with `model: latent`: `stage: graph`, `stage:
geometry`, then `stage: diffusion` over both.
"""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from pydantic import Field

from equidrift.errors import InputError
from equidrift.models.molecules.data import PROPERTIES, QM9, load_qm9
from equidrift.models.molecules.latent.geometry import (
    GeometryAutoencoder,
    GeometryBatches,
    GeometryConfig,
    geometry_loss,
    hand,
    qm9_codes,
)
from equidrift.models.molecules.latent.graph import (
    GraphAutoencoder,
    GraphBatches,
    GraphConfig,
    graph_loss,
)
from equidrift.models.molecules.latent.graph_data import (
    each,
    qm9_graphs,
    selfies_of,
    tokenise,
    vocabulary,
)
from equidrift.models.molecules.latent.network import (
    DiffusionConfig,
    LatentBatches,
    LatentDenoiser,
    diffusion_loss,
)
from equidrift.models.molecules.latent.space import LatentSpace
from equidrift.models.shared.config import Name, TrainingConfig, config_errors, initial
from equidrift.models.shared.run import Task, fresh, training_of
from equidrift.records import SYMBOLS
from equidrift.weights import load_weights

CHUNK = 4096  # molecules encoded at a time
VALIDATION = 256  # molecules of the validation part that tell the held-out loss
LENGTH = 24  # tokens that the decoder writes; QM9's molecules need 22 at most


class LatentTraining(TrainingConfig):
    """What a training YAML may say. Unknown keys are errors.

    `data`: a file of `tools/make_molecules.py`, the one found where it is left out;
    `limit` takes the first molecules of its training part. `conformers`: how many
    molecules, drawn at random, have their conformers encoded for the diffusion (the
    slow part), all where left out. `graph` and `geometry` name the autoencoders whose
    latents are diffused; `observables` names an .npz of `index` (n,), QM9's numbers,
    and `vectors` (n, m): any vector observable, known for some of the molecules, to
    condition on. `init` names weights to begin with: an earlier graph autoencoder, or
    the conformer generator of the geometric decoder.
    """

    stage: Literal["graph", "geometry", "diffusion"]
    data: str | None = None
    limit: int | None = Field(default=None, ge=8)
    conformers: int | None = Field(default=None, ge=8)
    name: Name = "my-latent"
    graph: str = "latent-graph"
    geometry: str = "latent-geometry"
    observables: str | None = None
    init: str | None = None
    batch: int = Field(default=512, ge=2)


def make_task(c: LatentTraining, _begun: None, out: Path) -> Task:
    """What a stage trains."""
    data = load_qm9(c.data)
    rows = data.rows("train")[: c.limit]
    task = STAGES[c.stage](c, data, rows, out)
    task.summary["molecules"] = len(rows)
    common = {
        "family": "molecules",
        "elements": [SYMBOLS[z] for z in (1, 6, 7, 8, 9)],
        "max_atoms": 3 * LENGTH,
    }
    task.card = common | {"units": "A, eV", "dtype": "bfloat16"} | task.card
    return task


def graph_stage(c: LatentTraining, data: QM9, rows: np.ndarray, out: Path) -> Task:
    """The topological autoencoder.

    The vocabulary is that of the training molecules; those that SELFIES cannot hold are
    left out.
    """
    sequences = written_selfies(data.smiles[rows], out)
    kept = [k for k, sequence in enumerate(sequences) if sequence]
    sequences, rows = [sequences[k] for k in kept], rows[kept]
    tokens = vocabulary(sequences)
    with config_errors():
        sizes = GraphConfig(**{"tokens": len(tokens), "length": LENGTH, **c.network})
    codes = tokenise(sequences, tokens, sizes.length)
    batches = GraphBatches(
        qm9_graphs(data, rows, codes), latent=sizes.latent, batch=c.batch, seed=c.seed
    )
    unseen = data.rows("val")[:VALIDATION]
    written = written_selfies(data.smiles[unseen], out)
    known = [k for k, sequence in enumerate(written) if sequence and set(sequence) <= set(tokens)]
    held_out = None
    if known:
        unseen, written = unseen[known], [written[k] for k in known]
        graphs = qm9_graphs(data, unseen, tokenise(written, tokens, sizes.length))
        held_out = GraphBatches(
            graphs, latent=sizes.latent, batch=min(c.batch, len(known)), seed=c.seed
        )
    network = fresh(lambda: GraphAutoencoder(sizes), c.seed)
    if c.init:
        state, card = load_weights(c.init)
        if card.get("tokens") != tokens:
            raise InputError(
                f"init: {c.init} has another vocabulary than the training molecules; leave init out"
            )
        network.load_state_dict(state, strict=False)
    card = {"task": "latent-graph", "config": dataclasses.asdict(sizes), "tokens": tokens}
    what = "turns molecular graphs into invariant vectors and back, by SELFIES"
    return Task(network, batches, graph_loss, card | {"what": what}, held_out)


def geometry_stage(c: LatentTraining, data: QM9, rows: np.ndarray, _out: Path) -> Task:
    """The geometric autoencoder; `init` names the conformer generator whose weights its
    decoder begins with.
    """
    state, decoder = None, c.network.get("decoder", {})
    if c.init:
        state, card = initial(c.init, ("generate", "refine"), {})
        decoder = card["config"] | decoder
    with config_errors():
        sizes = GeometryConfig(**{**c.network, "decoder": decoder | {"noise": True}})
    network = fresh(lambda: GeometryAutoencoder(sizes), c.seed)
    if state is not None:
        try:
            network.decoder.load_state_dict(state, strict=False)
        except RuntimeError as error:
            raise InputError(
                f"init: {c.init} has another network than the config "
                f"asks for; leave network.decoder out: {error}"
            ) from error
    batches = GeometryBatches(data, rows, latent=sizes.latent, batch=c.batch, seed=c.seed)
    unseen = data.rows("val")[:VALIDATION]
    held_out = None
    if len(unseen):
        held_out = GeometryBatches(
            data, unseen, latent=sizes.latent, batch=min(c.batch, len(unseen)), seed=c.seed
        )
    card = {"task": "latent-geometry", "config": dataclasses.asdict(sizes)}
    what = "turns conformers into invariant vectors, and graph and vector back"
    return Task(network, batches, geometry_loss, card | {"what": what}, held_out)


def diffusion_stage(c: LatentTraining, data: QM9, rows: np.ndarray, out: Path) -> Task:
    """The diffusion over both latents.

    Properties are shown for half a of the training molecules alone (see `QM9`).
    """
    space = LatentSpace(c.graph, c.geometry)
    count = len(rows) if c.conformers is None else min(c.conformers, len(rows))
    placed = np.sort(np.random.default_rng(c.seed).permutation(len(rows))[:count])
    latents = encoded(space, data, rows, out, placed)
    shift, scale = np.nanmean(latents, 0), np.maximum(np.nanstd(latents, 0), 1e-3)
    values = np.where(data.half_b[rows, None], np.nan, data.props[rows]).astype(np.float32)
    low, high = np.nanquantile(values, [0.005, 0.995], axis=0)
    observed = None if c.observables is None else observables(Path(c.observables), data.index[rows])
    size = 0 if observed is None else observed.shape[1]
    with config_errors():
        sizes = DiffusionConfig(
            **{**c.network, "latent": space.size, "properties": len(PROPERTIES), "observable": size}
        )
    network = fresh(lambda: LatentDenoiser(sizes), c.seed)
    set_scales(network, shift, scale, low, high, observed)
    batches = LatentBatches(
        ((latents - shift) / scale).astype(np.float32), values, observed, batch=c.batch, seed=c.seed
    )
    ranges = zip(PROPERTIES, low.tolist(), high.tolist(), strict=True)
    card = {
        "task": "molecules-latent",
        "what": "draws molecules with bonds and coordinates through invariant latents",
        "config": dataclasses.asdict(sizes),
        "graph": c.graph,
        "geometry": c.geometry,
        "properties": {name: (least, greatest) for name, least, greatest in ranges},
    }
    return Task(network, batches, diffusion_loss, card)


def set_scales(
    network: LatentDenoiser,
    shift: np.ndarray,
    scale: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    observed: np.ndarray | None,
) -> None:
    """Tell a network the scales of its training data.

    Parameters
    ----------
    shift, scale : ndarray (size,)
        mean and deviation of the latents.
    low, high : ndarray (properties,)
        range of each property.
    observed : ndarray (molecules, m) or None
        vector observables, NaN where there are none.
    """
    network.shift.copy_(torch.from_numpy(shift))
    network.scale.copy_(torch.from_numpy(scale))
    network.low.copy_(torch.from_numpy(low))
    network.high.copy_(torch.from_numpy(high))
    if observed is not None:
        deviation = np.maximum(np.nanstd(observed, 0), 1e-6)
        network.observed_shift.copy_(torch.from_numpy(np.nanmean(observed, 0)))
        network.observed_scale.copy_(torch.from_numpy(deviation))


def observables(path: Path, numbers: np.ndarray) -> np.ndarray:
    """The vectors (len(numbers), m) of molecules by their numbers in QM9, NaN where the
    file has none.

    Raises
    ------
    InputError
        where there is no such file, it lacks `index` or `vectors`, or knows none of the
        molecules.
    """
    if not path.is_file():
        raise InputError(
            f"there are no observables {str(path)!r}; give an "
            ".npz with `index` (n,) and `vectors` (n, m)"
        )
    with np.load(path, allow_pickle=False) as file:
        if missing := {"index", "vectors"} - set(file.files):
            raise InputError(
                f"{path} lacks {' and '.join(sorted(missing))}; "
                "observables are `index` (n,) and `vectors` (n, m)"
            )
        index, vectors = file["index"], file["vectors"]
    row_of = {int(number): k for k, number in enumerate(index.tolist())}
    places = np.array([row_of.get(number, -1) for number in numbers.tolist()])
    if (places < 0).all():
        raise InputError(f"{path} knows none of the training molecules")
    return np.where(places[:, None] >= 0, vectors[places], np.nan).astype(np.float32)


def encoded(
    space: LatentSpace, data: QM9, rows: np.ndarray, out: Path, placed: np.ndarray
) -> np.ndarray:
    """The latents (n, size) of molecules of QM9, with those of the conformers of
    `placed` among them, NaN for the others'.

    They are kept in `out`, so that a resumed run need not make them again.
    """
    marks = [
        space.graph_card["sha256"],
        space.geometry_card["sha256"],
        rows.tobytes().hex(),
        placed.tobytes().hex(),
    ]
    path = out / f"latents-{zlib.crc32(' '.join(marks).encode()):08x}.npy"
    if path.exists():
        table: np.ndarray = np.load(path)
        return table
    codes = tokenise(
        written_selfies(data.smiles[rows], out),
        space.tokens,
        space.graph.config.length,
        strict=False,
    )
    graphs = qm9_graphs(data, rows, codes)
    table = np.full((len(rows), space.size), np.nan, np.float32)
    with torch.inference_mode():
        for part in np.array_split(np.arange(len(rows)), max(1, len(rows) // CHUNK)):
            table[part, space.slices["graph"]] = space.graph.encoder(graphs.rows(part)).numpy()
    for part in np.array_split(placed, max(1, len(placed) // CHUNK)):
        shapes = [qm9_codes(data, k) for k in rows[part].tolist()]
        conformers = [data.positions(k) for k in rows[part].tolist()]
        table[part, space.slices["geometry"]] = space.encode_codes(shapes, conformers)
        hands = [
            hand(data.numbers[data.offset[k] : data.offset[k + 1]], x)
            for k, x in zip(rows[part].tolist(), conformers, strict=True)
        ]
        table[part, -1] = hands
    out.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp.npy")
    np.save(temporary, table)
    temporary.replace(path)
    return table


def written_selfies(smiles: np.ndarray, out: Path) -> list[list[str]]:
    """The SELFIES tokens of each SMILES, empty where there are none; kept in `out`, so
    that a resumed run need not make them again.
    """
    digest = zlib.crc32("\n".join(smiles.tolist()).encode())
    path = out / f"selfies-{digest:08x}.txt"
    if path.exists():
        return [line.split() for line in path.read_text().split("\n")]
    sequences = each(selfies_of, smiles.tolist())
    out.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    temporary.write_text("\n".join(" ".join(sequence) for sequence in sequences))
    temporary.replace(path)
    return sequences


STAGES: dict[str, Callable[[LatentTraining, QM9, np.ndarray, Path], Task]] = {
    "graph": graph_stage,
    "geometry": geometry_stage,
    "diffusion": diffusion_stage,
}


run_training = training_of(LatentTraining, make_task)

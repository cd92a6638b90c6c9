"""An encoder of graphs, no string inside: it learns to be written from, the graph is what
it knows, and the order of the atoms does not matter.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from equidrift.models.molecules.latent.graph import (
    GraphAutoencoder,
    GraphBatches,
    GraphConfig,
    GraphExample,
    graph_loss,
)
from equidrift.models.molecules.latent.graph_data import (
    GraphBatch,
    graph_batch,
    selfies_of,
    vocabulary,
)
from equidrift.models.molecules.latent.train import run_training
from equidrift.models.shared.run import load_network
from equidrift.records import Molecule
from tests.geometries import geometry_of
from tests.models.molecules.test_latent import dataset

SMILES = ("CCO", "c1ccccc1", "CC(N)=O", "N#CC", "OCC=O", "CC1CC1O", "COC", "C=CF")
STEPS = 250


def graphs_of(smiles: tuple[str, ...]) -> tuple[GraphBatch, int]:
    tokens = vocabulary(selfies_of(text) for text in smiles)
    return graph_batch([Molecule.from_smiles(text) for text in smiles], tokens, 12), len(tokens)


@pytest.fixture(scope="module")
def trained() -> tuple[GraphAutoencoder, GraphBatch]:
    """Trained for some seconds on eight molecules."""
    graphs, tokens = graphs_of(SMILES)
    torch.manual_seed(3)
    sizes = {"latent": 16, "width": 32, "layers": 2, "heads": 4, "queries": 2}
    decoder = {"decoder_width": 32, "decoder_layers": 1, "decoder_heads": 2, "noise": 0.05}
    config = GraphConfig(tokens=tokens, length=12, reads=False, **sizes, **decoder)
    network = GraphAutoencoder(config)
    batches = GraphBatches(graphs, latent=16, batch=8, seed=0)
    step = torch.optim.Adam(network.parameters(), 3e-3)
    for k in range(STEPS):
        step.zero_grad()
        graph_loss(network, batches(k)).backward()
        step.step()
    return network.eval(), graphs


def exact(network: GraphAutoencoder, seen: GraphBatch, graphs: GraphBatch) -> float:
    """Share of molecules written exactly from what the encoder has seen."""
    with torch.no_grad():
        written = network.decoder.write(network.encoder(seen))
    return float((written == graphs.tokens.numpy()).all(1).mean())


@pytest.mark.long
def test_molecules_are_written_from_their_graphs_alone(
    trained: tuple[GraphAutoencoder, GraphBatch],
) -> None:
    network, graphs = trained
    assert exact(network, graphs, graphs) >= 0.75
    blind = GraphBatch(graphs.atom, graphs.bond, torch.zeros_like(graphs.tokens))
    with torch.no_grad():
        assert torch.equal(network.encoder(blind), network.encoder(graphs))
    assert not any("written" in name or "direct" in name for name in network.state_dict())


@pytest.mark.long
@pytest.mark.parametrize("part", ["atom", "bond"])
def test_zeroing_the_graph_hurts(trained: tuple[GraphAutoencoder, GraphBatch], part: str) -> None:
    network, graphs = trained
    whole = exact(network, graphs, graphs)
    atom, bond = graphs.atom.clone(), graphs.bond.clone()
    if part == "bond":
        bond[:] = 0
    else:
        atom[..., 0] = (atom[..., 0] > 0).to(atom)  # the first element everywhere
        atom[..., 1:] = 1
    assert exact(network, GraphBatch(atom, bond, graphs.tokens), graphs) <= whole - 0.5


def test_the_order_of_the_atoms_does_not_matter(
    trained: tuple[GraphAutoencoder, GraphBatch],
) -> None:
    network, graphs = trained
    order = torch.from_numpy(np.random.default_rng(1).permutation(graphs.atom.shape[1]))
    turned = GraphBatch(graphs.atom[:, order], graphs.bond[:, order][:, :, order], graphs.tokens)
    with torch.no_grad():
        np.testing.assert_allclose(
            network.encoder(graphs).numpy(), network.encoder(turned).numpy(), atol=1e-4
        )


def test_an_encoder_of_graphs_is_trained_from_a_config(tmp_path: Path) -> None:
    items = [geometry_of(smiles, 1) for smiles in SMILES]
    np.savez(tmp_path / "qm9.npz", **vars(dataset(items)))
    config = {
        "stage": "graph",
        "data": str(tmp_path / "qm9.npz"),
        "name": "graphs",
        "batch": 4,
        "network": {
            "latent": 8,
            "width": 16,
            "layers": 1,
            "heads": 2,
            "decoder_width": 16,
            "decoder_layers": 1,
            "decoder_heads": 2,
            "reads": False,
            "queries": 2,
        },
        "schedule": {"steps": 3, "warmup_steps": 1},
        "training_data": "toy",
    }
    run_training(config, tmp_path / "out", None, False, None)
    network, card = load_network(
        str(tmp_path / "out" / "graphs.safetensors"),
        "latent-graph",
        lambda sizes: GraphAutoencoder(GraphConfig(**sizes)),
    )
    assert card["config"]["reads"] is False and card["config"]["queries"] == 2
    assert network.encoder.queries is not None


def test_the_contrast_of_two_views_has_a_gradient_without_a_string() -> None:
    graphs, tokens = graphs_of(SMILES[:4])
    sizes = {"latent": 8, "width": 16, "layers": 1, "heads": 2, "decoder_heads": 2}
    config = GraphConfig(
        tokens=tokens, length=12, reads=False, contrast=0.5, decoder_width=16, **sizes
    )
    network = GraphAutoencoder(config)
    example = GraphExample(graphs, torch.zeros(4, 8), torch.ones(graphs.atom.shape[:2]) > 0)
    graph_loss(network, example).backward()
    grown = [p.grad for p in network.encoder.layers.parameters() if p.grad is not None]
    assert grown and all(torch.isfinite(g).all() for g in grown)
    assert any(float(g.abs().max()) > 0 for g in grown)

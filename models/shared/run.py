"""One skeleton for every training run."""

from __future__ import annotations

import torch


def reinitialise(network: torch.nn.Module, generator: torch.Generator) -> None:
    """Redraw the linear layers and embeddings from `generator`, so that a run does not depend on the global random state."""
    # zero-initialised heads stay as they are, biases included
    linear = [m for m in network.modules() if isinstance(m, torch.nn.Linear) and bool(m.weight.detach().any())]
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, torch.nn.Linear) and module in linear:
                bound = module.in_features**-0.5
                module.weight.uniform_(-bound, bound, generator=generator)
            elif isinstance(module, torch.nn.Embedding):
                module.weight.normal_(0.0, 0.5, generator=generator)
        for module in linear:
            if module.bias is not None:
                bound = module.in_features**-0.5
                module.bias.uniform_(-bound, bound, generator=generator)

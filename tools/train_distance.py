#!/usr/bin/env python3
"""Train se3-distance; the same command again continues from the last checkpoint.

    train_distance.py DATA_DIR RUN_DIR --export models/zoo/se3-distance     (writes the EMA weights and their card)
    train_distance.py DATA_DIR RUN_DIR [--minutes 60] [--hidden 64] [--pairs 5000] [--lr 1e-3] [--gfn2-share 0.3]

The rate decays along a cosine of the *used* time budget; EMA weights and optimiser are written every three minutes.
"""

from __future__ import annotations

import argparse
import copy
import dataclasses
import itertools
import json
import math
import time
from pathlib import Path

import numpy as np
import torch

from equidrift.models.conformers.distance.network import DistanceConfig, DistanceNetwork
from equidrift.models.conformers.distance.objective import ConformerSet, denoising_loss, stratified_log_sigma
from equidrift.models.conformers.distance.sampler import DistanceOptions
from equidrift.weights import save_weights


def open_data(folder: Path, share: float) -> ConformerSet:
    """Every finished shard."""
    gfn2, mmff = sorted(folder.glob("gfn2*.npz")), [p for p in sorted(folder.glob("mmff_*.npz")) if "part" not in p.name]
    return ConformerSet(gfn2 + mmff, [0] * len(gfn2) + [1] * len(mmff), [share, 1.0 - share])


def export(run: Path, target: Path) -> None:
    """EMA weights and card of a checkpoint; the quality is filled in by `equidrift bench`."""
    saved = torch.load(run / "checkpoint.pt", weights_only=True)
    minutes, seen = saved["state"]["seconds"] / 60, saved["state"]["seen"]
    card = {
        "name": "se3-distance",
        "description": "system A (arXiv 2403.01430): distance scores from a GeoDiff-type dual network, mapped to coordinates, reverse SDE",
        "family": "conformers",
        "config": saved["config"],
        "options": dataclasses.asdict(DistanceOptions()),
        "elements": ["H", "C", "N", "O", "F"],
        "max_atoms": 100,
        "units": {"positions": "A"},
        "licence": "MIT",
        "training_data": "QM9 training bucket: ETKDGv3+MMFF94 conformers (RDKit) of 9,700 molecules, GFN2-xTB ensembles (tblite) of 1,456",
        "training": {"samples": seen, "steps": saved["state"]["step"], "minutes": round(minutes, 1), "device": "one shared CPU thread"},
        "quality": {},
    }
    save_weights(target, saved["ema"], card)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("run", type=Path)
    for name, value in (("minutes", 60.0), ("hidden", 64), ("pairs", 5000), ("lr", 1e-3), ("gfn2-share", 0.3), ("layers", 4),
                        ("ema", 0.999)):  # fmt: skip
        parser.add_argument(f"--{name}", type=type(value), default=value)
    parser.add_argument("--export", type=Path)
    args = parser.parse_args()
    if args.export:
        return export(args.run, args.export)
    torch.set_num_threads(1)
    args.run.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    config = DistanceConfig(hidden=args.hidden, global_layers=args.layers)
    network = DistanceNetwork(config)
    ema = copy.deepcopy(network).requires_grad_(False)
    optimiser = torch.optim.AdamW(network.parameters(), lr=args.lr, betas=(0.9, 0.99), weight_decay=1e-4, fused=True)
    state = {"step": 0, "seen": 0, "seconds": 0.0}
    latest = args.run / "checkpoint.pt"
    if latest.exists():
        saved = torch.load(latest, weights_only=True)
        network.load_state_dict(saved["network"])
        ema.load_state_dict(saved["ema"])
        optimiser.load_state_dict(saved["optimiser"])
        state = saved["state"]
    data = open_data(args.data, args.gfn2_share)
    budget, last_save, clock = args.minutes * 60.0, state["seconds"], time.perf_counter()
    running: list[tuple[float, np.ndarray, np.ndarray]] = []
    while state["seconds"] < budget:
        rng = np.random.default_rng([17, int(state["step"])])
        batch = data.draw(rng, args.pairs)
        n_batch = len(batch.positions_A)
        sigma = stratified_log_sigma(rng, n_batch, 0.01, 10.0)
        noise = torch.from_numpy(rng.standard_normal(batch.positions_A.shape).astype(np.float32))
        loss, error = denoising_loss(network, batch, sigma, noise)
        rate = args.lr * min(1.0, (state["step"] + 1) / 300) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * state["seconds"] / budget)))
        for group in optimiser.param_groups:
            group["lr"] = rate
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        decay = min(args.ema, (1 + state["step"]) / (10 + state["step"]))
        with torch.no_grad():
            torch._foreach_lerp_(list(ema.parameters()), list(network.parameters()), 1.0 - decay)
        now = time.perf_counter()
        state = {"step": state["step"] + 1, "seen": state["seen"] + n_batch, "seconds": state["seconds"] + now - clock}
        clock = now
        running.append((loss.item(), sigma.numpy(), error.mean(1).sqrt().numpy()))
        if state["step"] % 200 == 0:
            sig, err = np.concatenate([r[1] for r in running]), np.concatenate([r[2] for r in running])
            edges = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
            bins = {str(lo): round(float(err[(sig >= lo) & (sig < hi)].mean()), 4) for lo, hi in itertools.pairwise(edges)}
            line = {**state, "loss": float(np.mean([r[0] for r in running])), "rmse_A": bins, "lr": rate, "conformers": len(data)}
            print(json.dumps(line), flush=True)
            running = []
        if state["seconds"] - last_save > 180 or state["seconds"] >= budget:
            last_save = state["seconds"]
            part = args.run / "checkpoint.part"
            modules = {"network": network.state_dict(), "ema": ema.state_dict(), "optimiser": optimiser.state_dict()}
            torch.save({**modules, "state": state, "config": vars(config)}, part)
            part.rename(latest)
            data = open_data(args.data, args.gfn2_share)

    return None


if __name__ == "__main__":
    main()

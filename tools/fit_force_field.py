#!/usr/bin/env python3
"""Fit a force field to each of the GFN2-MD17 molecules in closed form, and put its coefficients into a trajectory model.

    fit_force_field.py GFN2_MD_FOLDER WEIGHTS OUT.safetensors [--frames 700] [--own 60] [--leave-out malonaldehyde] [--ridge 3e-5]

Frames come from the first 60 % of each trajectory and are given their GFN2-xTB forces by tblite (2 to 12 ms each). --own frames of the
fitted field's own dynamics, hotter by a tenth, are labelled and added in one further round, so that it meets its holes in training.
The molecules of --leave-out keep the force network: a force field with fixed bonds does not describe a proton that changes its
partner. Of WEIGHTS everything else is kept. About one core-minute in all.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import ase
import numpy as np
import torch
from numpy.typing import NDArray
from tblite.ase import TBLite

from equidrift.models.trajectories.data import EDGE_FEATURES, NODE_FEATURES, load_gfn2_md, molecule_graph
from equidrift.models.trajectories.integrator.field import skeleton_of
from equidrift.models.trajectories.integrator.valence import Coordinates, colours, coordinates, fit, fitted
from equidrift.records import Molecule
from equidrift.units import AMU_A2_PER_FS2_EV, BOLTZMANN_AMU_A2_PER_FS2_K
from equidrift.weights import load_weights, save_weights

WORST = 6.0  # frames whose forces are this many times as large as usual are of no use


def labelled(molecule: Molecule, frames: NDArray[np.float64]) -> NDArray[np.float64]:
    """GFN2-xTB forces (k, n, 3) in amu A/fs^2; NaN where tblite fails."""
    atoms = ase.Atoms(molecule.numbers, frames[0])
    atoms.calc = TBLite(method="GFN2-xTB", verbosity=0)
    out = np.full(frames.shape, np.nan)
    for k, x in enumerate(frames):
        atoms.positions = x
        try:
            out[k] = atoms.get_forces() * AMU_A2_PER_FS2_EV
        except Exception:  # tblite and ASE raise several kinds for a geometry without a converged charge
            continue
    return out


def own_frames(own: Coordinates, table: dict[int, float], start: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """Frames of Langevin dynamics of a fitted field at 550 K, 100 fs apart, from a dozen starts."""
    field, mass = fitted(own, table), own.mass[:, None]
    generator = torch.Generator().manual_seed(0)
    x = torch.from_numpy(start[np.linspace(0, len(start) - 1, 12).astype(int)])
    size, decay = (BOLTZMANN_AMU_A2_PER_FS2_K * 550.0 / mass).sqrt(), float(np.exp(-0.01))
    v, kept = torch.randn(x.shape, generator=generator, dtype=x.dtype) * size, []
    for step in range(1, 100 * max(1, count // 12) + 1):
        noise = torch.randn(x.shape, generator=generator, dtype=x.dtype)
        v = (decay * (v + field.accelerations(x)) + (1 - decay**2) ** 0.5 * size * noise).clamp(-0.3, 0.3)
        x = x + v
        kept += [x.numpy().copy()] if step % 100 == 0 else []
    made = np.concatenate(kept)
    return made[np.isfinite(made).all((1, 2))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("weights")
    parser.add_argument("out", type=Path)
    parser.add_argument("--frames", type=int, default=700)
    parser.add_argument("--own", type=int, default=60)
    parser.add_argument("--leave-out", nargs="*", default=["malonaldehyde"])
    parser.add_argument("--ridge", type=float, default=3e-5)
    options = parser.parse_args()
    state, card = load_weights(options.weights)
    table: dict[int, float] = {}
    for name, run in load_gfn2_md(options.folder).items():
        if name in options.leave_out:
            continue
        graph = molecule_graph(run.molecule, run.level)
        own = coordinates(skeleton_of(graph), colours(graph.node[0].numpy(), graph.edge[0].numpy()))
        early = run.part(0.0, 0.6).positions_A[0].astype(np.float64)
        x = early[np.linspace(0, len(early) - 1, options.frames).astype(int)]
        f = labelled(run.molecule, x)
        found = fit(own, x, f, options.ridge)
        if options.own:
            more = own_frames(own, found, x, options.own)
            forces = labelled(run.molecule, more)
            use = np.sqrt((forces**2).mean((1, 2))) < WORST * np.sqrt((f**2).mean())
            x, f = np.concatenate([x, more[use]]), np.concatenate([f, forces[use]])
            found = fit(own, x, f, options.ridge)
        print(f"{name}: {len(x)} frames, {len(found)} coefficients", flush=True)
        table |= found
    keys = sorted(table)
    state |= {"keys": torch.tensor(keys), "coefficients": torch.tensor([table[key] for key in keys])}
    card["config"] |= {"table": len(keys)}
    card["config"].setdefault("field", {"node_features": NODE_FEATURES, "edge_features": EDGE_FEATURES})
    print(save_weights(options.out, state, card))


if __name__ == "__main__":
    main()

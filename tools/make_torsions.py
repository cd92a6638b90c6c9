#!/usr/bin/env python3
"""Make thermal ensembles of molecules in MMFF94 with well mixed torsions: what the
torsion diffusion learns from.

    make_torsions.py OUT_FOLDER FILE.smi... [--qm9 qm9_130831.npz] [--seconds 3600]
    [--sweeps 70] [--part train] [--seed 0]

Each molecule runs as four replicas at 300, 450, 670 and 1000 K: Langevin dynamics moves
everything, torsion moves (uniform and local, one or two bonds at a time, accepted by
Metropolis: exact) turn the rotatable bonds, neighbouring replicas exchange. Written a
file a block of molecules: `smiles`, `numbers` and `R` (float32, A) ragged by `offset`
(atoms) and `frame_offset`, `kT_eV` a frame, `acceptance` a molecule. The atoms are
those of `Molecule.from_smiles`. Only molecules of the part asked for are taken.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import openmm
from openmm import unit
from rdkit import Chem

from equidrift.adapters.rdkit.etkdg import ETKDGMMFF
from equidrift.checks.geometry import check_geometry, check_supported
from equidrift.errors import EquidriftError
from equidrift.mmff import mmff_system
from equidrift.models.shared.split import held_out
from equidrift.montecarlo.proposals import LocalTorsionProposer, uniform_proposer
from equidrift.records import Molecule
from equidrift.torsions import TorsionTree
from equidrift.units import BOLTZMANN_EV_PER_K, KJ_MOL_PER_EV, NM_PER_A

TEMPERATURES_K = (300.0, 450.0, 670.0, 1000.0)
MD_STEPS, BURN_IN, MOVES_PER_TORSION, BLOCK = 25, 15, 2, 40


def ensemble(molecule, tree, sweeps, seed):
    """(positions_A (frames, n, 3), kT_eV (frames,), share of torsion moves accepted)."""
    rng = np.random.default_rng(seed)
    integrator = openmm.LangevinMiddleIntegrator(300.0, 5.0, 0.001)
    integrator.setRandomNumberSeed(int(rng.integers(1, 2**31)))
    context = openmm.Context(
        mmff_system(molecule), integrator, openmm.Platform.getPlatformByName("Reference")
    )
    proposers = [
        uniform_proposer(tree, block_size=1),
        LocalTorsionProposer(tree, 0.4),
        LocalTorsionProposer(tree, 0.7, block_size=2),
    ]

    def energy_eV(x):
        context.setPositions(x * NM_PER_A)
        return in_eV(context.getState(energy=True))

    starts = ETKDGMMFF().sample(molecule, np.arange(len(TEMPERATURES_K)))
    if not np.isfinite(starts).all():
        raise EquidriftError("no starting conformer")
    states = list(starts)
    energies = [energy_eV(x) for x in states]
    frames, kTs, tried, taken = [], [], 0, 0
    for sweep in range(BURN_IN + sweeps):
        for k, T in enumerate(TEMPERATURES_K):
            kT = BOLTZMANN_EV_PER_K * T
            integrator.setTemperature(T)
            context.setPositions(states[k] * NM_PER_A)
            context.setVelocitiesToTemperature(T, int(rng.integers(1, 2**31)))
            integrator.step(MD_STEPS)
            state = context.getState(positions=True, energy=True)
            x = state.getPositions(asNumpy=True).value_in_unit(unit.angstrom)
            u = in_eV(state)
            if not (np.isfinite(u) and np.isfinite(x).all()):
                raise EquidriftError("dynamics exploded")
            for _ in range(MOVES_PER_TORSION * tree.n_torsions):
                proposal = proposers[rng.integers(len(proposers))].propose(x, kT_eV=kT, rng=rng)
                new = energy_eV(proposal.positions_A)
                tried += 1
                if np.log(rng.random()) < -(new - u) / kT + proposal.log_q_ratio:
                    x, u, taken = proposal.positions_A, new, taken + 1
            states[k], energies[k] = x, u
        beta = 1 / (BOLTZMANN_EV_PER_K * np.array(TEMPERATURES_K))
        for k in range(sweep % 2, len(states) - 1, 2):
            if np.log(rng.random()) < (beta[k + 1] - beta[k]) * (energies[k + 1] - energies[k]):
                states[k], states[k + 1] = states[k + 1], states[k]
                energies[k], energies[k + 1] = energies[k + 1], energies[k]
        if sweep >= BURN_IN:
            frames += [x - x.mean(axis=0) for x in states]
            kTs += [BOLTZMANN_EV_PER_K * T for T in TEMPERATURES_K]
    positions = np.array(frames)
    if (np.mean(check_geometry(molecule, positions[::4]) != "") > 0.2) or tried == 0:
        raise EquidriftError("the molecule changed its bonds or stereo")
    return positions.astype(np.float32), np.array(kTs, np.float32), taken / tried


def in_eV(state):
    """The potential energy of a State."""
    return state.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole) / KJ_MOL_PER_EV


def candidates(arguments, rng):
    """SMILES of the part asked for, in random order, QM9 and the files mixed one to
    two.
    """
    sources = [
        [line.split()[0] for line in Path(path).read_text().splitlines() if line.strip()]
        for path in arguments.smiles
    ]
    if arguments.qm9:
        with np.load(arguments.qm9) as data:
            sources.append([str(s) for s in data["smiles"]])
    queues = [iter(rng.permutation(np.array(source, object))) for source in sources]
    turn = [
        k
        for k in range(len(queues))
        for _ in range(1 if arguments.qm9 and k == len(queues) - 1 else 2)
    ]
    while True:
        for k in turn:
            for smiles in queues[k]:
                mol = Chem.MolFromSmiles(smiles)
                key = "" if mol is None else Chem.MolToSmiles(mol, isomericSmiles=False)
                if key and held_out(key) == arguments.part:
                    yield smiles
                    break
            else:
                return


def write(path, rows):
    """One block of molecules."""
    arrays = {
        "smiles": np.array([r[0] for r in rows]),
        "numbers": np.concatenate([r[1] for r in rows]),
        "offset": np.cumsum([0] + [len(r[1]) for r in rows]),
        "R": np.concatenate([r[2].reshape(-1, 3) for r in rows]),
        "frame_offset": np.cumsum([0] + [len(r[2]) for r in rows]),
        "kT_eV": np.concatenate([r[3] for r in rows]),
        "acceptance": np.array([r[4] for r in rows]),
    }
    temporary = path.with_suffix(".tmp.npz")
    np.savez(temporary, **arrays)
    temporary.replace(path)


def main() -> None:
    """Sample the torsions and write them."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path)
    parser.add_argument("smiles", nargs="*")
    parser.add_argument("--qm9")
    parser.add_argument("--seconds", type=float, default=3600)
    parser.add_argument("--sweeps", type=int, default=70)
    parser.add_argument("--part", choices=("train", "val", "test"), default="train")
    parser.add_argument("--max-torsions", type=int, default=9)
    parser.add_argument("--limit", type=int, default=10**9)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    begun, rows, done, block = time.process_time(), [], 0, 0
    for smiles in candidates(arguments, np.random.default_rng(arguments.seed)):
        if time.process_time() - begun > arguments.seconds or done >= arguments.limit:
            break
        try:
            molecule = Molecule.from_smiles(smiles)
            check_supported(molecule, max_atoms=60)
            tree = TorsionTree.of(molecule)
            if not 1 <= tree.n_torsions <= arguments.max_torsions:
                continue
            positions, kT, acceptance = ensemble(
                molecule, tree, arguments.sweeps, arguments.seed + done
            )
        except (EquidriftError, openmm.OpenMMException) as error:
            print(f"{smiles}: {error}", file=sys.stderr)
            continue
        rows.append((smiles, molecule.numbers, positions, kT, acceptance))
        done += 1
        if len(rows) == BLOCK:
            write(arguments.out / f"torsions_{arguments.seed}_{block:04d}.npz", rows)
            rows, block = [], block + 1
            print(f"{done} molecules, {time.process_time() - begun:.0f} s", flush=True)
    if rows:
        write(arguments.out / f"torsions_{arguments.seed}_{block:04d}.npz", rows)
    print(f"{done} molecules")


if __name__ == "__main__":
    main()

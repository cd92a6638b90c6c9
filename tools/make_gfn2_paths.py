#!/usr/bin/env python3
"""Make GFN2-xTB relaxation paths: what `conformer-energy` learns its energies and
forces from.

    make_gfn2_paths.py OUT [--part train|val|test] [--zinc FILE] [--qm9 FILE]
    [--qm9-share 0.25]
                           [--diverse SHARD ...] [--per-mol 2] [--off-path 3] [--steps
                           80] [--fmax 0.02] [--molecules N] [--seconds 3000] [--seed 0]
                           [--rotors 3 10]

Molecules come from a file of SMILES (`--rotors` rotatable bonds, at most 60 atoms) and
from QM9, `--qm9-share` of them, of the part asked for (`held_out` of
`models/shared/split.py`). Each is embedded (ETKDGv3) and relaxed with MMFF94; from
there BFGS goes on with exact GFN2-xTB gradients (tblite) and the Hessian of GFN-FF
(`pip install gfnff`), steps of at most .1 A, down to `--fmax` or for `--steps` steps.
Every step is kept. `--off-path` further frames a path lie around its minimum: thermal
displacements of the GFN-FF Hessian at 100 to 600 K, Gaussian noise of .02 to .1 A, and
turns of one rotatable bond by up to 40 degrees.

Written are shards OUT-000.npz, OUT-001.npz, ..., one every two minutes; the same
command goes on after the last of them. Each holds, for p paths of m molecules with f
frames in all:
  smiles (m,), charge (m,)     atoms are those of Chem.AddHs(Chem.MolFromSmiles(smiles))
  molecule (p,)                index into smiles
  converged (p,)               whether the path's last step is below fmax
  frames (p + 1,)              frames[k]:frames[k + 1] are the frames of path k, in order; frame 0
                               is the MMFF94 minimum
  kind (f,)                    0 a step of the path, 1 thermal, 2 Gaussian noise, 3 a turned bond
  graph, stereo (f,)           whether bonds and stereo are those of the SMILES
  E (f,)                       GFN2-xTB energy, eV
  rows (f + 1,)                rows[k]:rows[k + 1] of R and F belong to frame k
  R, F (rows, 3)               positions in A, forces in eV/A, float32
  next                         number of molecules of the list that are done, those before this
                               shard included
"""

import argparse
import heapq
import os
import time
from collections import Counter
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
import numpy as np
from ase.units import Bohr, Hartree
from gfnff import GFNFFCalculator
from rdkit import Chem, RDLogger
from rdkit.Chem import (
    AllChem,
    rdDistGeom,
    rdFingerprintGenerator,
    rdMolDescriptors,
    rdMolTransforms,
)
from tblite.interface import Calculator

from equidrift.models.shared.graph_codes import ELEMENTS
from equidrift.models.shared.split import held_out

RDLogger.DisableLog("rdApp.*")
BOLTZMANN_EV_K = 8.617333e-5
ROTATABLE = Chem.MolFromSmarts("[!$(*#*)&!D1]-&!@[!$(*#*)&!D1]")
SHARD_S = 120.0
MOST_ORDERED = 4000  # molecules by coverage; the order of more takes minutes
MORGAN = rdFingerprintGenerator.GetMorganGenerator(radius=2)


class GFN2:
    """GFN2-xTB energies (eV) and forces (eV/A); each call starts from the density of
    the one before.
    """

    def __init__(self, numbers, positions, charge):
        self.calc = Calculator("GFN2-xTB", numbers, positions / Bohr, charge=charge)
        self.calc.set("verbosity", 0)
        self.last, self.calls = None, 0

    def __call__(self, positions):
        """Energy in eV and forces in eV/A."""
        self.calls += 1
        self.calc.update(positions / Bohr)
        self.last = self.calc.singlepoint(self.last)
        return self.last.get("energy") * Hartree, -self.last.get("gradient") * Hartree / Bohr


def gfnff_hessian(numbers, positions, charge):
    """Hessian of GFN-FF (eV/A^2) as (eigenvalues, eigenvectors)."""
    at = positions / Bohr
    hessian, _, _ = GFNFFCalculator(numbers, at, charge=charge).hessian(numbers, at)
    return np.linalg.eigh(hessian * Hartree / Bohr**2)


def minimise(surface, start, modes, *, fmax=0.02, longest=0.1, floor=0.1, steps=80):
    """BFGS; returns whether it converged and the list of (positions, energy, forces)
    of all steps.
    """
    value, vector = modes
    hessian = (vector * np.maximum(np.abs(value), floor)) @ vector.T
    x, path = start.copy(), []
    energy, force = surface(x)
    path.append((x.copy(), energy, force))
    while np.linalg.norm(force, axis=1).max() > fmax:
        if len(path) > steps:
            return False, path
        value, vector = np.linalg.eigh(hessian)
        move = (vector @ ((vector.T @ force.ravel()) / np.abs(value))).reshape(-1, 3)
        move *= min(1.0, longest / np.linalg.norm(move, axis=1).max())
        x = x + move
        energy, new = surface(x)
        s, y = move.ravel(), (force - new).ravel()
        hs = hessian @ s
        if s @ y > 1e-8:
            hessian += np.outer(y, y) / (s @ y) - np.outer(hs, hs) / (s @ hs)
        force = new
        path.append((x.copy(), energy, force))
    return True, path


def kept(mol, positions):
    """(graph, stereo): whether bonds and stereo of the geometry are those of the
    molecule.
    """
    table = Chem.GetPeriodicTable()
    radius = np.array([table.GetRcovalent(a.GetAtomicNum()) for a in mol.GetAtoms()])
    distance = np.linalg.norm(positions[:, None] - positions[None], axis=-1)
    total = radius[:, None] + radius[None]
    bonded = Chem.GetAdjacencyMatrix(mol).astype(bool)
    free = ~bonded & ~np.eye(len(radius), dtype=bool)
    graph = not (
        (distance[bonded] > 1.3 * total[bonded]).any()
        or (distance[free] < 1.05 * total[free]).any()
    )
    other = Chem.Mol(mol, False)
    other.RemoveAllConformers()
    conformer = Chem.Conformer(len(radius))
    conformer.SetPositions(positions.astype(np.float64))
    other.AddConformer(conformer)
    Chem.AssignStereochemistryFrom3D(other)
    wanted, flat = (
        Chem.MolToSmiles(Chem.RemoveHs(mol)),
        Chem.MolToSmiles(Chem.RemoveHs(mol), isomericSmiles=False),
    )
    return graph, wanted == flat or Chem.MolToSmiles(Chem.RemoveHs(other)) == wanted


def off_path(mol, minimum, modes, rng, count):
    """Yield (kind, positions) of frames around a minimum (n, 3)."""
    value, vector = modes
    bonds = mol.GetSubstructMatches(ROTATABLE)
    for _ in range(count):
        kind = (
            int(rng.choice([1, 2, 3], p=[0.5, 0.2, 0.3]))
            if bonds
            else int(rng.choice([1, 2], p=[0.7, 0.3]))
        )
        if kind == 1:
            spread = np.sqrt(
                BOLTZMANN_EV_K * rng.uniform(100, 600) / np.maximum(np.abs(value), 0.3)
            )
            yield (
                kind,
                minimum + (vector @ (spread * rng.standard_normal(len(spread)))).reshape(-1, 3),
            )
        elif kind == 2:
            yield kind, minimum + rng.uniform(0.02, 0.1) * rng.standard_normal(minimum.shape)
        else:
            j, k = bonds[rng.integers(len(bonds))]
            i = next(a.GetIdx() for a in mol.GetAtomWithIdx(j).GetNeighbors() if a.GetIdx() != k)
            m = next(a.GetIdx() for a in mol.GetAtomWithIdx(k).GetNeighbors() if a.GetIdx() != j)
            conformer = Chem.Conformer(len(minimum))
            conformer.SetPositions(minimum.astype(np.float64))
            work = Chem.Mol(mol, False)
            work.RemoveAllConformers()
            work.AddConformer(conformer)
            conformer = work.GetConformer()
            angle = rdMolTransforms.GetDihedralDeg(conformer, i, j, k, m)
            rdMolTransforms.SetDihedralDeg(
                conformer, i, j, k, m, angle + rng.uniform(10, 40) * rng.choice([-1, 1])
            )
            yield kind, conformer.GetPositions()


def paths(smiles, per_mol, count, seed, fmax, longest):
    """The paths of one molecule: (converged, [(kind, positions, energy, forces,
    graph, stereo)]).
    """
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    options = rdDistGeom.ETKDGv3()
    options.randomSeed, options.useSmallRingTorsions, options.pruneRmsThresh = seed, True, 0.2
    options.maxIterations = 50
    ids = list(rdDistGeom.EmbedMultipleConfs(mol, 3 * per_mol, options))
    if not ids:
        return []
    result = AllChem.MMFFOptimizeMoleculeConfs(mol, maxIters=2000)
    if any(flag < 0 for flag, _ in result):
        return []
    chosen = []
    for k, (_, energy) in enumerate(result):
        if all(abs(energy - result[other][1]) > 0.1 for other in chosen):
            chosen.append(k)
    numbers = np.array([a.GetAtomicNum() for a in mol.GetAtoms()])
    charge, rng, out = Chem.GetFormalCharge(mol), np.random.default_rng(seed), []
    for k in chosen[:per_mol]:
        start = mol.GetConformer(ids[k]).GetPositions()
        surface = GFN2(numbers, start, charge)
        modes = gfnff_hessian(numbers, start, charge)
        converged, steps = minimise(surface, start, modes, fmax=fmax, steps=longest)
        frames = [(0, *step, *kept(mol, step[0])) for step in steps]
        for kind, x in off_path(mol, steps[-1][0], modes, rng, count):
            frames.append((kind, x, *surface(x), *kept(mol, x)))
        out.append((converged, frames))
    return out


def molecules(args):
    """The SMILES of the part, in a seeded order, QM9's mixed in by their share."""
    rng = np.random.default_rng((args.seed, 5))
    zinc = []
    for line in Path(args.zinc).read_text().split("\n"):
        mol = Chem.MolFromSmiles(line.split()[0]) if line.strip() else None
        if mol is None or held_out(Chem.MolToSmiles(mol, isomericSmiles=False)) != args.part:
            continue
        turns = rdMolDescriptors.CalcNumRotatableBonds(mol)
        known = all(a.GetAtomicNum() in ELEMENTS for a in mol.GetAtoms())
        if (
            known
            and args.rotors[0] <= turns <= args.rotors[1]
            and mol.GetNumAtoms() + sum(a.GetTotalNumHs() for a in mol.GetAtoms()) <= 60
        ):
            zinc.append(line.split()[0])
    every = np.load(args.qm9)["smiles"]
    qm9 = []
    for index in rng.permutation(len(every)):
        mol = Chem.MolFromSmiles(str(every[index]))
        if mol is not None and held_out(Chem.MolToSmiles(mol, isomericSmiles=False)) == args.part:
            qm9.append(str(every[index]))
        if len(qm9) > 8000:
            break
    zinc = [zinc[k] for k in rng.permutation(len(zinc))]
    out = []
    if args.diverse is not None:
        zinc = by_coverage(zinc, args.diverse)[::-1]
    while zinc and qm9:
        out.append(qm9.pop() if rng.random() < args.qm9_share else zinc.pop())
    return out


def environments(smiles):
    """The surroundings, up to two bonds away, of the atoms of a molecule."""
    return set(
        MORGAN.GetSparseCountFingerprint(
            Chem.AddHs(Chem.MolFromSmiles(smiles))
        ).GetNonzeroElements()
    )


def by_coverage(every, known):
    """SMILES ordered so that each brings what is frequent in all of them and new to
    those before it and to the shards `known`.

    The gain of a molecule is the sum of the roots of the frequencies of its
    environments that are new, per atom of the molecule.
    """
    seen, used = set(), set()
    for shard in known:
        used.update(str(s) for s in np.load(shard)["smiles"])
    for smiles in used:
        seen |= environments(smiles)
    pool = {smiles: environments(smiles) for smiles in every if smiles not in used}
    count = Counter(e for found in pool.values() for e in found)
    size = {smiles: Chem.AddHs(Chem.MolFromSmiles(smiles)).GetNumAtoms() for smiles in pool}

    def gain(smiles):
        return sum(count[e] ** 0.5 for e in pool[smiles] if e not in seen) / size[smiles]

    heap = [(-gain(smiles), smiles) for smiles in pool]
    heapq.heapify(heap)
    out = []
    while heap and len(out) < MOST_ORDERED:
        _, smiles = heapq.heappop(heap)
        now = -gain(smiles)
        if heap and now > heap[0][0]:  # what it would bring has come meanwhile: back into the queue
            heapq.heappush(heap, (now, smiles))
            continue
        out.append(smiles)
        seen |= pool[smiles]
    return out


def save(path, rows, done):
    """One shard; rows are (smiles, charge, [(converged, frames)])."""
    every = [
        (k, converged, frames)
        for k, (_, _, found) in enumerate(rows)
        for converged, frames in found
    ]
    flat = [frame for _, _, frames in every for frame in frames]
    temporary = path.with_suffix(".tmp.npz")
    np.savez_compressed(
        temporary,
        smiles=np.array([r[0] for r in rows]),
        charge=np.array([r[1] for r in rows], np.int8),
        molecule=np.array([k for k, _, _ in every], np.int32),
        converged=np.array([c for _, c, _ in every], bool),
        frames=np.cumsum([0] + [len(f) for _, _, f in every]).astype(np.int64),
        kind=np.array([f[0] for f in flat], np.uint8),
        graph=np.array([f[4] for f in flat], bool),
        stereo=np.array([f[5] for f in flat], bool),
        E=np.array([f[2] for f in flat]),
        rows=np.cumsum([0] + [len(f[1]) for f in flat]).astype(np.int64),
        R=np.concatenate([f[1] for f in flat]).astype(np.float32),
        F=np.concatenate([f[3] for f in flat]).astype(np.float32),
        next=np.array(done),
    )
    os.replace(temporary, path)


def arguments() -> argparse.Namespace:
    """The command line."""
    data = Path(os.environ.get("EQUIDRIFT_DATA", "../shared/data"))
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out")
    parser.add_argument("--part", choices=["train", "val", "test"], default="train")
    parser.add_argument("--zinc", default=str(data / "zinc_smiles" / "zinc_29k.smi"))
    parser.add_argument("--qm9", default=str(data / "qm9_130831.npz"))
    parser.add_argument("--qm9-share", type=float, default=0.25)
    parser.add_argument("--per-mol", type=int, default=2)
    parser.add_argument("--off-path", type=int, default=3)
    parser.add_argument(
        "--molecules", type=int, default=1_000_000, help="stop after so many of the list"
    )
    parser.add_argument("--seconds", type=float, default=1e9)
    parser.add_argument("--rotors", type=int, nargs=2, default=(3, 10))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--diverse",
        nargs="*",
        help="take molecules with new atom environments first; shards whose molecules are known",
    )
    parser.add_argument("--fmax", type=float, default=0.02)
    parser.add_argument("--steps", type=int, default=80, help="end a path here, converged or not")
    return parser.parse_args()


def found_paths(args: argparse.Namespace, smiles: str, index: int) -> list:
    """The paths of one molecule; a failed SCF or embedding drops it, and says so."""
    seed = args.seed + index
    try:
        return paths(smiles, args.per_mol, args.off_path, seed, args.fmax, args.steps)
    except Exception as error:
        print("dropped", smiles, repr(error)[:90], flush=True)
        return []


def main() -> None:
    """Make paths until the list or the time is over, a shard every two minutes."""
    args = arguments()
    begun = saved = time.time()
    shards = sorted(Path(args.out).parent.glob(Path(args.out).name + "-???.npz"))
    done = int(np.load(shards[-1])["next"]) if shards else 0
    shard, rows, calls = len(shards), [], 0
    todo = molecules(args)[: args.molecules]
    try:
        for index in range(done, len(todo)):
            if time.time() - begun > args.seconds:
                break
            smiles = todo[index]
            found = found_paths(args, smiles, index)
            done = index + 1
            if found:
                rows.append((smiles, Chem.GetFormalCharge(Chem.MolFromSmiles(smiles)), found))
                calls += sum(len(frames) for _, frames in found)
            if rows and time.time() - saved > SHARD_S:
                save(Path(f"{args.out}-{shard:03d}.npz"), rows, done)
                print(
                    f"{done} molecules, {calls} gradients, {time.time() - begun:.0f} s", flush=True
                )
                shard, rows, saved = shard + 1, [], time.time()
    except KeyboardInterrupt:
        print("stopped", flush=True)
    if rows:
        save(Path(f"{args.out}-{shard:03d}.npz"), rows, done)
    print(f"{done} molecules, {calls} gradients, {time.time() - begun:.0f} s")


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Make GFN2-xTB conformer ensembles that are nearly complete: the references of
`equidrift bench conformers`.

    make_gfn2_references.py list OUT.smi [--smiles FILE] [--rotors 3 10] [--molecules 45]
                                 [--macrocycles 4] [--charged 6] [--part val|test] [--seed 0]
    make_gfn2_references.py make LIST.smi OUT.npz [--each 65] [--seconds 3000] [--seed 0]

`list` picks molecules of the held-out part of a file of SMILES (`held_out` of
`models/shared/split.py`): 3 to 10 rotatable bonds (`--rotors`), at most 70 atoms, neutral and
charged. Macrocycles are built, as ZINC's held-out part has none: two methyl or aromatic
CH groups of a molecule are joined by a chain of 0 to 4 CH2 to a ring of 12 to 18 atoms,
and the product is held out, too.

`make` searches each molecule for `--each` core-seconds:

1. Candidates, 100 in a round: ETKDGv3 with and without the torsions of small rings, and
   plain distance geometry (its rings pucker freely), relaxed with MMFF94. The distinct
   ones are also relaxed with GFN-FF, whose minima count as candidates, too.
2. The distinct candidates of low MMFF94 energy are ranked by their GFN2-xTB energy, the
   lowest of every ring pucker first.
3. Each is relaxed by BFGS on the Hessian of GFN-FF with exact GFN2-xTB gradients down
   to .01 eV/A, unless it turns out to lead to a minimum that is known or too high.
4. Rounds follow until the time is over or two of them found nothing new.

Kept are minima whose bonds and stereo are those of the SMILES, within 6 kcal/mol of the
lowest, which differ from each other by .1 A (heavy atoms, over all symmetries) or .05
kcal/mol. Of molecules without stereocentres the mirror images are kept, too.

Written is one file, after every molecule; the same command goes on where it stopped.
For m molecules with c conformers in all:
  smiles (m,)                  atoms are those of Chem.AddHs(Chem.MolFromSmiles(smiles))
  atom_offset (m + 1,)         z[atom_offset[k]:atom_offset[k + 1]] are its elements
  conf_offset (m + 1,)         E[conf_offset[k]:conf_offset[k + 1]] are its conformers
  coord_offset (c + 1,)        R[coord_offset[i]:coord_offset[i + 1]] is conformer i
  z (atoms,), R (rows, 3)      atomic numbers; positions in A, float32
  E (c,)                       GFN2-xTB energies, eV
  starts, minima, seconds (m,) relaxations begun, minima found (mirror images and those
                               above the window included), core-seconds spent
  finished (m,)                whether the search ended before its time did
  skipped (s,)                 SMILES without a conformer
"""

import argparse
import os
import time
from dataclasses import dataclass, field
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
import numpy as np
from ase.units import Bohr
from gfnff import GFNFFCalculator
from make_gfn2_paths import GFN2, gfnff_hessian, kept
from rdkit import Chem, RDLogger
from rdkit.Chem import AllChem, rdDistGeom, rdMolAlign, rdMolDescriptors
from scipy.optimize import minimize

from equidrift.models.shared.graph_codes import ELEMENTS
from equidrift.models.shared.split import held_out

KCAL_MOL = 0.0433641153  # eV
WINDOW_EV = 6.0 * KCAL_MOL  # of the conformers that are kept
SAME_EV, SAME_A = 0.05 * KCAL_MOL, 0.1  # two minima nearer than both are one
START_A = 0.3  # candidates nearer than this are one start
FORCE_FIELD_KCAL_MOL = 16.0  # window of MMFF94 energies; its errors on conformers are some 3
START_EV = 12.0 * KCAL_MOL  # window of GFN2-xTB energies of starts; relaxing releases some 7
JOINS_A = 0.15  # a path that comes so near a known minimum, at nearly its energy, leads there
DRAWS = 100  # candidates a round
MOST_STARTS = 60  # relaxations a round
QUIET_ROUNDS = 2  # rounds without a new minimum that end a search
FMAX_EV_A, LONGEST_A, MOST_STEPS, CHECK_EVERY = 0.01, 0.1, 150, 5
EMBED_TIMEOUT_S = 60  # of wall time, on a core that others may use
RING = (12, 18)  # atoms of a macrocycle
MOST_READ = 30_000  # SMILES of an .npz that are looked at


@dataclass
class Search:
    """What is known of one molecule's minima.

    Positions are (n, 3) in A; energies are GFN2-xTB's in eV, in the order of `minima`.
    """

    mol: Chem.Mol
    minima: list = field(default_factory=list)
    energies: list = field(default_factory=list)
    starts: int = 0

    def __post_init__(self):
        self.numbers = np.array([a.GetAtomicNum() for a in self.mol.GetAtoms()])
        self.charge = Chem.GetFormalCharge(self.mol)
        self.heavy = self.numbers > 1
        bare = Chem.Mol(self.mol)
        bare.RemoveAllConformers()
        self.probe = Chem.RemoveHs(bare, sanitize=False)
        chiral = Chem.FindMolChiralCenters(self.mol, includeUnassigned=True)
        self.achiral = not chiral

    def rmsd(self, a, b):
        """Heavy-atom RMSD of two geometries over all symmetries, in A."""
        one, other = Chem.Mol(self.probe), Chem.Mol(self.probe)
        for mol, x in ((one, a), (other, b)):
            conformer = Chem.Conformer(mol.GetNumAtoms())
            conformer.SetPositions(np.asarray(x, float)[self.heavy])
            mol.AddConformer(conformer)
        return rdMolAlign.GetBestRMS(one, other, maxMatches=2000)

    def known(self, x, energy):
        """Whether a minimum is one of those that were found."""
        return any(
            abs(energy - other) < SAME_EV and self.rmsd(x, y) < SAME_A
            for y, other in zip(self.minima, self.energies, strict=True)
        )

    def joins(self, x, energy):
        """Whether a path at x leads to a known minimum: near it, without other bonds
        turned, and hardly higher.
        """
        return any(
            -SAME_EV < energy - other < 0.5 * KCAL_MOL and _aligned(x, y) < JOINS_A
            for y, other in zip(self.minima, self.energies, strict=True)
        )

    def add(self, x, energy):
        """Add a minimum, and its mirror image where that is a conformer as well;
        whether it is new.
        """
        if self.known(x, energy):
            return False
        self.minima.append(x)
        self.energies.append(energy)
        image = x * [1.0, 1.0, -1.0]
        if self.achiral and not self.known(image, energy):
            self.minima.append(image)
            self.energies.append(energy)
        return True

    def kept(self):
        """Minima within the window, the lowest first: (c, n, 3) and (c,)."""
        order = np.argsort(self.energies, kind="stable")
        energies = np.array(self.energies)[order]
        inside = energies - energies[0] <= WINDOW_EV
        return np.stack([self.minima[k] for k in order[inside]]), energies[inside]


def _aligned(a, b):
    """RMSD of all atoms in their order, in A."""
    a, b = a - a.mean(0), b - b.mean(0)
    left, _, right = np.linalg.svd(a.T @ b)
    turn = left @ np.diag([1, 1, np.linalg.det(left @ right)]) @ right
    return np.sqrt(np.square(a @ turn - b).sum(1).mean())


def embedding(kind, seed):
    """Options of RDKit's embedding: 0 ETKDGv3 for small rings, 1 ETKDGv3, 2 distance
    geometry with the chemistry's planes and lines alone.
    """
    options = (rdDistGeom.srETKDGv3, rdDistGeom.ETKDGv3, rdDistGeom.KDG)[kind]()
    options.randomSeed, options.timeout, options.useRandomCoords = seed, EMBED_TIMEOUT_S, kind == 2
    return options


def candidates(mol, seed):
    """DRAWS candidates of one round relaxed with MMFF94 (UFF where it has no types):
    positions (c, n, 3), energies in kcal/mol (c,).
    """
    work = Chem.Mol(mol)
    work.RemoveAllConformers()
    found, energies = [], []
    for kind, share in enumerate((0.4, 0.3, 0.3)):
        made = rdDistGeom.EmbedMultipleConfs(work, int(share * DRAWS), embedding(kind, seed + kind))
        ids = [k for k in made if k >= 0]  # it gives -1 where the time is over
        if not ids:
            continue
        mmff = AllChem.MMFFHasAllMoleculeParams(work)
        relax = AllChem.MMFFOptimizeMoleculeConfs if mmff else AllChem.UFFOptimizeMoleculeConfs
        for k, (_, energy) in zip(ids, relax(work, maxIters=1000), strict=True):
            found.append(work.GetConformer(k).GetPositions())
            energies.append(energy)
    return np.array(found).reshape(-1, mol.GetNumAtoms(), 3), np.array(energies)


def gfnff_minimum(search, x):
    """The GFN-FF minimum (n, 3) below x, or None where it fails."""
    model = GFNFFCalculator(search.numbers, x / Bohr, charge=search.charge)

    def value(flat):
        energy, gradient = model.singlepoint(search.numbers, flat.reshape(-1, 3))[:2]
        return energy, np.asarray(gradient).ravel()

    try:
        found = minimize(
            value,
            (x / Bohr).ravel(),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": 200, "gtol": 5e-4},
        )
    except Exception as error:
        print("GFN-FF failed", repr(error)[:80], flush=True)
        return None
    return found.x.reshape(-1, 3) * Bohr


def distinct(search, positions, scores, apart=START_A):
    """Rows of geometries in the order of their scores that differ from the better
    ones.
    """
    rows = []
    for k in np.argsort(scores, kind="stable"):
        near = (j for j in rows if scores[k] - scores[j] < 1.0)
        if all(search.rmsd(positions[k], positions[j]) > apart for j in near):
            rows.append(int(k))
    return rows


def puckers(mol, x):
    """The signs of the torsions inside the saturated rings: which pucker each has."""
    signs = []
    for ring in mol.GetRingInfo().AtomRings():
        if not 4 <= len(ring) <= 8 or all(mol.GetAtomWithIdx(k).GetIsAromatic() for k in ring):
            continue
        cycle = np.array([ring[k:] + ring[:k] for k in range(len(ring))])[:, :4]
        a, b, c, d = (x[cycle[:, k]] for k in range(4))
        across, along, beyond = b - a, c - b, d - c
        first, second = np.cross(across, along), np.cross(along, beyond)
        sine = np.linalg.norm(along, axis=1) * (across * second).sum(1)
        angle = np.arctan2(sine, (first * second).sum(1))
        signs.extend(np.where(np.abs(angle) > np.radians(20), np.sign(angle), 0).astype(int))
    return tuple(signs)


def starts(search, seed):
    """Geometries of one round to relax: the lowest of every ring pucker, then by
    GFN2-xTB energy.
    """
    positions, energies = candidates(search.mol, seed)
    if not len(positions):
        return []
    rows = [
        k
        for k in distinct(search, positions, energies)
        if energies[k] - energies.min() < FORCE_FIELD_KCAL_MOL
    ]
    found = [positions[k] for k in rows[: 2 * MOST_STARTS]]
    for x in list(found):
        other = gfnff_minimum(search, x)
        if other is not None and search.rmsd(x, other) > START_A:
            found.append(other)
    found = [x for x in found if all(kept(search.mol, x))]
    if not found:
        return []
    surface = GFN2(search.numbers, found[0], search.charge)
    scores = np.array([surface(x)[0] for x in found])
    rows = list(distinct(search, found, scores / KCAL_MOL))
    limit = scores.min() + START_EV
    leaders, classes = [], set()
    for k in rows:
        if scores[k] <= limit and puckers(search.mol, found[k]) not in classes:
            classes.add(puckers(search.mol, found[k]))
            leaders.append(k)
    rest = [k for k in rows if k not in leaders and scores[k] <= limit]
    return [found[k] for k in (leaders + rest)[:MOST_STARTS]]


def relaxed(search, start):
    """The GFN2-xTB minimum (positions, energy in eV) below a start; None where it does
    not converge, or where its path leads to a known minimum or stays too high.
    """
    surface = GFN2(search.numbers, start, search.charge)
    value, vector = gfnff_hessian(search.numbers, start, search.charge)
    hessian = (vector * np.maximum(np.abs(value), 0.1)) @ vector.T
    x = start.copy()
    energy, force = surface(x)
    for step in range(MOST_STEPS):
        largest = np.linalg.norm(force, axis=1).max()
        if largest <= FMAX_EV_A:
            return x, energy
        value, vector = np.linalg.eigh(hessian)
        along = vector.T @ force.ravel()
        if search.energies and step and step % CHECK_EVERY == 0:
            # what a quadratic surface still has to give; three times that, as it is none
            left = 1.5 * float((along**2 / np.abs(value)).sum())
            high = energy - left > min(search.energies) + WINDOW_EV + KCAL_MOL
            if high or search.joins(x, energy):
                return None
        move = (vector @ (along / np.abs(value))).reshape(-1, 3)
        move *= min(1.0, LONGEST_A / np.linalg.norm(move, axis=1).max())
        x = x + move
        energy, new = surface(x)
        s, y = move.ravel(), (force - new).ravel()
        if s @ y > 1e-8:
            hs = hessian @ s
            hessian += np.outer(y, y) / (s @ y) - np.outer(hs, hs) / (s @ hs)
        force = new
    return None


def search_molecule(smiles, each_s, seed):
    """Search one molecule for `each_s` core-seconds: (Search, whether it ended by
    itself, core-seconds).
    """
    begun = time.process_time()
    search, quiet, round_ = Search(Chem.AddHs(Chem.MolFromSmiles(smiles))), 0, 0
    while quiet < QUIET_ROUNDS and time.process_time() - begun < each_s:
        new = 0
        for start in starts(search, seed + 10 * round_):
            if time.process_time() - begun > each_s:
                break
            search.starts += 1
            found = relaxed(search, start)
            if found is not None and all(kept(search.mol, found[0])):
                new += search.add(*found)
        quiet, round_ = (0 if new else quiet + 1), round_ + 1
    return search, quiet == QUIET_ROUNDS, time.process_time() - begun


PER_MOLECULE = ("starts", "minima", "seconds", "finished")


def load(path):
    """The rows and the skipped SMILES of a file that was begun."""
    if not path.exists():
        return [], []
    with np.load(path, allow_pickle=False) as file:
        data = {key: file[key] for key in file.files}
    rows = []
    for k, smiles in enumerate(data["smiles"].tolist()):
        confs = slice(data["conf_offset"][k], data["conf_offset"][k + 1])
        z = data["z"][data["atom_offset"][k] : data["atom_offset"][k + 1]]
        first, last = data["coord_offset"][[confs.start, confs.stop]]
        rows.append(
            {
                "smiles": smiles,
                "z": z,
                "R": data["R"][first:last].reshape(-1, len(z), 3),
                "E": data["E"][confs],
                **{key: data[key][k] for key in PER_MOLECULE},
            }
        )
    return rows, data["skipped"].tolist()


def save(path, rows, skipped):
    """Write the file; a stop in between leaves the old one."""
    atoms = [len(row["z"]) for row in rows]
    each = [n for n, row in zip(atoms, rows, strict=True) for _ in row["E"]]
    temporary = path.with_suffix(".tmp.npz")
    np.savez_compressed(
        temporary,
        smiles=np.array([row["smiles"] for row in rows], dtype=str),
        atom_offset=np.cumsum([0, *atoms]),
        conf_offset=np.cumsum([0] + [len(row["E"]) for row in rows]),
        coord_offset=np.cumsum([0, *each]),
        z=np.concatenate([row["z"] for row in rows] or [[]]).astype(np.uint8),
        R=np.concatenate([row["R"].reshape(-1, 3) for row in rows] or [np.zeros((0, 3))]).astype(
            np.float32
        ),
        E=np.concatenate([row["E"] for row in rows] or [[]]),
        skipped=np.array(skipped, dtype=str),
        **{key: np.array([row[key] for row in rows]) for key in PER_MOLECULE},
    )
    os.replace(temporary, path)


def make(args):
    """Search the molecules of a list that the file does not hold yet."""
    path, begun = Path(args.out), time.time()
    rows, skipped = load(path)
    done = {row["smiles"] for row in rows} | set(skipped)
    lines = [line.split()[0] for line in Path(args.list).read_text().split("\n") if line.strip()]
    for index, smiles in enumerate(lines):
        if smiles in done:
            continue
        if time.time() - begun > args.seconds:
            break
        try:
            search, finished, spent = search_molecule(smiles, args.each, args.seed + 1000 * index)
        except Exception as error:
            print("failed", smiles, repr(error)[:90], flush=True)
            search = None
        if search is None or not search.minima:
            skipped.append(smiles)
        else:
            positions, energies = search.kept()
            rows.append(
                {
                    "smiles": smiles,
                    "z": search.numbers.astype(np.uint8),
                    "R": positions,
                    "E": energies,
                    "starts": search.starts,
                    "minima": len(search.minima),
                    "seconds": spent,
                    "finished": finished,
                }
            )
            print(
                f"{index + 1}/{len(lines)} {smiles}: {len(energies)} conformers of "
                f"{len(search.minima)} minima, {search.starts} starts, {spent:.0f} core-s",
                flush=True,
            )
        save(path, rows, skipped)
    count = sum(len(row["E"]) for row in rows)
    print(f"{len(rows)} molecules, {count} conformers, {len(skipped)} without")


def usable(mol, part):
    """Whether a molecule is of the part, of the elements of the models, and of a size
    that can be searched.
    """
    return (
        held_out(Chem.MolToSmiles(mol, isomericSmiles=False)) == part
        and all(a.GetAtomicNum() in ELEMENTS for a in mol.GetAtoms())
        and Chem.AddHs(mol).GetNumAtoms() <= 70
        and len(Chem.GetMolFrags(mol)) == 1
        and all(
            flag != "?"
            for _, flag in Chem.FindMolChiralCenters(
                mol, includeUnassigned=True, useLegacyImplementation=False
            )
        )
    )


def macrocycle(mol, rng, part):
    """The SMILES of a macrocycle built from a molecule, or None where no two of its
    groups can be joined.
    """
    ends = [
        a.GetIdx()
        for a in mol.GetAtoms()
        if a.GetAtomicNum() == 6
        and (a.GetTotalNumHs() == 3 or (a.GetIsAromatic() and a.GetTotalNumHs() == 1))
    ]
    distance = Chem.GetDistanceMatrix(mol)
    pairs = [(i, j) for i in ends for j in ends if i < j and 8 <= distance[i, j] <= RING[1] - 1]
    for i, j in (pairs[k] for k in rng.permutation(len(pairs))):
        least = max(0, RING[0] - int(distance[i, j]) - 1)
        links = rng.integers(least, max(least, min(4, RING[1] - int(distance[i, j]) - 1)) + 1)
        work = Chem.RWMol(mol)
        last = i
        for _ in range(links):
            new = work.AddAtom(Chem.Atom(6))
            work.AddBond(last, new, Chem.BondType.SINGLE)
            last = new
        work.AddBond(last, j, Chem.BondType.SINGLE)
        smiles = Chem.MolToSmiles(work)
        built = Chem.MolFromSmiles(smiles)
        if built is None or not usable(built, part):
            continue
        largest = max(len(ring) for ring in built.GetRingInfo().AtomRings())
        three = Chem.AddHs(built)
        if RING[0] <= largest <= RING[1] and rdDistGeom.EmbedMolecule(three, randomSeed=1) == 0:
            return smiles
    return None


def listed(path):
    """The SMILES of a file: a line each, or `smiles` of an .npz such as QM9's, of which
    MOST_READ are drawn.
    """
    if Path(path).suffix != ".npz":
        lines = Path(path).read_text().split("\n")
        return [line.split()[0] for line in lines if line.strip()]
    with np.load(path, allow_pickle=False) as file:
        found = file["smiles"].astype(str)
    rng = np.random.default_rng(0)
    return rng.permutation(found)[:MOST_READ].tolist()


def pick(args):
    """Write the list of molecules: neutral ones and charged ones in turn, then
    macrocycles.
    """
    rng = np.random.default_rng((args.seed, 9))
    mols = [mol for one in listed(args.smiles) if (mol := Chem.MolFromSmiles(one)) is not None]
    mols = [mols[k] for k in rng.permutation(len(mols))]
    least, most = args.rotors
    fit = [
        mol
        for mol in mols
        if least <= rdMolDescriptors.CalcNumRotatableBonds(mol) <= most and usable(mol, args.part)
    ]
    charged = [mol for mol in fit if Chem.GetFormalCharge(mol)]
    neutral = [mol for mol in fit if not any(a.GetFormalCharge() for a in mol.GetAtoms())]
    plain = args.molecules - args.charged - args.macrocycles
    chosen = [Chem.MolToSmiles(mol) for mol in neutral[:plain] + charged[: args.charged]]
    chosen = [chosen[k] for k in rng.permutation(len(chosen))]
    rings = (macrocycle(mol, rng, args.part) for mol in mols)
    for _, smiles in zip(range(args.macrocycles), filter(None, rings), strict=False):
        chosen.append(smiles)
    Path(args.out).write_text("".join(f"{smiles}\n" for smiles in chosen))
    print(f"{len(chosen)} molecules of {len(neutral)} neutral and {len(charged)} charged ones")


def arguments():
    """The command line."""
    data = Path(os.environ.get("EQUIDRIFT_DATA", "../shared/data"))
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=0)
    modes = parser.add_subparsers(dest="mode", required=True)
    listing = modes.add_parser("list")
    listing.add_argument("out")
    listing.add_argument(
        "--smiles",
        default=str(data / "zinc_smiles" / "zinc_29k.smi"),
        help="a file of SMILES, or an .npz that holds `smiles`",
    )
    listing.add_argument(
        "--rotors", type=int, nargs=2, default=(3, 10), help="least and most rotatable bonds"
    )
    listing.add_argument("--molecules", type=int, default=45, help="all of them together")
    listing.add_argument("--macrocycles", type=int, default=4)
    listing.add_argument("--charged", type=int, default=6)
    listing.add_argument("--part", choices=["val", "test"], default="val")
    listing.set_defaults(run=pick)
    making = modes.add_parser("make")
    making.add_argument("list")
    making.add_argument("out")
    making.add_argument("--each", type=float, default=65.0, help="core-seconds a molecule")
    making.add_argument("--seconds", type=float, default=1e9, help="stop after so many")
    making.set_defaults(run=make)
    return parser.parse_args()


def main() -> None:
    """Pick molecules, or search those of a list."""
    RDLogger.DisableLog("rdApp.*")
    args = arguments()
    args.run(args)


if __name__ == "__main__":
    main()

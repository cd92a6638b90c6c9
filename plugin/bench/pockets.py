"""Rows `pocket/...` of `equidrift bench molecules`: molecules made for a pocket, beside
molecules made without it and docked.

Pockets are the receptors of the four complexes that the package posebusters ships (1IA1,
1OF6, 1S3V and 1UOU of the Protein Data Bank), and the place that of their ligand. No
network here saw a complex.

`guided` is `equidrift generate --pocket`: Vina's terms pull while a molecule is drawn,
then it is placed by eight descents. `then-docked` are draws of the same seeds without the
pull, placed by so many descents that at least as many energies of an atom are computed a
molecule (`atoms_scored`). `qm9` are molecules that QM9's training part holds, placed like
these, and `ligand` is the crystal's own as it lies.

Lower is better for `vina_terms_kcal_mol` (our terms), `vina_kcal_mol` (AutoDock Vina's
own of the same rigid pose, where the package vina is installed) and `strain_kcal_mol`,
what MMFF94 releases; a molecule that it has no parameters for has none. `posebusters` is
the share that passes all checks of PoseBusters' set `dock`, those against the receptor
included. Values are means over all molecules of all pockets, whose differences from their
pocket's mean give the standard errors.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equidrift.adapters.rdkit.receptor import read_places, read_receptor
from equidrift.adapters.rdkit.validity import posebusters_failures
from equidrift.bench.machine import Progress
from equidrift.bench.molecule_metrics import Each
from equidrift.bench.molecule_work import cached_model
from equidrift.bench.rows import SE, Row, row
from equidrift.checks.molecule import Raw
from equidrift.engine.molecule_settings import MoleculeSettings, make_settings
from equidrift.engine.molecules import Tally, batches
from equidrift.engine.pockets import STARTS, Receptor, Site
from equidrift.errors import MissingDependencyError
from equidrift.fragments import part_of
from equidrift.records import Ensemble, Molecule
from equidrift.vina import Floats, Kinds, Pocket

COMPLEXES = ("1ia1", "1of6", "1s3v", "1uou")
REACH_A = 28.0  # residues farther from the ligand are not felt
JUDGED_A = 16.0  # and farther ones are not near a pose
TRIED = 4  # molecules by which the price of a descent is found
SEED = 5


@dataclass(frozen=True, eq=False)
class CountedPocket(Pocket):
    """A pocket that counts how many energies of an atom it is asked for."""

    counted: list[int] = field(default_factory=lambda: [0])

    def pairs(self, positions_A: Floats, kinds: Kinds) -> tuple[Floats, Floats]:
        """As of `Pocket`."""
        self.counted[0] += math.prod(positions_A.shape[:-2]) * len(kinds)
        return super().pairs(positions_A, kinds)


@dataclass(frozen=True)
class Job:
    """Molecules of one method for one complex, `starts` descents each; `systems` are
    given ones, if they are not drawn.
    """

    complex: str
    method: str
    count: int
    starts: int = STARTS
    systems: tuple[Raw, ...] = ()


Values = dict[str, NDArray[np.float64]]


def pocket_rows(known: Sequence[Raw], count: int, each: Each, say: Progress) -> list[Row]:
    """The rows.

    Parameters
    ----------
    known : sequence of (Molecule, positions_A (n_atoms, 3))
        Of the training part.
    count : int
        Molecules of each method for each pocket.
    each, say : callable
        As of `molecule_ablation.ablation_rows`.

    Raises
    ------
    MissingDependencyError
        If posebusters is not installed.
    """
    folder()
    say(f"pocket/guided: {count} molecules for each of {len(COMPLEXES)} pockets")
    guided = list(each(made, [Job(name, "guided", count) for name in COMPLEXES]))
    tried = [Job(name, "qm9", 0, systems=tuple(known[:TRIED])) for name in COMPLEXES]
    priced = each(price, tried)
    starts = {job.complex: descents(*one) for job, *one in zip(tried, guided, priced, strict=True)}
    rows = [summary("pocket/guided", guided)]
    for method in ("then-docked", "qm9"):
        say(f"pocket/{method}")
        given = tuple(known[:count]) if method == "qm9" else ()
        jobs = [Job(name, method, count, starts[name], given) for name in COMPLEXES]
        rows.append(summary(f"pocket/{method}", list(each(made, jobs))))
    say("pocket/ligand")
    return [*rows, summary("pocket/ligand", list(each(lying, COMPLEXES)))]


def folder() -> Path:
    """Where posebusters keeps its complexes.

    Raises `MissingDependencyError` if it is not installed.
    """
    found = find_spec("posebusters")
    if found is None or found.origin is None:
        raise MissingDependencyError("posebusters", "checks")
    return Path(found.origin).parent / "datasets" / "pdb"


@lru_cache(maxsize=len(COMPLEXES))
def complex_of(name: str) -> tuple[Receptor, Floats, Raw]:
    """(the receptor near the ligand, the places of its heavy atoms (k, 3), the ligand)."""
    base = folder() / name / name
    ligand = f"{base}_ligand.sdf"
    places = read_places(ligand)
    atoms, notes = read_receptor(f"{base}_protein_one_lig_removed.pdb")
    crystal = read_receptor(ligand)[0]
    return (
        Receptor(near(atoms, places.mean(axis=0), REACH_A), notes),
        places,
        (crystal.molecule, crystal.positions_A[0]),
    )


def near(atoms: Ensemble, centre_A: Floats, reach_A: float) -> Ensemble:
    """The whole residues within a distance of a place (3,)."""
    molecule, x = atoms.molecule, atoms.positions_A[0]
    ids = molecule.residue_ids or range(molecule.n_atoms)
    chains = molecule.chain_ids or [""] * molecule.n_atoms
    places = list(zip(chains, ids, strict=True))
    inside = np.linalg.norm(x - centre_A, axis=1) < reach_A
    wanted = {places[k] for k in np.flatnonzero(inside)}
    rows = np.array([k for k, place in enumerate(places) if place in wanted])
    return Ensemble(part_of(molecule.replace(smiles=""), rows), x[rows][None])


def settings_of(job: Job) -> tuple[MoleculeSettings, Site, CountedPocket]:
    """A run of `equidrift generate` for a complex, its site, and the pocket of it, which
    counts.
    """
    receptor, places, _ = complex_of(job.complex)
    pull = 1.0 if job.method == "guided" else 0.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what is left out, which the docs tell
        settings = make_settings(
            cached_model("joint"), pocket=receptor, ligand=places, pull=pull, seed=SEED
        )
    assert settings.site is not None  # a pocket was given
    pocket = CountedPocket(**vars(settings.site.pocket))
    site = replace(settings.site, pocket=pocket, starts=job.starts)
    return replace(settings, site=site), site, pocket


def found_by(job: Job) -> tuple[list[Ensemble], float]:
    """A job's molecules in their pocket, and how many energies of an atom each took."""
    settings, site, pocket = settings_of(job)
    if job.systems:
        found = [placed(site, *system, k) for k, system in enumerate(job.systems)]
    else:
        found = [one for some in batches(job.count, settings, Tally()) for one in some]
    return found, pocket.counted[0] / len(found)


def made(job: Job) -> Values:
    """What a job's molecules are worth, an entry each."""
    complex_of(job.complex)
    cached_model("joint")
    begun = time.process_time()
    found, scored = found_by(job)
    spent = (time.process_time() - begun) / len(found)
    same = {"atoms_scored": scored, "cpu_s": spent, "descents": float(job.starts)}
    columns = {name: np.full(len(found), value) for name, value in same.items()}
    return values_of(found, job.complex) | columns


def price(job: Job) -> float:
    """How many energies of an atom a job's descents take for each heavy atom."""
    found, scored = found_by(job)
    return scored / float(np.mean([heavy_atoms(one) for one in found]))


def placed(site: Site, molecule: Molecule, positions_A: Floats, seed: int) -> Ensemble:
    """A molecule in a pocket, with its scores."""
    start = positions_A - positions_A.mean(axis=0) + site.pocket.centre_A
    x, scores = site.placed(molecule, start, seed)
    return Ensemble(molecule, x[None], scores=scores)


def lying(name: str) -> Values:
    """The crystal's ligand where it lies."""
    molecule, x = complex_of(name)[2]
    site = settings_of(Job(name, "then-docked", 1))[1]
    scores = replace(site, held=True).placed(molecule, x, 0)[1]
    return values_of([Ensemble(molecule, x[None], scores=scores)], name)


def values_of(found: Sequence[Ensemble], name: str) -> Values:
    """Scores, PoseBusters' verdicts and sizes of molecules for a complex."""
    whole, places, _ = complex_of(name)
    receptor = near(whole.atoms, places.mean(axis=0), JUDGED_A)
    names = found[0].scores
    systems = [(one.molecule, one.positions_A[0]) for one in found]
    failed = posebusters_failures(systems, receptor)
    return {name: np.array([float(one.scores[name][0]) for one in found]) for name in names} | {
        "posebusters": 100.0 * np.array([not reasons for reasons in failed], float),
        "heavy_atoms": np.array([heavy_atoms(one) for one in found], float),
    }


def heavy_atoms(found: Ensemble) -> int:
    """Of a molecule."""
    return int((found.molecule.numbers != 1).sum())


def descents(guided: Values, price_of_starts: float) -> int:
    """With how many descents a docked molecule has at least as many energies of an atom
    computed as a guided one, at the price of `STARTS` for a heavy atom.
    """
    docked = price_of_starts * guided["heavy_atoms"].mean()
    return math.ceil(STARTS * guided["atoms_scored"].mean() / docked)  # the first is half as long


def summary(name: str, pockets: Iterable[Mapping[str, NDArray[np.float64]]]) -> Row:
    """The means over the molecules of all pockets; their errors within them."""
    every = list(pockets)
    values: dict[str, Any] = {}
    for key in every[0]:
        columns = [one[key][np.isfinite(one[key])] for one in every]
        whole = np.concatenate(columns)
        if not len(whole):
            continue
        values[key] = float(whole.mean())
        apart = np.concatenate([column - column.mean() for column in columns if len(column)])
        if len(whole) > len(every) and not np.allclose(apart, 0, atol=1e-9 * abs(whole.mean())):
            freedom = len(whole) - len(every)
            values[key + SE] = float(math.sqrt((apart**2).sum() / freedom / len(whole)))
    return row(
        name, values | {"pockets": len(every)}, sum(len(one["heavy_atoms"]) for one in every)
    )

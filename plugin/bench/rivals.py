"""`equidrift bench rivals`: our default beside the conformer generators of others.

2K conformers for K reference conformers of each molecule, at each generator's own
defaults, one thread: the share of references with a conformer within a heavy-atom RMSD
over all symmetries (COV-R), the distance to the nearest (AMR-R), CPU time per conformer.
What a generator does not answer, or answers with another stereoisomer, counts as missed.
One row is a search in the manner of CREST, by RDKit and GFN2-xTB.

The references are GFN2-xTB ensembles of `tools/make_gfn2_references.py` in the package:
56 QM9 molecules and drug-size ones of ZINC, both of the test part, on which nothing was
chosen; or a file of the user's (`--references`). Molecules without references (`--input`
alone) are compared by the energy that GFN2-xTB releases.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any

import numpy as np
from numpy.typing import NDArray

import equidrift
from equidrift.adapters.ase.xtb import gfn2_relax
from equidrift.adapters.rdkit.relaxing import mmff_relax
from equidrift.adapters.rdkit.rivals import Rival, etkdg, onto, rivals
from equidrift.adapters.rdkit.rmsd import distinct, rmsd_matrix
from equidrift.bench.conformers import DRUGS, QM9, energy_released
from equidrift.bench.coverage import coverage
from equidrift.bench.machine import Progress, System, cpu_s, shipped, silent
from equidrift.bench.rows import Row, row, share_errors, table
from equidrift.checks.geometry import STEREO_REASONS, GeometryCheck
from equidrift.errors import InputError, MissingDependencyError, UnknownNameError
from equidrift.files.ensembles import load_all
from equidrift.records import Molecule
from equidrift.registry import host_function

THRESHOLDS_A = (0.1, 0.25, 0.5, 0.75)
DRUG_PART = "zinc-test"
QUICK_QM9, QUICK_DRUGS, FULL_RELAXED = 16, 2, 24
# our rows: options of `equidrift.sample`
OURS: dict[str, dict[str, Any]] = {"equidrift": {}, "equidrift-effort-4": {"effort": 4}}
SEARCH = "etkdgv3-mmff94-gfn2"  # the row in the manner of CREST
DRAWS = 4  # embedded for each conformer that is asked for
STARTS = 2  # relaxed by GFN2-xTB for each conformer that is asked for, at most
SAME_A = 0.1  # minima of one energy surface nearer than this are one
OWN_CONFORMERS = 10  # asked for of each molecule of the user's that has no references
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Part:
    """Molecules with their references, and on how many of them energies are measured.

    `compared`: whether there are references; if not, the blocks of `systems` only say how
    many conformers are asked for.
    """

    name: str
    systems: list[System]
    relaxed: int = 0
    compared: bool = True


def search(molecule: Molecule, n: int, seed: int) -> Array:
    """The n lowest distinct minima of GFN2-xTB that a short search finds: DRAWS
    embeddings of ETKDGv3 for each, relaxed by MMFF94; of the distinct ones the lowest,
    STARTS for each, relaxed by GFN2-xTB.

    Fewer where there are no more. MissingDependencyError without tblite.
    """
    x, energies = mmff_relax(molecule, etkdg(molecule, DRAWS * n, seed))
    x = _lowest_distinct(molecule, x, energies, STARTS * n)
    return _lowest_distinct(molecule, *gfn2_relax(molecule, x), n)


def _lowest_distinct(molecule: Molecule, x: Array, energies: Array, n: int) -> Array:
    order = np.argsort(energies)
    order = order[np.isfinite(energies[order])]
    x = x[order]
    return x[distinct(molecule, x, SAME_A)][:n]


def generators() -> dict[str, Rival]:
    """Every generator but ours, by its name in the table."""
    return rivals() | {SEARCH: Rival(search, ("tblite",))}


def run(
    full: bool = False,
    progress: Progress | None = None,
    molecules: str | None = None,
    references: str | None = None,
    methods: Sequence[str] | None = None,
) -> dict[str, Any]:
    """The table as one object.

    Parameters
    ----------
    full : bool, optional
        All molecules, and what GFN2-xTB releases of one conformer of each of 24 of QM9 and
        of ZINC; else 16 of QM9 and 2 of drug size, without the search, in under two minutes.
    progress : callable, optional
        Called with a line of text before every row.
    molecules : str, optional
        A file of the molecules to embed (SMILES or any other that is read), if the
        references' own graphs are not to be trusted, as those of crystals. Without
        references: what GFN2-xTB releases of one conformer of each of 24 of them.
    references : str, optional
        A file of reference conformers of the user's, in any format that is read.
    methods : sequence of str, optional
        The rows to measure; if it is None all that are installed, the search with
        `full` alone, and not on molecules of drug size.

    Raises
    ------
    InputError
        If there is no reference, or `molecules` holds none of their molecules, or none;
        UnknownNameError for a method that there is not.
    """
    say = progress or silent
    names = _names(methods, full, say)
    if references is not None:
        parts = [_own(references, molecules)]
    else:
        parts = _parts(full) if molecules is None else [_unknown(molecules)]
    rows: list[Row] = []
    for part in parts:
        for name in names:
            if name == SEARCH and not methods and part.name == DRUG_PART:  # some ten minutes
                continue
            say(f"{part.name}/{name}: {len(part.systems)} molecules")
            rows.append(row(f"{part.name}/{name}", _measured(name, part), len(part.systems)))
    return table("rivals", rows)


def _names(methods: Sequence[str] | None, full: bool, say: Progress) -> list[str]:
    """The rows to measure; UnknownNameError for a method that there is not."""
    found = generators()
    names = list(methods or (*found, *OURS))
    if not methods and not full:
        names.remove(SEARCH)
    for name in names:
        if name not in (*found, *OURS):
            raise UnknownNameError("method", name, (*found, *OURS))
    for name in list(names):
        if name in found and not found[name].is_installed():
            say(f"left out: {name}, which needs {' and '.join(found[name].needs)}")
            names.remove(name)
    return names


def _measured(name: str, part: Part) -> dict[str, Any]:
    """The values of one row; its generator has a process of its own."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as own_process:
        samples, values = own_process.submit(sampled, name, part.systems).result()
    if part.compared:
        matrices = [
            rmsd_matrix(molecule, np.nan_to_num(known), made)
            for (molecule, known), made in zip(part.systems, samples, strict=True)
        ]
        values |= coverage(matrices, THRESHOLDS_A)
    if part.relaxed:
        try:
            values |= energy_released(part.systems, samples, part.relaxed)[0]
        except MissingDependencyError:  # tblite is optional; the column is then empty
            return values
    return values


def sampled(name: str, systems: Sequence[System]) -> tuple[list[Array], dict[str, Any]]:
    """2K conformers of right stereo of each molecule at most, what was made of what was
    asked for, and CPU time.
    """
    generate = _ours(name) if name in OURS else generators()[name].generate
    generate(Molecule.from_smiles("CCCO"), 2, 0)  # loads weights and tables
    samples, made, asked, wrong, failed = [], 0, 0, 0, 0
    begun = cpu_s()
    drawn = [_drawn(generate, molecule, 2 * len(known)) for molecule, known in systems]
    seconds = cpu_s() - begun
    for (molecule, known), x in zip(systems, drawn, strict=True):
        bad = np.isin(GeometryCheck(molecule)(x), STEREO_REASONS) if len(x) else np.zeros(0, bool)
        samples.append(x[~bad])
        made, asked, wrong = made + len(x), asked + 2 * len(known), wrong + int(bad.sum())
        failed += not len(x)
    stereo = {"stereo": 100.0 * (1 - wrong / max(1, made))}
    values = {
        **stereo,
        **share_errors(stereo, made),
        "failed": failed,
        "conformers": made,
        "conformers_asked": asked,
        "cpu_ms_per_conformer": 1000 * seconds / max(1, made),
    }
    return samples, values


def _drawn(generate: Callable[[Molecule, int, int], Array], molecule: Molecule, n: int) -> Array:
    """What a generator makes; nothing if it raises, whatever that is."""
    try:
        x = generate(molecule, n, 0)
    except Exception:  # another's package may raise anything, and that is a miss of the table
        return np.zeros((0, molecule.n_atoms, 3))
    return x[np.isfinite(x).all(axis=(1, 2))]


def _ours(name: str) -> Callable[[Molecule, int, int], Array]:
    def generate(molecule: Molecule, n: int, seed: int) -> Array:
        made = equidrift.sample(molecule, n, seed=seed, num_threads=1, **OURS[name])
        return np.asarray(made.positions_A)

    return generate


def _parts(full: bool) -> list[Part]:
    relaxed = FULL_RELAXED if full else 0
    return [
        Part("qm9-test", shipped(QM9, None if full else QUICK_QM9), relaxed),
        Part(DRUG_PART, shipped(DRUGS, None if full else QUICK_DRUGS), relaxed),
    ]


def _own(path: str, given: str | None) -> Part:
    """A user's references, one molecule after the other, on the graphs of `given`."""
    known = [(one.molecule, np.asarray(one.positions_A)) for one in load_all(path)]
    if not known:
        raise InputError(f"{path!r} holds no conformer; name a file of reference conformers")
    if given is None:
        return Part("own", known)
    systems = []
    for molecule in _molecules(given):
        fits = [onto(molecule, other, x) for other, x in known]
        blocks = [block for block in fits if block is not None]
        if blocks:
            systems.append((molecule, np.concatenate(blocks)))
    if not systems:
        raise InputError(
            f"no molecule of {given!r} has its heavy atoms and stereo in {path!r}; give the same "
            "molecules in both, or leave --input out"
        )
    return Part("own", systems)


def _unknown(path: str) -> Part:
    """A user's molecules without references."""
    nothing = [
        (molecule, np.full((OWN_CONFORMERS // 2, molecule.n_atoms, 3), np.nan))
        for molecule in _molecules(path)
    ]
    if not nothing:
        raise InputError(f"{path!r} holds no molecule that can be read; give one or more")
    return Part("own", nothing, FULL_RELAXED, compared=False)


def _molecules(path: str) -> list[Molecule]:
    """Those of a file that can be read."""
    records = host_function("rdkit", "read_molecules")(path)
    return [record.molecule for record in records if record.molecule is not None]

"""New molecules from Python: drawn by this process or by workers."""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from functools import lru_cache
from typing import Any

from equidrift.arguments import check_count
from equidrift.checks.molecule import Draw
from equidrift.engine.molecule_settings import MoleculeOptions, MoleculeSettings
from equidrift.engine.molecules import Drawing, Tally, batches, draws_for
from equidrift.engine.run import MAX_ATTEMPTS
from equidrift.errors import NoValidSamplesError
from equidrift.progress import conformer_bar
from equidrift.records import Ensemble
from equidrift.scale.ahead import Ahead
from equidrift.scale.drawn import drawn
from equidrift.scale.pool import Call, Pool, pool_for
from equidrift.scale.shards import Shard


def generate(  # noqa: PLR0913 - public
    n: int = 1,
    *,
    model: object = "default",
    progress: bool = False,
    targets: Mapping[str, float | str] | None = None,
    candidates: int | None = None,
    guidance: float | None = None,
    fragment: object = None,
    replace: str | Sequence[int] | None = None,
    pocket: object = None,
    centre_A: object = None,
    ligand: object = None,
    pull: float | None = None,
    spectrum: object = None,
    seed: int = 0,
    steps: int | None = None,
    batch_size: int | None = None,
    max_attempts: int = MAX_ATTEMPTS,
    relax: str = "none",
    judge: str | Sequence[str] | None = None,
    force: bool = False,
    workers: int | None = None,
    threads: int | None = None,
    **model_options: Any,
) -> list[Ensemble]:
    """New molecules, n of them, valid and unique, each with bonds, charges, stereo and one
    conformer.

    Parameters
    ----------
    n : int
        Molecules wanted, 1 or more.
    model : str or MoleculeModel
        "default" (the joint model), "latent", the path of weights you trained, or an
        object with the methods of `MoleculeModel`.
    progress : bool
        Show a progress bar on stderr.
    targets : mapping, optional
        Property -> value, such as {"gap_eV": 7.0, "dipole_D": 2.5}; the unit ends the
        name. `scores` then tell what a network of properties, trained on other
        molecules than the model, makes of each. Those of the graph, which RDKit computes
        exactly, may also be "max", "min" or a limit: {"logP": 2.5, "QED": "max", "MW":
        350, "TPSA": "<90", "SA": "min"}. Molecules beyond a limit are rejected.
    candidates : int, optional
        Draws of which the one nearest to the graph's targets is kept; None is 8 if
        there are any that are no limits, else 1.
    guidance : float, optional
        Strength of targets and spectrum: 0 ignores them, 1 is plain conditioning, more is
        classifier-free guidance; None is the model's own.
    fragment : path, RDKit Mol, Ensemble or tuple, optional
        A molecule whose heavy atoms are kept in place, while its hydrogens may give
        way: a .sdf, .mol or .pdb file, an RDKit Mol, an Ensemble of one or (Molecule,
        positions_A).
    replace : str or sequence of int, optional
        The part of `fragment` that is drawn anew, while all other atoms keep their
        places: SMARTS that match once, or the atoms' numbers. New bonds are made where
        the part was bonded, and nowhere else. Atoms of the SMARTS with map numbers are
        replaced alone: "c[F:1]".
    pocket : path, Ensemble, RDKit Mol or ase.Atoms, optional
        Make molecules for this pocket, which stands still, with every hydrogen unless it
        is a .pdb file without any: drawn under the pull of Vina's terms, placed rigidly
        and scored (`scores`); of a fragment, which is in the pocket's frame, scored where
        they were drawn. What is left out of a receptor, or added, is told as a warning.
    centre_A : (3,) array, optional
        Where in the pocket, in A. Either this or `ligand`.
    ligand : path, Ensemble, RDKit Mol or ase.Atoms, optional
        A molecule that lies there.
    pull : float, optional
        How strongly the pocket guides the draws; 0 places alone, None is 1.
    spectrum : path or array, optional
        An infrared spectrum that the molecules are to have: a text file of two columns,
        wavenumbers in cm^-1 and absorbances in any unit, or an array (k, 2) of them.
        It needs a model of weights that take spectra, of which none are shipped yet.
        `scores` tell how likely the spectrum is for each molecule, by the network that
        ranks molecules, if its weights are there.
    seed : int
        Of the run. The molecules depend on it and not on the batch size (floats agree
        to 1e-4 A).
    steps : int, optional
        Network calls of a sample, None for the model's default.
    batch_size : int, optional
        Samples in one call of the model, None for its own default.
    max_attempts : int, optional
        Draws per molecule asked for, before the run is given up.
    relax : str, optional
        "none", "mmff" (MMFF94 by RDKit) or "gfn2" (GFN2-xTB by tblite, the extra
        `xtb`).
    judge : str or sequence of str, optional
        "network", "gfn2" (orbital energies, gap and dipole, the extra `xtb`) or both;
        None is "network" if there are targets.
    force : bool, optional
        Take targets outside the range of the training data, with a warning.
    workers : int, optional
        Processes that draw; the molecules are the same for any number. None is this
        process.
    threads : int, optional
        CPU threads of all workers together; None is all cores.
    **model_options
        Passed to the model.

    Returns
    -------
    list of Ensemble
        Ensembles of one conformer, n of them; `molecule.smiles` is canonical, with stereo.
        provenance["rejected"] counts the draws of the run that were rejected, by
        reason.

    Raises
    ------
    NoValidSamplesError
        If n valid and unique molecules cannot be found, with the reasons counted;
        its `partial` lists those found.
    UnknownNameError
        For an unknown model or property, with the nearest name.
    InputError, InputTypeError
        For targets out of range or in contradiction, a fragment the model cannot hold,
        a spectrum that cannot be read or that the model does not take, or an option out
        of its range.
    MissingDependencyError
        For relax="gfn2" or judge="gfn2" without tblite.

    Examples
    --------
    >>> import equidrift
    >>> results = equidrift.generate(1, seed=3)
    >>> len(results)
    1
    """
    check_count("n", n)
    options = MoleculeOptions.of_call(locals())
    run: Tally = Tally()
    made: list[Ensemble] = []
    pool = pool_for(options.model, workers, threads)
    with (
        pool or nullcontext(),
        conformer_bar(n, shown=progress, label="molecules") as callback,
    ):
        settings = options.settings(callback)
        drawing = None if pool is None else _drawing(options, settings, n, run, pool)
        try:
            for batch in batches(n, settings, run, drawing):
                made += batch
        except NoValidSamplesError as error:
            error.partial = made or None
            raise
    counts = {"drawn": run.drawn, "rejected": dict(sorted(run.rejected.items()))}
    return [ensemble.replace(provenance={**ensemble.provenance, **counts}) for ensemble in made]


def _drawing(
    options: MoleculeOptions, settings: MoleculeSettings, n: int, run: Tally, pool: Pool
) -> Drawing:
    """What draws by the workers of a pool."""

    def call(shard: Shard[int]) -> Call:
        return Call(draw_shard, (options, shard), shard.named)

    return Ahead(pool, call, settings.batch_size, lambda: draws_for(n - run.found, run))


def draw_shard(options: MoleculeOptions, shard: Shard[int]) -> list[Draw]:
    """In a worker: the draws of a batch."""
    return drawn(_prepared(pickle.dumps(options)), shard)


@lru_cache(maxsize=1)
def _prepared(options: bytes) -> MoleculeSettings:
    """The settings of these options, with the model loaded, once in a worker."""
    asked: MoleculeOptions = pickle.loads(options)
    return asked.settings()

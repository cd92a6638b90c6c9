"""Conformers of a molecule, drawn or refined."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

from equidrift.arguments import check_count
from equidrift.checks.geometry import check_supported
from equidrift.engine.conformer_options import ConformerOptions
from equidrift.engine.conformers import BATCH_SIZE, sample_molecule
from equidrift.engine.notes import tell
from equidrift.engine.refined import fresh_notes, join_refined, refine_part
from equidrift.engine.run import MAX_ATTEMPTS
from equidrift.errors import InputError, NoValidSamplesError
from equidrift.fragments import largest_fragment as largest
from equidrift.fragments import largest_of
from equidrift.inputs import as_ensemble, as_molecule
from equidrift.progress import conformer_bar
from equidrift.protocols import as_refiner
from equidrift.records import Ensemble, Molecule
from equidrift.registry import make_refiner
from equidrift.scale.pool import pool_for
from equidrift.scale.refined import refined_by
from equidrift.stereo import check_stereo, isomers_of


def sample(  # noqa: PLR0913 - public
    what: object,
    n: int = 1,
    *,
    model: object = "default",
    seed: int = 0,
    steps: int | None = None,
    effort: int | None = None,
    select: str | None = None,
    preset: str | None = None,
    relax: str = "none",
    solvent: str | None = None,
    prune_rms_A: float | None = None,
    batch_size: int | None = None,
    progress: bool = False,
    max_attempts: int = MAX_ATTEMPTS,
    timeout_s: float | None = None,
    sort: str | None = None,
    window_kcal_mol: float | None = None,
    fix: object = None,
    restrain: object = None,
    restraint_tolerance_A: float | None = None,
    distinct: bool = False,
    charge: int | None = None,
    largest_fragment: bool = False,
    stereo: str = "any",
    **model_options: Any,
) -> Ensemble:
    """Valid conformers of a molecule, n of them: bonds, stereo and clashes checked,
    rejected draws replaced.

    Parameters
    ----------
    what : SMILES, Molecule, RDKit Mol or ase.Atoms
        Missing hydrogens of a Mol are added after its atoms.
    n : int
        Conformers wanted, 1 or more. A molecule with fewer distinct ones gets
        repeats, which provenance["repeats"] counts.
    model : str or object
        A name of `equidrift.list_models()`, or an object with `sample(molecule, seeds,
        *, steps, callback)`.
    seed : int
        Of the run. Conformer k depends on it and on k, not on the batch size (floats
        agree to 1e-4 A).
    steps : int, optional
        Of the model's solver, None for its own default.
    effort : int, optional
        Candidates for each conformer that is chosen by energy, 1 to 20; the time for a
        conformer grows with it. None for the model's own number (8).
    select : {"auto", "coverage", "energy", "diverse", "none"}, optional
        Which candidates are taken: those that the low ones lie nearest to, the lowest
        new ones, the first new ones, or as they come. None leaves it to the model, whose
        "auto" is "coverage" where MMFF94 knows the molecule.
    preset : {"fast", "ensemble", "docking", "macrocycle"}, optional
        Values for several of these options at once (`equidrift.engine.presets`); what
        is given beside it wins.
    relax : str, optional
        "none", "mmff" (MMFF94 by RDKit), "gfn2" (GFN2-xTB by tblite, the extra `xtb`),
        "ase:MODULE:FACTORY" (any ASE calculator: FACTORY() makes it) or "openmmml:NAME"
        (any potential of openmmml). Energies come with it.
    solvent : str, optional
        Implicit solvent (ALPB) of relax="gfn2", say "water"; None for vacuum.
    prune_rms_A : float, optional
        Remove conformers closer than this to one that stays (heavy atoms, all
        symmetries), after the relaxation, without drawing others; the ensemble may then
        have fewer than n, and its provenance counts them.
    batch_size : int, optional
        Samples in one call of the model, None for its own default.
    progress : bool, optional
        Show a progress bar on stderr.
    max_attempts : int, optional
        Draws for a conformer before it is given up.
    timeout_s : float, optional
        Seconds the molecule may take, None for no limit.
    sort : {"energy"}, optional
        The lowest first; None keeps the order of drawing. Whose energies they are,
        provenance["energies"] says.
    window_kcal_mol : float, optional
        Leave out conformers farther than this above the lowest.
    fix : path, Mol, tuple or mapping, optional
        Atoms to hold at given coordinates (to 1e-3 A): a .sdf, .mol or .pdb file or an
        RDKit Mol with coordinates, found in the molecule as a substructure; (Mol, {core
        atom: atom}); (SMARTS, coordinates); or {atom index: (x, y, z)}.
    restrain : path or rows, optional
        Distances to keep: a file of lines `i j lower_A upper_A`, or such rows; indices
        from 0. `scores` tell how each sample does.
    restraint_tolerance_A : float, optional
        By how much a sample may miss a restraint and still be valid, 0.1 if None.
    distinct : bool, optional
        Draw again what differs from another conformer by less than DISTINCT_RMS_A =
        0.25 A, until n are distinct or no further one is found; not together with
        prune_rms_A. provenance["notes"] counts what is missing then.
    charge : int, optional
        Total charge. ase.Atoms without bonds need it unless they carry it; any other
        molecule must have it.
    largest_fragment : bool, optional
        Of a salt or solvate take the largest fragment, its charge as it is.
    stereo : {"any", "require", "enumerate"}, optional
        With open stereocentres or double bonds "any" mixes the isomers, "require"
        refuses the molecule, "enumerate" takes each isomer by itself (`sample_many` for
        more than one).
    **model_options
        Passed to the model.

    Returns
    -------
    Ensemble
        Its positions_A are float64 (n, n_atoms, 3) in A, with energies_eV if it was
        relaxed; provenance["rejected"] counts the draws that failed a check, by reason.

    Raises
    ------
    MoleculeError
        For a molecule that cannot be read or is not supported.
    NoValidSamplesError
        If n valid conformers cannot be found, with the reasons counted; its
        `partial` is the Ensemble of those that are valid.
    InputError, InputTypeError
        For an option out of its range, a core that does not fit the molecule, or
        restraints that contradict each other; UnknownNameError for an unknown model or
        preset, with the nearest name.
    MissingDependencyError
        For relax="gfn2" without tblite.

    Examples
    --------
    >>> import equidrift
    >>> ensemble = equidrift.sample("CCO", 3, model="etkdg", seed=1)
    >>> ensemble.positions_A.shape
    (3, 9, 3)
    """
    check_count("n", n)
    options = ConformerOptions.of_call(locals())
    molecule = _single_isomer(what, charge, largest_fragment, stereo)
    try:
        with conformer_bar(n, shown=progress) as callback:
            ensemble = sample_molecule(molecule, n, settings=options.settings(callback))
    except NoValidSamplesError as error:
        if error.partial is not None:
            error.partial = options.arranged(error.partial)
        raise
    return options.arranged(ensemble)


def _single_isomer(
    what: object, charge: int | None, largest_fragment: bool, stereo: str
) -> Molecule:
    """The one molecule to sample; raises `InputError` if `stereo` makes several of it."""
    molecule = as_molecule(what, charge=charge)
    molecule = largest(molecule) if largest_fragment else molecule
    isomers = isomers_of(molecule, check_stereo(stereo))
    if len(isomers) > 1:
        raise InputError(
            f"{molecule!r} has {len(isomers)} stereoisomers, and sample makes one ensemble; "
            "take equidrift.sample_many([...], stereo='enumerate'), which yields one of each"
        )
    return isomers[0]


def refine(  # noqa: PLR0913 - public
    what: object,
    *,
    model: object = "refine",
    steps: int | None = None,
    batch_size: int | None = None,
    progress: bool = False,
    charge: int | None = None,
    largest_fragment: bool = False,
    workers: int | None = None,
    threads: int | None = None,
    **model_options: Any,
) -> Ensemble:
    """Conformers from anywhere, moved into the basin of the refiner's level of theory;
    graph and stereo are kept.

    Parameters
    ----------
    what : Ensemble, RDKit Mol or list of ase.Atoms
        Conformers of one molecule, in A.
    model : str or Refiner
        Name of a refiner, or an object with `refine_many(jobs, *, steps, callback)`.
    steps : int, optional
        Network calls; the model's default without it.
    batch_size : int, optional
        Conformers in one call of the model; its own default without it.
    progress : bool
        Show a progress bar on stderr.
    charge : int, optional
        Total charge, as for `equidrift.sample`.
    largest_fragment : bool
        Of a salt or solvate take the largest fragment.
    workers : int, optional
        Processes that share the batches; the result is the same for any number. None is
        this process.
    threads : int, optional
        CPU threads of all workers together; None is all cores.
    **model_options
        Passed to the refiner.

    Returns
    -------
    Ensemble
        The same conformers in the same order. One that fails a check after the
        refinement keeps the geometry that came in; `valid` tells whether that one
        passes, and provenance["refined"] and provenance["kept_input"] (by reason) count
        both kinds.

    Raises
    ------
    MoleculeError
        For a molecule that is not supported.
    InputError
        If there are no conformers.
    InputTypeError
        For another object.
    UnknownNameError
        For an unknown refiner, with the nearest name.
    WorkerDiedError
        If a batch ends its worker twice.

    Examples
    --------
    >>> import equidrift
    >>> embedded = equidrift.sample("CCO", 2, model="etkdg")
    >>> refined = equidrift.refine(embedded)
    >>> refined.provenance["refined"] + sum(refined.provenance["kept_input"].values())
    2
    """
    ensemble = as_ensemble(what, charge=charge)
    ensemble = largest_of(ensemble) if largest_fragment else ensemble
    refiner = make_refiner(model, **model_options) if isinstance(model, str) else as_refiner(model)
    check_supported(ensemble.molecule)
    tell(ensemble.molecule, fresh_notes(ensemble))
    size = (
        check_count("batch_size", batch_size)
        if batch_size is not None
        else refiner.batch_size or BATCH_SIZE
    )
    given = (ensemble[begin : begin + size] for begin in range(0, len(ensemble), size))
    pool = pool_for(model, workers, threads)
    parts: list[Ensemble] = []
    refined: Iterator[Ensemble]
    with pool or nullcontext(), conformer_bar(len(ensemble), shown=progress) as callback:
        if pool is None:
            refined = (refine_part(part, refiner, steps) for part in given)
        else:
            refined = refined_by(pool, given, (model, model_options, steps))
        for part in refined:
            parts.append(part)
            if callback is not None:
                callback({"accepted": len(parts[-1]), "drawn": len(parts[-1])})
    return join_refined(parts)

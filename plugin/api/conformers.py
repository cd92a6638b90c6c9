"""Conformers of a molecule, drawn or refined."""

from __future__ import annotations

from typing import Any

from equidrift.arguments import check_count
from equidrift.checks.conditions import make_conditions
from equidrift.checks.geometry import check_supported
from equidrift.engine.conformers import BATCH_SIZE, generate
from equidrift.engine.refined import join_refined, refine_part
from equidrift.engine.relax import (
    arranged,
    check_sort,
    check_window,
    distinct_threshold,
    make_relax,
)
from equidrift.engine.run import MAX_ATTEMPTS
from equidrift.errors import InputError, NoValidSamplesError
from equidrift.fragments import largest_fragment as largest
from equidrift.fragments import largest_of
from equidrift.inputs import as_ensemble, as_molecule, check_stereo, isomers_of
from equidrift.protocols import as_refiner
from equidrift.records import Ensemble
from equidrift.registry import make_refiner


def sample(
    what: Any,
    n: int = 1,
    *,
    model: Any = "default",
    seed: int = 0,
    steps: int | None = None,
    relax: str = "none",
    prune_rms_A: float | None = None,
    batch_size: int | None = None,
    progress: bool = False,
    max_attempts: int = MAX_ATTEMPTS,
    timeout_s: float | None = None,
    sort: str | None = None,
    window_kcal_mol: float | None = None,
    fix: Any = None,
    restrain: Any = None,
    restraint_tolerance_A: float | None = None,
    distinct: bool = False,
    charge: int | None = None,
    largest_fragment: bool = False,
    stereo: str = "any",
    **model_options: Any,
) -> Ensemble:
    """n valid conformers of a molecule: bonds, stereo and clashes checked, rejected
    draws replaced.

    Parameters
    ----------
    what : SMILES, Molecule, RDKit Mol (missing hydrogens are added behind its atoms) or
        ase.Atoms.
    n : conformers wanted, 1 or more.
    model : a name of `equidrift.list_models()`, or an object with `sample(molecule,
        seeds, *, steps, callback)`.
    seed : of the run. Conformer k depends on it and on k, not on the batch size (floats
        agree to 1e-4 A).
    steps : of the model's solver, None for its own default.
    relax : "none", "mmff" (MMFF94 by RDKit) or "gfn2" (GFN2-xTB by tblite, the extra
        `xtb`). Energies come with it.
    prune_rms_A : remove conformers closer than this (heavy atoms, all symmetries) to
        one that stays, after the relaxation; the ensemble may then have fewer than n,
        and its provenance counts them.
    batch_size : samples in one call of the model, None for its own default.
    progress : show a progress bar on stderr.
    max_attempts : draws a conformer before it is given up.
    timeout_s : seconds the molecule may take, None for no limit.
    sort : "energy" puts the lowest first; None keeps the order of drawing. Whose
        energies they are, provenance["energies"] says.
    window_kcal_mol : leave out conformers farther than this above the lowest.
    fix : atoms to hold at given coordinates (to 1e-3 A): a .sdf, .mol or .pdb file or
        an RDKit Mol with coordinates, found in the molecule as a substructure; (Mol,
        {core atom: atom}); (SMARTS, coordinates); or {atom index: (x, y, z)}.
    restrain : distances to keep: a file of lines `i j lower_A upper_A`, or such rows;
        indices from 0. `scores` tell how each sample does.
    restraint_tolerance_A : by how much a sample may miss a restraint and still be
        valid, 0.1 where None.
    distinct : remove what differs from another conformer by less than
        DISTINCT_RMS_A = 0.25 A, as prune_rms_A does; not together with it. Fewer than n
        may remain, and a note counts them.
    charge : total charge. ase.Atoms without bonds need it unless they carry it; any
        other molecule must have it.
    largest_fragment : of a salt or solvate take the largest fragment, its charge as it
        is.
    stereo : with open stereocentres or double bonds "any" mixes the isomers, "require"
        refuses the molecule, "enumerate" takes each isomer by itself (`sample_many` for
        more than one).
    model_options : passed to the model.

    Returns
    -------
    Ensemble; positions_A float64 (n, n_atoms, 3), energies_eV where it was relaxed;
    provenance["rejected"] counts the draws that failed a check, by reason.

    Raises
    ------
    MoleculeError
        for a molecule that cannot be read or is not supported.
    NoValidSamplesError
        where n valid conformers cannot be found, with the reasons counted; its
        `partial` is the Ensemble of those that are valid.
    InputError, InputTypeError
        for an option out of its range, a core that does not fit the molecule, or
        restraints that contradict each other; UnknownNameError for an unknown model,
        with the nearest name.
    MissingDependencyError
        for relax="gfn2" without tblite.
    """
    from equidrift.progress import conformer_bar

    check_count("n", n)
    threshold = distinct_threshold(distinct, prune_rms_A)
    check_window(window_kcal_mol)
    check_sort(sort)
    options: dict[str, Any] = {
        "seed": seed,
        "steps": steps,
        "batch_size": batch_size,
        "max_attempts": max_attempts,
    }
    options["timeout_s"] = timeout_s
    options["conditions"] = make_conditions(fix, restrain, restraint_tolerance_A)
    options |= {
        "relax": make_relax(relax),
        "options": {"relax": relax} if relax != "none" else None,
        **model_options,
    }
    molecule = as_molecule(what, charge=charge)
    molecule = largest(molecule) if largest_fragment else molecule
    isomers = isomers_of(molecule, check_stereo(stereo))
    if len(isomers) > 1:
        raise InputError(
            f"{molecule!r} has {len(isomers)} stereoisomers, and sample makes one ensemble; "
            "take equidrift.sample_many([...], stereo='enumerate'), which yields one of each"
        )
    molecule = isomers[0]

    try:
        with conformer_bar(n, shown=progress) as callback:
            ensemble = generate(molecule, n, model=model, callback=callback, **options)
    except NoValidSamplesError as error:
        if error.partial is not None:
            error.partial = arranged(error.partial, threshold, sort, window_kcal_mol)
        raise
    return arranged(ensemble, threshold, sort, window_kcal_mol)


def refine(
    what: Any,
    *,
    model: Any = "refine",
    steps: int | None = None,
    batch_size: int | None = None,
    progress: bool = False,
    charge: int | None = None,
    largest_fragment: bool = False,
    **model_options: Any,
) -> Ensemble:
    """Conformers from anywhere, moved into the basin of the refiner's level of theory;
    graph and stereo are kept.

    Parameters
    ----------
    what : Ensemble, RDKit Mol with conformers, or a list of ase.Atoms of one molecule.
    model : name of a refiner, or an object with `refine_many(jobs, *, steps,
        callback)`.
    steps : network calls, None for the model's default.
    batch_size : conformers in one call of the model, None for its own default.
    progress : show a progress bar on stderr.
    charge : total charge, as for `equidrift.sample`.
    largest_fragment : of a salt or solvate take the largest fragment.
    model_options : passed to the refiner.

    Returns
    -------
    Ensemble of the same conformers in the same order. One that fails a check behind the
    refinement keeps the geometry that came in; `valid` tells whether that one passes,
    and provenance["refined"] and provenance["kept_input"] (by reason) count both kinds.

    Raises
    ------
    MoleculeError
        for a molecule that is not supported, InputError where there are no conformers,
        InputTypeError for another object, UnknownNameError for an unknown refiner.
    """
    from equidrift.progress import conformer_bar

    ensemble = as_ensemble(what, charge=charge)
    ensemble = largest_of(ensemble) if largest_fragment else ensemble
    refiner = make_refiner(model, **model_options) if isinstance(model, str) else as_refiner(model)
    check_supported(ensemble.molecule)
    size = (
        check_count("batch_size", batch_size)
        if batch_size is not None
        else refiner.batch_size or BATCH_SIZE
    )
    parts = []
    with conformer_bar(len(ensemble), shown=progress) as callback:
        for begin in range(0, len(ensemble), size):
            parts.append(refine_part(ensemble[begin : begin + size], refiner, steps))
            if callback is not None:
                callback({"accepted": len(parts[-1]), "drawn": len(parts[-1])})
    return join_refined(parts)

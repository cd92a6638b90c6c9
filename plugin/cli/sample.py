"""equidrift sample: conformers from SMILES or files, streamed to disk."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from equidrift.cli.options import LargestFragment, ModelOptions, Overwrite, SummaryAsJson

INPUT_HELP = (
    "SMILES, InChI, or files (.smi .csv .sdf .mol .mol2 .pdb, each also .gz). "
    "- reads standard input."
)
OUTPUT_HELP = (
    "File to write; its suffix chooses the format: .sdf .sdf.gz .xyz .extxyz .traj .pdb .xtc .dcd "
    ".h5md or .npz. - writes SDF to standard output."
)
CHARGE_HELP = "Total charge of the molecule in a .pdb file. Default: taken from its hydrogens."
SMILES_HELP = "The molecule of a .pdb as a SMILES, which tells bond orders and charges."


def command(
    inputs: Annotated[list[str], typer.Argument(metavar="INPUT...", help=INPUT_HELP)],
    output: Annotated[Path, typer.Option("-o", "--output", help=OUTPUT_HELP)],
    n: Annotated[int, typer.Option("-n", help="Conformers of each molecule.")] = 1,
    model: Annotated[
        str,
        typer.Option(
            help="A name that `equidrift models` lists, or the path of weights you trained."
        ),
    ] = "default",
    seed: Annotated[
        int, typer.Option(help="Random seed: the same seed gives the same conformers.")
    ] = 0,
    steps: Annotated[
        int | None, typer.Option(help="Solver steps. Default: the model's own number.")
    ] = None,
    relax: Annotated[
        str,
        typer.Option(
            help="Relax each result: none, mmff (MMFF94) or gfn2 (GFN2-xTB, needs the extra xtb)."
        ),
    ] = "none",
    fix: Annotated[
        Path | None,
        typer.Option(
            metavar="CORE",
            help="Hold the atoms of this .sdf, .mol or .pdb file at its coordinates.",
        ),
    ] = None,
    restrain: Annotated[
        Path | None,
        typer.Option(
            help="File of distances to keep, one line `i j lower upper` each: atoms from 0, distances in A."
        ),
    ] = None,
    distinct: Annotated[
        bool,
        typer.Option(
            "--distinct", help="Leave out conformers within 0.25 A of another (heavy atoms)."
        ),
    ] = False,
    prune: Annotated[
        float | None,
        typer.Option(
            help="Drop conformers within this heavy-atom RMSD (A) of one that is kept; done after --relax."
        ),
    ] = None,
    sort: Annotated[
        str | None,
        typer.Option(
            help="energy: sort by energy, the lowest first. Default: the order of sampling."
        ),
    ] = None,
    window: Annotated[
        float | None,
        typer.Option(
            metavar="KCAL", help="Drop conformers more than this many kcal/mol above the lowest."
        ),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(
            help="Conformers sampled in one call of the model. Default: the model's own number."
        ),
    ] = None,
    max_attempts: Annotated[
        int, typer.Option(help="Draws of a conformer before its molecule is given up.")
    ] = 20,
    timeout: Annotated[
        float | None, typer.Option(help="Time limit for each molecule, in seconds.")
    ] = None,
    set_: ModelOptions = None,
    largest_fragment: LargestFragment = False,
    stereo: Annotated[
        str,
        typer.Option(
            help="If the input leaves stereo open: any (mix the isomers), require (refuse the molecule) or enumerate (sample each isomer)."
        ),
    ] = "any",
    charge: Annotated[int | None, typer.Option(help=CHARGE_HELP)] = None,
    smiles: Annotated[str | None, typer.Option("--smiles", help=SMILES_HELP)] = None,
    strict: Annotated[
        bool,
        typer.Option(
            "--strict",
            help="Write all N conformers of a molecule or none. Default: write the valid ones.",
        ),
    ] = False,
    overwrite: Overwrite = False,
    as_json: SummaryAsJson = False,
) -> int:
    """Sample conformers of molecules.

    If the run is interrupted, give the same command again: it continues where it
    stopped.
    """
    from equidrift.cli.sample_request import Request
    from equidrift.cli.sample_run import sample

    request = Request(
        inputs=tuple(inputs),
        output=output,
        n=n,
        model=model,
        seed=seed,
        steps=steps,
        relax=relax,
        fix=fix,
        restrain=restrain,
        distinct=distinct,
        prune=prune,
        sort=sort,
        window=window,
        batch_size=batch_size,
        max_attempts=max_attempts,
        timeout=timeout,
        set_=tuple(set_ or ()),
        largest_fragment=largest_fragment,
        stereo=stereo,
        charge=charge,
        smiles=smiles,
        strict=strict,
    )
    return sample(request, overwrite=overwrite, as_json=as_json)

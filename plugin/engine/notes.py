"""What a user should know of a run and would not see in its conformers."""

from __future__ import annotations

import logging

from equidrift.engine.capabilities import RefinedConformerModel
from equidrift.engine.conformer_settings import Settings
from equidrift.notes import TOLD
from equidrift.records import Molecule
from equidrift.registry import host_function

MOST_PLACES = 5  # of open stereo that are named

log = logging.getLogger("equidrift.engine")


def notes_of(molecule: Molecule, settings: Settings) -> list[str]:
    """The notes on a molecule under these settings, in `provenance["notes"]`.

    Parameters
    ----------
    molecule : Molecule
        What is sampled; with stereo="enumerate" or "require" its stereo is not open.
    settings : Settings
        Of the run.
    """
    notes = []
    if places := _open_stereo(molecule):
        notes.append(
            f"open stereo at {places}: the conformers mix isomers (stereo 'enumerate' makes each)"
        )
    notes += relative_stereo(molecule)
    if undone := _undone(molecule, settings):
        notes.append(undone)
    return notes


def relative_stereo(molecule: Molecule) -> list[str]:
    """What is sampled of a racemate, or of an enantiomer that is not known: a note for
    each group of relative stereo.
    """
    places: dict[tuple[int, int], list[str]] = {}
    for centre, number, both in molecule.stereo_groups.tolist():
        places.setdefault((number, both), []).append(f"{molecule.symbols[centre]}{centre}")
    notes = []
    for (_, both), atoms in places.items():
        what = "is a racemate" if both else "is one enantiomer or the other"
        notes.append(
            f"the stereo at {', '.join(atoms)} {what}: only the drawn form is sampled "
            "(stereo 'enumerate' makes each)"
        )
    return notes


def tell(molecule: Molecule, notes: list[str]) -> None:
    """Write the notes as log records."""
    for note in notes:
        log.warning("%s: %s", molecule.name or molecule.smiles or repr(molecule), note, extra=TOLD)


def _open_stereo(molecule: Molecule) -> str:
    found = host_function("rdkit", "open_stereo")(molecule)
    more = f" and {len(found) - MOST_PLACES} more" if len(found) > MOST_PLACES else ""
    return ", ".join(found[:MOST_PLACES]) + more


def _undone(molecule: Molecule, settings: Settings) -> str:
    """That a relaxation takes back what the model's refiner does, empty if it does not."""
    model = settings.model
    if settings.options.get("relax") != "mmff" or not isinstance(model, RefinedConformerModel):
        return ""
    names = " and ".join(way.name for way in model.refiners_of(molecule))
    if not names:
        return ""
    return (
        f"relax 'mmff' moves the conformers back to MMFF94 and undoes what {names} made of them; "
        "leave it out, or take the model 'etkdg-mmff'"
    )

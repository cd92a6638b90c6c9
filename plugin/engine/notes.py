"""What a user should know of a run and would not see in its conformers."""

from __future__ import annotations

import logging

from equidrift.engine.capabilities import RefinedConformerModel
from equidrift.engine.conformer_settings import ConformerSettings
from equidrift.notes import TOLD
from equidrift.records import Molecule
from equidrift.stereo import SAMPLED, stereo_notes

log = logging.getLogger("equidrift.engine")


def notes_of(molecule: Molecule, settings: ConformerSettings) -> list[str]:
    """The notes on a molecule under these settings, in `provenance["notes"]`.

    Parameters
    ----------
    molecule : Molecule
        What is sampled; with stereo="enumerate" or "require" its stereo is not open.
    settings : ConformerSettings
        Of the run.
    """
    notes = stereo_notes(molecule, SAMPLED)
    if undone := _undone(molecule, settings):
        notes.append(undone)
    return notes


def tell(molecule: Molecule, notes: list[str]) -> None:
    """Write the notes as log records."""
    for note in notes:
        log.warning("%s: %s", molecule.name or molecule.smiles or repr(molecule), note, extra=TOLD)


def _undone(molecule: Molecule, settings: ConformerSettings) -> str:
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

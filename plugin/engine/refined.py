"""Batches of conformers through a refiner; what fails a check stays as it came."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from equidrift.checks.geometry import GeometryCheck
from equidrift.engine.refining import NOT_TRAINED, knows_elements, refusals
from equidrift.joining import joined
from equidrift.protocols import Refiner
from equidrift.records import Ensemble
from equidrift.stereo import REFINED, stereo_notes


def refine_part(ensemble: Ensemble, refiner: Refiner, steps: int | None = None) -> Ensemble:
    """One batch through a refiner; what fails a check keeps the geometry that came in."""
    molecule = ensemble.molecule
    trained = knows_elements(molecule, refiner.elements)
    moved = ensemble.positions_A
    if trained:
        moved = np.asarray(refiner.refine_many([(molecule, moved)], steps=steps)[0], np.float64)
    check = GeometryCheck(molecule)
    reasons = refusals(check, ensemble.positions_A, moved, refiner)
    if not trained:
        reasons[:] = NOT_TRAINED
    good = reasons == ""
    valid = good.copy()
    valid[~good] = check(ensemble.positions_A[~good]) == ""
    names, counts = np.unique(reasons[~good], return_counts=True)
    name = str(refiner.name)
    origin = ensemble.provenance.get("model", "given")
    told = list(ensemble.provenance.get("notes", ()))
    notes = told + fresh_notes(ensemble)
    provenance = {
        **ensemble.provenance,
        **({"notes": notes} if notes else {}),
        "model": name,
        **({"input_model": origin} if origin not in ("given", name) else {}),
        "weights_sha256": refiner.weights_sha256,
        "refiner": name,
        "refiner_sha256": refiner.weights_sha256,
        "refined": int(good.sum()),
        "kept_input": dict(zip(names.tolist(), counts.tolist(), strict=True)),
    }
    positions = np.where(good[:, None, None], moved, ensemble.positions_A)
    return ensemble.replace(
        positions_A=positions, valid=valid, energies_eV=None, log_prob=None, provenance=provenance
    )


def fresh_notes(ensemble: Ensemble) -> list[str]:
    """Notes on stereo that its molecule leaves open, but for places of which the
    ensemble's own notes tell.
    """
    told = {note.partition(":")[0] for note in ensemble.provenance.get("notes", ())}
    notes = stereo_notes(ensemble.molecule, REFINED)
    return [note for note in notes if note.partition(":")[0] not in told]


def join_refined(parts: Sequence[Ensemble]) -> Ensemble:
    """Batches of one ensemble put together, their counts added."""
    kept: dict[str, int] = {}
    for part in parts:
        for reason, count in part.provenance["kept_input"].items():
            kept[reason] = kept.get(reason, 0) + count
    whole = joined(parts)
    counts = {"refined": sum(part.provenance["refined"] for part in parts), "kept_input": kept}
    original = {
        key: parts[0].provenance[key] for key in ("drawn", "rejected") if key in parts[0].provenance
    }
    provenance = {
        key: value for key, value in whole.provenance.items() if key not in ("drawn", "rejected")
    }
    return whole.replace(provenance={**provenance, **original, **counts})

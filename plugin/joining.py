"""Ensembles of one molecule put together, and their energies told over the lowest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np

from equidrift.records import Ensemble
from equidrift.units import KCAL_MOL_PER_EV

Item = TypeVar("Item")


def with_relative_energies(ensemble: Ensemble) -> Ensemble:
    """The ensemble with `scores["relative_energy_kcal_mol"]`, over its lowest
    conformer, if it has energies.
    """
    energies = ensemble.energies_eV
    if energies is None or not np.isfinite(energies).any():
        return ensemble
    relative = (energies - np.nanmin(energies)) * KCAL_MOL_PER_EV
    return ensemble.replace(scores={**ensemble.scores, "relative_energy_kcal_mol": relative})


def joined(parts: Sequence[Ensemble]) -> Ensemble:
    """Ensembles of one molecule, one after the other; counts of draws and rejections
    add up.
    """
    if len(parts) == 1:
        return parts[0]
    rejected: Counter[str] = Counter()
    for part in parts:
        rejected.update(part.provenance.get("rejected", {}))
    drawn = sum(part.provenance.get("drawn", len(part)) for part in parts)
    arrays: dict[str, Any] = {"positions_A": np.concatenate([part.positions_A for part in parts])}
    for name in ("seeds", "valid", "log_prob", "energies_eV"):
        columns = [part.named([name])[name] for part in parts]
        arrays[name] = (
            None if any(column is None for column in columns) else np.concatenate(columns)
        )
    arrays["scores"] = {
        key: np.concatenate([part.scores[key] for part in parts]) for key in parts[0].scores
    }
    arrays["properties"] = joined_properties(parts)
    counts: dict[str, Any] = {"drawn": drawn, "rejected": dict(sorted(rejected.items()))}
    if all("kept_input" in part.provenance for part in parts):  # of a refinement
        kept = sum((Counter(part.provenance["kept_input"]) for part in parts), Counter[str]())
        counts |= {"kept_input": dict(sorted(kept.items()))}
        counts |= {"refined": sum(part.provenance["refined"] for part in parts)}
    elif all("refined" in part.provenance for part in parts):  # of a sampling chain
        counts |= {"refined": sum(part.provenance["refined"] for part in parts)}
    return with_relative_energies(
        parts[0].replace(**arrays, provenance={**parts[0].provenance, **counts})
    )


def in_a_row(items: Iterable[Item], same: Callable[[Item, Item], bool]) -> Iterator[list[Item]]:
    """The items in lists of those that follow each other and are of one kind.

    Parameters
    ----------
    items : iterable
        Taken one at a time.
    same : callable
        (an item, the next one) -> whether they belong together.
    """
    held: list[Item] = []
    for item in items:
        if held and not same(held[-1], item):
            yield held
            held = []
        held.append(item)
    if held:
        yield held


def joined_properties(parts: Sequence[Ensemble]) -> dict[str, list[str]]:
    """The properties of the samples of all parts; empty text if a part has none of a
    name.
    """
    names = list(dict.fromkeys(name for part in parts for name in part.properties))
    return {
        name: [text for part in parts for text in part.properties.get(name, ("",) * len(part))]
        for name in names
    }

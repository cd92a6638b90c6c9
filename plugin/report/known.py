"""What the models' cards say of a result: weights, training data, and what lies outside
of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from equidrift.records import SYMBOLS, Molecule
from equidrift.text import counted

SHORT_HASH = 8  # characters: a run may have told the beginning of a hash
# models made of several: where their network is called something else
_NETWORKS = {
    "default": ("refine", "conformer-energy"),
    "conformer-refine": ("conformer", "refine"),
    "etkdg-refine": ("refine",),
    "etkdg-mmff-refine": ("refine",),
    "se3-distance-gauss-newton": ("se3-distance",),
}


@lru_cache(maxsize=1)
def _cards() -> dict[str, Mapping[str, Any]]:
    from equidrift.weights import list_cards

    return {str(card["name"]): card for card in list_cards()}


def kind_of(molecule: Molecule) -> tuple[tuple[str, ...], int]:
    """The elements of a molecule, sorted, and its charge."""
    return tuple(sorted(set(molecule.symbols))), molecule.charge


def cards_of(model: str, weights: str = "") -> list[Mapping[str, Any]]:
    """The cards of the networks that made a result: by their hashes (joined by " + ") if
    these are known, else by the model's name in this installation.
    """
    wanted = tuple(part for part in weights.split(" + ") if len(part) >= SHORT_HASH)
    by_hash = [card for card in _cards().values() if wanted and card["sha256"].startswith(wanted)]
    if by_hash:
        return by_hash
    return [_cards()[name] for name in _NETWORKS.get(model, (model,)) if name in _cards()]


Kinds = Mapping[tuple[tuple[str, ...], int], int]  # (elements, charge) -> molecules


def outside(kinds: Kinds, cards: Iterable[Mapping[str, Any]]) -> list[str]:
    """A line for each card whose training set lacks an element of the molecules, and one
    if molecules carry a charge and no card says that its set holds such.
    """
    held = list(cards)
    elements: dict[str, int] = {}
    charged = 0
    for (symbols, charge), count in kinds.items():
        for symbol in symbols:
            elements[symbol] = elements.get(symbol, 0) + count
        charged += count if charge else 0
    lines = []
    for card in held:
        stored = card["elements"] if isinstance(card["elements"], list) else []
        allowed = {SYMBOLS[z] if isinstance(z, int) else z for z in stored}
        missing = {name: n for name, n in sorted(elements.items()) if name not in allowed}
        if missing and allowed:  # a card that names none takes all
            told = ", ".join(f"{name} ({counted(n, 'molecule')})" for name, n in missing.items())
            lines.append(
                f"Outside the training set of {card['name']} ({', '.join(sorted(allowed))}): "
                f"{told}. Look at these results twice."
            )
    silent = [card for card in held if not card.get("charges")]
    if silent and charged:
        names = " and ".join(str(card["name"]) for card in silent)
        lines.append(
            f"{charged} of these molecules carry a charge, and the card of {names} does not say "
            "that its training set holds charged molecules. Look at these results twice."
        )
    return lines


def training_of(model: str, weights: str, name: str) -> dict[str, float] | None:
    """Mean and deviation of a property over a model's training data, None if its card
    does not say.
    """
    for card in cards_of(model, weights):
        stored = card.get("properties")
        if isinstance(stored, Mapping) and isinstance(stored.get(name), Mapping):
            return {key: float(stored[name][key]) for key in ("mean", "deviation")}
    return None


def weights_text(model: str, weights: str) -> str:
    """Hashes of the weights: of the run if they are known, else of this installation."""
    if weights:
        return weights
    named = [f"{card['name']} {card['sha256']}" for card in cards_of(model)]
    return f"{', '.join(named)} (as installed here)" if named else "none"

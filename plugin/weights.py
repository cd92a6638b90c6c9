"""Weights: safetensors files with their card inside, checked against a hash; nothing is
ever unpickled.

A shipped model `NAME` is `NAME.safetensors` and `NAME.json` (the card) in `models/zoo`.
An installed package has every card, and the weights of the default models; those of
others are looked for in the folders that EQUIDRIFT_WEIGHTS names.
The card names the file's SHA-256, so that a truncated or altered file is refused before
a single number of it is used.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from equidrift.errors import InputError, UnknownNameError, WeightsError

FOLDERS = "EQUIDRIFT_WEIGHTS"  # environment variable: folders of further weights
CARD_KEYS = (
    "name",
    "description",
    "family",
    "config",
    "elements",
    "max_atoms",
    "units",
    "licence",
    "training_data",
    "sha256",
    "quality",
)


def zoo() -> Path:
    """The folder of the shipped weights."""
    import equidrift.models.zoo

    return Path(equidrift.models.zoo.__path__[0])


def list_cards() -> list[dict[str, Any]]:
    """The cards of the shipped models, by name."""
    return [read_card(path) for path in sorted(zoo().glob("*.json"))]


def read_card(path: Path | str) -> dict[str, Any]:
    """Read and check a card.

    Parameters
    ----------
    path : Path or str
        The .json file.

    Raises
    ------
    WeightsError
        If it cannot be read, is no JSON, or a field is missing, of another type or out
        of its range. The message names the file and the field.
    """
    from equidrift.stored import StoredCard, read_stored

    try:
        return read_stored(path, StoredCard, "model card").model_dump(exclude_unset=True)
    except InputError as error:
        raise WeightsError(f"{error}; reinstall equidrift or give another card") from error


def find(name_or_path: str | Path) -> Path:
    """The card of a shipped model by name, or of a trained one by its path (card or
    safetensors file).
    """
    path = Path(name_or_path)
    if path.suffix in (".json", ".safetensors"):
        card = path.with_suffix(".json")
        if not card.exists():
            raise WeightsError(
                f"no model card {card}; `equidrift train` writes one beside the weights"
            )
        return card
    known = [p.stem for p in zoo().glob("*.json")]
    if str(name_or_path) not in known:
        raise UnknownNameError("weights", str(name_or_path), known)
    return zoo() / f"{name_or_path}.json"


def weights_of(card_path: Path) -> Path | None:
    """The weights of a card: beside it, or in a folder that EQUIDRIFT_WEIGHTS names; None
    if they are in neither.
    """
    name = card_path.with_suffix(".safetensors").name
    named = os.environ.get(FOLDERS, "") if card_path.parent == zoo() else ""
    folders = [card_path.parent, *map(Path, filter(None, named.split(os.pathsep)))]
    return next((folder / name for folder in folders if (folder / name).is_file()), None)


def absent(name: str) -> str:
    """What to do if the weights of a shipped model are not installed."""
    return (
        f"{name}.safetensors is not installed, as of no model but the defaults; take it from "
        f"models/zoo of the source, and name its folder in the environment variable {FOLDERS}"
    )


def load_weights(name_or_path: str | Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """(torch state dict in float32, card) of a model by name or path.

    Raises
    ------
    WeightsError
        If the file is missing, truncated, altered (its hash is not the card's) or
        not safetensors.
    UnknownNameError
        If no model of that name is shipped.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    card_path = find(name_or_path)
    card = read_card(card_path)
    path = weights_of(card_path)
    if path is None and card_path.parent == zoo():
        raise WeightsError(absent(card_path.stem))
    if path is None:
        raise WeightsError(
            f"no weights beside the card: {card_path.with_suffix('.safetensors')} is missing; "
            "copy it there or train the model again"
        )
    raw = path.read_bytes()
    if hashlib.sha256(raw).hexdigest() != card["sha256"]:
        raise WeightsError(
            f"{path} is truncated or altered: its SHA-256 is not the one in its card; "
            f"reinstall equidrift or copy it again"
        )
    try:
        state = load(raw)
    except SafetensorError as error:
        raise WeightsError(f"{path} is not a safetensors file: {error}") from error
    return {
        key: value.float() if value.is_floating_point() else value for key, value in state.items()
    }, card


def _check_card(card: dict[str, Any]) -> None:
    """Refuse, before anything is written, a card that could not be read back."""
    from equidrift.stored import StoredCard, checked

    try:
        plain = json.loads(json.dumps({**card, "sha256": ""}))
        checked(plain, StoredCard, "model card")
    except (TypeError, ValueError) as error:
        raise WeightsError(f"the card cannot be written: {error}") from error


def save_weights(path: str | Path, state: dict[str, Any], card: dict[str, Any]) -> Path:
    """Write a state dict (floats as bfloat16 if the card says so) and its card;
    returns the safetensors path.
    """
    import torch
    from safetensors.torch import save_file

    _check_card(card)
    path = Path(path).with_suffix(".safetensors")
    path.parent.mkdir(parents=True, exist_ok=True)
    # the card names a type of torch
    dtype = getattr(torch, card.get("dtype", "float32"))
    tensors = {
        key: (v.to(dtype) if v.is_floating_point() else v).detach().contiguous().cpu()
        for key, v in state.items()
    }
    # with the user's file mode: save_file keeps it, and would otherwise write one that
    # others cannot read
    path.touch()
    about = json.dumps({"name": str(card["name"]), "licence": str(card["licence"])})
    save_file(
        tensors, str(path), metadata={"equidrift": about}
    )  # one key: safetensors writes several in no fixed order
    card = {**card, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    path.with_suffix(".json").write_text(json.dumps(card, indent=1) + "\n")
    return path

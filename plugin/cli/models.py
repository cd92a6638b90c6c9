"""equidrift models: the cards of the shipped weights, and every name that --model takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

COLUMNS = ("name", "family", "elements", "licence", "training data", "quality", "sha256")


def command(as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False) -> int:
    """Models that come with the package: what they know, what they learnt from, how good they are."""
    from equidrift.cli.output import print_json, print_table
    from equidrift.registry import REFINERS, TRAJECTORY_MODELS, list_models, resolve

    cards = [dict(card) for card in resolve("equidrift.weights:list_cards")()]
    if as_json:
        names = {"sample": list_models(), "refine": sorted(REFINERS), "forecast": sorted(TRAJECTORY_MODELS)}
        print_json({"command": "models", **names, "cards": cards})
        return 0
    print_table(COLUMNS, [_row(card) for card in cards], title="Shipped weights")
    for card in cards:
        typer.echo(f"{card['name']}: {card['description']}")
    typer.echo("")
    typer.echo(f"equidrift sample --model: {', '.join(_default_first(list_models()))}")
    typer.echo(f"equidrift refine --model: {', '.join(sorted(REFINERS))}")
    typer.echo(f"equidrift forecast --model: {', '.join(_default_first(list(TRAJECTORY_MODELS)))}")
    return 0


def _default_first(names: list[str]) -> list[str]:
    return sorted(names, key=lambda name: (name != "default", name))


def _row(card: Mapping[str, Any]) -> list[Any]:
    quality = ", ".join(f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}" for name, value in card["quality"].items())
    elements = card["elements"]
    shown = elements if isinstance(elements, str) else " ".join(map(str, elements))
    return [card["name"], card["family"], shown, card["licence"], str(card["training_data"]), quality, str(card["sha256"])[:12]]

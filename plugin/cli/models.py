"""equidrift models: the cards of the shipped weights, and every name that --model takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

COLUMNS = ("name", "family", "elements", "licence", "sha256")
SHOWN = 8  # figures of a row


def command(as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False) -> int:
    """Models that come with the package: what they know, what they learnt from, how good they are."""
    from equidrift.cli.output import print_json, print_table
    from equidrift.registry import MOLECULE_MODELS, REFINERS, TRAJECTORY_MODELS, list_models, resolve

    cards = [dict(card) for card in resolve("equidrift.weights:list_cards")()]
    if as_json:
        names = {"sample": list_models(), "refine": sorted(REFINERS), "forecast": sorted(TRAJECTORY_MODELS)}
        names["generate"] = sorted(MOLECULE_MODELS)
        print_json({"command": "models", **names, "cards": cards})
        return 0
    print_table(COLUMNS, [_row(card) for card in cards], title="Shipped weights")
    for card in cards:
        typer.echo("\n".join(_details(card)))
    typer.echo("")
    typer.echo(f"equidrift sample --model: {', '.join(_default_first(list_models()))}")
    typer.echo(f"equidrift refine --model: {', '.join(sorted(REFINERS))}")
    typer.echo(f"equidrift forecast --model: {', '.join(_default_first(list(TRAJECTORY_MODELS)))}")
    typer.echo(f"equidrift generate --model: {', '.join(_default_first(list(MOLECULE_MODELS)))}")
    return 0


def _default_first(names: list[str]) -> list[str]:
    return sorted(names, key=lambda name: (name != "default", name))


def _row(card: Mapping[str, Any]) -> list[Any]:
    elements = card["elements"]
    shown = elements if isinstance(elements, str) else " ".join(map(str, elements))
    return [card["name"], card["family"], shown, card["licence"], str(card["sha256"])[:12]]


def _details(card: Mapping[str, Any]) -> list[str]:
    """What a model does, what it learnt from, and its first few figures; all of them are in the card."""
    rows = {name: value for name, value in card["quality"].items() if isinstance(value, Mapping)}
    plain = {name: value for name, value in card["quality"].items() if name not in rows}
    lines = [f"{name}: {_figures(values)}" for name, values in ({"measured": plain} | rows if plain else rows).items()]
    return [f"\n{card['name']}: {card['description']}", f"  training data: {card['training_data']}", *(f"  {line}" for line in lines)]


def _figures(values: Mapping[str, Any]) -> str:
    shown = [f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}" for name, value in values.items()]
    further = len(shown) - SHOWN
    return ", ".join(shown[:SHOWN]) + (f", and {further} more in the card" if further > 0 else "")

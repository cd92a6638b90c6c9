"""equidrift models: every name that --model takes, what each does, and the options that
--set takes.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, get_args

import typer

from equidrift.cli.options import SummaryAsJson

COLUMNS = ("name", "family", "elements", "licence", "sha256")
SHOWN = 8  # figures of a row
INNER = ("self", "name", "weights_sha256", "card")


def command(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[NAME]",
            help="The model whose options and card are shown. Default: list all models.",
        ),
    ] = None,
    all_: Annotated[
        bool,
        typer.Option("--all", help="List the shipped weights too, with their measured quality."),
    ] = False,
    as_json: SummaryAsJson = False,
) -> int:
    """List the models that come with the package, or explain one of them."""
    from equidrift.cli.output import print_json, print_table
    from equidrift.registry import list_models, third_party_models
    from equidrift.weights import list_cards

    if name is not None:
        return _one(name, as_json)
    from equidrift.montecarlo.adapt import MEANINGS as proposals

    cards = [dict(card) for card in list_cards()]
    broken = {name: problem for name, problem in third_party_models().items() if problem}
    if as_json:
        names = {verb: sorted(table) for verb, table in tables().items()} | {
            "sample": list_models()
        }
        names["md"] = sorted(proposals)
        print_json({"command": "models", **names, "not_importable": broken, "cards": cards})
        return 0
    _print_names(proposals, broken)
    if all_:
        print_table(COLUMNS, [_row(card) for card in cards], title="Shipped weights")
        for card in cards:
            typer.echo("\n".join(_details(card)))
    return 0


def _print_names(proposals: Mapping[str, str], broken: Mapping[str, str]) -> None:
    """One line per model and kind of proposals: how it is asked for, and what it does."""
    from equidrift.registry import list_models

    for verb, table in tables().items():
        for entry in _default_first(list(table)):
            typer.echo(f"equidrift {verb} --model {entry}: {summary(table[entry])}")
    for entry, meaning in proposals.items():
        typer.echo(f"equidrift md --proposals {entry}: {meaning}")
    for entry in sorted(set(list_models()) - set(tables()["sample"]) - set(broken)):
        typer.echo(f"equidrift sample --model {entry}: of another package")
    for problem in broken.values():
        typer.echo(f"does not load: {problem}")


def tables() -> dict[str, Mapping[str, str]]:
    """The names of each command's --model, and who makes each."""
    from equidrift.registry import CONFORMER_MODELS, MOLECULE_MODELS, REFINERS, TRAJECTORY_MODELS

    return {
        "sample": CONFORMER_MODELS,
        "refine": REFINERS,
        "forecast": TRAJECTORY_MODELS,
        "generate": MOLECULE_MODELS,
    }


def summary(path: str) -> str:
    """What a model does, in the first sentence of its factory's or class's description."""
    from equidrift.registry import resolve

    text = inspect.getdoc(resolve(path)) or ""
    first = " ".join(text.split("\n\n")[0].split())
    return re.split(r"(?<=[.;])\s", first)[0].rstrip(".;")


def options_of(factory: Callable[..., Any]) -> dict[str, tuple[Any, str]]:
    """The options of a model: name -> (default, what it is).

    If a factory hands on the rest, those of what it makes.
    """
    found: dict[str, tuple[Any, str]] = {}
    for part in _makers(factory):
        texts = described(inspect.getdoc(part) or "")
        start = part.__init__ if inspect.isclass(part) else part
        parameters = inspect.signature(start, eval_str=True).parameters
        if (
            "options" in parameters
            and (record := _record(parameters["options"].annotation)) is not None
        ):
            texts = described(
                inspect.getdoc(record) or ""
            )  # a table of options, each given by its name
            found |= {
                field.name: (field.default, texts.get(field.name, ""))
                for field in dataclasses.fields(record)
            }
            continue
        for parameter in parameters.values():
            named = parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
            if named and parameter.name not in INNER and parameter.default is not parameter.empty:
                found.setdefault(parameter.name, (parameter.default, texts.get(parameter.name, "")))
    return found


def _record(annotation: Any) -> Any:
    """The dataclass in an annotation, if any."""
    kinds = [
        kind for kind in get_args(annotation) or (annotation,) if dataclasses.is_dataclass(kind)
    ]
    return kinds[0] if kinds else None


def _makers(factory: Callable[..., Any]) -> list[Callable[..., Any]]:
    """A factory, and the classes to which its `**options` go."""
    makers, current = [factory], factory
    if not inspect.isclass(factory):
        made = inspect.signature(factory, eval_str=True).return_annotation
        if not inspect.isclass(made) or not _hands_on(factory):
            return makers
        current = made
    for kind in inspect.getmro(current):  # type: ignore[arg-type]
        if "__init__" not in vars(kind) or kind is object:
            continue
        makers.append(kind)
        if not _hands_on(vars(kind)["__init__"]):
            break
    return makers


def _hands_on(call: Callable[..., Any]) -> bool:
    return any(
        parameter.kind is parameter.VAR_KEYWORD
        for parameter in inspect.signature(call).parameters.values()
    )


# a type of numpydoc, which the default shows already; older docstrings have a description there
_TYPE = re.compile(r"(str|int|float|bool|Path|dict|list|tuple)\b[\w ,\[\]|]*")


def described(text: str) -> dict[str, str]:
    """What the Parameters of a numpydoc docstring say of each name."""
    lines, out, names = text.partition("Parameters\n")[2].splitlines()[1:], {}, list[str]()
    for line in lines:
        match = re.match(r"^(\w+(?:, \w+)*)(?: : (.*))?$", line)
        if match:
            names = match[1].split(", ")
            head = match[2] or ""
            out.update(dict.fromkeys(names, "" if _TYPE.fullmatch(head) else head))
        elif line.startswith(" ") and names:
            out.update({name: f"{out[name]} {line.strip()}".strip() for name in names})
        elif line.strip() and not line.startswith(" "):
            break
    return out


def _one(name: str, as_json: bool) -> int:
    """The options of a model, and its card, or that of weights."""
    from equidrift.cli.output import print_json
    from equidrift.errors import UnknownNameError
    from equidrift.registry import resolve
    from equidrift.weights import list_cards

    known = {entry for table in tables().values() for entry in table}
    cards = {str(card["name"]): dict(card) for card in list_cards()}
    if name not in known and name not in cards:
        raise UnknownNameError("model", name, known | set(cards))
    found = {
        verb: options_of(resolve(table[name])) for verb, table in tables().items() if name in table
    }
    if as_json:
        plain = {
            verb: {
                key: {"default": default, "about": text} for key, (default, text) in options.items()
            }
            for verb, options in found.items()
        }
        print_json({"command": "models", "model": name, "options": plain, "card": cards.get(name)})
        return 0
    for verb, options in found.items():
        typer.echo(f"equidrift {verb} --model {name}: {summary(tables()[verb][name])}")
        typer.echo("\n".join(_option_lines(options)))
    if name in cards:
        typer.echo("\n".join(_whole_card(cards[name])).lstrip("\n" if not found else ""))
    return 0


def _option_lines(options: Mapping[str, tuple[Any, str]]) -> list[str]:
    """One line per option: what --set takes, its default, what it is."""
    return [
        f"  --set {key}={'null' if default is None else default}" + (f"  {text}" if text else "")
        for key, (default, text) in options.items()
    ] or ["  no options"]


def _whole_card(card: Mapping[str, Any]) -> list[str]:
    """What a card says, in lines."""
    _, _, elements, licence, _ = _row(card)
    about, data, *measured = _details(card)
    return [
        about,
        f"  elements: {elements}; units: {card['units']}",
        f"  licence: {licence}; sha256: {card['sha256']}",
        data,
        *measured,
    ]


def _default_first(names: list[str]) -> list[str]:
    return sorted(names, key=lambda name: (name != "default", name))


def _row(card: Mapping[str, Any]) -> list[Any]:
    from equidrift.records import SYMBOLS

    elements = card["elements"]
    if not isinstance(elements, str):  # symbols, or atomic numbers
        elements = " ".join(SYMBOLS[e] if isinstance(e, int) else e for e in elements)
    return [card["name"], card["family"], elements, card["licence"], str(card["sha256"])[:12]]


def _details(card: Mapping[str, Any]) -> list[str]:
    """What a model does, what it learnt from, and its first few figures; all of them
    are in the card.
    """
    rows = {name: value for name, value in card["quality"].items() if isinstance(value, Mapping)}
    plain = {name: value for name, value in card["quality"].items() if name not in rows}
    lines = [
        f"{name}: {_figures(values)}"
        for name, values in ({"measured": plain} | rows if plain else rows).items()
    ]
    return [
        f"\n{card['name']}: {card['description']}",
        f"  training data: {card['training_data']}",
        *(f"  {line}" for line in lines),
    ]


def _figures(values: Mapping[str, Any]) -> str:
    shown = [
        f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in values.items()
    ]
    further = len(shown) - SHOWN
    return ", ".join(shown[:SHOWN]) + (f", and {further} more in the card" if further > 0 else "")

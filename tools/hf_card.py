#!/usr/bin/env python3
"""Write the card of a shipped model as Hugging Face's hub takes it: a `README.md` with
metadata, beside the weights and our own card.

    hf_card.py refine --output hub/refine     README.md, refine.json, refine.safetensors

The folder is what `huggingface-cli upload NAME hub/refine` uploads.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from equidrift.errors import EquidriftError
from equidrift.weights import find, read_card

TAGS = ["chemistry", "molecules", "equivariance", "diffusion"]
# fields of a card that are shown, with their units in the text
SHOWN = {
    "task": "task",
    "elements": "elements",
    "max_atoms": "most atoms",
    "units": "units of positions",
    "dtype": "numbers",
    "sha256": "SHA-256 of the weights",
}


def metrics_of(quality: Mapping[str, Any]) -> Iterator[tuple[str, str, float]]:
    """(benchmark, metric, value) of everything that was measured."""
    for row, values in quality.items():
        if isinstance(values, Mapping):
            for name, value in values.items():
                if isinstance(value, int | float) and not isinstance(value, bool):
                    yield row, name, float(value)
        elif isinstance(values, int | float) and not isinstance(values, bool):
            yield "measured", row, float(values)


def metadata(card: Mapping[str, Any]) -> dict[str, Any]:
    """The head of a hub's card: licence, library, tags and results."""
    results: dict[str, list[dict[str, Any]]] = {}
    for row, name, value in metrics_of(card.get("quality", {})):
        results.setdefault(row, []).append({"type": name, "name": name, "value": value})
    index = [
        {
            "task": {"type": "other", "name": str(card["task"])},
            "dataset": {"type": row, "name": row},
            "metrics": metrics,
        }
        for row, metrics in results.items()
    ]
    head: dict[str, Any] = {
        "license": str(card["licence"]).lower(),
        "library_name": "equidrift",
        "tags": [*TAGS, str(card["family"])],
    }
    if index:
        head["model-index"] = [{"name": str(card["name"]), "results": index}]
    return head


def page(card: Mapping[str, Any]) -> str:
    """The whole `README.md`."""
    name = card["name"]
    head = yaml.safe_dump(metadata(card), sort_keys=False, allow_unicode=True)
    rows = []
    for key, shown in SHOWN.items():
        if key in card:
            value = card[key]
            text = " ".join(map(str, value)) if isinstance(value, list) else str(value)
            rows.append(f"| {shown} | {text} |")
    return "\n".join(
        [
            f"---\n{head}---\n",
            f"# {name}\n",
            f"{card['description']}\n",
            "| | |",
            "|---|---|",
            *rows,
            "\n## Use\n",
            f"```bash\nequidrift models\nequidrift {verb_of(card)} --help\n```\n",
            f"The weights come with equidrift as `{name}`; the path of `{name}.json` works as a "
            "model's name too.\n",
            "## Training data\n",
            f"{card['training_data']}\n",
        ]
    )


def verb_of(card: Mapping[str, Any]) -> str:
    """The command that runs a model of this family."""
    verbs = {"conformers": "sample", "molecules": "generate", "trajectories": "forecast"}
    return "refine" if card["task"] == "refine" else verbs.get(str(card["family"]), "models")


def main(arguments: list[str]) -> int:
    """Write the folder of one model."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("name", help="a shipped model, or the path of a card")
    parser.add_argument("--output", type=Path, required=True, help="the folder to write")
    asked = parser.parse_args(arguments)
    try:
        path = find(asked.name)
        card = read_card(path)
    except EquidriftError as error:
        parser.error(str(error))
    asked.output.mkdir(parents=True, exist_ok=True)
    (asked.output / "README.md").write_text(page(card), encoding="utf-8")
    for file in (path, path.with_suffix(".safetensors")):
        shutil.copy2(file, asked.output / file.name)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

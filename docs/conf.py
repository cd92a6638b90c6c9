"""The site: `sphinx-build -W -b html docs docs/_build/html` (extra `docs`; works offline)."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from sphinx.application import Sphinx

import equidrift

HERE = Path(__file__).parent
ROOT = HERE.parent
os.environ.setdefault("EQUIDRIFT_WEIGHTS", str(ROOT / "models" / "zoo"))  # for the tutorials
sys.path[:0] = [str(ROOT / "tools"), str(HERE)]

from bench_tables import inserted  # noqa: E402 - a script of tools/
from pages import example_pages, model_pages  # noqa: E402 - beside this file

project = "equidrift"
author = "equidrift contributors"
copyright = "equidrift contributors"
release = version = equidrift.__version__

extensions = [
    "myst_nb",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx_copybutton",
    "sphinx_design",
]
exclude_patterns = ["_build", "README.md"]
html_theme = "furo"
html_title = f"equidrift {release}"
templates_path = ["_templates"]
myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "cache"
nb_execution_timeout = 300
nb_execution_raise_on_error = True
nb_merge_streams = True
nb_output_stderr = "remove"
autosummary_generate = True
numpydoc_show_class_members = False
numpydoc_validation_checks: set[str] = set()
autodoc_typehints = "none"
autodoc_member_order = "bysource"
suppress_warnings = ["misc.highlighting_failure", "mystnb.unknown_mime_type"]


def with_tables(_app: Sphinx, _name: str, source: list[str]) -> None:
    """Put the benchmarks' tables into a page."""
    source[0] = inserted(source[0])


def write_pages(_app: Sphinx) -> None:
    """Write the pages that are made of examples and of model cards."""
    cards = [json.loads(p.read_text()) for p in sorted((ROOT / "models" / "zoo").glob("*.json"))]
    model_pages(cards, HERE / "models")
    example_pages(sorted((ROOT / "examples").glob("*.py")), HERE / "examples")


def setup(app: Sphinx) -> None:
    """Register the hooks."""
    app.connect("builder-inited", write_pages)
    app.connect("source-read", with_tables)

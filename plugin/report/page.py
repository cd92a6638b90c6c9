"""The page itself: one HTML file that needs no network and lets nothing in.

Its Content-Security-Policy names the hash of each script, so that no text of a result,
whatever it holds, can become one.
"""

from __future__ import annotations

import base64
import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from hashlib import sha256
from html import escape
from importlib.resources import files

from equidrift.report.parts import CARDS_A_PAGE, Figure, Section, Table
from equidrift.text import counted

_WIDE = ' class="wide"'
VIEWER = "3Dmol-min.js"
VIEWER_VERSION = "2.5.5"
# of build/3Dmol-min.js in npm's 3dmol-2.5.5.tgz
VIEWER_SHA256 = "f7cc78921ae72e7623e89cdd111434f58c2efddd2ffda1cd212644b406fb8016"


@lru_cache(maxsize=8)
def asset(name: str) -> str:
    """The text of a file in `assets/`."""
    return (files("equidrift.report") / "assets" / name).read_text(encoding="utf-8")


def policy(scripts: Sequence[str]) -> str:
    """A Content-Security-Policy that allows these scripts, styles, and pictures that lie
    in the page; nothing else.
    """
    hashes = " ".join(
        f"'sha256-{base64.b64encode(sha256(text.encode('utf-8')).digest()).decode('ascii')}'"
        for text in scripts
    )
    return (
        f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )


def page_of(title: str, sections: Sequence[Section], origin: Mapping[str, str]) -> Iterator[str]:
    """The pieces of the page, in order.

    Parameters
    ----------
    title : str
        Of the page.
    sections : sequence of Section
        The results.
    origin : mapping of str to str
        What made the page: command and versions.
    """
    viewed = any(section.chunks for section in sections)
    scripts = [*([asset(VIEWER)] if viewed else []), asset("report.js")]
    yield (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy(scripts)}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{asset('report.css')}</style></head><body>\n"
        f"<header><h1>{escape(title)}</h1></header>\n"
    )
    if len(sections) > 1:
        links = (
            f'<a href="#s{k}">{escape(one.title)}</a> <small>{escape(one.kind)}</small>'
            for k, one in enumerate(sections)
        )
        yield f"<nav><ol>{''.join(f'<li>{link}</li>' for link in links)}</ol></nav>\n"
    for k, section in enumerate(sections):
        yield from _section(section, k)
    yield f"<footer><h2>Provenance</h2>{_facts(origin)}</footer>\n"
    if viewed:
        licence = f"3Dmol.js {VIEWER_VERSION} by David Koes and contributors, BSD-3-Clause"
        yield f"<!-- {licence}\n{asset('3Dmol-LICENSE.txt').replace('--', '- -')}-->\n"
    for script in scripts:
        yield f"<script>{script}</script>\n"
    yield "</body></html>\n"


def _section(section: Section, index: int) -> Iterator[str]:
    yield (
        f'<section id="s{index}"><h2>{escape(section.title)} '
        f"<small>{escape(section.kind)}</small></h2>\n"
    )
    for text in section.warnings:
        yield f'<p class="band" role="alert">{escape(text)}</p>\n'
    yield _facts(section.facts)
    for text in section.notes:
        yield f"<p>{escape(text)}</p>\n"
    if section.chunks:
        yield from _grid(section, index)
    yield figures_html(section.figures, f"s{index}")
    for number, table in enumerate(section.tables):
        yield _table(table, f"s{index}t{number}")
    yield "</section>\n"


def _facts(facts: Mapping[str, str]) -> str:
    rows = "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in facts.items())
    return f"<dl>{rows}</dl>\n" if rows else ""


def _grid(section: Section, index: int) -> Iterator[str]:
    """Where the script draws molecules: a grid with pages, and the one that is looked at."""
    yield (
        f'<div class="molecules" data-cards="{section.n_cards}" data-page="{CARDS_A_PAGE}">'
        '<div class="pager"></div><div class="grid"></div><div class="detail"></div>'
        "<noscript>The molecules are drawn by a script of this page: allow it.</noscript>\n"
    )
    for number, chunk in enumerate(section.chunks):
        yield (
            f'<script type="application/octet-stream" class="chunk" id="s{index}c{number}">'
            f"{chunk}</script>\n"
        )
    yield "</div>\n"


def figures_html(figures: Sequence[Figure], place: str) -> str:
    """Figures beside each other; `place` keeps their ids apart."""
    parts = (
        f"<figure{_WIDE if figure.wide else ''}>"
        f"{figure.svg.replace('PLACE', f'{place}f{k}')}"
        f"<figcaption>{escape(figure.caption)}</figcaption></figure>"
        for k, figure in enumerate(figures)
    )
    told = "".join(parts)
    return f'<div class="figures">{told}</div>\n' if told else ""


def _table(table: Table, place: str) -> str:
    head = "".join(f"<th>{escape(column)}</th>" for column in table.columns)
    rows = "".join(
        "<tr>" + "".join(f"<td>{escape(cell_text(value))}</td>" for value in row) + "</tr>"
        for row in table.rows[: table.shown]
    )
    left = len(table.rows) - table.shown
    more = f"<p>and {counted(left, 'more row')} in the CSV file</p>" if left > 0 else ""
    data = base64.b64encode(csv_text(table).encode("utf-8")).decode("ascii")
    file = "".join(c if c.isalnum() else "-" for c in table.name.lower()) + ".csv"
    return (
        f'<details open id="{place}"><summary>{escape(table.name)} ({len(table.rows)})</summary>'
        f'<a download="{escape(file)}" href="data:text/csv;base64,{data}">CSV</a>'
        f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>{more}</details>\n"
    )


def csv_text(table: Table) -> str:
    """A table as CSV, at full precision."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(table.columns)
    writer.writerows([["" if value is None else value for value in row] for row in table.rows])
    return stream.getvalue()


def cell_text(value: object) -> str:
    """A value as a table shows it."""
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)

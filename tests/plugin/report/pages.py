"""What tests read of a page."""

from __future__ import annotations

import base64
import json
import re
import zlib
from hashlib import sha256
from html import unescape
from pathlib import Path

from equidrift.report.parts import Card


def cards_of(page: Path) -> list[list[Card]]:
    """The molecules of a page, one list for each piece that is drawn at once."""
    text = page.read_text(encoding="utf-8")
    chunks = re.findall(r'<script type="application/octet-stream"[^>]*>([^<]*)</script>', text)
    return [json.loads(zlib.decompress(base64.b64decode(chunk))) for chunk in chunks]


def policy_of(page: Path) -> str:
    found = re.search(
        r'http-equiv="Content-Security-Policy" content="([^"]*)"', page.read_text(encoding="utf-8")
    )
    assert found is not None
    return unescape(found[1])


def scripts_of(page: Path) -> list[str]:
    """The scripts that a browser would run."""
    return re.findall(r"<script>(.*?)</script>", page.read_text(encoding="utf-8"), re.DOTALL)


def hash_of(script: str) -> str:
    return "'sha256-" + base64.b64encode(sha256(script.encode()).digest()).decode() + "'"


def tables_of(page: Path) -> dict[str, str]:
    """Name of each table -> its CSV."""
    text = page.read_text(encoding="utf-8")
    found = re.findall(r"<summary>(.*?) \(\d+\)</summary>.*?base64,([^\"]*)\"", text, re.DOTALL)
    return {unescape(name): base64.b64decode(data).decode() for name, data in found}

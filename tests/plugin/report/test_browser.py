"""A page as a browser runs it: headless Chromium, without network."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

import equidrift
from equidrift.adapters.rdkit.io import write_sdf
from equidrift.report import write_report

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)
SWITCHES = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-sync", "--disable-background-networking", "--disable-component-update"),
    *("--enable-unsafe-swiftshader", "--enable-logging=stderr", "--window-size=1000,1400"),
    *("--virtual-time-budget=30000", "--dump-dom"),
]


@pytest.mark.long
@pytest.mark.skipif(not CHROMIUM, reason="needs a Chromium")
def test_page_runs_under_its_policy_without_network(tmp_path: Path) -> None:
    evil = "<b>evil</b></script><script>document.title='ran'</script>"
    for k, smiles in enumerate(("CCO", "CCN")):
        made = equidrift.sample(smiles, 3, model="etkdg-mmff")
        made = made.replace(molecule=made.molecule.replace(name=evil if k else "ethanol"))
        write_sdf(made, tmp_path / "a.sdf", append=k > 0, first_sample=0)
    write_report([tmp_path / "a.sdf"], tmp_path / "r.html")
    switches = [*SWITCHES, f"--user-data-dir={tmp_path / 'profile'}"]
    switches.append("--host-resolver-rules=MAP * ~NOTFOUND")
    page = (tmp_path / "r.html").as_uri()
    done = subprocess.run(
        [CHROMIUM, *switches, page], capture_output=True, text=True, timeout=100, check=True
    )
    dom = done.stdout
    assert 'data-ready="0"' in dom, done.stderr[-2000:]
    assert len(re.findall(r'<button[^>]*class="card"', dom)) == 2
    assert "&lt;b&gt;evil&lt;/b&gt;" in dom and "<title>ran" not in dom
    assert 'data-drawn="yes"' in dom and "<canvas" in dom
    assert not re.search(r"Refused to|Content.Security.Policy|Uncaught", done.stderr)

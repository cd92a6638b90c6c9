"""Conformers to a page that can be mailed: `python examples/14_report.py [N] [MODEL]`.

The same from the shell: `equidrift report ibuprofen.npz -o ibuprofen.html`.
"""

from __future__ import annotations

import sys

import equidrift
from equidrift.report import write_report

n = int(sys.argv[1]) if len(sys.argv) > 1 else 20
model = sys.argv[2] if len(sys.argv) > 2 else "default"

ensemble = equidrift.sample("CC(C)Cc1ccc(cc1)[C@@H](C)C(=O)O", n, model=model)
ensemble.save("ibuprofen.npz")  # .npz keeps all of the provenance

done = write_report(["ibuprofen.npz"], "ibuprofen.html", overwrite=True)
print(f"{done['output']}: {done['bytes'] / 1e6:.2f} MB, {done['sections'][0]['kind']}")

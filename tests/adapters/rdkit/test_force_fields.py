"""RDKit's force fields work in a process that has imported nothing else of RDKit."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]
FIRST = """
from equidrift.adapters.rdkit.mmff_energy import MMFFEnergy
from equidrift.records import Molecule
print(MMFFEnergy(Molecule.from_smiles("C")).__class__.__name__)
"""


def test_mmff_is_there_in_a_fresh_process() -> None:
    done = subprocess.run([sys.executable, "-c", FIRST], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "MMFFEnergy"


def test_helpers_of_force_fields_are_imported_with_their_classes() -> None:
    for path in (ROOT / "adapters").rglob("*.py"):
        if path.name != "force_fields.py":
            assert "import rdForceFieldHelpers" not in path.read_text().replace(
                "force_fields import rdForceFieldHelpers", ""
            ), f"{path.name}: take it from equidrift.adapters.rdkit.force_fields"

"""RDKit's force fields, with the classes of what their functions return.

RDKit 2025.3 registers these classes in another module than the functions: until that one
is imported, `MMFFGetMoleculeProperties` raises a TypeError.
"""

from __future__ import annotations

from rdkit.Chem import rdForceFieldHelpers
from rdkit.ForceField import rdForceField

__all__ = ["rdForceField", "rdForceFieldHelpers"]

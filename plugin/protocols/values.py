"""What the methods of the protocols take and give."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from equidrift.records import Molecule

Floats = NDArray[np.float64]
Seeds = NDArray[np.int64]
Callback = Callable[[dict[str, Any]], None]
# (molecule, seeds (k,)): k conformers to draw of it
ConformerJob = tuple[Molecule, Seeds]
ConformerJobs = Sequence[ConformerJob]
# (molecule, positions_A (k, n_atoms, 3)): k conformers to move
RefinerJob = tuple[Molecule, Floats]
RefinerJobs = Sequence[RefinerJob]
# (molecule, positions_A (n_atoms, 3)) of one new molecule
Raw = tuple[Molecule, Floats]
# (molecule, positions_A (k, n_atoms, 3)), and known=Known if atoms are held
# -> (positions_A (k, n_atoms, 3), energies_eV (k,))
Relax = Callable[..., tuple[Floats, Floats]]
# positions_A (k, n_atoms, 3) -> (energies_eV (k,), gradients in eV/A of the positions' shape)
Surface = Callable[[Floats], tuple[Floats, Floats]]

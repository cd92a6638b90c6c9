"""`score_force`: the conformer model's score as an OpenMM PythonForce, for walk-jump
sampling. No force field; see `equidrift.score`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import openmm
from numpy.typing import NDArray
from openmm import unit

from equidrift.records import Molecule
from equidrift.score import NOTICE, DenoiserScore
from equidrift.units import KJ_MOL_PER_EV, NM_PER_A


class ScoreComputation:
    """What the PythonForce calls: no energy (0), and kT times the score as forces.

    Pickles as plain data, so Systems serialize and copy.
    """

    exact = False
    notice = NOTICE

    def __init__(self, score: DenoiserScore) -> None:
        self.score = score

    def __call__(self, state: openmm.State) -> tuple[float, NDArray[np.float64]]:
        """Energy in kJ/mol and forces (n, 3) in kJ/mol/nm at the positions of a State."""
        positions = state.getPositions(asNumpy=True).value_in_unit(unit.nanometer)
        forces = self.score.forces_eV_A(np.asarray(positions, np.float64) / NM_PER_A)
        return 0.0, forces * (KJ_MOL_PER_EV / NM_PER_A)


def score_force(molecule: Molecule, **options: Any) -> openmm.PythonForce:
    """A PythonForce for a System whose particles are the molecule's atoms in its order:
    smoothed walk-jump dynamics, **not** Boltzmann's.

    Drive it with a Langevin integrator at `temperature_K`; the energy it reports is 0
    and means nothing. `DenoiserScore.jump` makes conformers of the positions.

    Parameters
    ----------
    molecule : Molecule
        The graph.
    **options
        sigma_A, temperature_K and model; see `equidrift.score.DenoiserScore`.
    """
    force = openmm.PythonForce(ScoreComputation(DenoiserScore(molecule, **options)))
    force.setName("equidrift score (walk-jump, not Boltzmann)")
    return force

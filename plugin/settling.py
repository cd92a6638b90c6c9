"""How bonds and angles come to equilibrium after a leap of torsions, in whatever host."""

STEP_FS = 1.0  # of the dynamics
LIGHTEST_AMU = 4.0  # at equilibrium positions know nothing of masses, and steps may be longer
RELAX_STEPS = 50  # of the minimiser before them, against the clashes of rigid turning

"""The only file with conversion factors.

Inside equidrift: A, eV, fs, K, elementary charges; hosts get theirs at the border.

CODATA 2018 values; `tests/plugin/test_units.py` compares them with ASE's and OpenMM's.
"""

KJ_MOL_PER_EV = 96.48533212331
KCAL_MOL_PER_EV = KJ_MOL_PER_EV / 4.184
KJ_MOL_PER_KCAL_MOL = 4.184
NM_PER_A = 0.1
BOHR_PER_A = 1 / 0.529177210903
PS_PER_FS = 1e-3
BOLTZMANN_EV_PER_K = 8.617333262e-5
BOLTZMANN_AMU_A2_PER_FS2_K = (
    8.314462618e-7  # kT over a mass in amu is a square of velocities in A/fs
)
COULOMB_EV_A_PER_E2 = 14.399645478  # 1 / (4 pi epsilon_0)
COULOMB_KCAL_A_PER_MOL_E2 = 332.0716  # the value MMFF94 uses
KCAL_MOL_PER_MDYN_A = 143.9325  # the value MMFF94 uses
EV_PER_A3_BAR = 6.241509074e-7  # a bar in eV/A^3
AMU_A2_PER_FS2_EV = KJ_MOL_PER_EV * 1e-4  # an eV in amu A^2/fs^2

"""Forty frames of aspirin (XTC + PDB) continued by `equidrift forecast`; the result
opened in MDAnalysis, ASE and OpenMM. `tools/make_example_trajectory.py` made the frames.
"""

import subprocess
import sys
from pathlib import Path

import MDAnalysis as mda
import openmm
from MDAnalysis.analysis.rms import RMSD
from openmm import app, unit

import equidrift
from equidrift.adapters.ase.calculators import MMFF

n = int(sys.argv[1]) if len(sys.argv) > 1 else 3
model = sys.argv[2] if len(sys.argv) > 2 else "default"
data = Path(__file__).parent / "data"
command = ["forecast", data / "aspirin.xtc", "--top", data / "aspirin.pdb"]
command += ["--frames", "20", "-n", str(n), "-o", "next.xtc"]
subprocess.run([sys.executable, "-m", "equidrift.cli.main", *command, "--model", model], check=True)

files = [f"next_{k:04d}.xtc" for k in range(n)] if n > 1 else ["next.xtc"]
for file in files:
    universe = mda.Universe("next.top.pdb", file)
    rmsd_A = RMSD(universe, select="not element H").run().results.rmsd[:, 2]
    print(
        f"MDAnalysis: {file}: {len(universe.trajectory)} frames, dt {universe.trajectory.dt:.3f} "
        f"ps, RMSD {rmsd_A[-1]:.2f} A at the end"
    )

last = equidrift.load_trajectory(files[0], "next.top.pdb").to_ase()[-1]
last.calc = MMFF()
print(f"ASE: {last.info['time_fs']:.0f} fs, {last.get_potential_energy():.3f} eV")

pdb = app.PDBFile("next.top.pdb")
system = equidrift.mmff_system(equidrift.load_trajectory(files[0], "next.top.pdb").molecule)
simulation = app.Simulation(pdb.topology, system, openmm.LangevinMiddleIntegrator(300, 1, 0.0005))
simulation.context.setPositions(last.positions * unit.angstrom)
energy = simulation.context.getState(energy=True).getPotentialEnergy()
print(
    f"OpenMM: {energy / unit.AVOGADRO_CONSTANT_NA / unit.elementary_charge / unit.volt:.3f} eV; "
    "goes on from there"
)
simulation.step(10)

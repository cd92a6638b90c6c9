"""The `sh` and `py` blocks of README and guide, which stand on files and objects of the
reader's: they run, once a test has put such there.

The blocks `bash` and `python` stand for themselves and run in test_readme.py.
"""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import pytest

from tests.e2e.test_readme import IN_ONE_PROCESS, PAGES, ROOT, blocks, commands_of, run_python

# what a page may hold beside the blocks that run; test_shards.py runs the script for SLURM
SHOWN = {"toml", "slurm"}

# beginning of a block -> what the reader has before it
GIVEN = {
    "equidrift md": """
        from openmm import app
        from openmmtools.testsystems import AlanineDipeptideVacuum

        system = AlanineDipeptideVacuum()
        with open("ala2.pdb", "w") as file:
            app.PDBFile.writeFile(system.topology, system.positions, file)
        """,
    'equidrift sample "CC(=O)Nc1ccc(OCC(O)CNC(C)C)cc1" --fix': """
        import equidrift

        equidrift.sample("CC(=O)Nc1ccccc1", 1, model="etkdg").save("core.sdf")
        open("noe.txt", "w").write("0 5 4.0 6.5\\n")
        """,
    "equidrift train conformers": """
        import equidrift

        equidrift.sample("CCO", 2, model="etkdg").save("mine.sdf")
        """,
    "from equidrift.adapters.ase.calculators import": """
        import numpy as np

        import equidrift

        ensemble = equidrift.sample("CCO", 1, model="etkdg")
        (atoms,) = ensemble.to_ase()
        numbers, positions_A = atoms.numbers, atoms.positions
        forces = np.full((len(atoms), 3), np.nan)
        forces[0] = (0.1, 0.0, -0.2)
        """,
    "from equidrift.adapters.openmm.pace": """
        import openmm
        from openmm import app

        import equidrift
        from equidrift.adapters.openmm.sampler import ProposalSampler
        from equidrift.montecarlo.proposals import uniform_proposer
        from equidrift.torsions import TorsionTree

        ensemble = equidrift.sample("CCCCO", 1, model="etkdg")
        topology, positions = ensemble.to_openmm()
        integrator = openmm.LangevinMiddleIntegrator(300, 1, 0.001)
        simulation = app.Simulation(
            topology, equidrift.mmff_system(ensemble.molecule), integrator
        )
        simulation.context.setPositions(positions[0])
        proposer = uniform_proposer(TorsionTree.of(ensemble.molecule))
        ligand = None
        """,
    "from equidrift.models.molecules.latent.space": """
        import equidrift

        (mol_a, x_a), (mol_b, x_b) = (
            (made.molecule, made.positions_A[0])
            for made in (equidrift.sample(s, 1, model="etkdg") for s in ("CCO", "CC(C)O"))
        )
        molecule, positions_A = mol_a, x_a
        from equidrift.models.molecules.latent.space import load_space

        library = load_space().encode_many([(mol_a, x_a), (mol_b, x_b)] * 6)
        """,
    "from equidrift.models.molecules.spectra": """
        import equidrift

        frequencies_cm1, intensities = [1050.0, 2900.0, 3650.0], [1.2, 0.8, 0.5]
        candidates = [
            (made.molecule, made.positions_A[0])
            for made in (equidrift.sample(s, 1, model="etkdg") for s in ("CCO", "COC"))
        ]
        """,
    "from equidrift.adapters.openmm.sampler": """
        import openmm
        from openmm import app

        import equidrift
        from equidrift.torsions import TorsionTree

        ensemble = equidrift.sample("CCCCO", 1, model="etkdg")
        topology, positions = ensemble.to_openmm()
        integrator = openmm.LangevinMiddleIntegrator(300, 1, 0.001)
        system = equidrift.mmff_system(ensemble.molecule)
        simulation = app.Simulation(topology, system, integrator)
        simulation.context.setPositions(positions[0])
        tree = TorsionTree.of(ensemble.molecule)
        """,
    "equidrift align": """
        import numpy as np

        import equidrift

        for name, smiles in (("a", "CCCO"), ("b", "CCCN"), ("crown", "C1COCCOCCOCCO1")):
            equidrift.sample(smiles, 1, model="etkdg").save(f"{name}.sdf")
        points = np.random.default_rng(0).standard_normal((20, 3))
        np.save("cloud.npy", points)
        np.savetxt("mesh.csv", points[::-1] + 1, delimiter=",")
        """,
    "equidrift generate -n 20 --fragment aryl.sdf": """
        import equidrift

        for name, smiles in (
            ("aryl", "Cc1ccc(F)cc1"),
            ("ring", "CC1CCOC1"),
            ("chain", "NCCCCC#N"),
        ):
            equidrift.sample(smiles, 1, model="etkdg-mmff").save(f"{name}.sdf")
        """,
    "equidrift generate -n 20 --pocket": """
        import equidrift

        crown = equidrift.sample("C1COCCOCCOCCOCCOCCO1", 1, model="etkdg-mmff")
        crown.save("receptor.pdb")
        guest = equidrift.sample("CO", 1, model="etkdg")
        middle = crown.positions_A[0].mean(0) - guest.positions_A[0].mean(0)
        guest.replace(positions_A=guest.positions_A + middle).save("reference.sdf")
        """,
    "equidrift generate -n 20 --spectrum": """
        import sys
        from pathlib import Path

        sys.path.insert(0, str(Path("examples").resolve().parent))
        from equidrift.models.molecules.joint.train import run_training
        from tests.models.molecules.spectral import config_of, curve_file

        curve_file(Path("ir.csv"))
        sizes = {"name": "joint-spectra", "network": {"spectrum": 3}, "batch": 2}
        config = config_of(Path(), 1, init="joint", **sizes)
        run_training(config, Path("runs/joint-spectra"), None, False, None)
        """,
    "equidrift report": """
        import json
        from pathlib import Path

        import equidrift

        for name in ("ibuprofen.sdf", "library.sdf", "new.sdf", "gap.sdf"):
            equidrift.sample("CCO", 2, model="etkdg").save(name)
        Path("library.json").write_text(json.dumps({"command": "sample", "failures": []}))
        equidrift.md("CCCC", "out.xtc", time_ps=2, proposals="none", md_steps=50)
        equidrift.sample("CCO", 3, model="etkdg").save("next.xtc")
        equidrift.sample("CCO", 1, model="etkdg").save("aspirin.pdb")
        """,
    "from equidrift.models.rigid": """
        import numpy as np
        import openmm
        from openmm import app, unit
        from scipy.spatial.transform import Rotation

        from equidrift.adapters.openmm.sampler import ProposalSampler

        topology = app.Topology()
        chain = topology.addChain()
        residue = topology.addResidue("HOH", chain)
        names = ("O", "oxygen"), ("H1", "hydrogen"), ("H2", "hydrogen")
        o, h1, h2 = (
            topology.addAtom(name, app.Element.getBySymbol(name[0]), residue) for name, _ in names
        )
        topology.addBond(o, h1)
        topology.addBond(o, h2)
        topology.addAtom("NA", app.Element.getBySymbol("Na"), topology.addResidue("NA", chain))
        positions_A = np.array([[0, 0, 0], [0.757, 0, 0.586], [-0.757, 0, 0.586], [0.3, 0.4, -2.4]])
        system = app.ForceField("amber14/tip3p.xml").createSystem(topology)
        integrator = openmm.LangevinMiddleIntegrator(300, 1, 0.001)
        simulation = app.Simulation(topology, system, integrator)
        simulation.context.setPositions(positions_A * unit.angstrom)
        frames_A = []
        for turn in Rotation.random(40, rng=np.random.default_rng(0)):
            moved = positions_A.copy()
            moved[:3] = (positions_A[:3] - positions_A[3]) @ turn.as_matrix().T + positions_A[3]
            frames_A.append(moved)
        ligand_atoms, pocket_atoms = [0, 1, 2], [3]
        """,
    "from equidrift.adapters.openmm.cells": """
        import openmm
        from openmm import app
        from openmmtools.testsystems import LennardJonesFluid

        box = LennardJonesFluid(nparticles=64)
        integrator = openmm.LangevinMiddleIntegrator(300, 1, 0.001)
        simulation = app.Simulation(box.topology, box.system, integrator)
        simulation.context.setPositions(box.positions)
        """,
    "from equidrift.models.trajectories.arrays": """
        import numpy as np

        rng = np.random.default_rng(0)
        start, speed = rng.standard_normal((2, 8, 1, 4, 3))
        positions = start + 0.05 * speed * np.arange(30)[None, :, None, None]
        nodes, edges = np.ones((8, 4, 1)), np.ones((8, 4, 4, 1))
        first_frames = positions[0, :10]
        """,
}
# what takes long, and what a test takes instead
SHORTER = {
    "range(1000)": "range(3)",
    "--time 200ps": "--time 4ps --adapt 4ps --md-steps 20",
    "--pocket crown.sdf": "--pocket crown.sdf --starts 2 --conformers 1",
    "-n 10000": "-n 2 --batch-size 1",
    "--shard 1/20": "--shard 1/2",
    "-n 100": "-n 2",
    "-n 20": "-n 2",
    "--budget 2m": "--budget 3s",
    "--budget 4m": "--budget 6s",
    "budget_s=240": "budget_s=2",
}
# trainings, and a longer copy of README's block
SLOW = {"conformers-sh-1", "molecules-sh-0", "trajectories-py-0"}
BLOCKS = [
    pytest.param(
        language,
        block,
        id=f"{page}-{language}-{k}",
        marks=[pytest.mark.slow] if f"{page}-{language}-{k}" in SLOW else [],
    )
    for page, text in PAGES.items()
    for language in ("sh", "py")
    for k, block in enumerate(blocks(language, text))
]


@pytest.mark.parametrize("page", PAGES)
def test_every_block_of_a_page_runs_somewhere(page: str) -> None:
    languages = set(re.findall(r"^```(\S+)$", PAGES[page], flags=re.MULTILINE))
    assert languages <= {"bash", "python", "sh", "py"} | SHOWN


@pytest.mark.long
@pytest.mark.parametrize(("language", "block"), BLOCKS)
def test_block_runs_on_what_a_reader_has(language: str, block: str, tmp_path: Path) -> None:
    given = [code for start, code in GIVEN.items() if block.startswith(start)]
    for long, short in SHORTER.items():
        block = block.replace(long, short)
    before = textwrap.dedent("\n".join(given))
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    if language == "py":
        run_python(["-c", f"{before}\n{block}"], tmp_path)
        return
    if before:
        run_python(["-c", before], tmp_path)
    run_python(["-c", IN_ONE_PROCESS, commands_of([block])], tmp_path)

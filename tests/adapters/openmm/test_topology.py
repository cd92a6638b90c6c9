"""Ensembles in OpenMM: round trips, the careful start, and short dynamics from every
conformer.
"""

from __future__ import annotations

import os
from pathlib import Path

import MDAnalysis
import numpy as np
import openmm
import pytest
from openmm import app, unit
from rdkit import Chem
from rdkit.Chem import rdDistGeom

from equidrift.adapters.openmm.simulation import closest_pair, prepare
from equidrift.adapters.openmm.topology import from_topology, to_openmm, to_topology
from equidrift.adapters.rdkit.molecule import from_mol
from equidrift.errors import InputError, InputTypeError, NoValidSamplesError, UnknownNameError
from equidrift.inputs import from_openmm
from equidrift.mmff import mmff_system
from equidrift.records import Ensemble, Molecule
from equidrift.simulate import swarm
from equidrift.units import KJ_MOL_PER_EV, NM_PER_A

ROUND_TRIP = [
    "C[C@H](N)C(=O)O",
    "C/C=C/[C@@H](F)Cl",
    "C/C=C\\C",
    "C[S@](=O)c1ccccc1",
    "C[N+](C)(C)CC([O-])=O",
    "COP(=O)(OC)O[C@H]1CC[C@@H](Br)CC1",
    "C#C[C@@H]1C[C@H]1I",
    "c1ccc2[nH]ccc2c1",
    "O=[N+]([O-])c1ccco1",
    "C[C@@H]1O[C@H]1C#N",
]
REFERENCE = openmm.Platform.getPlatform("Reference")


def embedded(smiles: str, n: int = 2) -> Ensemble:
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    ids = rdDistGeom.EmbedMultipleConfs(mol, n, randomSeed=11)
    return Ensemble(from_mol(mol, smiles=smiles), [mol.GetConformer(k).GetPositions() for k in ids])


def context_of(system: openmm.System) -> openmm.Context:
    return openmm.Context(system, openmm.VerletIntegrator(0.001), REFERENCE)


def in_nm(quantity: unit.Quantity) -> np.ndarray:
    return np.asarray(quantity.value_in_unit(unit.nanometer))


# Topology -----------------------------------------------------------------------------


@pytest.mark.parametrize("smiles", ROUND_TRIP)
def test_round_trip_keeps_the_graph_its_stereo_and_the_positions(smiles):
    ensemble = embedded(smiles)
    back = from_openmm(*to_openmm(ensemble))
    assert back.molecule.key()[:4] == ensemble.molecule.key()[:4]
    assert Chem.MolToSmiles(back.to_rdkit()) == Chem.MolToSmiles(ensemble.to_rdkit())
    assert back.molecule == ensemble.molecule
    np.testing.assert_allclose(back.positions_A, ensemble.positions_A, atol=1e-12)


def test_stereo_left_open_is_read_from_the_first_conformer():
    ensemble = embedded("CC(F)Cl", 1)
    assert not len(ensemble.molecule.tetrahedral)
    assert len(from_openmm(*to_openmm(ensemble)).molecule.tetrahedral) == 1
    assert not len(from_openmm(to_openmm(ensemble)[0]).tetrahedral)


def test_round_trip_through_a_context():
    ensemble = embedded("C[C@H](N)C(=O)O", 1)
    topology, positions = ensemble.to_openmm()
    simulation = app.Simulation(
        topology, mmff_system(ensemble.molecule), openmm.VerletIntegrator(0.001), REFERENCE
    )
    simulation.context.setPositions(positions[0])
    back = from_openmm(topology, simulation.context.getState(positions=True).getPositions())
    assert back.molecule == ensemble.molecule
    np.testing.assert_allclose(back.positions_A, ensemble.positions_A, atol=1e-9)


def test_topology_carries_charges_orders_and_default_names():
    topology = to_topology(Molecule.from_smiles("C[N+](=O)[O-]"))
    assert [atom.name for atom in topology.atoms()] == ["C1", "N1", "O1", "O2", "H1", "H2", "H3"]
    assert [atom.formalCharge for atom in topology.atoms()] == [0, 1, 0, -1, 0, 0, 0]
    assert [(bond.type, bond.order) for bond in topology.bonds()][:3] == [
        (app.Single, 1),
        (app.Double, 2),
        (app.Single, 1),
    ]
    assert [residue.name for residue in topology.residues()] == ["MOL"]
    aromatic = to_topology(Molecule.from_smiles("c1ccccc1"))
    assert all(
        bond.type is app.Aromatic and bond.order is None for bond in list(aromatic.bonds())[:6]
    )


def test_names_and_residues_are_kept():
    molecule = Molecule.from_smiles("CO.O").replace(
        atom_names=("CA", "OB", "OW", "HA", "HB", "HC", "HO", "HW", "HV"),
        residue_names=("MEO", "MEO", "HOH", "MEO", "MEO", "MEO", "MEO", "HOH", "HOH"),
        residue_ids=(7, 7, 9, 7, 7, 7, 7, 9, 9),
    )
    back = from_topology(to_topology(molecule))
    assert (back.atom_names, back.residue_names, back.residue_ids) == (
        molecule.atom_names,
        molecule.residue_names,
        molecule.residue_ids,
    )


def test_a_dative_bond_survives():
    molecule = Molecule([7, 30], [(0, 1)], [0.0], [0, 2])
    assert from_topology(to_topology(molecule)).key() == molecule.key()


def test_a_residue_id_that_is_no_number_becomes_its_index():
    topology = app.Topology()
    topology.addAtom(
        "O",
        app.Element.getBySymbol("O"),
        topology.addResidue("HOH", topology.addChain(), id="A00F"),
        formalCharge=0,
    )
    assert from_topology(topology).residue_ids == (1,)


def test_amide_bonds_are_single():
    topology = to_topology(Molecule.from_smiles("NC=O"))
    next(iter(topology.bonds()))  # N-C comes first
    topology._bonds[0] = app.topology.Bond(*topology._bonds[0][:2], type=app.Amide, order=None)
    assert from_topology(topology).bond_orders[0] == 1.0


def test_topologies_that_lack_something_say_what_and_how_to_go_on():
    bare = app.Topology()
    residue = bare.addResidue("MOL", bare.addChain())
    a, b = (bare.addAtom(name, app.Element.getBySymbol("C"), residue) for name in ("C1", "C2"))
    with pytest.raises(
        InputError,
        match=r"2 atoms have no formal charge, the first is C1 \(atom 0\); set atom.formalCharge",
    ):
        from_topology(bare)
    with pytest.raises(InputError, match="formal_charges has 3 entries for 2 atoms"):
        from_topology(bare, formal_charges=[0, 0, 0])
    assert from_topology(bare, formal_charges=[0, -1]).charge == -1
    bare.addBond(a, b)
    with pytest.raises(
        InputError,
        match=r"bond C1-C2 \(atoms 0 and 1\) has no order; set bond.order.*SMILES, SDF or PDB",
    ):
        from_topology(bare, formal_charges=[0, 0])
    bare.addAtom("EP", None, residue)
    with pytest.raises(InputError, match=r"atom 2 \(EP\) has no element; remove virtual sites"):
        from_topology(bare)
    with pytest.raises(InputTypeError, match=r"topology must be an openmm.app.Topology, not str"):
        from_topology("x.pdb")


def test_positions_come_as_quantities_or_bare_nm():
    ensemble = embedded("CO", 2)
    topology, positions = to_openmm(ensemble)
    as_vec3 = [openmm.Vec3(*row) for row in in_nm(positions[0])]
    for one in (
        positions[0],
        in_nm(positions[0]),
        unit.Quantity(as_vec3, unit.nanometer),
        [row * unit.nanometer for row in as_vec3],
    ):
        np.testing.assert_allclose(
            from_topology(topology, one).positions_A, ensemble.positions_A[:1], atol=1e-12
        )
    for both in (
        positions,
        np.array([in_nm(frame) for frame in positions]),
        [in_nm(frame) for frame in positions],
    ):
        np.testing.assert_allclose(
            from_topology(topology, both).positions_A, ensemble.positions_A, atol=1e-12
        )
    with pytest.raises(
        InputError, match=r"positions have shape \(1, 5, 3\), expected \(6, 3\) or \(any, 6, 3\)"
    ):
        from_topology(topology, positions[0][:5])


# A careful start ----------------------------------------------------------------------


def test_prepare_minimises_and_draws_seeded_velocities():
    ensemble = embedded("CC(=O)NC", 1)
    _, positions = to_openmm(ensemble)
    context = context_of(mmff_system(ensemble.molecule))
    before = prepare(context, positions[0], minimize=False)
    assert np.all(
        in_nm(context.getState(positions=True).getPositions(asNumpy=True)) == in_nm(positions[0])
    )
    after = prepare(context, positions[0], temperature_K=300, seed=0)
    assert after < before
    state = context.getState(energy=True, velocities=True, forces=True)
    assert after == pytest.approx(
        state.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole) / KJ_MOL_PER_EV
    )
    assert np.sqrt(np.mean(np.square(state.getForces(asNumpy=True)._value))) < 20
    velocities = [state.getVelocities(asNumpy=True)._value]
    for seed in (0, 1, None):
        prepare(context, positions[0], temperature_K=300, seed=seed)
        velocities.append(context.getState(velocities=True).getVelocities(asNumpy=True)._value)
    np.testing.assert_array_equal(velocities[0], velocities[1])
    assert not np.allclose(velocities[0], velocities[2]) and not np.allclose(
        velocities[0], velocities[3]
    )
    prepare(context, positions[0])
    assert not context.getState(velocities=True).getVelocities(asNumpy=True)._value.any()


def test_prepare_takes_a_simulation_and_keeps_constraints():
    ensemble = embedded("CCO", 1)
    topology, positions = to_openmm(ensemble)
    system = mmff_system(ensemble.molecule, constraints="HBonds")
    simulation = app.Simulation(topology, system, openmm.VerletIntegrator(0.002), REFERENCE)
    prepare(simulation, positions[0], temperature_K=300, seed=5)
    x = in_nm(simulation.context.getState(positions=True).getPositions(asNumpy=True))
    for k in range(system.getNumConstraints()):
        i, j, length = system.getConstraintParameters(k)
        assert np.linalg.norm(x[i] - x[j]) == pytest.approx(length._value, rel=1e-4)


def test_prepare_repairs_a_bad_but_not_overlapping_geometry():
    ensemble = embedded("CC(=O)NC", 1)
    x = ensemble.positions_A[0] + np.random.default_rng(0).normal(
        0, 0.2, ensemble.positions_A[0].shape
    )
    context = context_of(mmff_system(ensemble.molecule))
    good = prepare(context, ensemble.positions_A[0] * NM_PER_A)
    assert abs(prepare(context, x * NM_PER_A) - good) < 0.5


def test_prepare_names_what_is_wrong_before_it_touches_the_context():
    ensemble = embedded("CCO", 1)
    context = context_of(mmff_system(ensemble.molecule))
    x = ensemble.positions_A[0] * NM_PER_A
    context.setPositions(x)
    overlapping = x.copy()
    overlapping[5] = overlapping[1] + [0.01, 0, 0]
    with pytest.raises(
        InputError,
        match=r"atoms 1 and 5 lie 0.100 A apart, closer than min_distance_A=0.5; "
        r".*min_distance_A=0 switches",
    ):
        prepare(context, overlapping)
    broken = x.copy()
    broken[3:5, 1] = np.nan
    with pytest.raises(InputError, match=r"positions of atom 3 are not finite \(2 such atoms\)"):
        prepare(context, broken)
    with pytest.raises(InputError, match=r"positions have shape \(1, 8, 3\), expected \(9, 3\)"):
        prepare(context, x[:8])
    with pytest.raises(InputError, match="positions hold 2 conformers, and a Context takes one"):
        prepare(context, np.array([x, x]))
    np.testing.assert_allclose(
        in_nm(context.getState(positions=True).getPositions(asNumpy=True)), x
    )


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        (
            {"temperature_K": 0},
            InputError,
            "temperature_K must be positive and finite, not 0; give for example temperature_K=300",
        ),
        (
            {"temperature_K": float("nan")},
            InputError,
            "temperature_K must be positive and finite, not nan",
        ),
        (
            {"temperature_K": 300 * unit.kelvin},
            InputTypeError,
            "temperature_K must be a number without OpenMM units",
        ),
        ({"temperature_K": 300, "seed": -1}, InputError, "seed must lie in"),
        ({"temperature_K": 300, "seed": 1.5}, InputTypeError, "seed must be an integer"),
        (
            {"min_distance_A": -1},
            InputError,
            "min_distance_A must be 0 or a positive length, not -1",
        ),
    ],
)
def test_prepare_refuses_bad_options(options, error, words):
    ensemble = embedded("C", 1)
    with pytest.raises(error, match=words):
        prepare(context_of(mmff_system("C")), ensemble.positions_A[0] * NM_PER_A, **options)


def test_prepare_needs_a_context_or_simulation():
    with pytest.raises(
        InputTypeError, match=r"expected an openmm.app.Simulation or an openmm.Context, not System"
    ):
        prepare(openmm.System(), np.zeros((1, 3)))


def poisoned(molecule: Molecule, expression: str) -> openmm.System:
    """MMFF94 and a force that breaks on atom 2."""
    system = mmff_system(molecule)
    force = openmm.CustomExternalForce(expression)
    force.addParticle(2, [])
    system.addForce(force)
    return system


def test_prepare_reports_an_energy_that_is_not_finite(monkeypatch):
    ensemble = embedded("CCO", 1)
    x = ensemble.positions_A[0] * NM_PER_A
    with pytest.raises(
        InputError,
        match=r"the energy before minimisation is nan kJ/mol and the force on atom 2 is not "
        r"finite; check that",
    ):
        prepare(context_of(poisoned(ensemble.molecule, "sqrt(-1 - x^2)")), x)
    monkeypatch.setattr(
        openmm.LocalEnergyMinimizer, "minimize", lambda context, _: context.setPositions(x * np.nan)
    )
    with pytest.raises(
        InputError,
        match=r"the energy after minimisation to 1000 kJ/mol/nm is nan kJ/mol and the force "
        r"on atom 0 is not",
    ):
        prepare(context_of(mmff_system(ensemble.molecule)), x)


def test_closest_pair_is_that_of_the_whole_distance_matrix():
    rng = np.random.default_rng(2)
    for _ in range(20):
        x = rng.uniform(0, 6, (40, 3))
        distances = np.linalg.norm(x[:, None] - x[None], axis=-1) + 99 * np.eye(40)
        i, j = np.unravel_index(distances.argmin(), distances.shape)
        assert closest_pair(x, 3.0) == (min(i, j), max(i, j), pytest.approx(distances.min()))
        assert closest_pair(x, float(distances.min())) is None
    assert closest_pair(np.zeros((1, 3)), 1.0) is None


def test_virtual_sites_may_sit_near_their_atoms():
    system = openmm.System()
    for mass in (16.0, 1.0, 0.0):
        system.addParticle(mass)
    system.setVirtualSite(2, openmm.TwoParticleAverageSite(0, 1, 0.9, 0.1))
    prepare(context_of(system), np.array([[0, 0, 0], [0.1, 0, 0], [0, 0, 0]]))


# Dynamics from every conformer --------------------------------------------------------


@pytest.mark.parametrize("format", ["xtc", "dcd"])
def test_swarm_writes_one_readable_trajectory_a_conformer(tmp_path, format):
    ensemble = embedded("C[C@H](F)CO", 3)
    seen = []
    result = swarm(
        ensemble,
        None,
        0.05,
        output=f"{tmp_path}/new/",
        format=format,
        interval_ps=0.01,
        platform="Reference",
        progress=seen.append,
    )
    assert [path.name for path in result.trajectories] == [
        f"conformer_000{k}.{format}" for k in range(3)
    ]
    assert result.topology == tmp_path / "new" / "topology.pdb"
    assert len(result) == 3 and not result.failures and np.isfinite(result.energies_eV).all()
    assert seen[-1] == {"stage": "swarm", "done": 3, "total": 3, "failed": 0} and len(seen) == 3
    assert "3 of 3 trajectories" in repr(result)
    bonds = ensemble.molecule.bonds
    lengths = np.linalg.norm(
        ensemble.positions_A[0][bonds[:, 0]] - ensemble.positions_A[0][bonds[:, 1]], axis=1
    )
    for path in result.trajectories:
        universe = MDAnalysis.Universe(str(result.topology), str(path))
        assert universe.atoms.elements.tolist() == ensemble.molecule.symbols
        frames = np.array([universe.atoms.positions.copy() for _ in universe.trajectory])
        assert len(frames) == 5
        drawn = np.linalg.norm(frames[:, bonds[:, 0]] - frames[:, bonds[:, 1]], axis=2)
        assert np.abs(drawn - lengths).max() < 0.3
        assert np.abs(np.diff(frames, axis=0)).max() > 0.005
        assert [ts.time for ts in universe.trajectory] == pytest.approx(
            [0.01, 0.02, 0.03, 0.04, 0.05], abs=1e-4
        )


@pytest.mark.parametrize(
    ("platform", "properties"), [("Reference", None), ("CPU", {"Threads": "1"})]
)
def test_swarm_is_reproducible_by_seed_and_each_conformer_by_itself(tmp_path, platform, properties):
    ensemble = embedded("CCO", 2)
    options = {
        "time_ps": 0.02,
        "interval_ps": 0.01,
        "platform": platform,
        "platform_properties": properties,
    }

    def frames(name: str, seed: int, system: openmm.System | None = None) -> list[bytes]:
        result = swarm(ensemble, system, output=tmp_path / name, seed=seed, **options)
        return [path.read_bytes() if path else b"" for path in result.trajectories]

    first = frames("a", 0)
    assert frames("b", 0) == first
    assert all(one != other for one, other in zip(frames("c", 1), first, strict=True))
    assert sorted(path.name for path in tmp_path.glob("a*")) == [
        "a.top.pdb",
        "a_0000.xtc",
        "a_0001.xtc",
    ]


def test_swarm_takes_a_system_and_a_force_field(tmp_path):
    water = embedded("O", 2)
    forcefield = app.ForceField("tip3p.xml")
    water = water.replace(
        molecule=water.molecule.replace(
            atom_names=("O", "H1", "H2"), residue_names=("HOH",) * 3, residue_ids=(1,) * 3
        )
    )
    result = swarm(water, forcefield, 0.01, output=tmp_path / "tip3p", platform="Reference")
    assert np.isfinite(result.energies_eV).all()
    ethanol = embedded("CCO", 2)
    for system in (
        mmff_system("CCO", hydrogenMass_amu=3.0),
        mmff_system("CCO", constraints="HBonds"),
    ):
        assert not swarm(
            ethanol, system, 0.01, output=tmp_path / "own", platform=REFERENCE, overwrite=True
        ).failures
    with pytest.raises(
        InputError,
        match=r"ForceField has no parameters for Molecule\(CCO.*No template "
        r"found.*system=None for MMFF94",
    ):
        swarm(ethanol, forcefield, 0.01, output=tmp_path / "x")


def test_one_failing_conformer_costs_only_itself(tmp_path):
    ensemble = embedded("CCO", 3)
    x = ensemble.positions_A.copy()
    x[1, 4] = x[1, 0]
    result = swarm(
        ensemble.replace(positions_A=x), None, 0.01, output=tmp_path / "r", platform="Reference"
    )
    assert result.trajectories[1] is None and result.trajectories[2] == tmp_path / "r_0002.xtc"
    assert list(result.failures) == [1] and "atoms 0 and 4 lie 0.000 A apart" in result.failures[1]
    assert np.isnan(result.energies_eV).tolist() == [False, True, False]
    alone = swarm(ensemble, None, 0.01, output=tmp_path / "alone", platform="Reference")
    assert alone.trajectories[2].read_bytes() == result.trajectories[2].read_bytes()


def test_every_conformer_failing_is_an_error_with_the_reasons(tmp_path):
    ensemble = embedded("CCO", 2)
    with pytest.raises(
        NoValidSamplesError,
        match=r"failed for every conformer. Rejected: positions of atom 0 are not finite.* 2\.",
    ):
        swarm(
            ensemble.replace(positions_A=ensemble.positions_A * np.nan),
            None,
            0.01,
            output=tmp_path / "r",
        )


def test_a_run_that_blows_up_leaves_no_half_file(tmp_path):
    ensemble = embedded("CCO", 1)
    with pytest.raises(NoValidSamplesError, match="every conformer"):
        swarm(
            ensemble,
            None,
            5,
            timestep_fs=50,
            interval_ps=0.05,
            output=tmp_path / "r",
            platform="Reference",
        )
    assert sorted(path.name for path in tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        (
            {"time_ps": 0.0001},
            InputError,
            "time_ps=0.0001 is less than one step of timestep_fs=1; give at least 0.001",
        ),
        ({"time_ps": -1}, InputError, "time_ps must be positive and finite, not -1"),
        (
            {"time_ps": "1ns"},
            InputTypeError,
            "time_ps must be a number without OpenMM units, not '1ns'",
        ),
        ({"timestep_fs": 0}, InputError, "timestep_fs must be positive and finite, not 0"),
        ({"friction_per_ps": -1}, InputError, "friction_per_ps must be positive"),
        ({"temperature_K": -5}, InputError, "temperature_K must be positive and finite, not -5"),
        (
            {"interval_ps": 2},
            InputError,
            r"interval_ps=2 must lie between one step \(0.001 ps\) and the whole time \(0.01 ps\)",
        ),
        (
            {"format": "xtv"},
            UnknownNameError,
            "unknown trajectory format 'xtv'. Did you mean 'xtc'",
        ),
        (
            {"platform": "Refrence"},
            UnknownNameError,
            "unknown OpenMM platform 'Refrence'. Did you mean 'Reference'",
        ),
        ({"seed": -1}, InputError, "seed must lie in"),
        (
            {"system": "mmff"},
            InputTypeError,
            r"system must be an openmm.System or app.ForceField, not str",
        ),
        (
            {"output": "/proc/nowhere/x"},
            InputError,
            "cannot make the folder /proc/nowhere for output='/proc/nowhere/x'",
        ),
    ],
)
def test_swarm_refuses_bad_options(tmp_path, options, error, words):
    with pytest.raises(error, match=words):
        swarm(
            **({"ensemble": embedded("C", 1), "time_ps": 0.01, "output": tmp_path / "x"} | options)
        )


def test_swarm_refuses_a_folder_it_cannot_write_in(tmp_path, monkeypatch):
    (tmp_path / "x.top.pdb").mkdir()
    with pytest.raises(
        InputError, match=r"x.top.pdb' exists and is no run of this command; .*overwrite=True"
    ):
        swarm(embedded("C", 1), None, 0.01, output=tmp_path / "x")
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write anywhere
    with pytest.raises(
        InputError,
        match=r"cannot write in the folder .*; choose another, or change its permissions",
    ):
        swarm(embedded("C", 1), None, 0.01, output=tmp_path / "y")


def test_swarm_refuses_an_empty_ensemble(tmp_path):
    with pytest.raises(InputError, match="the ensemble holds no conformers"):
        swarm(
            Ensemble(Molecule.from_smiles("C"), np.zeros((0, 5, 3))),
            None,
            0.01,
            output=tmp_path / "x",
        )


def test_swarm_refuses_the_system_of_another_molecule(tmp_path):
    ensemble = embedded("CCO", 1)

    def run(system: openmm.System) -> None:
        swarm(ensemble, system, 0.01, output=Path(tmp_path) / "x", platform="Reference")

    with pytest.raises(
        InputError,
        match=r"System has 6 particles, but Molecule\(CCO, 9 atoms, charge \+0\) has 9 "
        r"atoms; .*no solvent",
    ):
        run(mmff_system("CO"))
    with pytest.raises(
        InputError,
        match=r"particle 1 of the System weighs 15.999 amu, but atom 1 of .* is C \(12.011 "
        r"amu\); .*its order",
    ):
        run(mmff_system("COC"))
    swapped = mmff_system("CCO")
    swapped.setParticleMass(0, 1.008)
    swapped.setParticleMass(3, 12.011)
    with pytest.raises(
        InputError, match=r"particle 3 of the System weighs 12.011 amu, but atom 3 .* is H"
    ):
        run(swapped)


def test_fixed_atoms_are_no_mismatch(tmp_path):
    held = mmff_system("CCO")
    held.setParticleMass(0, 0.0)
    assert not swarm(
        embedded("CCO", 1), held, 0.01, output=tmp_path / "x", platform="Reference"
    ).failures

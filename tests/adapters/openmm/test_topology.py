"""Ensembles in OpenMM: round trips, and the careful start of a simulation."""

from __future__ import annotations

import numpy as np
import openmm
import pytest
from openmm import app, unit
from rdkit import Chem

from equidrift.adapters.openmm.simulation import closest_pair, prepare
from equidrift.adapters.openmm.topology import from_topology, to_openmm, to_topology
from equidrift.errors import InputError, InputTypeError
from equidrift.inputs import from_openmm
from equidrift.mmff import mmff_system
from equidrift.records import Molecule
from equidrift.units import KJ_MOL_PER_EV, NM_PER_A
from tests.adapters.openmm.starting import REFERENCE, embedded

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


def context_of(system: openmm.System) -> openmm.Context:
    return openmm.Context(system, openmm.VerletIntegrator(0.001), REFERENCE)


def in_nm(quantity: unit.Quantity) -> np.ndarray:
    return np.asarray(quantity.value_in_unit(unit.nanometer))


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

"""MMFF94 in OpenMM against RDKit's own energies, term by term and together, and against
finite differences.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import openmm
import pytest
from openmm import unit
from rdkit import Chem, rdBase
from rdkit.Chem import rdDistGeom, rdForceFieldHelpers

from equidrift.adapters.openmm.mmff import GROUPS, to_system
from equidrift.adapters.rdkit.mmff import parameters
from equidrift.errors import InputError, InputTypeError, MoleculeError, UnknownNameError
from equidrift.mmff import as_molecule, mmff_parameters, mmff_system
from equidrift.records import Molecule
from equidrift.units import KJ_MOL_PER_KCAL_MOL, NM_PER_A

# Acids, amines, nitriles and allenes (linear), small rings, aromatics with every
# heteroatom, halogens, S, P, Si, ions, sugars.
MOLECULES = [
    ["CC(C)Cc1ccc(cc1)[C@@H](C)C(=O)O", "CC#CC(=O)N", "C=C=CC#N", "[N-]=[N+]=NCc1ccccc1", "C1CC1N"],
    [
        "CS(=O)(=O)Nc1nccs1",
        "COP(=O)(OC)OC",
        "C[Si](C)(C)Cl",
        "FC(F)(F)c1cc(Br)ccc1I",
        "C[N+](C)(C)CC([O-])=O",
    ],
    [
        "OC[C@H]1O[C@@H](O)[C@H](O)[C@@H](O)[C@@H]1O",
        "c1ccc2[nH]ccc2c1",
        "O=c1cc[nH]c(=O)[nH]1",
        "CSSC",
        "C/C=C/C(=O)OC",
    ],
    [
        "C1CCC2(CC1)OCCO2",
        "O=[N+]([O-])c1ccco1",
        "N#[N+]c1ccccc1",
        "CC(=O)[N-]S(C)(=O)=O",
        "C1=CC2CC1C2",
    ],
    ["C[n+]1ccccc1", "NC(=[NH2+])N", "O=S1CCCC1", "CN1C=NC2=C1C(=O)N(C)C(=O)N2C", "OO"],
]
VARIANTS = ["MMFF94", "MMFF94s"]
CLOSE_KCAL_MOL = 1e-3


def distorted(smiles: str, sigma_A: float = 0.08, seed: int = 1) -> tuple[Chem.Mol, np.ndarray]:
    """An embedded molecule whose atoms have all been pushed a little."""
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    if rdDistGeom.EmbedMolecule(mol, randomSeed=7) != 0:
        raise RuntimeError(f"RDKit cannot embed {smiles}")
    noise = np.random.default_rng(seed).normal(0, sigma_A, (mol.GetNumAtoms(), 3))
    return mol, mol.GetConformer().GetPositions() + noise


def joined(smiles: list[str]) -> tuple[Chem.Mol, np.ndarray]:
    """Several molecules side by side as one Mol: one Context serves them all."""
    mol, positions = Chem.Mol(), []
    for k, one in enumerate(smiles):
        part, x = distorted(one, seed=k)
        mol = Chem.CombineMols(mol, part)
        positions.append(x - x.mean(0) + [12.0 * k, 0, 0])
    Chem.SanitizeMol(mol)
    return mol, np.concatenate(positions)


def rdkit_energy_and_gradient(
    mol: Chem.Mol, x: np.ndarray, variant: str, only: str | None = None
) -> tuple[float, np.ndarray]:
    mol = Chem.Mol(mol)
    conformer = Chem.Conformer(mol.GetNumAtoms())
    conformer.SetPositions(x)
    mol.RemoveAllConformers()
    mol.AddConformer(conformer)
    properties = rdForceFieldHelpers.MMFFGetMoleculeProperties(mol, mmffVariant=variant)
    if only:
        for term in ("Bond", "Angle", "StretchBend", "Oop", "Torsion", "VdW", "Ele"):
            getattr(properties, f"SetMMFF{term}Term")(term == only)
    field = rdForceFieldHelpers.MMFFGetMoleculeForceField(
        mol, properties, nonBondedThresh=1e6, ignoreInterfragInteractions=False
    )
    energy = field.CalcEnergy(
        x.ravel().tolist()
    )  # CalcGrad returns garbage unless CalcEnergy saw the same positions just before
    return energy, np.reshape(field.CalcGrad(x.ravel().tolist()), (-1, 3))


def context_of(system: openmm.System, platform: str = "Reference") -> openmm.Context:
    return openmm.Context(
        system, openmm.VerletIntegrator(0.0005), openmm.Platform.getPlatform(platform)
    )


def energy_and_gradient(
    context: openmm.Context, x: np.ndarray, groups: int | set[int] = -1
) -> tuple[float, np.ndarray]:
    """kcal/mol and kcal/mol/A."""
    context.setPositions(x * NM_PER_A)
    state = context.getState(energy=True, forces=True, groups=groups)
    forces = state.getForces(asNumpy=True).value_in_unit(unit.kilojoule_per_mole / unit.nanometer)
    energy = state.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole)
    return energy / KJ_MOL_PER_KCAL_MOL, -forces * NM_PER_A / KJ_MOL_PER_KCAL_MOL


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("smiles", MOLECULES, ids=lambda s: s[0])
def test_energy_and_forces_are_rdkits(smiles, variant):
    mol, x = joined(smiles)
    energy, gradient = energy_and_gradient(context_of(mmff_system(mol, variant)), x)
    wanted, wanted_gradient = rdkit_energy_and_gradient(mol, x, variant)
    assert abs(energy - wanted) < CLOSE_KCAL_MOL
    np.testing.assert_allclose(gradient, wanted_gradient, atol=1e-6 * np.abs(wanted_gradient).max())


def test_cpu_platform_agrees_too():
    mol, x = joined(MOLECULES[1])
    energy, _ = energy_and_gradient(context_of(mmff_system(mol), "CPU"), x)
    assert abs(energy - rdkit_energy_and_gradient(mol, x, "MMFF94")[0]) < CLOSE_KCAL_MOL


def test_every_term_is_rdkits():
    mol, x = joined(["CC#CC(=O)N", "C=C=CC#N", "CSc1ccc(F)cc1"])
    context = context_of(mmff_system(mol))
    terms = {
        "Bond": {"bond"},
        "Angle": {"angle", "linear angle"},
        "StretchBend": {"stretch-bend"},
        "Oop": {"out-of-plane"},
        "Torsion": {"torsion"},
        "VdW": {"van der Waals"},
        "Ele": {"electrostatics"},
    }
    for term, names in terms.items():
        energy, gradient = energy_and_gradient(context, x, {GROUPS.index(name) for name in names})
        wanted, wanted_gradient = rdkit_energy_and_gradient(mol, x, "MMFF94", term)
        assert abs(wanted) > 0.01, f"the test molecules do not exercise {term}"
        assert abs(energy - wanted) < 1e-6, term
        np.testing.assert_allclose(gradient, wanted_gradient, atol=1e-6, err_msg=term)


def test_forces_are_finite_differences_of_the_energy():
    mol, x = distorted("O=C(N)C#Cc1ccsc1Cl")
    context = context_of(mmff_system(mol))
    _, gradient = energy_and_gradient(context, x)
    step = 1e-4
    for atom, axis in np.ndindex(*x.shape):
        shift = np.zeros_like(x)
        shift[atom, axis] = step
        slope = (
            energy_and_gradient(context, x + shift)[0] - energy_and_gradient(context, x - shift)[0]
        ) / (2 * step)
        assert abs(slope - gradient[atom, axis]) < 1e-4 * max(1.0, abs(slope)), (atom, axis)


def test_s_variant_differs_at_a_conjugated_nitrogen_only():
    def values(smiles: str) -> list[float]:
        mol, x = distorted(smiles)
        return [rdkit_energy_and_gradient(mol, x, variant)[0] for variant in VARIANTS]

    for smiles, differs in (("CC(=O)NC", True), ("CCCC", False)):
        ours = [mmff_parameters(smiles, variant) for variant in VARIANTS]
        changed = any(
            not np.array_equal(getattr(ours[0], name), getattr(ours[1], name))
            for name in ("torsion_V_kcal_mol", "out_of_plane_k_mdyn_A_per_rad2")
        )
        assert changed == differs == (len(set(values(smiles))) == 2)


def test_energy_is_conserved_without_a_thermostat():
    mol, x = distorted("CC(=O)Nc1ccc(O)cc1", 0.0)
    context = openmm.Context(
        mmff_system(mol), openmm.VerletIntegrator(0.0002), openmm.Platform.getPlatform("Reference")
    )
    context.setPositions(x * NM_PER_A)
    openmm.LocalEnergyMinimizer.minimize(context, 10)
    context.setVelocitiesToTemperature(300, 3)
    totals = []
    for _ in range(40):
        context.getIntegrator().step(50)
        state = context.getState(energy=True)
        totals.append(
            (state.getPotentialEnergy() + state.getKineticEnergy()).value_in_unit(
                unit.kilojoule_per_mole
            )
        )
    assert np.std(totals) < 0.05 and abs(np.mean(totals[-10:]) - np.mean(totals[:10])) < 0.05


def test_straight_and_right_angles_give_finite_forces():
    straight = context_of(mmff_system("O"))
    _, gradient = energy_and_gradient(
        straight, np.array([[0.0, 0, 0], [0.96, 0, 0], [-0.96, 0, 0]])
    )
    assert np.isfinite(gradient).all()
    t_shaped = context_of(mmff_system("C=O"))
    _, gradient = energy_and_gradient(
        t_shaped, np.array([[0.0, 0, 0], [0, 1.2, 0], [-1.0, 0, 0], [1.0, 0, 0]])
    )
    assert np.isfinite(gradient).all()
    _, gradient = energy_and_gradient(
        t_shaped, np.array([[0.0, 0, 0], [0, 0, 1.2], [-1.0, 0, 0], [0, 1.0, 0]])
    )
    assert np.isfinite(gradient).all()


def test_smiles_mol_and_molecule_give_the_same_system():
    smiles = "C[C@H](F)C(=O)[O-]"
    texts = {
        openmm.XmlSerializer.serialize(mmff_system(what))
        for what in (
            smiles,
            Chem.MolFromSmiles(smiles),
            Chem.AddHs(Chem.MolFromSmiles(smiles)),
            Molecule.from_smiles(smiles),
        )
    }
    assert len(texts) == 1


def test_forces_are_named_and_grouped_and_physical():
    system = mmff_system("CC#CC(=O)N", "MMFF94s")
    assert [force.getName() for force in system.getForces()] == [
        f"MMFF94s {name}" for name in GROUPS
    ]
    assert [force.getForceGroup() for force in system.getForces()] == list(range(len(GROUPS)))
    assert not system.usesPeriodicBoundaryConditions()
    assert [force.getName() for force in mmff_system("[Na+]").getForces()] == []


def test_callers_mol_is_left_alone():
    mol = Chem.AddHs(Chem.MolFromSmiles("Cc1ccccc1"))
    before = mol.ToBinary()
    parameters(mol)
    assert mol.ToBinary() == before


def test_hbonds_constraints_hold_hydrogens_and_drop_their_stretch():
    free, held = mmff_system("CCO"), mmff_system("CCO", constraints="HBonds")
    assert (free.getNumConstraints(), held.getNumConstraints()) == (0, 6)
    assert (free.getForce(0).getNumBonds(), held.getForce(0).getNumBonds()) == (8, 2)
    i, j, length = held.getConstraintParameters(0)
    record = mmff_parameters("CCO")
    row = next(k for k, pair in enumerate(record.bonds.tolist()) if set(pair) == {i, j})
    assert length.value_in_unit(unit.angstrom) == pytest.approx(record.bond_r0_A[row])


def test_hydrogen_mass_is_taken_from_the_heavy_atom():
    plain, heavy = mmff_system("CCO"), mmff_system("CCO", hydrogenMass_amu=3.0)

    def masses(system: openmm.System) -> list[float]:
        return [
            system.getParticleMass(k).value_in_unit(unit.dalton)
            for k in range(system.getNumParticles())
        ]

    assert sum(masses(plain)) == pytest.approx(sum(masses(heavy)))
    assert masses(heavy)[3:] == [3.0] * 6
    assert masses(heavy)[0] == pytest.approx(12.011 - 3 * (3 - 1.008), abs=1e-3)


@pytest.mark.parametrize(
    ("mass", "words"),
    [
        (0, "positive"),
        (-1, "positive"),
        (float("nan"), "positive"),
        (6, "takes all mass from atom 0"),
    ],
)
def test_impossible_hydrogen_mass(mass, words):
    with pytest.raises(InputError, match=words):
        mmff_system("C", hydrogenMass_amu=mass)


def test_unknown_variant_and_constraint_suggest_the_nearest():
    with pytest.raises(UnknownNameError, match="Did you mean 'MMFF94s'"):
        mmff_system("C", "MMF94s")
    with pytest.raises(UnknownNameError, match="Did you mean 'HBonds'"):
        mmff_system("C", constraints="hbonds")
    with pytest.raises(UnknownNameError, match="Did you mean 'HBonds'"):
        to_system(mmff_parameters("C"), constraints="hbonds")


@pytest.mark.parametrize(
    ("smiles", "words"),
    [
        ("C[Se]C", r"no parameters for atom Se1 .*its elements are H Li C .*own openmm System"),
        ("OB(O)c1ccccc1", r"no parameters for atom B1 "),
        ("CCCI(Cl)Cl", r"no atom type for atom I3 .*own openmm System"),
        ("CCP(F)(F)(F)F", r"no atom type for atom P2 "),
        ("[H][H]", r"no atom type for atoms H0, H1 "),
        ("C[CH2]", r"atom C1 .*unpaired electrons.*radicals.*own openmm System"),
    ],
)
def test_untypable_molecules_name_the_atoms_and_the_way_out(smiles, words):
    with pytest.raises(MoleculeError, match=words), rdBase.BlockLogs():
        mmff_system(smiles)


def test_a_mol_is_needed_with_its_hydrogens():
    with pytest.raises(MoleculeError, match=r"atoms C0, C1, O2 .*Chem.AddHs"):
        parameters(Chem.MolFromSmiles("CCO"))
    with pytest.raises(MoleculeError, match="no atoms"):
        parameters(Chem.Mol())
    with pytest.raises(InputTypeError, match="expected an RDKit Mol, not NoneType"):
        parameters(None)
    with pytest.raises(InputTypeError, match="expected an RDKit Mol, not int"):
        as_molecule(3)


def test_record_refuses_lengths_and_indices_that_do_not_fit():
    from dataclasses import replace

    record = mmff_parameters("CCO")
    with pytest.raises(InputError, match=r"bond_r0_A has 7 rows, but bonds has 8"):
        replace(record, bond_r0_A=record.bond_r0_A[1:])
    with pytest.raises(InputError, match="charges_e has 8 entries for 9 atoms"):
        replace(record, charges_e=record.charges_e[1:])
    with pytest.raises(InputError, match=r"angles has shape \(13, 2\), expected \(any, 3\)"):
        replace(record, angles=record.angles[:, :2])
    with pytest.raises(InputError, match="pairs names an atom outside 0 to 8"):
        replace(record, pairs=record.pairs + 5)
    with pytest.raises(ValueError, match="read-only"):
        record.charges_e[0] = 1.0


def _data_molecules() -> list[str]:
    """150 molecules of ZINC and 150 of QM9, spread evenly over the files, and ten more
    of ZINC for those RDKit cannot embed.
    """
    folder = os.environ.get("EQUIDRIFT_DATA")
    if not folder:
        pytest.skip(
            "EQUIDRIFT_DATA is not set; it names the folder with zinc_smiles/ and qm9_130831.npz"
        )
    files = Path(folder, "zinc_smiles", "zinc_29k.smi"), Path(folder, "qm9_130831.npz")
    for file in files:
        if not file.exists():
            pytest.skip(f"{file} is not there")
    zinc = files[0].read_text().split()
    qm9 = np.load(files[1])["smiles"].tolist()
    return (
        zinc[:: len(zinc) // 150][:150]
        + qm9[50 :: len(qm9) // 150][:150]
        + zinc[7 :: len(zinc) // 10][:10]
    )


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS)
def test_three_hundred_molecules(variant, record_property):
    """Energies to 1e-3 kcal/mol, and forces to RDKit's and to a finite difference along
    a random direction.
    """
    rng = np.random.default_rng(0)
    worst, worst_gradient, worst_slope, done = 0.0, 0.0, 0.0, 0
    for smiles in _data_molecules():
        try:
            mol, x = distorted(smiles, rng.uniform(0.05, 0.1), seed=done)
        except RuntimeError:
            continue  # RDKit cannot embed a few strained cages; they do not count
        context = context_of(mmff_system(mol, variant))
        energy, gradient = energy_and_gradient(context, x)
        wanted, wanted_gradient = rdkit_energy_and_gradient(mol, x, variant)
        direction = rng.normal(size=x.shape)
        direction /= np.linalg.norm(direction)
        ahead, behind = (
            energy_and_gradient(context, x + sign * 1e-4 * direction)[0] for sign in (1, -1)
        )
        slope = np.sum(gradient * direction)
        worst = max(worst, abs(energy - wanted))
        worst_gradient = max(worst_gradient, np.abs(gradient - wanted_gradient).max())
        worst_slope = max(worst_slope, abs((ahead - behind) / 2e-4 - slope) / max(1.0, abs(slope)))
        done += 1
    for name, value in (
        ("molecules", done),
        ("energy", worst),
        ("gradient", worst_gradient),
        ("slope", worst_slope),
    ):
        record_property(name, value)
    assert done >= 300
    assert worst < CLOSE_KCAL_MOL
    assert worst_gradient < 1e-3
    assert worst_slope < 1e-3

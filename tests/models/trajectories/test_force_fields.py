"""The learned force field, and the one fitted to a molecule: conserved energy,
symmetry, MMFF94's constants, the closed form.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from equidrift.errors import InputError
from equidrift.mmff import mmff_parameters
from equidrift.models.trajectories.dynamics import Dynamics, load_dynamics, save_dynamics
from equidrift.models.trajectories.graphs import EDGE_FEATURES, NODE_FEATURES, molecule_graph
from equidrift.models.trajectories.integrator.field import Constants, FieldConfig, LearnedField
from equidrift.models.trajectories.integrator.field_data import (
    ForceBatches,
    constants_loss,
    field_loss,
    force_loss,
    known_constants,
)
from equidrift.models.trajectories.integrator.sampler import IntegratorModel
from equidrift.models.trajectories.integrator.skeleton import side_by_side, skeleton_of
from equidrift.models.trajectories.integrator.valence import (
    Coordinates,
    colours,
    coordinates,
    fit,
    fitted,
    is_covered,
)
from equidrift.models.trajectories.train import run_training
from equidrift.records import Molecule
from equidrift.registry import make_model, resolve
from equidrift.units import AMU_A2_PER_FS2_EV

SMILES = "C/C=C\\C(=O)N"


def molecule(smiles: str = SMILES) -> Molecule:
    made: Molecule = Molecule.from_smiles(smiles)
    return made


def shaken(m: Molecule, count: int, size: float = 0.05) -> np.ndarray:
    start = make_model("etkdg-mmff").sample(m, np.array([3]))[0]
    return start + size * np.random.default_rng(0).standard_normal((count, *start.shape))


def field(seed: int = 0) -> LearnedField:
    with torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(seed)
        made = LearnedField(FieldConfig(NODE_FEATURES, EDGE_FEATURES, width=16, rounds=2))
        for parameter in made.parameters():
            parameter.data += 0.02 * torch.randn_like(parameter)
    return made


def coordinates_of(m: Molecule) -> tuple[Coordinates, list[bytes]]:
    graph = molecule_graph(m, "MMFF94")
    colour = colours(graph.node[0].numpy(), graph.edge[0].numpy())
    return coordinates(skeleton_of(graph), colour), colour


def stiffness(force: object, x: torch.Tensor) -> torch.Tensor:
    """The derivative of forces by positions, by central differences."""
    n = x.numel()
    steps = 1e-4 * torch.eye(n, dtype=torch.float64).reshape(n, *x.shape)
    ahead, behind = force(x + steps), force(x - steps)  # type: ignore[operator]
    return ((ahead - behind) / 2e-4).reshape(n, n)


@pytest.mark.parametrize("smiles", [SMILES, "C#CC1CC1", "OC(F)=O"])
def test_forces_of_both_fields_come_from_an_energy(smiles: str) -> None:
    m = molecule(smiles)
    learned, x = field(), torch.from_numpy(shaken(m, 24))
    graph = molecule_graph(m, "MMFF94")
    with torch.no_grad():
        constants = learned.constants(skeleton_of(graph))
        own, _ = coordinates_of(m)
        random = np.random.default_rng(1).standard_normal(x.shape) * 0.01
        one = fitted(own, fit(own, x.numpy(), random, ridge=1e-2))
        for accelerations in (lambda y: learned.accelerations(constants, y), one.accelerations):
            h = stiffness(lambda y, a=accelerations: a(y) * graph.mass[0][:, None], x[0])
            assert torch.allclose(h, h.T, atol=1e-5 * float(h.abs().max()))


def test_symmetries_of_both_fields() -> None:
    m = molecule()
    rng = np.random.default_rng(2)
    order = rng.permutation(m.n_atoms)
    turn = np.linalg.qr(rng.standard_normal((3, 3)))[0]
    other = resolve("equidrift.adapters.rdkit.molecule:from_mol")
    mol = resolve("equidrift.adapters.rdkit.molecule:to_mol")(m)
    from rdkit import Chem

    shuffled = other(Chem.RenumberAtoms(mol, order.tolist()))
    x = shaken(m, 8)
    y = (x @ turn.T + 1.5)[:, order]
    learned = field()
    table = fit(coordinates_of(m)[0], x, 0.01 * rng.standard_normal(x.shape), ridge=1e-2)
    found = []
    for which, positions in ((m, x), (shuffled, y)):
        graph = molecule_graph(which, "MMFF94")
        own, colour = coordinates_of(which)
        assert is_covered(skeleton_of(graph), colour, table)
        at = torch.from_numpy(positions)
        with torch.no_grad():
            found.append(
                (
                    learned.accelerations(learned.constants(skeleton_of(graph)), at),
                    fitted(own, table).accelerations(at),
                )
            )
    for one, two in zip(*found, strict=True):
        np.testing.assert_allclose(
            (one.numpy() @ turn.T)[:, order],
            two.numpy(),
            rtol=1e-5,
            atol=1e-6 * float(one.abs().max()),
        )


def test_another_molecule_is_not_covered() -> None:
    table = fit(
        coordinates_of(molecule())[0], shaken(molecule(), 4), np.zeros((4, molecule().n_atoms, 3))
    )
    other = molecule("CCO")
    assert not is_covered(
        skeleton_of(molecule_graph(other, "MMFF94")), coordinates_of(other)[1], table
    )


@pytest.mark.parametrize("smiles", [SMILES, "CC(=O)Oc1ccccc1", "C1CC1N"])
def test_known_constants_are_mmffs_energy(smiles: str) -> None:
    """The converted constants give MMFF94's forces near its minimum, where the cosine
    form and MMFF94's agree.
    """
    m = molecule(smiles)
    terms = skeleton_of(molecule_graph(m, "MMFF94"))
    known = known_constants(terms, mmff_parameters(m))
    bond = torch.cat([known.bond, torch.full((len(known.bond), 1), -2.0)], -1)
    angle = torch.stack(
        [
            *known.angle[:, :3].unbind(-1),
            torch.zeros(len(known.angle)),
            *known.angle[:, 3:].unbind(-1),
        ],
        -1,
    )
    scale = torch.where(terms.near, 0.75, 1.0)
    made = Constants(
        terms,
        bond,
        angle,
        known.torsion,
        known.plane,
        known.contact,
        known.charge * scale,
        1.0 / terms.mass,
    )
    x = shaken(m, 6, 0.02)
    learned = field()
    found = (
        learned.accelerations(made, torch.from_numpy(x)).numpy()
        * terms.mass.numpy()[:, None]
        / AMU_A2_PER_FS2_EV
    )
    run = resolve("equidrift.adapters.openmm.simulation:Langevin")
    system = resolve("equidrift.mmff:mmff_system")(m)
    wanted = np.array(
        [
            run(system, y, temperature_K=300, friction_per_fs=0.01, step_fs=1e-9, seed=0)
            .run(0, True)
            .forces_eV_A
            for y in x
        ]
    )
    assert np.linalg.norm(found - wanted) < 0.06 * np.linalg.norm(wanted)


def test_training_on_constants_and_forces_lowers_both_losses(tmp_path: object) -> None:
    m = molecule("CCO")
    x = shaken(m, 6, 0.03)
    run = Dynamics(
        m,
        x[:, None].astype(np.float32),
        5.0,
        "MMFF94",
        300.0,
        0.01,
        0.5 * np.ones((6, 1, m.n_atoms, 3), np.float32),
    )
    save_dynamics(f"{tmp_path}/f.npz", [run])
    again = load_dynamics(f"{tmp_path}/f.npz")
    np.testing.assert_array_equal(again[0].forces_eV_A, run.forces_eV_A)
    batches = ForceBatches(again, seed=0, each=2, frames=3)
    known = known_constants(skeleton_of(molecule_graph(m, "MMFF94")), mmff_parameters(m))
    learned = field()
    optimiser = torch.optim.Adam(learned.parameters(), 3e-3)
    first = constants_loss(learned, known).item(), force_loss(learned, batches(0)).item()
    for _ in range(40):
        optimiser.zero_grad()
        field_loss(learned, known).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    assert constants_loss(learned, known).item() < 0.7 * first[0]
    batch = batches(1)
    assert torch.equal(batch.frames, batches(1).frames) and len(batch) == 3
    with pytest.raises(InputError, match="--forces keeps them"):
        ForceBatches([Dynamics(m, run.positions_A, 5.0, "MMFF94", 300.0, 0.01)], seed=0)


def test_molecules_side_by_side_are_as_alone() -> None:
    parts = [skeleton_of(molecule_graph(molecule(s), "MMFF94")) for s in ("CCO", SMILES)]
    learned = field()
    with torch.no_grad():
        both = learned.constants(side_by_side(parts))
        alone = [learned.constants(part) for part in parts]
    for name in ("bond", "angle", "torsion", "plane", "contact", "charge"):
        assert torch.allclose(
            getattr(both, name), torch.cat([getattr(c, name) for c in alone]), atol=1e-6
        )


def test_fit_finds_a_field_it_can_express() -> None:
    m = molecule("CCO")
    own, _ = coordinates_of(m)
    x = shaken(m, 60)
    rng = np.random.default_rng(5)
    first = fit(own, x, 0.01 * rng.standard_normal(x.shape), ridge=1.0)  # some field of this form
    target = fitted(own, first)
    forces = (target.accelerations(torch.from_numpy(x)) * own.mass[:, None]).numpy()
    again = fitted(own, fit(own, x[:50], forces[:50], ridge=1e-8))
    found = (again.accelerations(torch.from_numpy(x[50:])) * own.mass[:, None]).numpy()
    assert np.linalg.norm(found - forces[50:]) < 0.2 * np.linalg.norm(forces[50:])


@pytest.mark.long
@pytest.mark.parametrize("spacing_fs", [5.0, 100.0, 1000.0])
def test_default_keeps_a_new_molecule_whole_at_any_spacing(spacing_fs: float) -> None:
    from equidrift.checks.geometry import GeometryCheck
    from equidrift.records import Trajectory

    m = molecule("CC(C)O")
    x = shaken(m, 2, 0.01)
    given = Trajectory(m, x, spacing_fs * np.arange(2.0))
    made = IntegratorModel("trajectory", temperature_K=300.0).continue_(given, 2, np.array([1]))[0]
    assert (GeometryCheck(m)(made.positions_A) == "").all()


@pytest.mark.parametrize("own_frames", [0, 12])
def test_training_a_table_gives_the_default_the_forces_of_a_molecule(
    tmp_path: Path, own_frames: int
) -> None:
    m, forces = molecule("CCO"), resolve("equidrift.adapters.ase.xtb:gfn2_forces")
    x = shaken(m, 60, 0.04)
    f = forces(m, x).astype(np.float32)
    kept = Dynamics(
        m,
        x[:50, None].astype(np.float32),
        5.0,
        "GFN2-xTB",
        300.0,
        0.01,
        None if own_frames else f[:50, None],
    )
    save_dynamics(tmp_path / "frames.npz", [kept])
    config = {
        "learn": "table",
        "data": str(tmp_path / "frames.npz"),
        "share": (0.0, 1.0),
        "own_frames": own_frames,
        "ridge": 1e-6,
    }
    done = run_training(config, tmp_path, None)
    assert done["frames"] > 50 if own_frames else done["frames"] == 50
    _, force = IntegratorModel(done["weights"], level="GFN2-xTB").field_of(m)
    mass = molecule_graph(m, "GFN2-xTB").mass[0].numpy()
    found = force(torch.from_numpy(x[50:]), 1.0).numpy() * mass[:, None] / AMU_A2_PER_FS2_EV  # type: ignore[misc]
    assert np.linalg.norm(found - f[50:]) < 0.25 * np.linalg.norm(f[50:])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"init": "refine"}, "is a model for task 'refine', expected 'trajectory'"),
        ({"init": "geotdm"}, "is a model of kind 'geotdm', expected an integrator"),
        ({"schedule": {"steps": 3}}, "leave `network` and `schedule` out"),
        ({"ridges": 1.0}, "ridges: is no field of this config"),
        ({"own_frames": 5}, "own_frames: 0"),
    ],
)
def test_training_a_table_says_what_is_wrong(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    m = molecule("CCO")
    x = shaken(m, 20).astype(np.float32)[:, None]
    save_dynamics(
        tmp_path / "frames.npz", [Dynamics(m, x, 5.0, "MMFF94", 300.0, 0.01, np.ones_like(x))]
    )
    with pytest.raises(InputError, match=message):
        run_training(
            {"learn": "table", "data": str(tmp_path / "frames.npz"), "own_frames": 0, **change},
            tmp_path / "out",
            None,
        )
    assert not (tmp_path / "out").exists()

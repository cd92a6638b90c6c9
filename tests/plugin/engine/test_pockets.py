"""Molecules for a pocket: where it is, who is told, poses and their scores, messages."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import equidrift
from equidrift.cli.generate import Request
from equidrift.cli.generate_request import settings_of
from equidrift.engine.molecule_settings import make_settings
from equidrift.engine.molecules import provenance
from equidrift.engine.pockets import check_site
from equidrift.errors import EquidriftError
from equidrift.peptides import capped_peptide
from equidrift.protocols import as_molecule_model
from equidrift.records import Ensemble, Molecule
from equidrift.registry import host_function
from equidrift.vina import PER_ROTOR, kinds_of
from tests.doubles import Baker, geometry


class Docker(Baker):
    """A model that can be told of a pocket."""

    takes_pocket = True


def host() -> Ensemble:
    """Four arms around an empty place at the origin, 6 A away."""
    arm = Molecule.from_smiles("OCCc1ccccc1")
    x = geometry(arm) - geometry(arm).mean(0)
    n = arm.n_atoms
    places = [x + 6.0 * np.array(at) for at in ([1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0])]
    molecule = Molecule(
        np.concatenate([arm.numbers] * 4),
        np.concatenate([arm.bonds + n * k for k in range(4)]),
        np.concatenate([arm.bond_orders] * 4),
        np.concatenate([arm.formal_charges] * 4),
    )
    return Ensemble(molecule, np.concatenate(places)[None])


CENTRE = [0.0, 0.0, 0.0]


@pytest.mark.long
def test_molecules_are_placed_in_the_pocket_and_scored() -> None:
    model = Docker(n=4)
    made = equidrift.generate(3, model=model, pocket=host(), centre_A=CENTRE, seed=2)
    assert model.calls[0]["pocket"].pull == 1.0
    site = check_site(host(), CENTRE, None, model)
    for ensemble in made:
        x, scores = ensemble.positions_A[0], ensemble.scores
        assert np.linalg.norm(x.mean(0)) <= 4.0
        told = float(scores["vina_terms_kcal_mol"][0])
        assert told == pytest.approx(site.pocket.score(ensemble.molecule, x)) and told < -0.5
        assert 0 <= float(scores["strain_kcal_mol"][0]) < 50
        heavy, places = kinds_of(ensemble.molecule)[0], site.pocket.positions_A
        assert np.linalg.norm(x[heavy][:, None] - places, axis=-1).min() > 2.5, "no clash"
    again = equidrift.generate(3, model=Docker(n=4), pocket=host(), centre_A=CENTRE, seed=2)
    np.testing.assert_array_equal(made[0].positions_A, again[0].positions_A)


@pytest.mark.long
def test_shapes_stay_as_they_were_drawn() -> None:
    free = equidrift.generate(2, model=Docker(n=3), seed=2)
    placed = equidrift.generate(2, model=Docker(n=3), seed=2, pocket=host(), centre_A=CENTRE)
    for one, other in zip(free, placed, strict=True):
        first, second = (
            np.linalg.norm(e.positions_A[0][:, None] - e.positions_A[0], axis=-1)
            for e in (one, other)
        )
        np.testing.assert_allclose(first, second, atol=1e-9)


def test_a_fragment_is_scored_where_it_lies() -> None:
    ethanol = Molecule.from_smiles("CCO")
    x = geometry(ethanol) - geometry(ethanol).mean(0)
    settings = make_settings(
        Docker(), pocket=host(), centre_A=CENTRE, fragment=(ethanol, x), seed=1
    )
    assert settings.site is not None and settings.site.held
    places, scores = settings.site.placed(ethanol, x, 0)
    np.testing.assert_array_equal(places, x)
    rows, kinds = kinds_of(ethanol)
    total = float(settings.site.pocket.pairs(x[rows], kinds)[0].sum())
    assert scores["vina_terms_kcal_mol"][0] == pytest.approx(total)
    butanol = Molecule.from_smiles("CCCCO")
    y = geometry(butanol)
    _, scores = settings.site.placed(butanol, y, 0)
    rows, kinds = kinds_of(butanol)
    total = float(settings.site.pocket.pairs(y[rows], kinds)[0].sum())
    assert scores["vina_terms_kcal_mol"][0] == pytest.approx(total / (1 + 2 * PER_ROTOR))


def test_the_place_is_a_point_or_a_ligand(tmp_path: Path) -> None:
    lying = Molecule.from_smiles("CO")
    x = geometry(lying) + np.array([0.5, 0.0, 1.0])
    path = tmp_path / "ligand.sdf"
    Ensemble(lying, x[None]).save(path)
    site = check_site(host(), None, path, Docker())
    np.testing.assert_allclose(site.pocket.centre_A, x[:2].mean(0), atol=1e-3)
    told = provenance(make_settings(Docker(), pocket=host(), ligand=path, pull=0.5))["pocket"]
    assert told["pull"] == 0.5 and told["atoms"] == host().molecule.n_atoms
    assert told["centre_A"] == pytest.approx(x[:2].mean(0).tolist(), abs=2e-3)


def bare() -> Ensemble:
    molecule = Molecule(np.array([6, 6]), np.array([[0, 1]]), np.ones(1), np.zeros(2))
    return Ensemble(molecule, np.array([[[0.0, 0, 0], [1.5, 0, 0]]]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"centre_A": CENTRE}, r"centre_A is of a pocket, and there is none; give pocket"),
        ({"pull": 2.0}, "pull is of a pocket"),
        ({"pocket": host()}, r"either a place, centre_A \(--centre X,Y,Z\), or a ligand"),
        ({"pocket": host(), "centre_A": CENTRE, "ligand": host()}, "either a place"),
        ({"pocket": host(), "centre_A": [1.0, 2.0]}, "must be three finite numbers"),
        ({"pocket": host(), "centre_A": [1.0, 2.0, np.nan]}, "must be three finite numbers"),
        ({"pocket": host(), "centre_A": "here"}, "must be three finite numbers"),
        ({"pocket": host(), "centre_A": [90.0, 0, 0]}, r"no heavy atom .* within 8 A of \[90"),
        ({"pocket": host(), "centre_A": CENTRE, "pull": -1.0}, "pull must be 0 or more"),
        ({"pocket": bare(), "centre_A": CENTRE}, "the pocket has no hydrogens"),
        ({"pocket": "none.pdb", "centre_A": CENTRE}, "none.pdb"),
    ],
)
def test_what_cannot_be_says_why(options: dict[str, Any], message: str) -> None:
    with pytest.raises(EquidriftError, match=message):
        equidrift.generate(1, model=Docker(), **options)


def test_a_model_must_know_of_pockets() -> None:
    with pytest.raises(EquidriftError, match="'baker' cannot make molecules for a pocket"):
        equidrift.generate(1, model=Baker(), pocket=host(), centre_A=CENTRE)


def beside_a_peptide() -> Ensemble:
    """Capped glycine, and twice methanol: at the origin, and 9 A away."""
    peptide, guest = capped_peptide("G"), Molecule.from_smiles("CO")
    n, m = peptide.n_atoms, guest.n_atoms
    x = geometry(peptide) - geometry(peptide).mean(0) + np.array([0.0, 5.0, 0.0])
    y = geometry(guest) - geometry(guest)[:2].mean(0)
    names = [*(peptide.residue_names or ()), *["LIG"] * m, *["COF"] * m]
    molecule = Molecule(
        np.concatenate([peptide.numbers, guest.numbers, guest.numbers]),
        np.concatenate([peptide.bonds, guest.bonds + n, guest.bonds + n + m]),
        np.concatenate([peptide.bond_orders, guest.bond_orders, guest.bond_orders]),
        np.zeros(n + 2 * m),
        residue_names=names,
    )
    return Ensemble(molecule, np.concatenate([x, y, y + np.array([9.0, 0.0, 0.0])])[None])


def test_a_ligand_is_left_out_where_molecules_are_wanted() -> None:
    given = beside_a_peptide()
    with pytest.warns(UserWarning, match="left out of the pocket: LIG, where molecules are wanted"):
        settings = make_settings(Docker(), pocket=given, centre_A=CENTRE)
    assert settings.notes == ("left out of the pocket: LIG, where molecules are wanted",)
    site = settings.site
    assert site is not None
    names = site.whole.molecule.residue_names or ()
    assert "LIG" not in names and names.count("COF") == 6
    assert len(site.pocket.kinds) == int((site.whole.molecule.numbers != 1).sum())
    whole = check_site(host(), CENTRE, None, Docker()).whole
    assert whole.molecule.n_atoms == host().molecule.n_atoms, "no ligand without a protein"


def test_a_ligand_needs_heavy_atoms_and_no_bonds(tmp_path: Path) -> None:
    acetate = Molecule.from_smiles("CC(=O)[O-]")
    x = geometry(acetate) - geometry(acetate)[acetate.numbers != 1].mean(0)
    path = tmp_path / "ligand.pdb"
    Ensemble(acetate, x[None]).save(path)
    lines = [line[:78] for line in path.read_text().splitlines() if line.startswith("HETATM")]
    path.write_text("\n".join(lines))  # no charges, no bonds
    site = check_site(host(), None, path, Docker())
    np.testing.assert_allclose(site.pocket.centre_A, CENTRE, atol=1e-3)
    hydrogen = Molecule(np.array([1, 1]), np.array([[0, 1]]), np.ones(1), np.zeros(2))
    bare = Ensemble(hydrogen, np.array([[[0.0, 0, 0], [0.7, 0, 0]]]))
    with pytest.raises(EquidriftError, match="the ligand has no heavy atom"):
        check_site(host(), None, bare, Docker())


def test_a_pocket_its_ligand_and_a_fragment_are_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    acetate, core = Molecule.from_smiles("CC(=O)[O-]"), Molecule.from_smiles("CO")
    x = geometry(acetate) - geometry(acetate)[acetate.numbers != 1].mean(0)
    files = {name: tmp_path / f"{name}.sdf" for name in ("pocket", "ligand", "fragment")}
    host().save(files["pocket"])
    Ensemble(acetate, x[None]).save(files["ligand"])
    Ensemble(core, geometry(core)[None]).save(files["fragment"])
    read: list[str] = []

    def counting(host_name: str, name: str) -> Any:
        read.extend([name] if name.startswith("read_") else [])
        return host_function(host_name, name)

    monkeypatch.setattr("equidrift.engine.pockets.host_function", counting)
    monkeypatch.setattr("equidrift.checks.targets.host_function", counting)
    monkeypatch.setattr(
        "equidrift.cli.generate_request.loaded", lambda *_: as_molecule_model(Docker())
    )
    request = Request(output=tmp_path / "x.sdf", pull=0.5, **files)
    settings = settings_of(request)
    assert read == ["read_core", "read_receptor", "read_places"]
    site = settings.site
    assert site is not None and site.pocket.pull == 0.5 and site.held
    np.testing.assert_allclose(site.pocket.centre_A, CENTRE, atol=1e-3)
    assert settings.fragment is not None and settings.fragment[0].n_atoms == core.n_atoms
    assert settings_of(Request(output=tmp_path / "x.sdf")).site is None
    with pytest.raises(EquidriftError, match="pull must be 0 or more"):
        settings_of(replace(request, pull=-1.0))

"""Ensemble <-> `ase.Atoms`, one per conformer: the graph travels in `atoms.info`, so that
the way back loses nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import quote, unquote

import numpy as np
from ase import Atoms
from ase.data import atomic_masses
from numpy.typing import NDArray

from equidrift.adapters.ase.charges import charge_of
from equidrift.adapters.ase.typed import (
    energy_eV,
    make_periodic,
    set_array,
    set_energy,
    set_initial_charges,
)
from equidrift.errors import InputError, InputTypeError, MoleculeError
from equidrift.files.fields import shared_and_own
from equidrift.files.plain import molecule_from_dict, molecule_to_dict, plain
from equidrift.records import SYMBOLS, Ensemble, Molecule
from equidrift.registry import host_function
from equidrift.residues import reordered
from equidrift.text import tidy

# array of the atoms' places in the stored graph: ASE carries it along when atoms are reordered or
# removed
INDEX = "equidrift_index"
# what strings keep as it is: ASE's extended XYZ loses backslashes inside quotes
SAFE = "".join(chr(k) for k in range(32, 127) if chr(k) not in '%"\\')


def to_atoms(ensemble: Ensemble, *, first_sample: int = 0) -> list[Atoms]:
    """One `ase.Atoms` per conformer (A, eV).

    `atoms.info` holds `smiles`, `name`, `sample` (counting from `first_sample`),
    `seed`, `model`, `charge`, `spin` (multiplicity), `valid`, `scores` and `log_prob`
    if known, and under `equidrift` the molecule and the provenance as JSON values,
    percent-encoded if strings hold what ASE's extended XYZ would lose. Formal
    charges become initial charges. A SinglePointCalculator carries the energy if
    there is one.
    """
    molecule = ensemble.molecule
    graph, provenance = molecule_to_dict(molecule), plain(ensemble.provenance)
    masses = isotope_masses(molecule)
    labels = {
        "smiles": molecule.smiles,
        "name": molecule.name,
        "model": str(provenance.get("model", "unknown")),
    }
    shared: dict[str, Any] = {
        key: " ".join(text.split()) for key, text in labels.items() if text
    }  # extended XYZ knows no empty string
    shared |= {"charge": molecule.charge, "spin": molecule.multiplicity}
    images = []
    for k, frame in enumerate(ensemble.positions_A):
        own = {name: texts[k] for name, texts in ensemble.properties.items()}
        record = {
            "molecule": graph,
            "provenance": provenance,
            **({"properties": own} if own else {}),
        }
        stored = _mapped(record, lambda text: quote(text, safe=SAFE))
        info = {
            **shared,
            "sample": first_sample + k,
            **_numbers_of(ensemble, k),
            "equidrift": stored,
        }
        atoms = Atoms(molecule.numbers, frame, masses=masses, info=info)
        set_array(atoms, INDEX, np.arange(molecule.n_atoms))
        if molecule.formal_charges.any():
            set_initial_charges(atoms, molecule.formal_charges)
        if ensemble.energies_eV is not None and np.isfinite(ensemble.energies_eV[k]):
            set_energy(atoms, float(ensemble.energies_eV[k]))
        images.append(atoms)
    return images


def isotope_masses(molecule: Molecule) -> NDArray[np.float64] | None:
    """(n,) masses in amu for a molecule with isotopes: theirs, ASE's for the other
    atoms. None for one without.
    """
    if not molecule.isotopes.any():
        return None
    known: NDArray[np.float64] = host_function("rdkit", "isotope_masses_amu")(
        molecule, strict=False
    )
    return np.where(molecule.isotopes > 0, known, atomic_masses[molecule.numbers])


def _mapped(value: Any, change: Callable[[str], str]) -> Any:
    """JSON values with every string changed."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {change(key): _mapped(item, change) for key, item in value.items()}
    return [_mapped(item, change) for item in value] if isinstance(value, list) else value


def _numbers_of(ensemble: Ensemble, k: int) -> dict[str, Any]:
    """What belongs to sample k alone."""
    info: dict[str, Any] = {
        "seed": int(np.asarray(ensemble.seeds)[k]),
        "valid": bool(np.asarray(ensemble.valid)[k]),
    }
    if ensemble.scores:
        info["scores"] = {name: float(values[k]) for name, values in ensemble.scores.items()}
    if ensemble.log_prob is not None:
        info["log_prob"] = float(ensemble.log_prob[k])
    return info


def from_atoms(atoms: Atoms, *, charge: int | None = None, smiles: str | None = None) -> Molecule:
    """The graph of an `ase.Atoms`: the one stored by `to_atoms`, in the atoms' present
    order, else perceived from the geometry.

    Parameters
    ----------
    atoms : ase.Atoms
        Every hydrogen explicit; the cell is not looked at.
    charge : int, optional
        Total charge, for atoms without a stored graph; None takes
        `atoms.info["charge"]`, else the sum of the initial charges if one is not zero
        (partial charges that a file rounds are fine).
    smiles : str, optional
        The molecule, if it is known: bond orders and charges are its, and the geometry
        must be of it.

    Raises
    ------
    InputTypeError
        If `atoms` is not an `ase.Atoms`.
    MoleculeError
        If there is no stored graph and the bonds cannot be told: ambiguous without a
        charge, hydrogens missing.
    """
    if not isinstance(atoms, Atoms):
        raise InputTypeError(f"expected an ase.Atoms, not {type(atoms).__name__}")
    if not len(atoms):
        raise MoleculeError("there are no atoms; give a frame that holds some")
    if not (atoms.numbers.min() >= 1 and atoms.numbers.max() < len(SYMBOLS)):
        low, high = atoms.numbers.min(), atoms.numbers.max()
        raise MoleculeError(
            f"the atoms have atomic numbers {low} to {high}; they must be 1 to {len(SYMBOLS) - 1}"
        )
    stored = stored_molecule(atoms)
    if stored is not None and charge in (None, stored.charge) and smiles is None:
        return stored
    if charge is None and smiles is None:
        charge = charge_of(atoms)
    molecule: Molecule = host_function("rdkit", "molecule_from_xyz")(
        atoms.numbers, atoms.positions, charge, smiles
    )
    return molecule.replace(
        smiles=smiles or "", name=tidy(str(atoms.info.get("name", "")), lines=True)
    )


def stored_molecule(atoms: Atoms) -> Molecule | None:
    """The graph in `atoms.info`, its atoms put in the present order; None if there
    is none, or it is of other atoms.
    """
    stored = atoms.info.get("equidrift")
    if not isinstance(stored, Mapping) or "molecule" not in stored:
        return None
    molecule = molecule_from_dict(_mapped(plain(stored["molecule"]), unquote))
    order = np.asarray(atoms.arrays.get(INDEX, np.arange(len(atoms))))
    if order.dtype.kind not in "iu":
        return None
    if len(atoms) != molecule.n_atoms or sorted(order.tolist()) != list(range(molecule.n_atoms)):
        return None
    if (
        not np.array_equal(molecule.numbers[order], atoms.numbers)
        or atoms.info.get("charge", molecule.charge) != molecule.charge
    ):
        return None
    return molecule if np.array_equal(order, np.arange(len(order))) else reordered(molecule, order)


def ensemble_of(
    images: Atoms | Sequence[Atoms], *, charge: int | None = None, molecule: Molecule | None = None
) -> Ensemble:
    """Conformers of one molecule as an Ensemble; the inverse of `to_atoms`, and the way
    in for atoms from elsewhere.

    Energies are taken if every image has one that is already computed; numbers and
    words in `info` become properties.

    Parameters
    ----------
    charge : int, optional
        Of `from_atoms`.
    molecule : Molecule, optional
        Whose conformers the images are; None takes `from_atoms` of the first.

    Raises
    ------
    InputError
        If there are no images, or they are not of one molecule in one order;
        InputTypeError, MoleculeError as `from_atoms`.
    """
    images = [images] if isinstance(images, Atoms) else list(images)
    if not images:
        raise InputError("there are no images; give at least one ase.Atoms")
    given = molecule
    molecule = from_atoms(images[0], charge=charge) if molecule is None else molecule
    for k, atoms in enumerate(images):
        if not isinstance(atoms, Atoms):
            raise InputTypeError(f"images[{k}] must be an ase.Atoms, not {type(atoms).__name__}")
        other = given is None and k and (stored_molecule(atoms) or molecule) != molecule
        if other or not np.array_equal(atoms.numbers, molecule.numbers):
            raise InputError(
                f"images[{k}] is not the molecule of images[0] in the same atom order; make one "
                "ensemble of each molecule"
            )
    info = [atoms.info for atoms in images]
    energies = [_energy_of(atoms) for atoms in images]
    same, own = shared_and_own([_properties_of(i) for i in info])
    stored = _stored(info[0])
    if "properties" in stored:
        same, own = {}, {**own, **{name: [text] * len(images) for name, text in same.items()}}
    return Ensemble(
        molecule.replace(properties={**molecule.properties, **same}),
        np.array([atoms.positions for atoms in images]),
        seeds=_column(info, "seed"),
        log_prob=_column(info, "log_prob"),
        energies_eV=None if None in energies else np.array(energies, float),
        valid=np.array([bool(i.get("valid", True)) for i in info]),
        scores={name: np.array([i["scores"][name] for i in info]) for name in _common_scores(info)},
        provenance=_mapped(stored["provenance"], unquote)
        if "provenance" in stored
        else {"model": "given"},
        properties=own,
    )


def _stored(info: Mapping[str, Any]) -> Mapping[str, Any]:
    """What `to_atoms` kept in an image, empty for images from elsewhere."""
    stored = info.get("equidrift")
    if not isinstance(stored, Mapping):
        return {}
    return {
        name: stored[name]
        for name in ("molecule", "provenance", "properties")
        if isinstance(stored.get(name), Mapping)
    }


def _column(info: Sequence[Mapping[str, Any]], name: str) -> NDArray[Any] | None:
    """The numbers that every image has under a name."""
    values = [i.get(name) for i in info]
    good = all(
        isinstance(value, int | float | np.number) and not isinstance(value, bool)
        for value in values
    )
    return np.array(values) if good else None


OWN_INFO = (
    "smiles",
    "name",
    "sample",
    "seed",
    "model",
    "charge",
    "spin",
    "valid",
    "scores",
    "log_prob",
    "equidrift",
    "time_fs",
)


def _properties_of(info: Mapping[str, Any]) -> dict[str, str]:
    """The user's numbers and words in `info`; the words of a plain XYZ comment, which
    ASE takes for switches, as `comment`.
    """
    stored = _stored(info)
    if stored:
        return {
            name: str(text)
            for name, text in _mapped(plain(stored.get("properties", {})), unquote).items()
        }
    words = [key for key, value in info.items() if value is True and key not in OWN_INFO]
    texts = {
        key: value
        for key, value in info.items()
        if key not in OWN_INFO and isinstance(value, str | int | float | np.number)
    }
    found = {
        tidy(str(key)): tidy(str(value), lines=True)
        for key, value in texts.items()
        if not isinstance(value, bool)
    }
    return {**({"comment": tidy(" ".join(map(str, words)))} if words else {}), **found}


def _common_scores(info: Sequence[Mapping[str, Any]]) -> list[str]:
    """Names of the scores every image has."""
    scores = [i["scores"] if isinstance(i.get("scores"), Mapping) else {} for i in info]
    return [name for name in scores[0] if all(name in s for s in scores)]


def _energy_of(atoms: Atoms) -> float | None:
    """The energy a calculator has at hand for the present positions; nothing is
    computed.
    """
    if atoms.calc is None or atoms.calc.calculation_required(atoms, ["energy"]):
        return None
    return energy_eV(atoms)


def from_arrays(
    numbers: NDArray[np.int64],
    positions_A: NDArray[np.float64],
    *,
    cell: Any = None,
    molecule: Molecule | None = None,
) -> Atoms:
    """One `ase.Atoms` of bare arrays: with the graph if there is one, periodic if
    there is a cell (3 lengths in A, 3 angles).
    """
    if molecule is not None:
        (atoms,) = to_atoms(
            Ensemble(
                molecule, np.asarray(positions_A, np.float64)[None], provenance={"model": "given"}
            )
        )
    else:
        atoms = Atoms(numbers, np.asarray(positions_A, np.float64))
    if cell is not None and np.any(cell):
        make_periodic(atoms, cell)
    return atoms

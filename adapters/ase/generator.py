"""`ConformerGenerator` and `MoleculeGenerator`: conformers and new molecules from
within ASE, in the manners of its calculators.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Sequence
from typing import Any, ClassVar

from ase import Atoms

from equidrift.adapters.ase.atoms import ensemble_of, to_atoms
from equidrift.api import refine, sample
from equidrift.errors import UnknownNameError
from equidrift.inputs import as_molecule
from equidrift.protocols import ConformerModel, MoleculeModel
from equidrift.records import Ensemble, Molecule
from equidrift.registry import CONFORMER_MODELS, MOLECULE_MODELS, resolve
from equidrift.scale.molecules import generate

AnyModel = str | ConformerModel | MoleculeModel


class Generator:
    """Parameters as ASE's calculators have them: defaults, and `set`, which drops the
    kept result if something changes.
    """

    default_parameters: ClassVar[dict[str, Any]] = {
        "model": "default",
        "n": 10,
        "seed": 0,
        "steps": None,
        "relax": None,
        "batch_size": None,
        "max_attempts": None,
        "progress": False,
    }
    # parameters that hold arrays: they count as changed unless they are the same object
    by_identity: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self, model: AnyModel = "default", n: int = 10, seed: int = 0, **options: Any
    ) -> None:
        self.parameters: dict[str, Any] = dict(self.default_parameters)
        self.reset()
        self.set(model=model, n=n, seed=seed, **options)

    def set(self, **parameters: Any) -> dict[str, Any]:
        """Change parameters and drop the kept result if one has changed.

        Returns
        -------
        dict
            What changed.

        Raises
        ------
        UnknownNameError
            For a parameter that neither the generator nor the model knows.
        """
        model = parameters.get("model", self.parameters["model"])
        for name in parameters:
            self.check_option(name, model)
        changed = {
            key: value
            for key, value in parameters.items()
            if key not in self.parameters or self._differs(key, value)
        }
        if changed:
            self.parameters.update(changed)
            self.reset()
        return changed

    def _differs(self, key: str, value: object) -> bool:
        """Whether a parameter would change."""
        old = self.parameters[key]
        return old is not value and (key in self.by_identity or bool(old != value))

    def check_option(self, name: str, model: AnyModel) -> None:
        """Raise `UnknownNameError` for what neither the generator nor the model takes."""
        raise NotImplementedError

    def reset(self) -> None:
        """Forget the kept result."""


class ConformerGenerator(Generator):
    """Makes conformers as `ase.Atoms`, and refines those that are there.

    It behaves as ASE's calculators do: parameters have defaults, `set` changes them and
    returns what changed, and a result is kept until the molecule (numbers, bonds,
    charge, stereo) or a parameter changes. Positions are only looked at if atoms
    come without bonds, to perceive these.

    Parameters
    ----------
    model : str or ConformerModel
        Name of a conformer model, see `equidrift.list_models`, or an object with its
        `sample` method.
    n : int
        Conformers of a molecule.
    seed : int
        Of the random streams; the same seed gives the same conformers.
    **options
        `steps`, `effort`, `select`, `preset`, `relax`, `solvent`, `prune_rms_A`,
        `distinct`, `sort`, `window_kcal_mol`, `batch_size`, `max_attempts`, `timeout_s`,
        `progress`, `fix`, `restrain` and `restraint_tolerance_A` as in
        `equidrift.sample`; `refiner` and `refine_steps` for `refine`; and whatever the
        model takes. None leaves a default alone.

    Raises
    ------
    UnknownNameError
        For an option that neither `equidrift.sample` nor the model knows, with the
        nearest one.

    Examples
    --------
    >>> images = ConformerGenerator(model="etkdg", n=2).generate("CCO")
    >>> len(images), len(images[0])
    (2, 9)
    """

    default_parameters: ClassVar[dict[str, Any]] = {
        **Generator.default_parameters,
        "effort": None,
        "select": None,
        "preset": None,
        "solvent": None,
        "prune_rms_A": None,
        "distinct": None,
        "sort": None,
        "window_kcal_mol": None,
        "timeout_s": None,
        "fix": None,
        "restrain": None,
        "restraint_tolerance_A": None,
        "refiner": "refine",
        "refine_steps": None,
    }

    by_identity = ("fix", "restrain")

    def __repr__(self) -> str:
        values = ", ".join(f"{key}={value!r}" for key, value in self.todict().items())
        return f"ConformerGenerator({values})"

    def check_option(self, name: str, model: AnyModel) -> None:
        """Raise for an option that neither `sample` nor the model takes."""
        known = set(self.default_parameters)
        if name in known:
            return
        if isinstance(model, str):
            if model not in CONFORMER_MODELS:  # a third party's: it will tell
                return
            taken = inspect.signature(resolve(CONFORMER_MODELS[model])).parameters
            anything = any(p.kind is p.VAR_KEYWORD for p in taken.values())
            if name in taken or (
                anything and not difflib.get_close_matches(name, known, cutoff=0.75)
            ):
                return
            known |= {key for key, p in taken.items() if p.kind is not p.VAR_KEYWORD}
        raise UnknownNameError("option", name, known)

    def todict(self, skip_default: bool = True) -> dict[str, Any]:
        """The parameters; those that are at their defaults are left out unless
        `skip_default` is False.
        """
        values = {
            key: getattr(value, "name", value) if key in ("model", "refiner") else value
            for key, value in self.parameters.items()
        }
        if not skip_default:
            return values
        return {
            key: value
            for key, value in values.items()
            if key not in self.default_parameters or value != self.default_parameters[key]
        }

    def reset(self) -> None:
        """Forget the kept result."""
        self.molecule: Molecule | None = None
        self.ensemble: Ensemble | None = None

    def generate(self, what: Atoms | str | Molecule) -> list[Atoms]:
        """Conformers of a molecule.

        Parameters
        ----------
        what : Atoms or str or Molecule
            Atoms (bonds as `to_atoms` stored them, else perceived; charge from
            `atoms.info["charge"]`), SMILES or Molecule.

        Returns
        -------
        images : n Atoms in A, all valid, in the order of the atoms given; see
            `equidrift.adapters.ase.atoms.to_atoms` for what `info` holds. Fresh copies
            at every call.

        Raises
        ------
        MoleculeError
            If the molecule cannot be read, its bonds are ambiguous, or the model
            cannot handle it.
        NoValidSamplesError
            If fewer than n valid conformers are found.
        """
        molecule: Molecule = as_molecule(what)
        if self.ensemble is None or molecule != self.molecule:
            self.reset()
            refining = ("refiner", "refine_steps")
            options = {
                key: value
                for key, value in self.parameters.items()
                if value is not None and key not in refining
            }
            self.ensemble = sample(molecule, options.pop("n"), **options)
            self.molecule = molecule
        labelled = self.ensemble.replace(
            molecule=molecule
        )  # the same graph may come under another name
        images: list[Atoms] = to_atoms(labelled)
        return images

    def refine(self, images: Atoms | Sequence[Atoms]) -> list[Atoms]:
        """Move conformers into the basin of the refiner's level of theory, graph and
        stereo kept.

        Parameters
        ----------
        images : Atoms or sequence of Atoms
            Conformers of one molecule from anywhere.

        Returns
        -------
        images : new Atoms in the same order; what `info` held and the refiner does not
            change is kept.

        Raises
        ------
        InputError
            If the images are of several molecules; MoleculeError if the refiner
            cannot handle theirs.
        """
        images = [images] if isinstance(images, Atoms) else list(images)
        ensemble = ensemble_of(images)
        options = {
            "model": self.parameters["refiner"],
            "steps": self.parameters["refine_steps"],
            "progress": self.parameters["progress"],
        }
        if self.parameters["batch_size"] is not None:
            options["batch_size"] = self.parameters["batch_size"]
        refined: list[Atoms] = to_atoms(refine(ensemble, **options))
        for old, new in zip(images, refined, strict=True):
            new.info = {
                **old.info,
                **new.info,
                "sample": old.info.get("sample", new.info["sample"]),
            }
        return refined


class MoleculeGenerator(Generator):
    """Makes new molecules as `ase.Atoms`, in the manner of `ConformerGenerator`: a
    result is kept until a parameter changes.

    Parameters
    ----------
    model : str or MoleculeModel
        Name of a molecule model, the path of trained weights, or an object with
        `MoleculeModel`'s methods.
    n : int
        Molecules, valid and unique.
    seed : int
        Of the random streams; the same seed gives the same molecules.
    **options
        `targets`, `guidance`, `fragment` (an `ase.Atoms` too), `replace`, `pocket`,
        `centre_A`, `ligand`, `pull`, `spectrum`, `steps`, `relax`, `judge`, `force`,
        `batch_size`, `max_attempts` and `progress` as in `equidrift.generate`, and
        whatever the model takes. None leaves a default alone.

    Raises
    ------
    UnknownNameError
        For another option, with the nearest one.

    Examples
    --------
    >>> images = MoleculeGenerator(n=2, targets={"gap_eV": 7.0}).generate()
    >>> len(images), sorted(images[0].info["scores"])[:1]
    (2, ['gap_eV'])
    """

    default_parameters: ClassVar[dict[str, Any]] = {
        **Generator.default_parameters,
        "targets": None,
        "guidance": None,
        "fragment": None,
        "replace": None,
        "pocket": None,
        "centre_A": None,
        "ligand": None,
        "pull": None,
        "spectrum": None,
        "judge": None,
        "force": None,
    }

    by_identity = ("fragment", "pocket", "centre_A", "ligand", "spectrum")

    def check_option(self, name: str, model: AnyModel) -> None:
        """Raise for an option that neither `generate` nor the model takes."""
        known = set(self.default_parameters)
        if isinstance(model, str) and model in MOLECULE_MODELS:
            taken = inspect.signature(resolve(MOLECULE_MODELS[model])).parameters.values()
            known |= {p.name for p in taken if p.kind is not p.VAR_KEYWORD}
        if name not in known:
            raise UnknownNameError("option", name, known)

    def reset(self) -> None:
        """Forget the kept molecules."""
        self.ensembles: list[Ensemble] | None = None

    def generate(self) -> list[Atoms]:
        """n new molecules, one Atoms each: bonds, charges and provenance in
        `info["equidrift"]`, values of the judges in `info["scores"]`.

        Raises
        ------
        NoValidSamplesError
            If fewer than n valid and unique molecules are found. InputError for
            targets or a fragment that cannot be.
        """
        if self.ensembles is None:
            options = {key: value for key, value in self.parameters.items() if value is not None}
            if isinstance(options.get("fragment"), Atoms):
                options["fragment"] = ensemble_of(options["fragment"])
            self.ensembles = generate(options.pop("n"), **options)
        return [image for ensemble in self.ensembles for image in to_atoms(ensemble)]

"""Exact sampling of one molecule in OpenMM, from input to basins: what `equidrift md`
runs.
"""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from equidrift.errors import InputError, UnknownNameError
from equidrift.files.formats import check_writable
from equidrift.files.journal import file_sha256, fingerprint
from equidrift.montecarlo.adapt import LEAST_CYCLES, Still, adapt
from equidrift.montecarlo.basins import summary
from equidrift.montecarlo.phase import AdaptivePhase, Host
from equidrift.montecarlo.proposals import proposer_from_dict
from equidrift.montecarlo.tables import table_paths, write_tables
from equidrift.montecarlo.target import Settings, make_target
from equidrift.montecarlo.torsion_names import named_tree, torsion_names
from equidrift.outputs import claim, topology_beside
from equidrift.registry import host_function

Progress = Callable[[dict[str, Any]], None]
TRAJECTORIES = (".xtc", ".dcd")
LEAST_ADAPT_PS, ADAPT_SHARE = 50.0, 0.1
SAVE_EVERY_S = 5.0


def checkpoint_of(output: Path) -> Path:
    """The checkpoint beside an output."""
    return output.with_name(output.name + ".checkpoint")


class Run:
    """One simulation on disk: OUT (.xtc or .dcd), its topology (run.top.pdb for
    run.xtc), and OUT.checkpoint.

    From the checkpoint it continues or is extended.

    Parameters
    ----------
    what : SMILES or file.
    output : OUT.
    time_ps : length of the production run.
    settings : see `Settings`.
    overwrite : drop what is there.
    progress : called with {"stage": "adapting" | "sampling", "done", "total",
        "acceptance"}.

    Raises
    ------
    InputError
        where OUT belongs to another command, or something cannot be used.
    """

    def __init__(
        self,
        what: str,
        output: Path,
        time_ps: float,
        settings: Settings,
        *,
        overwrite: bool = False,
        progress: Progress | None = None,
    ) -> None:
        self.output, self.settings, self.progress, self.time_ps = (
            Path(output),
            settings,
            progress,
            time_ps,
        )
        self.cycles = max(1, round(time_ps / settings.cycle_ps))
        if not 0 < time_ps < float("inf"):
            raise InputError(f"time must be positive and finite, not {time_ps} ps")
        self._check_times()
        self._check_output(what, overwrite)
        described = f"{Path(what).name}:{file_sha256(what)}" if Path(what).is_file() else what
        parts = {"what": described, **dataclasses.asdict(settings), "suffix": self.output.suffix}
        if settings.charge is None:  # runs of earlier versions go on
            del parts["charge"]
        self.identity = fingerprint(parts)
        self.target = make_target(what, settings)
        self.simulation = host_function("openmm", "make_simulation")(
            self.target.topology,
            self.target.system,
            self.target.positions_A,
            temperature_K=settings.temperature_K,
            timestep_fs=settings.timestep_fs,
            friction_per_ps=settings.friction_per_ps,
            seed=settings.seed,
            platform=settings.platform,
        )
        self.tree = named_tree(self.target.molecule)
        self.resumed = 0
        if overwrite:
            self._drop()

    @property
    def adapt_ps(self) -> float:
        """Length of the adaptive phase."""
        return self.settings.adapt_ps or max(LEAST_ADAPT_PS, ADAPT_SHARE * self.time_ps)

    def _check_times(self) -> None:
        """Refuse an adaptive phase too short to fit a proposer, before anything is
        computed.
        """
        settings = self.settings
        cycles = max(1, round(self.adapt_ps / settings.cycle_ps))
        if settings.proposals in ("none", "uniform") or cycles >= LEAST_CYCLES:
            return
        need_ps = LEAST_CYCLES * settings.cycle_ps
        way = f"needs --adapt {need_ps:g}ps"
        if settings.adapt_ps is None:
            way += f", or --time {need_ps / ADAPT_SHARE:g}ps"
        raise InputError(
            f"the adaptive phase of {self.adapt_ps:g} ps has {cycles} cycles of "
            f"{settings.cycle_ps:g} ps, and {LEAST_CYCLES} are needed to fit a proposer: {way}, or "
            "fewer --md-steps, or --proposals uniform or none"
        )

    @property
    def outputs(self) -> list[Path]:
        """Every file that the run writes."""
        checkpoint = checkpoint_of(self.output)
        scratch = checkpoint.with_name(checkpoint.name + ".part")
        tables = table_paths(self.output)
        return [self.output, topology_beside(self.output), checkpoint, scratch, *tables]

    def _check_output(self, what: str, overwrite: bool) -> None:
        """Refuse an output that cannot be written, or is not this run's to write."""
        suffix, folder = self.output.suffix.lower(), self.output.parent
        if suffix not in TRAJECTORIES:
            raise UnknownNameError("trajectory suffix", suffix or str(self.output), TRAJECTORIES)
        if not folder.is_dir():
            raise InputError(f"there is no folder {str(folder)!r}; make it first")
        own = checkpoint_of(self.output).exists()  # whose it is, is seen when it is read
        files = [what, *self.settings.forcefield]
        claim(self.outputs, inputs=files, own=own, overwrite=overwrite)
        check_writable(self.output)

    def _drop(self) -> None:
        """Remove what is there, unless it is this very run, unfinished."""
        checkpoint = checkpoint_of(self.output)
        try:
            meta = host_function("openmm", "read_checkpoint")(checkpoint)[0]
            unfinished = meta["extra"].get("identity") == self.identity
            adapting = "adapting" in meta["extra"]
            unfinished = unfinished and (adapting or meta["cycle"] < self.cycles)
        except InputError:
            unfinished = False
        if not unfinished:
            for path in self.outputs:
                path.unlink(missing_ok=True)

    def go(self) -> dict[str, Any]:
        """Adapt, sample, and say what was found, as plain values; continues where a
        checkpoint stands.
        """
        checkpoint = checkpoint_of(self.output)
        begun = time.monotonic()
        stored = self._own_run(checkpoint) if checkpoint.exists() else {}
        if "adaptation" in stored and "adapting" not in stored:
            sampler, report = self._continued(checkpoint, stored)
        else:
            sampler, report = self._adapted(stored.get("adapting"))
            self.simulation.currentStep = 0
            self.simulation.context.setTime(0)
            self._write_to(append=False)
            self._save(sampler, report)
        self.resumed = sampler.cycle
        self._sample(sampler, report)
        result = self._result(sampler, report, time.monotonic() - begun)
        write_tables(result, self.output)
        return result

    # The phases ------------------------------------------------------------

    def _sampler(self, proposer: Any) -> Any:
        options = {
            "md_steps": self.settings.md_steps,
            "n_proposals": self.settings.n_proposals,
            "seed": self.settings.seed,
        }
        if isinstance(proposer, Still):
            options["n_proposals"] = 0
        return host_function("openmm", "ProposalSampler")(self.simulation, proposer, **options)

    def _adapted(self, stored: Mapping[str, Any] | None) -> tuple[Any, dict[str, Any]]:
        """The sampler after the adaptive phase, and what to say of that; goes on with
        what an interrupted phase has stored.
        """
        settings = self.settings
        total = max(1, round(self.adapt_ps / settings.cycle_ps))
        phase = AdaptivePhase(self._host(), total, stored)
        options: dict[str, Any] = {
            "temperature_K": settings.temperature_K,
            "seed": settings.seed,
            "terms": host_function("openmm", "turn_terms")(self.target.system),
        }
        kind, molecule = settings.proposals, self.target.molecule
        adapted = adapt(phase.advance, molecule, self.tree, kind, phase.total, **options)
        report = {**adapted.report, "seconds": phase.seconds}
        return self._sampler(adapted.proposer), report

    def _host(self) -> Host:
        """What the adaptive phase needs of this run."""
        settings = self.settings

        def sampler(proposer: Any, done: int) -> Any:
            # a seed of its own, so that production does not repeat the numbers of this phase
            options = {"md_steps": settings.md_steps, "n_proposals": settings.n_proposals}
            make = host_function("openmm", "ProposalSampler")
            return make(self.simulation, proposer, **options, seed=settings.seed + 1 + done)

        def report(done: int, total: int, acceptance: float) -> None:
            if self.progress is not None:
                said = {"done": done, "total": total, "acceptance": acceptance}
                self.progress({"stage": "adapting", **said})

        def save(sampler: Any, phase: dict[str, Any]) -> None:
            extra = {"identity": self.identity, "proposer": {}, "adaptation": {}, "adapting": phase}
            sampler.save(checkpoint_of(self.output), extra=extra)

        return Host(
            sampler=sampler,
            positions_A=lambda: host_function("openmm", "positions")(self.simulation),
            n_atoms=self.target.molecule.n_atoms,
            save=save,
            checkpoint=checkpoint_of(self.output),
            report=report,
            every_s=SAVE_EVERY_S,
        )

    def _own_run(self, checkpoint: Path) -> dict[str, Any]:
        """What a checkpoint says of its run, which must be this one."""
        extra = _stored_run(checkpoint)
        if extra["identity"] != self.identity:
            raise InputError(
                f"{str(self.output)!r} is a run of another command (its input or options "
                "differ); repeat that command to continue it, give another path, or drop it with "
                "--overwrite"
            )
        return extra

    def _continued(self, checkpoint: Path, extra: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        """The sampler and the adaptation's report of a run that has been interrupted,
        or is to be extended.
        """
        sampler = self._sampler(self._stored_proposer(extra["proposer"], checkpoint))
        sampler.load(checkpoint)
        self._write_to(append=True)
        return sampler, extra["adaptation"]

    def _stored_proposer(self, stored: Mapping[str, Any], checkpoint: Path) -> Any:
        if stored.get("proposer") == "none":
            return Still(self.tree)
        try:
            return proposer_from_dict(stored)
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise InputError(
                f"{str(checkpoint)!r} is damaged: the field 'extra.proposer' is no proposer "
                f"({error}); remove it to start anew"
            ) from error

    def _write_to(self, *, append: bool) -> None:
        cycles = (
            1
            if self.settings.interval_ps is None
            else max(1, round(self.settings.interval_ps / self.settings.cycle_ps))
        )
        host_function("openmm", "write_to")(
            self.simulation, self.output, cycles * self.settings.md_steps, append=append
        )

    def _save(self, sampler: Any, report: Mapping[str, Any]) -> None:
        extra = {
            "identity": self.identity,
            "proposer": sampler.proposer.to_dict(),
            "adaptation": report,
        }
        files = [str(self.output)] if self.output.exists() else []
        sampler.save(checkpoint_of(self.output), files=files, extra=extra)

    def _sample(self, sampler: Any, report: Mapping[str, Any]) -> None:
        saved = time.monotonic()
        # an interrupted cycle is not saved: it would be run twice, and the chain would
        # not be the uninterrupted one
        try:
            while sampler.cycle < self.cycles:
                sampler.run(1)
                if self.progress is not None:
                    acceptance = sampler.statistics.acceptance
                    self.progress(
                        {
                            "stage": "sampling",
                            "done": sampler.cycle,
                            "total": self.cycles,
                            "acceptance": acceptance,
                        }
                    )
                if time.monotonic() - saved > SAVE_EVERY_S:
                    self._save(sampler, report)
                    saved = time.monotonic()
            self._save(sampler, report)
        finally:
            host_function("openmm", "close_writers")(self.simulation)

    # The result ------------------------------------------------------------

    def _result(self, sampler: Any, report: Mapping[str, Any], seconds: float) -> dict[str, Any]:
        statistics, settings = sampler.statistics, self.settings
        labels = torsion_names(self.target.molecule, self.tree.atoms)
        phi = sampler.torsions_rad
        done = sampler.cycle - self.resumed
        return {
            "command": "md",
            "output": str(self.output),
            "topology": str(topology_beside(self.output)),
            "tables": [str(path) for path in table_paths(self.output)],
            "potential": self.target.potential,
            "platform": self.simulation.context.getPlatform().getName(),
            "temperature_K": settings.temperature_K,
            "time_ps": sampler.cycle * settings.cycle_ps,
            "cycles": sampler.cycle,
            "resumed_at_cycle": self.resumed,
            "exact": True,
            "adaptation": dict(report),
            "proposed": statistics.proposed,
            "accepted": statistics.accepted,
            "acceptance": statistics.acceptance if statistics.proposed else None,
            "not_finite": statistics.not_finite,
            "acceptance_by_torsion": dict(zip(labels, statistics.by_torsion().values())),
            "seconds_by_part": statistics.seconds,
            "seconds": seconds,
            "ps_per_s": done * settings.cycle_ps / seconds if seconds else 0.0,
            "energy_mean_eV": float(sampler.energies_eV.mean()),
            **(
                {"frames": len(phi), "torsions": [], "states": []}
                if len(phi) < 2
                else summary(phi, labels, settings.temperature_K)
            ),
        }


def md(
    what: str | os.PathLike[str],
    output: str | os.PathLike[str],
    time_ps: float = 200.0,
    *,
    overwrite: bool = False,
    progress: bool = False,
    **settings: Any,
) -> dict[str, Any]:
    """Sample a molecule's Boltzmann distribution by dynamics and proposals:
    `equidrift.montecarlo.run(...)`.

    Parameters
    ----------
    what : a SMILES, or a .pdb, .sdf or .mol file.
    output : .xtc or .dcd; its topology goes beside it (run.top.pdb for run.xtc), and a
        checkpoint, from which the same call continues, and one with a longer `time_ps`
        extends the run.
    time_ps : length of the production run.
    overwrite : replace what is there.
    progress : show a progress bar on stderr.
    settings : the fields of `equidrift.montecarlo.target.Settings`: temperature_K,
        proposals, timestep_fs, friction_per_ps, constraints, md_steps, n_proposals,
        adapt_ps, interval_ps, seed, platform, forcefield, charge.

    Returns
    -------
    What `equidrift md --json` prints: basins with populations and free energies
    (kJ/mol) and their errors, acceptance, times, paths.

    Raises
    ------
    InputError, MoleculeError, UnknownNameError
        for an input, an output or an option that cannot be used.
    """
    from equidrift.progress import phase_bar

    if unknown := sorted(set(settings) - {field.name for field in dataclasses.fields(Settings)}):
        raise UnknownNameError(
            "option of md", unknown[0], [f.name for f in dataclasses.fields(Settings)]
        )
    if isinstance(settings.get("forcefield"), str):
        settings["forcefield"] = tuple(name for name in settings["forcefield"].split(",") if name)
    chosen = Settings(**settings)
    with phase_bar(shown=progress) as report:
        run = Run(
            os.fspath(what), Path(output), time_ps, chosen, overwrite=overwrite, progress=report
        )
        return run.go()


def _stored_run(checkpoint: Path) -> dict[str, Any]:
    """What `MdRun` keeps in a checkpoint, each field checked."""
    from equidrift.stored import StoredRun, checked

    meta = host_function("openmm", "read_checkpoint")(checkpoint)[0]
    try:
        return checked(meta["extra"], StoredRun, "run of equidrift md").model_dump()
    except InputError as error:
        raise InputError(
            f"{str(checkpoint)!r} is damaged: {error}; remove it to start anew"
        ) from error

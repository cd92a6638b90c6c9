"""Exact sampling of one molecule in OpenMM, from input to basins: what `equidrift md`
runs.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from equidrift.arguments import check_count
from equidrift.errors import InputError, UnknownNameError
from equidrift.montecarlo.adapt import Still, adapt
from equidrift.montecarlo.chains import run_chains
from equidrift.montecarlo.phase import AdaptivePhase, ChainSampler, Host
from equidrift.montecarlo.plan import Plan
from equidrift.montecarlo.proposals import proposer_from_dict
from equidrift.montecarlo.result import Chain, result_of
from equidrift.montecarlo.tables import write_tables
from equidrift.montecarlo.target import ChainSettings, make_target
from equidrift.montecarlo.torsion_names import named_tree, torsion_names
from equidrift.notes import TOLD
from equidrift.protocols import Proposer
from equidrift.registry import host_function

if TYPE_CHECKING:
    from openmm import app

Progress = Callable[[dict[str, Any]], None]
SAVE_EVERY_S = 5.0

log = logging.getLogger("equidrift.montecarlo")


class ChainRun:
    """One simulation on disk: OUT (.xtc or .dcd), its topology (run.top.pdb for
    run.xtc), and OUT.checkpoint.

    From the checkpoint it continues or is extended.

    Parameters
    ----------
    plan : Plan
        Input, output, length and settings.
    overwrite : bool
        Drop what is there.
    progress : callable, optional
        Called with {"stage": "adapting" | "sampling", "done", "total", "acceptance"}.

    Raises
    ------
    InputError
        If OUT belongs to another command, or something cannot be used.
    """

    def __init__(
        self, plan: Plan, *, overwrite: bool = False, progress: Progress | None = None
    ) -> None:
        self.plan, self.settings, self.progress = plan, plan.settings, progress
        plan.check_output(overwrite=overwrite)
        self.target = make_target(plan.what, plan.settings)
        self.simulation = self._simulation()
        self.tree = named_tree(self.target.turned)
        self.resumed = 0
        if overwrite:
            plan.drop()

    def go(self) -> Chain:
        """Adapt and sample; continues if a checkpoint is there."""
        begun = time.monotonic()
        stored = self._own_run() if self.plan.checkpoint.exists() else {}
        if "adaptation" in stored and "adapting" not in stored:
            sampler, report = self._continued(stored)
        else:
            sampler, report = self._adapted(stored.get("adapting"))
            self.simulation.currentStep = 0
            self.simulation.context.setTime(0)
            self._write_to(append=False)
            self._save(sampler, report)
        self.resumed = sampler.cycle
        self._sample(sampler, report)
        return self._chain(sampler, report, time.monotonic() - begun)

    def _simulation(self) -> app.Simulation:
        settings, target = self.settings, self.target
        return host_function("openmm", "make_simulation")(
            target.topology,
            target.system,
            target.positions_A,
            temperature_K=settings.temperature_K,
            timestep_fs=settings.timestep_fs,
            friction_per_ps=settings.friction_per_ps,
            seed=settings.seed,
            platform=settings.platform,
        )

    def _own_run(self) -> dict[str, Any]:
        """What the checkpoint says of its run, which must be this one."""
        extra = _stored_run(self.plan.checkpoint)
        if extra["identity"] != self.plan.identity:
            raise InputError(
                f"{str(self.plan.output)!r} is a run of another command (its input or options "
                "differ); repeat that command to continue it, give another path, or drop it with "
                "--overwrite"
            )
        return extra

    # The phases ------------------------------------------------------------

    def _sampler(self, proposer: Proposer, seed: int, n_proposals: int) -> ChainSampler:
        sampler: ChainSampler = host_function("openmm", "ProposalSampler")(
            self.simulation,
            proposer,
            md_steps=self.settings.md_steps,
            n_proposals=n_proposals,
            atoms=self.target.solute,
            seed=seed,
        )
        return sampler

    def _production(self, proposer: Proposer) -> ChainSampler:
        n = 0 if isinstance(proposer, Still) else self.target.proposals(self.settings)
        return self._sampler(proposer, self.settings.seed, n)

    def _adapted(self, stored: Mapping[str, Any] | None) -> tuple[ChainSampler, dict[str, Any]]:
        """The sampler after the adaptive phase, and what to say of that; goes on with
        what an interrupted phase has stored.
        """
        settings = self.settings
        phase = AdaptivePhase(self._host(), self.plan.adapt_cycles, stored)
        adapted = adapt(
            phase.advance,
            self.target.turned,
            self.tree,
            settings.proposals,
            phase.total,
            temperature_K=settings.temperature_K,
            seed=settings.seed,
            terms=host_function("openmm", "turn_terms")(self.target.system, self.target.solute),
        )
        report = {**adapted.report, "seconds": phase.seconds}
        return self._production(adapted.proposer), report

    def _host(self) -> Host:
        """What the adaptive phase needs of this run."""
        settings, atoms = self.settings, self.target.solute
        n_proposals = self.target.proposals(settings)

        def sampler(proposer: Proposer, done: int) -> ChainSampler:
            # a seed of its own, so that production does not repeat the numbers of this phase
            return self._sampler(proposer, settings.seed + 1 + done, n_proposals)

        def save(sampler: ChainSampler, phase: dict[str, Any]) -> None:
            extra = {"proposer": {}, "adaptation": {}, "adapting": phase}
            sampler.save(self.plan.checkpoint, extra={"identity": self.plan.identity, **extra})

        return Host(
            sampler=sampler,
            positions_A=lambda: host_function("openmm", "positions")(self.simulation)[atoms],
            n_atoms=len(atoms),
            save=save,
            checkpoint=self.plan.checkpoint,
            report=lambda done, total, share: self._tell("adapting", done, total, share),
            every_s=SAVE_EVERY_S,
        )

    def _tell(self, stage: str, done: int, total: int, acceptance: float) -> None:
        if self.progress is not None:
            self.progress({"stage": stage, "done": done, "total": total, "acceptance": acceptance})

    def _continued(self, extra: Mapping[str, Any]) -> tuple[ChainSampler, dict[str, Any]]:
        """The sampler and the adaptation's report of a run that has been interrupted,
        or is to be extended.
        """
        sampler = self._production(self._stored_proposer(extra["proposer"]))
        sampler.load(self.plan.checkpoint)
        self._write_to(append=True)
        return sampler, extra["adaptation"]

    def _stored_proposer(self, stored: Mapping[str, Any]) -> Proposer:
        if stored.get("proposer") == "none":
            return Still(self.tree)
        try:
            return proposer_from_dict(stored)
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise InputError(
                f"{str(self.plan.checkpoint)!r} is damaged: the field 'extra.proposer' is no "
                f"proposer ({error}); remove it to start anew"
            ) from error

    def _write_to(self, *, append: bool) -> None:
        interval_ps, cycle_ps = self.settings.interval_ps, self.settings.cycle_ps
        cycles = 1 if interval_ps is None else max(1, round(interval_ps / cycle_ps))
        host_function("openmm", "write_to")(
            self.simulation, self.plan.output, cycles * self.settings.md_steps, append=append
        )

    def _save(self, sampler: ChainSampler, report: Mapping[str, Any]) -> None:
        extra = {
            "identity": self.plan.identity,
            "proposer": sampler.proposer.to_dict(),
            "adaptation": report,
        }
        files = [str(self.plan.output)] if self.plan.output.exists() else []
        sampler.save(self.plan.checkpoint, files=files, extra=extra)

    def _sample(self, sampler: ChainSampler, report: Mapping[str, Any]) -> None:
        saved, cycles = time.monotonic(), self.plan.cycles
        # an interrupted cycle is not saved: it would be run twice, and the chain would
        # not be the uninterrupted one
        try:
            while sampler.cycle < cycles:
                sampler.run(1)
                self._tell("sampling", sampler.cycle, cycles, sampler.statistics.acceptance)
                if time.monotonic() - saved > SAVE_EVERY_S:
                    self._save(sampler, report)
                    saved = time.monotonic()
            self._save(sampler, report)
        finally:
            host_function("openmm", "close_writers")(self.simulation)

    def _chain(self, sampler: ChainSampler, report: dict[str, Any], seconds: float) -> Chain:
        return Chain(
            plan=self.plan,
            potential=self.target.potential,
            platform=self.simulation.context.getPlatform().getName(),
            labels=tuple(torsion_names(self.target.turned, self.tree.atoms)),
            adaptation=report,
            statistics=sampler.statistics,
            torsions_rad=sampler.torsions_rad,
            energies_eV=sampler.energies_eV,
            resumed=self.resumed,
            seconds=seconds,
            notes=self.target.notes,
        )


def run_one(plan: Plan, overwrite: bool, progress: Progress | None) -> Chain:
    """One chain, from its plan to its end."""
    return ChainRun(plan, overwrite=overwrite, progress=progress).go()


def run_plan(
    plan: Plan,
    *,
    chains: int = 1,
    threads: int | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Run one chain here, or several in processes of their own, and write the tables.

    Parameters
    ----------
    plan : Plan
        Of the one chain, or of what all of them share.
    chains : int
        Independent chains; each has its own start, seed and files.
    threads : int, optional
        Cores for several chains; None takes those that this process may use.
    overwrite : bool
        Replace what is there.
    progress : callable, optional
        See `ChainRun`; chains add "chain", their number from 1.

    Returns
    -------
    dict
        What `equidrift md --json` prints.
    """
    check_count("chains", chains)
    if chains == 1:
        done = [run_one(plan, overwrite, progress)]
    else:
        done = run_chains(run_one, plan, chains, threads, overwrite, progress)
    result = result_of(plan, done)
    for note in result["notes"]:
        log.warning("%s: %s", plan.what, note, extra=TOLD)
    write_tables(result, plan.output)
    return result


def md(
    what: str | os.PathLike[str],
    output: str | os.PathLike[str],
    time_ps: float = 200.0,
    *,
    chains: int = 1,
    threads: int | None = None,
    overwrite: bool = False,
    progress: bool = False,
    **settings: Any,
) -> dict[str, Any]:
    """Sample a molecule's Boltzmann distribution by dynamics and proposals.

    Parameters
    ----------
    what : str or PathLike
        A SMILES, or a .pdb, .sdf, .mol or .mol2 file.
    output : str or PathLike
        Trajectory, .xtc or .dcd; its topology goes beside it (run.top.pdb for run.xtc),
        and a checkpoint, from which the same call continues, and one with a longer
        `time_ps` extends the run. Several chains write run.1.xtc, run.2.xtc, ...
    time_ps : float
        Length of the production run in ps, of each chain.
    chains : int
        Independent chains, each in a process of its own; errors and R-hat are over all
        of them.
    threads : int, optional
        Cores that several chains take; None takes those that this process may use.
    overwrite : bool
        Replace what is there.
    progress : bool
        Show a progress bar on stderr.
    **settings
        The fields of `equidrift.montecarlo.target.ChainSettings`: temperature_K, proposals,
        timestep_fs, friction_per_ps, constraints, md_steps, n_proposals, adapt_ps,
        interval_ps, seed, platform, forcefield, charge, smiles, largest_fragment.

    Returns
    -------
    dict
        What `equidrift md --json` prints: basins with populations and free energies
        (kJ/mol) and their errors, effective samples, R-hat, acceptance, times, paths.

    Raises
    ------
    InputError, MoleculeError, UnknownNameError
        If an input, an output or an option cannot be used.

    Examples
    --------
    A short run without an adaptive phase; 200 ps and `chains=4` are usual.

    >>> import equidrift, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     result = equidrift.md("CCCO", f"{folder}/out.xtc", 2.0, proposals="uniform")
    >>> [found["torsion"] for found in result["torsions"]]
    ['C0-C1-C2-O3']
    """
    from equidrift.progress import phase_bar

    known = [field.name for field in dataclasses.fields(ChainSettings)]
    if unknown := sorted(set(settings) - set(known)):
        raise UnknownNameError("option of md", unknown[0], known)
    if isinstance(settings.get("forcefield"), str):
        settings["forcefield"] = tuple(name for name in settings["forcefield"].split(",") if name)
    plan = Plan(os.fspath(what), Path(output), time_ps, ChainSettings(**settings))
    with phase_bar(shown=progress) as report:
        return run_plan(plan, chains=chains, threads=threads, overwrite=overwrite, progress=report)


def _stored_run(checkpoint: Path) -> dict[str, Any]:
    """What `ChainRun` keeps in a checkpoint, each field checked."""
    from equidrift.stored import StoredRun, checked

    meta = host_function("openmm", "read_checkpoint")(checkpoint)[0]
    try:
        return checked(meta["extra"], StoredRun, "run of equidrift md").model_dump()
    except InputError as error:
        raise InputError(
            f"{str(checkpoint)!r} is damaged: {error}; remove it to start anew"
        ) from error

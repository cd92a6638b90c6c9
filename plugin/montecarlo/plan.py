"""What one run of `equidrift md` is: input, files and length, checked before anything is
computed.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from equidrift.errors import InputError, UnknownNameError
from equidrift.files.formats import check_writable
from equidrift.files.journal import file_sha256, fingerprint
from equidrift.files.unpacked import names_file
from equidrift.montecarlo.adapt import LEAST_CYCLES
from equidrift.montecarlo.tables import table_paths
from equidrift.montecarlo.target import USUAL_PROPOSALS, ChainSettings
from equidrift.outputs import claim, topology_beside
from equidrift.registry import host_function
from equidrift.text import counted

TRAJECTORIES = (".xtc", ".dcd")
# the adaptive phase, unless it is given: long enough for a fit, and a small share of the whole
LEAST_ADAPT_PS, ADAPT_SHARE = 50.0, 0.1
# settings that are no part of a run's identity while they have their default value, so that runs
# of versions that did not know them go on
_LATER_SETTINGS = ("charge", "smiles", "largest_fragment")


def checkpoint_of(output: Path) -> Path:
    """The checkpoint beside an output."""
    return output.with_name(output.name + ".checkpoint")


@dataclass(frozen=True)
class Plan:
    """One chain: what is simulated, for how long, and where it is written.

    Parameters
    ----------
    what : str
        SMILES or file.
    output : Path
        Trajectory, .xtc or .dcd.
    time_ps : float
        Length of the production run.
    settings : ChainSettings
        Everything else that decides the result.

    Raises
    ------
    InputError
        If the time is not positive and finite, the adaptive phase is too short to fit a
        proposer, or the output is of another kind.
    """

    what: str
    output: Path
    time_ps: float
    settings: ChainSettings

    def __post_init__(self) -> None:
        if not 0 < self.time_ps < float("inf"):
            raise InputError(f"time must be positive and finite, not {self.time_ps} ps")
        self._check_adaptation()
        suffix = self.output.suffix.lower()
        if suffix not in TRAJECTORIES:
            raise UnknownNameError("trajectory suffix", suffix or str(self.output), TRAJECTORIES)

    @property
    def cycles(self) -> int:
        """Cycles of dynamics and moves in production."""
        return max(1, round(self.time_ps / self.settings.cycle_ps))

    @property
    def adapt_ps(self) -> float:
        """Length of the adaptive phase."""
        return self.settings.adapt_ps or max(LEAST_ADAPT_PS, ADAPT_SHARE * self.time_ps)

    @property
    def adapt_cycles(self) -> int:
        """Cycles of the adaptive phase."""
        return max(1, round(self.adapt_ps / self.settings.cycle_ps))

    @property
    def checkpoint(self) -> Path:
        """Where the checkpoint is."""
        return checkpoint_of(self.output)

    @property
    def outputs(self) -> list[Path]:
        """Every file that the run writes."""
        scratch = self.checkpoint.with_name(self.checkpoint.name + ".part")
        tables = table_paths(self.output)
        return [self.output, topology_beside(self.output), self.checkpoint, scratch, *tables]

    @cached_property
    def identity(self) -> str:
        """A hash of everything that decides the result but its length."""
        is_file = names_file(self.what)
        described = f"{Path(self.what).name}:{file_sha256(self.what)}" if is_file else self.what
        parts = dataclasses.asdict(self.settings)
        for field in dataclasses.fields(ChainSettings):
            if field.name in _LATER_SETTINGS and parts[field.name] == field.default:
                del parts[field.name]
        if parts["n_proposals"] is None:  # as runs before there was a choice called it
            parts["n_proposals"] = USUAL_PROPOSALS
        return fingerprint({"what": described, **parts, "suffix": self.output.suffix})

    def check_output(self, *, overwrite: bool) -> None:
        """Refuse an output that cannot be written, or is not this run's to write.

        Raises
        ------
        InputError
            If the folder is missing, or a file is there that this run did not write.
        """
        folder = self.output.parent
        if not folder.is_dir():
            raise InputError(f"there is no folder {str(folder)!r}; make it first")
        own = self.checkpoint.exists()  # whose it is, is seen when it is read
        files = [self.what, *self.settings.forcefield]
        claim(self.outputs, inputs=files, own=own, overwrite=overwrite)
        check_writable(self.output)

    def drop(self) -> None:
        """Remove what is there, unless it is this very run, unfinished."""
        if not self._is_unfinished():
            for path in self.outputs:
                path.unlink(missing_ok=True)

    def _is_unfinished(self) -> bool:
        """Whether the checkpoint is one of this run, before its end."""
        try:
            meta = host_function("openmm", "read_checkpoint")(self.checkpoint)[0]
        except InputError:
            return False
        if meta["extra"].get("identity") != self.identity:
            return False
        return bool("adapting" in meta["extra"] or meta["cycle"] < self.cycles)

    def _check_adaptation(self) -> None:
        """Refuse an adaptive phase that is too short to fit a proposer."""
        settings = self.settings
        if settings.proposals in ("none", "uniform") or self.adapt_cycles >= LEAST_CYCLES:
            return
        need_ps = LEAST_CYCLES * settings.cycle_ps
        way = f"needs --adapt {need_ps:g}ps"
        if settings.adapt_ps is None:
            way += f", or --time {need_ps / ADAPT_SHARE:g}ps"
        raise InputError(
            f"the adaptive phase of {self.adapt_ps:g} ps has "
            f"{counted(self.adapt_cycles, 'cycle')} of "
            f"{settings.cycle_ps:g} ps, and {LEAST_CYCLES} are needed to fit a proposer: {way}, or "
            "fewer --md-steps, or --proposals uniform or none"
        )

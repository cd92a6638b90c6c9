"""Names that moved: `config`, `trainer`, `split` and `run` hold what stood here."""

from __future__ import annotations

from equidrift.models.shared.config import Names, check_run, config_errors, make_schedule
from equidrift.models.shared.split import HELD_OUT, split
from equidrift.models.shared.trainer import Progress, Schedule, Trainer

__all__ = ["HELD_OUT", "Names", "Progress", "Schedule", "Trainer", "check_run", "config_errors", "make_schedule", "split"]

"""Draws of new molecules on the disk: each batch is made by one process, in a folder that
the jobs of an array share, and whoever merges goes through them in order.

Which draws become molecules depends on all before them (none may repeat), so it is
decided at the end. A draw itself depends on its number and the seed alone, so the file is
that of one process. The last batches of a run are smaller, which no job can know:
whoever merges draws them.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from equidrift.checks.molecule import Draw
from equidrift.engine.molecule_settings import MoleculeSettings
from equidrift.engine.molecules import Drawing, Tally, draws, draws_for, most_draws, taken
from equidrift.files.plain import molecule_from_dict, molecule_to_dict
from equidrift.files.whole import write_json
from equidrift.scale.folder import REFUSED, Folder
from equidrift.scale.shards import Shard

DRAWS = ".draws"  # ends the name of a file of draws


class DrawFolder(Folder):
    """A folder of batches of draws, each in a file that is whole or not there; it takes
    what `Folder` takes.
    """

    telling = (DRAWS, REFUSED)
    spare = 4  # the jobs' estimates of what is needed may have been too low

    def begun(self) -> list[int]:
        """Numbers of the batches that are there."""
        return sorted(int(path.name[:6]) for path in self.folder.glob(f"[0-9]*{DRAWS}"))

    def counts(self, index: int) -> dict[str, Any] | None:
        """What a batch holds; molecules that repeat others are among it."""
        made = self.draws(index)
        if made is None:
            return None
        sound = sum(not draw.reason for draw in made)
        rejected = dict(Counter(draw.reason for draw in made if draw.reason))
        return {"drawn": len(made), "molecules": sound, "rejected": rejected}

    def put(self, index: int, made: Sequence[Draw]) -> None:
        """Write a batch."""
        told = [_told(draw) for draw in made]
        write_json(self.path(index), {"command": self.command, "draws": told}, what="draws")

    def draws(self, index: int) -> list[Draw] | None:
        """A batch of this run, None if it is not there.

        Raises
        ------
        InputError
            If its file is damaged.
        """
        from equidrift.stored import StoredDraws, read_stored

        path = self.path(index)
        if not path.exists():
            return None
        stored = read_stored(path, StoredDraws, "batch of draws")
        if stored.command != self.command:
            return None
        return [_draw(**one.model_dump()) for one in stored.draws]


def _told(draw: Draw) -> dict[str, Any]:
    """A draw as JSON values, floats to the last digit."""
    told: dict[str, Any] = {"seed": draw.seed, "reason": draw.reason}
    if draw.molecule is None or draw.positions_A is None:
        return told
    told |= {"molecule": molecule_to_dict(draw.molecule), "positions_A": draw.positions_A}
    return told | ({} if math.isnan(draw.energy_eV) else {"energy_eV": draw.energy_eV})


def _draw(
    seed: int,
    reason: str,
    molecule: dict[str, Any] | None,
    positions_A: list[list[float]] | None,
    energy_eV: float | None,
) -> Draw:
    if molecule is None or positions_A is None:
        return Draw(seed, reason)
    energy = math.nan if energy_eV is None else float(energy_eV)
    x = np.array(positions_A, np.float64).reshape(-1, 3)
    return Draw(seed, reason, molecule_from_dict(molecule), x, energy)


def drawn(settings: MoleculeSettings, shard: Shard[int]) -> list[Draw]:
    """The draws of a run whose numbers are the entries of a shard, and, as draws that
    ended their process, those that lie between them or are refused.
    """
    first, last = shard.entries[0], shard.entries[-1]
    asked = {entry - first for k, entry in enumerate(shard.entries) if k not in shard.refused}
    left_out = set(range(last - first + 1)) - asked
    return draws(settings, first, last - first + 1, left_out)


def stored(folders: Sequence[DrawFolder], size: int, otherwise: Drawing) -> Drawing:
    """What takes whole batches, of so many draws, out of folders, and makes all others."""

    def drawing(first: int, count: int) -> list[Draw]:
        if count == size and first % size == 0:
            for folder in folders:
                made = folder.draws(first // size)
                if made is not None and len(made) == size:
                    return made
        return otherwise(first, count)

    return drawing


class Supply:
    """The batches that a job has to draw: how many there must be is told by all that are
    there already.

    Parameters
    ----------
    folder : DrawFolder
        Of all jobs.
    n : int
        Molecules wanted.
    settings : MoleculeSettings
        Of the run.
    """

    def __init__(self, folder: DrawFolder, n: int, settings: MoleculeSettings) -> None:
        self.folder, self.n, self.settings = folder, n, settings
        self._run = Tally()
        self._seen: set[int] = set()

    def needed(self) -> int:
        """Batches, of all jobs together, that will probably do."""
        self.folder.refresh()
        for index in self.folder.begun():
            if index not in self._seen and self._run.found < self.n:
                self._seen.add(index)
                made = self.folder.draws(index) or []
                for _ in taken(made, self.n, self._run, self.settings):
                    pass
        run, size = self._run, self.settings.batch_size
        if run.found == self.n:
            return math.ceil(run.drawn / size)
        draws = run.drawn + draws_for(self.n - run.found, run)
        return min(draws, most_draws(self.n, self.settings)) // size

    def shards(self, mine: Callable[[int], bool]) -> Iterator[Shard[int]]:
        """Batches, as long as there must be more; their entries are the numbers of
        draws.

        Parameters
        ----------
        mine : callable
            Whether the job that asks makes the batch of that number; before each of
            these it is found out anew how many there must be.
        """
        size, needed = self.settings.batch_size, 0
        for index in itertools.count():
            if mine(index) or index >= needed:
                needed = self.needed()
            if index >= needed:
                return
            begin = index * size
            yield Shard(index, (begin, 0), tuple(range(begin, begin + size)), noun="draws")

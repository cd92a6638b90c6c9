"""Commands whose workers die at chosen moments; shards are small in all their processes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
SHARD = 4
# imported by every interpreter that starts, those of the workers included
SITE = """
import os, signal
import equidrift.engine.conformers as engine
engine.SHARD_MOLECULES = {shard}
from equidrift import registry
registry.CONFORMER_MODELS["fatal"] = "tests.doubles:Fatal"
registry.CONFORMER_MODELS["shaker"] = "tests.doubles:Shaker"
registry.REFINERS["shrinker"] = "tests.doubles:Shrinker"
registry.MOLECULE_MODELS["baker"] = "tests.doubles:Baker"
registry.MOLECULE_MODELS["mortal"] = "tests.doubles:Mortal"
registry.MOLECULE_MODELS["poison"] = "tests.doubles:Poison"
_replace, _kills = os.replace, {kills!r}

def _hook(source, target, *args, **options):
    _replace(source, target, *args, **options)
    for name, times in _kills.items():
        for k in range(1, max(times) + 1) if str(target).endswith(name) else ():
            token = os.path.join({folder!r}, "seen-%d-%s" % (k, name))
            try:
                os.close(os.open(token, os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                continue
            if k in times:
                open(token.replace("seen-", "killed-"), "w").close()
                os.kill(os.getpid(), signal.SIGKILL)
            break

os.replace = _hook
"""


def make_site(folder: Path, kills: dict[str, Sequence[int]] | None = None) -> Path:
    """A folder with what every interpreter that has it on its path imports."""
    site = folder / "site"
    site.mkdir(exist_ok=True)
    told = SITE.format(shard=SHARD, kills=kills or {}, folder=str(site))
    (site / "sitecustomize.py").write_text(told)
    return site


def run_shared(
    arguments: Sequence[object], folder: Path, kills: dict[str, Sequence[int]] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run `equidrift ARGUMENTS` in a folder, shards being of SHARD molecules.

    Parameters
    ----------
    arguments : sequence
        Of the command.
    folder : Path
        Where it runs.
    kills : mapping, optional
        End of a file's name -> after which renames of such a file into its place, from
        1, the process is killed that did it.
    """
    site = make_site(folder, kills)
    path = [str(site), str(ROOT), os.environ.get("PYTHONPATH", "")]
    return subprocess.run(
        [sys.executable, "-m", "equidrift", *map(str, arguments)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path)},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )


def killed(folder: Path) -> int:
    """How many processes were killed."""
    return len(list((folder / "site").glob("killed-*")))

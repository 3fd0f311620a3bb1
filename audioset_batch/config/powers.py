"""What in a config can run programs, load code or read other files than its own."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from audioset_batch.config.schema import Config
from audioset_batch.config.ytdlp_args import powerful_options

_SBATCH: Final = """
    begin cluster-constraint clusters comment constraint contiguous core-spec cores-per-socket cpu-freq cpus-per-gpu
    deadline distribution exclude exclusive gpu-bind gpu-freq gpus gpus-per-node gpus-per-task gres gres-flags hint
    licenses mem-bind mem-per-cpu mem-per-gpu mincpus nice nodelist nodes no-kill oversubscribe overcommit power prefer
    priority profile reservation sockets-per-node spread-job switches thread-spec threads-per-core time-min tmp
    use-min-nodes wckey
    """
_HARMLESS_SBATCH: Final = frozenset(_SBATCH.split())
"""Options of sbatch that only say where and when a job runs. Others run programs (srun's `task-prolog`), set the
environment of its shell (`export`), or name files."""


_MODULE: Final = re.compile(r"\w[\w.+-]*(/\w[\w.+-]*)*")


@dataclass(frozen=True, slots=True)
class Power:
    """A key of the config that can do more than describe the run.

    Attributes:
        key: Where it stands.
        what: What it does, in words that go on with "so ...".
    """

    key: tuple[str, ...]
    what: str


def powers(config: Config) -> list[Power]:
    """What the config may run, in the order of its keys; [] for most."""
    found = []
    if config.trusted_owners:
        found.append(Power(("trusted_owners",), f"{', '.join(config.trusted_owners)}: their links may lead anywhere"))
    options = powerful_options(config.youtube.args)
    if options:
        named = ", ".join(options)
        found.append(Power(("youtube", "args"), f"{named}: may run programs, load code or touch files"))
    if config.youtube.update != "never":
        found.append(Power(("youtube", "update"), f"{config.youtube.update}: installs a newer yt-dlp"))
    slurm = config.slurm
    modules = [name for name in slurm.modules if _MODULE.fullmatch(name) is None]
    if modules:
        found.append(Power(("slurm", "modules"), f"{', '.join(modules)}: a module file by its path is a program"))
    if slurm.setup:
        found.append(Power(("slurm", "setup"), f"runs {'; '.join(slurm.setup)}"))
    extra = sorted(key for key in slurm.extra if key.replace("_", "-") not in _HARMLESS_SBATCH)
    if extra:
        found.append(
            Power(("slurm", "extra"), f"{', '.join(extra)}: may run programs in the job or change its environment")
        )
    return found

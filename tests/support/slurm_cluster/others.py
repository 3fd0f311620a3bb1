"""Keep away from a SLURM that is not ours: whoever runs the tests may sit on the login node of a real one."""

from __future__ import annotations

import os
from collections.abc import MutableMapping
from typing import Final

_PREFIXES: Final = ("SLURM", "SBATCH", "SALLOC", "SRUN", "SQUEUE", "SINFO", "SACCT", "SCANCEL", "SCONTROL", "SPRIO")


def names_a_cluster(variable: str) -> bool:
    """True for environment variables that SLURM's commands, or jobs in it, go by."""
    return variable.startswith(_PREFIXES)


def forget_other_clusters(environ: MutableMapping[str, str] = os.environ) -> None:
    """Drop all that leads to another cluster."""
    for name in [name for name in environ if names_a_cluster(name)]:
        del environ[name]

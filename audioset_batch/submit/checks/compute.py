"""`check --on-compute`: the same checks as one task where the workers will run."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence

from audioset_batch.config import Config
from audioset_batch.config.reservation import reserved
from audioset_batch.submit.checks.finding import Finding, error
from audioset_batch.submit.script import setup_lines

_TIME = "10"


def check_on_node(config: Config, options: Sequence[str]) -> Iterator[Finding]:
    """Run `audioset-batch check --only-node` by srun and pass on what it finds.

    Args:
        config: `slurm:` as for the array: partition, modules and so on.
        options: `--config` and the like for the check there.
    """
    try:
        done = subprocess.run(
            srun_command(config, options), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
    except FileNotFoundError:
        yield error("compute node", "srun is not on the PATH", "run this on a login node, or leave out --on-compute")
        return
    # lines of slurm.setup and modules may print before it
    match = re.search(r"(?m)^\{.*\}$", done.stdout)
    try:
        found = json.loads(match[0])["checks"] if match else None
    except (ValueError, KeyError):
        found = None
    if found is None:
        said = (done.stderr.strip() or done.stdout.strip() or "nothing").splitlines()
        yield error(
            "compute node",
            f"the check did not run there (srun ended with {done.returncode}): {'; '.join(said[-5:])}",
            "is the checkout on a filesystem that the nodes see, and does `slurm:` of the config fit the cluster?",
        )
        return
    for values in found:
        yield Finding(**values)


def srun_command(config: Config, options: Sequence[str]) -> list[str]:
    """srun with the same choices as the array, for one small task of ten minutes at most."""
    argv = ["srun", "--ntasks=1", "--job-name=audioset-check", f"--time={_TIME}", "--unbuffered"]
    asked, settings = reserved(config), config.slurm
    argv += [f"--cpus-per-task={asked.cpus}", f"--mem={asked.mem}"]
    for key in ("partition", "account", "qos"):
        if getattr(settings, key) is not None:
            argv.append(f"--{key}={getattr(settings, key)}")
    for key, value in settings.extra.items():
        if value is not False:
            argv.append(f"--{key.replace('_', '-')}" + ("" if value is True else f"={value}"))
    check = [sys.executable, "-P", "-m", "audioset_batch", "check", "--only-node", "--json", *options]
    return [*argv, "bash", "-c", "\n".join([*setup_lines(settings), f"exec {shlex.join(check)}"])]

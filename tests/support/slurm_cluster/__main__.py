"""`python -m tests.support.slurm_cluster [COMMAND ...]`: run a command, by default a shell, with a private SLURM.

sbatch, squeue and the others answer in it; when it ends, so does the cluster with all its jobs.
"""

from __future__ import annotations

import os
import subprocess
import sys

from tests.support.slurm_cluster.cluster import PrivateSlurm, SlurmError
from tests.support.slurm_cluster.others import forget_other_clusters


def main(command: list[str]) -> int:
    """Run `command`; returns its exit status, 2 without SLURM."""
    forget_other_clusters()
    try:
        with PrivateSlurm() as slurm:
            print(f"a private SLURM answers, with node {slurm.nodes[0]}; it ends with this command", file=sys.stderr)
            return subprocess.run(
                command or [os.environ.get("SHELL", "/bin/sh")], env=slurm.env, check=False
            ).returncode
    except (SlurmError, FileNotFoundError) as error:
        print(f"slurm_cluster: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

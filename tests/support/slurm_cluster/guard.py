"""End a private cluster when the process that made it is gone.

python -m tests.support.slurm_cluster.guard FOLDER PID     # waits for the end of PID, tears FOLDER's cluster down
"""

import os
import sys
import time
from pathlib import Path

from tests.support.slurm_cluster.teardown import tear_down


def guard(folder: Path, parent: int) -> None:
    """Return when the cluster is gone; tear it down when its maker is gone first, for instance by KILL."""
    while folder.exists():
        if os.getppid() != parent:
            tear_down(folder)
            return
        time.sleep(0.3)


if __name__ == "__main__":
    guard(Path(sys.argv[1]), int(sys.argv[2]))

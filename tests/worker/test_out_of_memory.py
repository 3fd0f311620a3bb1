"""A worker in a real control group whose memory runs out."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.loopback import Project
from tests.support.running import Worker
from tests.support.verdicts import leftovers

MakeProject = Callable[..., Project]
LIMIT = 800 << 20

GREEDY = """
import sys, time
from audioset_batch.worker.oom import oom_kills
open("/proc/self/oom_score_adj", "w").write("-1000")
open(sys.argv[1], "w").write("0")
before, blocks = oom_kills(), []
while oom_kills() == before and len(blocks) < 400:
    blocks.append(b"x" * (4 << 20))
    time.sleep(0.02)
"""
"""Takes all memory of the group until the kernel has killed there, and is never killed itself."""


@pytest.fixture
def group() -> Iterator[Path]:
    """The file to which a process writes 0 to enter a group of its own with `LIMIT`."""
    name = f"audioset-batch-test-{os.getpid()}"
    for base, limit, value, enter in (
        (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes", str(LIMIT), "tasks"),
        (Path("/sys/fs/cgroup"), "memory.max", str(LIMIT), "cgroup.procs"),
    ):
        folder = base / name
        try:
            folder.mkdir()
        except OSError:
            continue
        try:
            (folder / limit).write_text(value)
            for file, text in (("memory.swappiness", "0"), ("memory.swap.max", "0")):
                if (folder / file).exists():
                    (folder / file).write_text(text)
            yield folder / enter
            return
        except OSError:
            continue
        finally:
            folder.rmdir()
    pytest.skip(
        "NO CONTROL GROUP CAN BE MADE HERE, RUNNING OUT OF MEMORY IS NOT TESTED: needs root and a memory controller"
    )


@pytest.mark.slow
def test_worker_processes_die_and_the_job_goes_on(make_project: MakeProject, group: Path) -> None:
    project = make_project(24)
    with Worker(project, prefix=("sh", "-c", 'echo 0 > "$0"; exec "$@"', str(group))) as worker:
        worker.wait_rows(2)
        subprocess.run([sys.executable, "-c", GREEDY, str(group)], check=True, timeout=60)
        assert worker.end() == 0
        log = worker.log
    assert "died of SIGKILL: out of memory, says the kernel. Give the job more than its limit of 800 MB" in log
    assert "going on with worker.processes=1" in log
    project.check(project.merge(), project.youtube.catalog)
    assert leftovers(project.data) == []

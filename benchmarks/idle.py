"""What a task costs that waits for its egresses: metadata operations a second (counted by strace) and CPU.

.venv/bin/python benchmarks/idle.py --seconds 120
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from audioset_batch.config.schema import Egress, Probe
from audioset_batch.egress import EgressPool, slots

_CALLS = "trace=%file,getdents64,fstat,utimensat"
_SHORT = 1.0


def pool_of(folder: Path, limiters: int) -> EgressPool:
    """A task with so many egresses of 300 videos an hour."""
    egresses = [Egress(name=f"e{n}", proxy=None, videos_per_hour=300, max_wait=86400) for n in range(limiters)]
    return EgressPool(egresses, Probe(), folder)


def close_all(pool: EgressPool, why: str) -> None:
    """Pause every egress for an hour, or let others have its slots of the next twelve minutes."""
    for limiter in pool._limiters:
        state = limiter.slots.state(fresh=True)
        if why == "paused":
            until = limiter.now() + 3600
            limiter.shared.update(lambda s, until=until: replace(s, paused=True, epoch=1, until=until))  # type: ignore[misc]
        else:
            for slot in range(60):
                slots.claim(limiter.shared.folder, state.grid_number, slot)


def wait(pool: EgressPool, seconds: float) -> None:
    """As a worker with free processes waits."""
    began = time.process_time()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pool.probe_due()
        pool.try_acquire(8)
        time.sleep(max(0.01, pool.poll_interval(0.5)))
    sys.stdout.write(f"cpu {time.process_time() - began:.3f}\n")


def measured(folder: Path, limiters: int, seconds: float) -> tuple[int, float]:
    """Metadata calls of a process that waits so long, its start included, and CPU seconds of the waiting."""
    counts = folder / "strace"
    waiting = [sys.executable, __file__, "--wait", str(folder), "--limiters", str(limiters), "--seconds", str(seconds)]
    subprocess.run(["strace", "-f", "-c", "-e", _CALLS, "-o", counts, *waiting], check=True, capture_output=True)
    plain = subprocess.run(waiting, check=True, capture_output=True, text=True)
    total = counts.read_text().splitlines()[-1].split()
    found = re.search(r"cpu ([0-9.]+)", plain.stdout)
    assert found is not None
    return int(total[3]), float(found[1])


def main() -> None:
    """Print a line for one and for ten egresses, paused and without a free slot."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=70.0)
    parser.add_argument("--wait", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--limiters", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.wait:
        with pool_of(args.wait, args.limiters) as pool:
            wait(pool, args.seconds)
        return
    for limiters in (1, 10):
        for why in ("paused", "no slot"):
            with tempfile.TemporaryDirectory() as name:
                folder = Path(name)
                close_all(pool_of(folder, limiters), why)
                start, _ = measured(folder, limiters, _SHORT)
                calls, cpu = measured(folder, limiters, _SHORT + args.seconds)
            rate = (calls - start) / args.seconds
            line = (
                f"{limiters} egresses, {why}: {rate:.1f} metadata calls/s, {100 * cpu / args.seconds:.2f} % of a core"
            )
            sys.stdout.write(f"{line}\n")


if __name__ == "__main__":
    main()

"""Kill, preempt, block and fill while three nodes download, go on until all is finished, check that nothing is lost.

    python -m tests.chaos.run [--short | --soak MINUTES] [--seed N] [--keep]

Exit status 0 if everything that must hold did.
"""

import argparse
import dataclasses
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from types import FrameType

import pandas as pd

from audioset_batch.egress import read_pauses
from audioset_batch.egress.losses import TRANSPORT
from audioset_batch.layout import DataDir
from audioset_batch.reasons import TRANSIENT_REASONS, Reason
from audioset_batch.standin import Catalog, Standin
from tests.chaos.cluster_run import ShardJobs
from tests.chaos.neighbour import Victim
from tests.chaos.storms import SmallDisk, Storms
from tests.support.loopback import Project, make_rows
from tests.support.loopback.project import NINE_LOSSES
from tests.support.slurm_cluster import PrivateSlurm, missing_programs
from tests.support.slurm_cluster.others import forget_other_clusters
from tests.support.verdicts import (
    all_rows,
    check_budget,
    check_came_back,
    check_drifts,
    check_failures,
    check_hashes,
    check_no_ban_recorded,
    check_not_asked_again,
    check_probes,
    fullest_windows,
    leftovers,
    pause_steps,
    reasons,
    tracebacks,
)


@dataclass(frozen=True)
class Size:
    """How much there is to do, and how long it may take.

    Attributes:
        budget: Resolves of each egress in any `window` seconds.
        longest: Seconds of the longest ban, and of slurmctld's silence.
        soak: Go on for so many seconds, with faults all the time, whatever is left to do then; 0: until all is done.
    """

    segments: int
    rounds: int
    budget: int
    window: float
    disk_mb: int
    seconds: float
    longest: float
    soak: float = 0.0


SHORT = Size(segments=60, rounds=1, budget=30, window=20.0, disk_mb=150, seconds=420, longest=20)
LONG = Size(segments=400, rounds=3, budget=60, window=20.0, disk_mb=600, seconds=1800, longest=60)
SHARDS = 4
EGRESSES = ("north", "south")
STALLED_SECONDS = 20.0
SHORTLY_STALLED_SECONDS = 8.0
SOAK_CALM = 15.0
SECONDS_AHEAD = 120
OWN_MOUNTS = "CHAOS_OWN_MOUNTS"


def main() -> int:
    """Parse, run, tell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--short", action="store_true", help="60 segments and each fault once, not 400 and thrice")
    parser.add_argument("--soak", type=float, metavar="MINUTES", help="go on for so long, with faults all the time")
    parser.add_argument("--seed", type=int, default=1, help="decides segments, faults and their order (default: 1)")
    parser.add_argument("--keep", action="store_true", help="leave the data directory and logs where they are")
    args = parser.parse_args()
    forget_other_clusters()
    if missing := missing_programs():
        print(f"no SLURM here: {', '.join(missing)} missing (apt-get install slurm-wlm munge)", file=sys.stderr)
        return 1
    begin_in_own_mounts()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, tidy_up_and_end)
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    size = SHORT if args.short else LONG if args.soak is None else soak(args.soak)
    disk = SmallDisk(folder / "data", size.disk_mb)
    try:
        survived = run(size, args.seed, folder, disk)
    finally:
        disk.close(keep=args.keep)
        if args.keep:
            print(f"kept: {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    return 0 if survived else 1


def soak(minutes: float) -> Size:
    """More work than the budgets allow in this time; two clips per megabyte of disk would be few."""
    budget, window = 8, 20.0
    segments = 100 + round(len(EGRESSES) * budget * minutes * 60 / window)
    return Size(segments, 1, budget, window, 2 * segments, minutes * 60 + 300, 60, soak=minutes * 60)


def other_clock(folder: Path) -> dict[str, str]:
    """What a job's environment needs for the clock of one node to be ahead; {} where there is no C compiler."""
    here, library = Path(__file__).parent, folder / "clock.so"
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        return {}
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, here / "clock.c"], check=True)
    return {
        "BASH_ENV": str(here / "clock.sh"),
        "CHAOS_CLOCK": str(SECONDS_AHEAD),
        "CHAOS_CLOCK_LIBRARY": str(library),
        "CHAOS_CLOCK_NODE": "n2",
    }


def begin_in_own_mounts() -> None:
    """Go on in a mount namespace of our own, where we may: whatever ends us, even KILL, nothing stays mounted."""
    if OWN_MOUNTS in os.environ:
        return
    unshare = ["unshare", "--mount", "--propagation=private"]
    try:
        if subprocess.run([*unshare, "true"], capture_output=True, check=False).returncode == 0:
            again = [sys.executable, "-m", "tests.chaos.run", *sys.argv[1:]]
            os.execvpe("unshare", [*unshare, *again], os.environ | {OWN_MOUNTS: "1"})
    except FileNotFoundError:
        return


def tidy_up_and_end(number: int, _frame: FrameType | None) -> None:
    """End as after Ctrl-C, tidying up on the way; a second signal must not disturb that."""
    for late in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(late, signal.SIG_IGN)
    sys.exit(128 + number)


def run(size: Size, seed: int, folder: Path, disk: SmallDisk) -> bool:
    """One run; True if everything held."""
    rng = random.Random(seed)
    rows = make_rows(size.segments, seed=seed)
    catalog = Catalog.from_ids(
        {row.ytid: row.end_ms / 1000 for row in rows},
        seed=seed,
        unavailable_share=0.2,
        outcomes=NINE_LOSSES,
        short_share=0.05,
        seconds=(60.0, 120.0),
        itags=(140, 251),
    )
    for row in rows:
        video = catalog.get(row.ytid)
        if 0 < video.seconds * 1000 - row.start_ms < 1500:  # too little left to tell where a clip begins
            catalog.put(dataclasses.replace(video, seconds=60.0))
    began = time.monotonic()
    with (
        Standin(catalog, folder / "media", egresses=EGRESSES, seed=seed) as youtube,
        PrivateSlurm(nodes=3, cpus=4) as slurm,
    ):
        youtube.prepare()
        youtube.set_delay(0.05)
        project = Project(folder, {"eval_segments": rows}, youtube, settings(youtube, size))
        project.prep(SHARDS)
        clock = other_clock(folder)
        print(
            f"seed {seed}: {size.segments} segments in {SHARDS} shards on 3 nodes, {len(EGRESSES)} egresses, budget of"
        )
        print(f"  each {size.budget} resolves in any {size.window:g} s; data on", end=" ")
        print("a tmpfs;" if disk.mounted else "a plain disk: none can be filled;", end=" ")
        print(f"clock of n2 {SECONDS_AHEAD} s ahead" if clock else "all clocks agree: no C compiler here", flush=True)
        jobs = ShardJobs(slurm, project, SHARDS, clock)
        victim = Victim(folder / "victim")
        storms = Storms(jobs, youtube, disk, rng, longest=size.longest, victim=victim)
        injected = storm_through(jobs, storms, size, began + size.seconds)
        finished = bool(size.soak) or len(jobs.finished) == SHARDS
        if size.soak:
            slurm.drain()
            jobs.sightings.look()
        print(f"{'finished' if finished else 'NOT FINISHED'} after {time.monotonic() - began:.0f} s")
        print(f"  {sum(injected.values())} faults: " + ", ".join(f"{n} {name}" for name, n in sorted(injected.items())))
        counted = Counter(one.how for one in jobs.endings)
        endings = ", ".join(f"{n} x {how}" for how, n in counted.items())
        print(f"  {jobs.submissions} submissions, {jobs.restarts} restarts by SLURM; tasks ended: {endings}")
        held = check_all(project, youtube, size, jobs, storms, victim)
        if not (finished and held):
            show_logs(folder)
        return finished and held


def settings(youtube: Standin, size: Size) -> dict[str, object]:
    """A config with every wait shortened to seconds."""
    return {
        "worker": {
            "processes": 2,
            "threads": 4,
            "retries": 3,
            "backoff_seconds": 0.2,
            "segment_timeout": 15,
            "grace_seconds": 2,
            "lease_seconds": 6,
            "state_seconds": 1,
            "max_requeues": 3,
        },
        "egress": [
            {
                "name": name,
                "proxy": youtube.access(name).proxy,
                "videos_per_hour": size.budget,
                "window_seconds": size.window,
                "pause_seconds": 3,
                "pause_max_seconds": 10,
                "max_wait": 4,
            }
            for name in EGRESSES
        ],
        "youtube": {"args": ["--no-cache-dir", "--socket-timeout", "5"]},
    }


def storm_through(jobs: ShardJobs, storms: Storms, size: Size, deadline: float) -> Counter[str]:
    """Let the run work and be hit, each fault at its share of the progress, until every shard is finished."""
    injected: Counter[str] = Counter()
    plan = storms.plan(size.rounds, short=size is SHORT)
    total = len(plan)
    began = last_hit = time.monotonic()
    while time.monotonic() < deadline:
        storms.undo_due()
        recorded = jobs.sightings.look()
        now = time.monotonic()
        if size.soak:
            due = now - last_hit > SOAK_CALM and now - began < size.soak - 2 * size.longest
        else:
            due = recorded >= (total - len(plan) + 1) * 0.85 * size.segments / (total + 1)
            due = due or now - last_hit > (SHORTLY_STALLED_SECONDS if size is SHORT else STALLED_SECONDS)
        if size.soak and not plan:
            plan = storms.plan(1)
        if plan and due and now - last_hit > 1 and now > storms.alone_until:
            done = plan[0]()
            if done is not None:
                injected[plan.pop(0).__name__] += 1
                print(f"  {time.monotonic() - began:6.1f} s  {recorded:4d} recorded  {done}", flush=True)
                last_hit = time.monotonic()
            else:
                plan.append(plan.pop(0))  # nothing runs just now that it could hit
        if jobs.tend() and not storms.lasting:
            break
        if size.soak and now - began > size.soak:
            break
        time.sleep(0.2)
    storms.undo_due(everything=True)
    if not size.soak:
        for left in plan:
            print(f"  not injected, everything was finished before: {left.__name__}")
    return injected


def check_all(project: Project, youtube: Standin, size: Size, jobs: ShardJobs, storms: Storms, victim: Victim) -> bool:
    """Merge and check; prints what held and what did not."""
    data = DataDir(project.data)
    events = youtube.events()
    rows = all_rows(data)
    table = project.merge(status=(0, 1))
    planned = project.subsets
    if size.soak:  # it was cut off: what is pending may have a clip whose row went with its manifest
        table = only_settled(project, table)
    catalog = youtube.catalog
    steps = {name: pause_steps(data.egress / name) for name in EGRESSES}
    endings = [(one.time, one.how) for one in jobs.endings]
    # A drift that is over before it has cost an egress 20 resolves is not told from videos that fail on their own.
    excused = [(begin, end + 60, TRANSIENT_REASONS) for begin, end in storms.flaky]
    excused += [(begin, end + 60, TRANSIENT_REASONS - TRANSPORT) for begin, end in storms.drifts]
    # Nor is a soft ban that is over before its answers are.
    excused += [(begin, end + 60, frozenset({Reason.UNRECOGNIZED})) for begin, end in storms.soft_bans]
    excused += [(time, time + 60, frozenset({Reason.INTERNAL})) for time in storms.disturbed]
    checks = {
        "every segment once, every file whole, exact and with a row": lambda: project.check(table, catalog),
        "every file has the size and SHA-256 of its row": lambda: check_hashes(table, project.data),
        "no temporary file": lambda: _none(leftovers(project.data)),
        "no traceback in any log": lambda: _none(tracebacks(project.folder)),
        "nothing asked for again after it was recorded": lambda: check_not_asked_again(jobs.sightings.settled, events),
        "budget kept in every window": lambda: check_budget(events, size.budget, size.window),
        "at most one probe of a pause at a time": lambda: check_probes(events, steps, storms.disturbed),
        "few resolves lost to a drift": lambda: check_drifts(events, catalog, storms.drifts),
        "no ban recorded against a segment": lambda: check_no_ban_recorded(rows, project, catalog),
        "no good video recorded as failed for an outage": lambda: check_failures(
            jobs.sightings.failed, chain.from_iterable(planned.values()), catalog, excused
        ),
        "every task came back from the long ban": lambda: check_came_back(endings, storms.long_bans),
        "no link of a neighbour followed": victim.check,
    }
    held = True
    for name, check in checks.items():
        try:
            check()
            print(f"  held: {name}")
        except Exception:  # noqa: BLE001 - each check is told, whatever came of the one before
            held = False
            print(f"  BROKEN: {name}\n{traceback.format_exc(limit=1)}")
    resolves = sum(event["kind"] == "resolve" for event in events)
    counts = ", ".join(f"{n} {status}" for status, n in table.status.value_counts().items())
    failures = ", ".join(f"{n} failed ({reason})" for reason, n in reasons(rows).items()) or "no failed ones"
    print(f"  {counts}; {len(rows)} rows written, among them {failures}")
    fullest = ", ".join(
        f"{most} of {size.budget} ({name})" for name, most in fullest_windows(events, size.window).items()
    )
    print(f"  {resolves} resolves for {size.segments} segments, most in a window: {fullest};", end=" ")
    print(f"restart_count up to {max((row['restart_count'] for row in rows), default=0)}")
    kinds = Counter(pause.kind for name in EGRESSES for pause in read_pauses(data.egress / name))
    print(
        f"  {sum(map(len, steps.values()))} pauses, among them", ", ".join(f"{n} x {kind}" for kind, n in kinds.items())
    )
    return held


def only_settled(project: Project, table: pd.DataFrame) -> pd.DataFrame:
    """Leave no more than what is ok or unavailable, in the plan, the table and the data directory."""
    settled = table[table.status.isin(("ok", "unavailable"))]
    known, paths = set(settled.ytid), set(settled.audio_path)
    project.subsets = {name: [row for row in rows if row.ytid in known] for name, rows in project.subsets.items()}
    loose = [one for one in (project.data / "data").rglob("*.flac") if str(one.relative_to(project.data)) not in paths]
    for file in loose:
        file.unlink()
    print(f"  {len(settled)} of {len(table)} segments settled, the only ones looked at; {len(loose)} clips of others")
    return settled


def _none(found: list[str]) -> None:
    assert not found, found


def show_logs(folder: Path) -> None:
    """The ends of the tasks' logs."""
    for path in sorted(folder.glob("audiosetdl-*.log")):
        print(f"== {path.name}")
        print("\n".join(path.read_text(errors="replace").splitlines()[-25:]))


if __name__ == "__main__":
    sys.exit(main())

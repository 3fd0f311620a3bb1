"""This project against audioset-download and against yt-dlp with ffmpeg, on the loopback stand-in: `make bench`.

    python benchmarks/run.py            the whole of it; writes benchmarks/results/clips.json and docs/performance.md
    python benchmarks/run.py --quick    few clips, one run, only printed

Needs ffmpeg for the others, and the package index once, for audioset-download.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import machine
from arena import Arena, Outcome, medians, spread
from floors import floors
from peers import CHECKOUT, COMMANDS, OURS, PACKAGE, peer_versions, prepare_peers
from stages import profile
from table import ratios, render, replace_between_markers
from workload import LENGTHS, Clip, make_clips

RESULTS: Final = Path("benchmarks/results/clips.json")
PAGE: Final = Path("docs/performance.md")
_CORES: Final = 2
_JOBS: Final = 8
_DELAY: Final = 0.3
_WAVES: Final = 12
"""Clips per thread in the runs with latency, as far as there are so many."""
_HELP_RUNS: Final = 9


def say(text: str) -> None:
    """Progress, to standard error."""
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {text}\n")
    sys.stderr.flush()


class Bench:
    """All measurements, in the order in which they are taken.

    Args:
        count: Clips of the mix.
        runs: Runs of each contender.
        names: The contenders.
    """

    def __init__(self, count: int, runs: int, names: Sequence[str]) -> None:
        self._runs = runs
        self._names = names
        self.mix = make_clips(count)
        self.lengths = {length: make_clips(max(6, count // len(LENGTHS)), (length,)) for length in LENGTHS}
        self.cpus = sorted(os.sched_getaffinity(0))[:_CORES]
        self._others: list[float] = []

    def run(self) -> dict[str, Any]:
        """Everything; the result is JSON."""
        machine_facts = machine.describe(self.cpus)
        clips = [*self.mix, *itertools.chain.from_iterable(self.lengths.values())]
        say("making the videos")
        with Arena(clips, self.cpus) as arena:
            arena.run(OURS, self.mix[:2], 2)  # the first run of all reads every file from the disk
            mix = self._in_turn(arena, self.mix, "mix")
            lengths = {length: self._in_turn(arena, some, f"{length} s") for length, some in self.lengths.items()}
            starts = self._starts(arena)
            latency = self._latency(arena)
            say("stages")
            stages = profile(self.mix[: max(12, min(60, len(self.mix)))], arena.access)
        return {
            "machine": machine_facts,
            "clips": len(self.mix),
            "runs": self._runs,
            "jobs": _JOBS,
            "others_busy_cores": {"median": statistics.median(self._others), "highest": max(self._others)},
            "floors": floors(self.mix),
            "mix": {who: medians(found) for who, found in mix.items()},
            "mix_cpu_spread": {who: spread(found, "cpu_seconds_per_clip") for who, found in mix.items()},
            "mix_throughput_spread": {who: spread(found, "clips_per_second") for who, found in mix.items()},
            "lengths": {
                str(length): {who: medians(some) for who, some in found.items()} for length, found in lengths.items()
            },
            "starts": starts,
            "latency": latency,
            "stages": stages,
        }

    def _in_turn(self, arena: Arena, clips: Sequence[Clip], title: str) -> dict[str, list[Outcome]]:
        found: defaultdict[str, list[Outcome]] = defaultdict(list)
        for number in range(self._runs):
            for who in self._names:
                found[who].append(self._one(arena, who, clips, _JOBS, f"{title}, run {number + 1}"))
        return found

    def _one(self, arena: Arena, who: str, clips: Sequence[Clip], jobs: int, title: str, **options: Any) -> Outcome:
        outcome = arena.run(who, clips, jobs, **options)
        figures = outcome.figures()
        self._others.append(outcome.others)
        say(
            f"{title}: {who}: {outcome.delivered} of {outcome.asked} clips, "
            f"{figures['cpu_seconds_per_clip']:.3f} CPU-s per clip, {figures['clips_per_second']:.2f} clips/s, "
            f"{figures['peak_pss_mb']:.0f} MB, others had {outcome.others:.1f} cores"
        )
        if who == OURS and outcome.exact < outcome.asked:
            raise RuntimeError(f"{OURS} delivered {outcome.exact} of {outcome.asked} clips exactly")
        return outcome

    def _starts(self, arena: Arena) -> dict[str, float]:
        """Start-up in seconds; the CPU of a run that makes hardly a clip; memory with a process per thread."""
        begun = [self._one(arena, OURS, self.mix[:2], 2, "start") for _ in range(max(3, self._runs))]
        usual = statistics.median(one.usage.cpu for one in begun)
        options = ("--set", f"worker.processes={_JOBS}")
        many = self._one(arena, OURS, self.mix, _JOBS, "a process per thread", options=options)
        return {
            "help_seconds": statistics.median(_help_seconds() for _ in range(_HELP_RUNS)),
            "worker_seconds": statistics.median(one.start for one in begun),
            "cpu_seconds": usual,
            "many_processes": _JOBS,
            "many_processes_pss_mb": many.usage.peak_pss / 1e6,
        }

    def _latency(self, arena: Arena) -> list[dict[str, Any]]:
        """Throughput with latency against the number of clips in flight."""
        wanted = [(OURS, jobs) for jobs in (4, 8, 16, 32) if jobs == 4 or 6 * jobs <= len(self.mix)]
        wanted += [(PACKAGE, _JOBS)] * (PACKAGE in self._names)
        rows = []
        for who, jobs in wanted:
            clips = self.mix[: jobs * _WAVES]
            outcome = self._one(arena, who, clips, jobs, f"{_DELAY} s latency, {jobs} in flight", delay=_DELAY)
            figures = outcome.figures()
            rows.append(
                {
                    "who": who,
                    "jobs": jobs,
                    "delay": _DELAY,
                    "rate": figures["clips_per_second_once_started"],
                    "ceiling": jobs / (figures["requests_per_clip"] * _DELAY),
                    "cores_busy": figures["cores_busy"],
                }
            )
        return rows


def _help_seconds() -> float:
    program = str(Path(sys.executable).parent / "audioset-batch")
    clock = time.perf_counter()
    subprocess.run([program, "-h"], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - clock


def main() -> int:
    """Measure, then write or print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=200, help="clips of the mix (default: %(default)s)")
    parser.add_argument("--runs", type=int, default=3, help="runs of each (default: %(default)s)")
    parser.add_argument("--only-ours", action="store_true", help="compare with nobody; nothing is written")
    parser.add_argument("--quick", action="store_true", help="24 clips, one run; nothing is written")
    parser.add_argument("--render", action="store_true", help="measure nothing; write the page from the results again")
    args = parser.parse_args()
    if args.render:
        replace_between_markers(CHECKOUT / PAGE, render(json.loads((CHECKOUT / RESULTS).read_text())), "bench")
        return 0
    count, runs = (24, 1) if args.quick else (args.clips, args.runs)
    names = (OURS,) if args.only_ours else tuple(COMMANDS)
    results = _results(count, runs, names)
    if args.quick or args.only_ours:
        sys.stdout.write(render(results) + "\n")
        return 0
    (CHECKOUT / RESULTS).parent.mkdir(parents=True, exist_ok=True)
    (CHECKOUT / RESULTS).write_text(json.dumps(results, indent=1) + "\n")
    text = render(results)
    replace_between_markers(CHECKOUT / PAGE, text, "bench")
    sys.stdout.write(text + "\n")
    return 0


def _results(count: int, runs: int, names: Sequence[str]) -> dict[str, Any]:
    versions: dict[str, str] = {}
    if len(names) > 1:
        versions = peer_versions(prepare_peers())
    results = Bench(count, runs, names).run()
    results["machine"]["versions"] |= versions
    usual = (count, runs) == (200, 3)
    options = "" if usual else f" --clips {count} --runs {runs}"
    results["command"] = "make bench" if usual else f"python benchmarks/run.py{options}"
    results["file"] = str(RESULTS)
    results["ratios"] = {
        title: {name: ratios(row, name) for name in names if name != OURS}
        for title, row in {"mix": results["mix"], **results["lengths"]}.items()
    }
    rounded: dict[str, Any] = _rounded(results)
    return rounded


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, dict):
        return {key: _rounded(one) for key, one in value.items()}
    return [_rounded(one) for one in value] if isinstance(value, list | tuple) else value


if __name__ == "__main__":
    sys.exit(main())

"""Runs of the contenders against one stand-in, and what came of each: cost, traffic, clips that are right."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import soundfile
from measure import Usage, run_measured
from peers import COMMANDS, ListServer, Task, outputs
from workload import CLIP_SECONDS, Clip, catalog_of, write_csvs

from audioset_batch.standin import Access, ControlClient, default_cache
from audioset_batch.standin.measure import NotLocatable, locate_audio

_START_SECONDS: Final = 900.0
"""The stand-in may have to encode its media first."""
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_EXACT_SECONDS: Final = 0.001
_NEAR_SECONDS: Final = 0.1


@dataclass(frozen=True, slots=True)
class Outcome:
    """One run.

    Attributes:
        who: The contender.
        jobs: Clips in flight.
        asked: Clips asked for; `delivered`: those that are there and hold a second or more of the video;
            `right`: of these, those of ten seconds that begin where they should, within 0.1 s; `exact`: the same
            within a millisecond and to the sample.
        requests: HTTP requests that the stand-in answered; `media_requests` of them for media.
        media_bytes: Bytes of media that it sent.
        start: Seconds from the start of the command to its first request.
        server_cpu: CPU seconds of the stand-in, which are in no other figure.
        others: Cores that were busy with neither the contender nor the stand-in.
    """

    who: str
    jobs: int
    asked: int
    delivered: int
    right: int
    exact: int
    requests: int
    media_requests: int
    media_bytes: int
    start: float
    server_cpu: float
    others: float
    usage: Usage

    def figures(self) -> dict[str, float]:
        """By the clip delivered, and altogether."""
        clips = max(self.delivered, 1)
        return {
            "cpu_seconds_per_clip": self.usage.cpu / clips,
            "clips_per_second": self.delivered / self.usage.wall,
            "kilobytes_per_clip": self.media_bytes / clips / 1000,
            "requests_per_clip": self.requests / clips,
            "media_requests_per_clip": self.media_requests / clips,
            "peak_pss_mb": self.usage.peak_pss / 1e6,
            "peak_rss_mb": self.usage.peak_rss / 1e6,
            "wall_seconds": self.usage.wall,
            "cpu_seconds": self.usage.cpu,
            "cores_busy": self.usage.cpu / self.usage.wall,
            "start_seconds": self.start,
            "clips_per_second_once_started": self.delivered / max(self.usage.wall - self.start, 0.001),
            "asked": self.asked,
            "delivered": self.delivered,
            "right": self.right,
            "exact": self.exact,
            "server_cpu_seconds_per_clip": self.server_cpu / clips,
            "others_busy_cores": self.others,
        }


class Arena:
    """A stand-in in a process of its own with the videos of `clips`; a context manager.

    Args:
        clips: All that will be asked for.
        cpus: CPUs of the contenders.
    """

    def __init__(self, clips: Sequence[Clip], cpus: Sequence[int]) -> None:
        self._clips = clips
        self._cpus = cpus
        self._folder = Path(tempfile.mkdtemp(prefix="audioset-batch-bench-"))
        self.log = self._folder / "commands.log"
        self._lists = ListServer(self._folder / "lists")

    def __enter__(self) -> Self:
        catalog = self._folder / "catalog.json"
        catalog_of(self._clips).save(catalog)
        ready = self._folder / "ready.json"
        argv = [sys.executable, "-m", "audioset_batch.standin", "--catalog", str(catalog)]
        argv += ["--cache", str(default_cache()), "--ready-file", str(ready), "--prepare", "--with-parent"]
        self._server = subprocess.Popen(argv, stdout=subprocess.DEVNULL)
        until = time.monotonic() + _START_SECONDS
        while not ready.exists():
            if self._server.poll() is not None or time.monotonic() > until:
                raise SystemExit("the stand-in did not start")
            time.sleep(0.1)
        facts = json.loads(ready.read_text())
        self.control = ControlClient(facts["control_url"])
        self.access = Access(next(iter(facts["proxies"].values())), Path(facts["ca_file"]))
        others = sorted(set(os.sched_getaffinity(0)) - set(self._cpus))
        if others:
            os.sched_setaffinity(self._server.pid, others)
            os.sched_setaffinity(0, others)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.terminate()
        self._server.wait()
        self._lists.__exit__()
        if error is None:
            shutil.rmtree(self._folder, ignore_errors=True)
        else:
            sys.stderr.write(f"what the commands said: {self.log}\n")

    def run(
        self, who: str, clips: Sequence[Clip], jobs: int, *, delay: float = 0.0, options: Sequence[str] = ()
    ) -> Outcome:
        """One run of one contender with `delay` seconds before each answer; `options` are for our own command."""
        with self._task_folder() as folder:
            task = Task(clips, folder, jobs, self.access, self._lists.url, options)
            write_csvs(self._lists.folder, clips)
            command = COMMANDS[who](task)
            self.control.clear_log()
            self.control.set_delay(delay)
            busy, served = _busy_seconds(), self._server_seconds()
            argv = ["taskset", "-c", ",".join(map(str, self._cpus)), *command.argv]
            usage = run_measured(argv, command.env, folder, self.log)
            busy, served = _busy_seconds() - busy, self._server_seconds() - served
            self.control.set_delay(0.0)
            counters: dict[str, int] = self.control.counters()["all"]
            first = min((event["time"] for event in self.control.events("resolve")), default=usage.began)
            delivered, right, exact = count_right(clips, outputs(task))
        requests = sum(counters[kind] for kind in ("pages", "player", "thumbnails", "media", "other"))
        return Outcome(
            who,
            jobs,
            len(clips),
            delivered,
            right,
            exact,
            requests,
            counters["media"],
            counters["media_bytes"],
            first - usage.began,
            served,
            max(0.0, busy - served - usage.cpu) / usage.wall,
            usage,
        )

    def _server_seconds(self) -> float:
        fields = Path(f"/proc/{self._server.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    @contextmanager
    def _task_folder(self) -> Iterator[Path]:
        folder = Path(tempfile.mkdtemp(dir=self._folder))
        try:
            yield folder
        finally:
            shutil.rmtree(folder)


def _busy_seconds() -> float:
    """CPU seconds of the whole machine since it was started, without those idle or waiting for a disk."""
    user, nice, system, _, _, irq, softirq, *_ = Path("/proc/stat").read_text().splitlines()[0].split()[1:]
    return sum(map(int, (user, nice, system, irq, softirq))) / _TICKS


def count_right(clips: Sequence[Clip], found: dict[str, Path]) -> tuple[int, int, int]:
    """How many clips are delivered, right and exact; see `Outcome`."""
    delivered = right = exact = 0
    for clip in clips:
        path = found.get(clip.ytid)
        if path is None:
            continue
        try:
            samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
            away = abs(locate_audio(samples[:, 0], rate, near=clip.start) - clip.start)
        except (soundfile.LibsndfileError, NotLocatable):
            continue
        late = abs(len(samples) / rate - CLIP_SECONDS)
        delivered += 1
        right += away < _NEAR_SECONDS and late < _NEAR_SECONDS
        exact += away < _EXACT_SECONDS and late * rate < 1
    return delivered, right, exact


def medians(outcomes: Sequence[Outcome]) -> dict[str, float]:
    """The median of each figure over several runs of the same thing."""
    rows = [outcome.figures() for outcome in outcomes]
    return {key: statistics.median(row[key] for row in rows) for key in rows[0]}


def spread(outcomes: Sequence[Outcome], key: str) -> tuple[float, float]:
    """Lowest and highest of one figure."""
    values: list[Any] = [outcome.figures()[key] for outcome in outcomes]
    return min(values), max(values)

"""Where the time of one clip goes: the worker's own functions under a clock, in one thread of this process."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final
from unittest import mock

from workload import CLIP_SECONDS, SUBSET, Clip

from audioset_batch.config import Config
from audioset_batch.config.schema import Egress, Youtube
from audioset_batch.layout import DataDir, ShardId
from audioset_batch.model import Segment
from audioset_batch.reasons import Status
from audioset_batch.record.manifest import ManifestWriter
from audioset_batch.sharedfs.lease import Holder, Lease
from audioset_batch.slurm.job import JobIdentity
from audioset_batch.standin import Access
from audioset_batch.worker import make_clip as stage
from audioset_batch.worker.child import client_for
from audioset_batch.worker.rows import RowTemplate
from audioset_batch.worker.sink import FilesSink
from audioset_batch.youtube.client import YtDlpClient
from audioset_batch.youtube.streams import RequestContext

ORDER: Final = ("resolve", "fetch", "decode and cut", "convert", "write", "verify", "publish and record")
_WARM_UP: Final = 3


class _Clock:
    """CPU and wall seconds by stage; a stage inside another is taken off the outer one."""

    def __init__(self) -> None:
        self.cpu: defaultdict[str, float] = defaultdict(float)
        self.wall: defaultdict[str, float] = defaultdict(float)
        self._open: list[list[float]] = []

    @contextmanager
    def measuring(self, name: str) -> Iterator[None]:
        inner = [0.0, 0.0]
        self._open.append(inner)
        cpu, wall = time.thread_time(), time.perf_counter()
        try:
            yield
        finally:
            cpu, wall = time.thread_time() - cpu, time.perf_counter() - wall
            self._open.pop()
            self.cpu[name] += cpu - inner[0]
            self.wall[name] += wall - inner[1]
            if self._open:
                self._open[-1][0] += cpu
                self._open[-1][1] += wall

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            with self.measuring(name):
                return function(*args, **options)

        return call


def profile(clips: Sequence[Clip], access: Access) -> dict[str, dict[str, float]]:
    """Milliseconds of CPU and of wall time per clip, by stage."""
    folder = Path(tempfile.mkdtemp(prefix="audioset-batch-stages-"))
    try:
        clock = _run(clips, access, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    count = len(clips) - _WARM_UP
    return {
        name: {"cpu_ms": 1000 * clock.cpu[name] / count, "wall_ms": 1000 * clock.wall[name] / count} for name in ORDER
    }


def _run(clips: Sequence[Clip], access: Access, folder: Path) -> _Clock:
    config = Config(
        egress=(Egress(name="loopback", proxy=access.proxy),), youtube=Youtube(args=("--no-check-certificates",))
    )
    client = client_for(config, 0)
    data, shard = DataDir(folder), ShardId(f"{SUBSET}_segments", 1)
    row_template = RowTemplate(1, JobIdentity.from_environment(), "")
    sink = FilesSink(data, folder)
    clock = _Clock()
    with (
        Lease.acquire(data.lease(shard), Holder.current(), 120.0) as lease,
        ManifestWriter(data.manifest(shard)) as manifest,
        _instrumented(clock),
    ):
        for index, one in enumerate(clips):
            if index == _WARM_UP:
                clock.cpu.clear()
                clock.wall.clear()
            start = round(one.start * 1000)
            segment = Segment(shard.subset, one.ytid, start, start + CLIP_SECONDS * 1000, (one.label,))
            made = stage.make_clip(segment, client, config, folder / f"{index}", RequestContext(time.monotonic() + 60))
            with clock.measuring("publish and record"):
                lease.check()
                columns = made.columns | sink.put(segment, made)
                lease.check()
                manifest.append(row_template.row(segment, Status.OK, egress="loopback", attempts=1, columns=columns))
    return clock


@contextmanager
def _instrumented(clock: _Clock) -> Iterator[None]:
    opened = YtDlpClient.open

    def open_timed(client: YtDlpClient, *args: Any) -> Any:
        source = opened(client, *args)
        source.read = clock.timed("fetch", source.read)  # type: ignore[method-assign]
        return source

    names = {
        "cut_audio": "decode and cut",
        "convert_audio": "convert",
        "write_audio": "write",
        "verify_audio": "verify",
    }
    with ExitStack() as stack:
        for name, label in names.items():
            stack.enter_context(mock.patch.object(stage, name, clock.timed(label, getattr(stage, name))))
        stack.enter_context(mock.patch.object(YtDlpClient, "open", open_timed))
        stack.enter_context(mock.patch.object(YtDlpClient, "resolve", clock.timed("resolve", YtDlpClient.resolve)))
        yield

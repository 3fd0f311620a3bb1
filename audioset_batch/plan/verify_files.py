"""Whether a clip that another program left is whole, and what the manifest says of such a file.

Runs in worker processes; what it returns is small and picklable.
"""

from __future__ import annotations

import concurrent.futures
import itertools
import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from audioset_batch.errors import SegmentTransient, StopEarly

_IN_FLIGHT: Final = 512


@dataclass(frozen=True, slots=True)
class Found:
    """The files of one segment; either may be missing."""

    audio: Path | None
    video: Path | None


@dataclass(frozen=True, slots=True)
class FileCheck:
    """Columns of the manifest row if all files are whole, else what is wrong, by file."""

    columns: dict[str, Any]
    broken: tuple[tuple[str, str], ...]


def verify(found: Found) -> FileCheck:
    """Decode the files from beginning to end, as the worker does with its own."""
    columns: dict[str, Any] = {}
    broken: list[tuple[str, str]] = []
    for path, check in ((found.audio, _audio_columns), (found.video, _video_columns)):
        if path is None:
            continue
        try:
            columns |= check(path)
        except (SegmentTransient, OSError) as error:
            broken.append((str(path), str(error)))
    return FileCheck({} if broken else columns, tuple(broken))


def _audio_columns(path: Path) -> dict[str, Any]:
    from audioset_batch.media.verify import inspect_audio

    return inspect_audio(path).columns()


def _video_columns(path: Path) -> dict[str, Any]:
    from audioset_batch.media.verify_video import inspect_video

    return {"video_bytes": inspect_video(path).bytes}


class Verifier:
    """Processes that verify clips; a context manager.

    Args:
        processes: How many.
        check: What they do with each clip.
    """

    def __init__(self, processes: int, check: Callable[[Found], FileCheck] = verify) -> None:
        self._processes = processes
        self._check = check
        self._pool = _pool(processes)

    def verdicts(self, found: Iterable[Found]) -> Iterator[FileCheck]:
        """Verify in parallel, in order, with a bounded number of clips in flight.

        A clip that kills the process that decodes it is broken; it costs no other its verdict.

        Raises:
            StopEarly: no process can live, whatever it does.
        """
        waiting = iter(found)
        while batch := list(itertools.islice(waiting, _IN_FLIGHT)):
            try:
                verdicts = list(self._pool.map(self._check, batch, chunksize=8))
            except BrokenProcessPool:
                self._renew(1)
                verdicts = [self._alone(one) for one in batch]
                self._renew(self._processes)
            yield from verdicts

    def _alone(self, found: Found) -> FileCheck:
        """With no other clip in flight, so that a failure is known to be this clip's."""
        try:
            return self._pool.submit(self._check, found).result()
        except BrokenProcessPool as error:
            self._renew(1)
            self._make_sure_that_processes_live(error)
            files = [str(path) for path in (found.audio, found.video) if path is not None]
            return FileCheck({}, tuple((path, "the decoder died of this clip") for path in files))

    def _make_sure_that_processes_live(self, death: BrokenProcessPool) -> None:
        try:
            self._pool.submit(os.getpid).result()
        except BrokenProcessPool:
            raise StopEarly(
                "no process that verifies clips can live here: give it more memory, or see what kills it; "
                "then run the same command again"
            ) from death

    def _renew(self, processes: int) -> None:
        self._pool.shutdown()
        self._pool = _pool(processes)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(cancel_futures=True)


def _pool(processes: int) -> concurrent.futures.ProcessPoolExecutor:
    return concurrent.futures.ProcessPoolExecutor(processes, mp_context=multiprocessing.get_context("spawn"))

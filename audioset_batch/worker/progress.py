"""Show the progress of a run: a live bar for each open shard on a terminal, or one line a minute in a batch log."""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from collections import Counter
from collections.abc import Iterator
from types import TracebackType
from typing import Final, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.table import Column
from rich.text import Text

from audioset_batch.humanize import duration
from audioset_batch.reasons import Status
from audioset_batch.record.shard_counts import HOUR, ShardCounts

_LINE_SECONDS: Final = 60.0
_RATE_WINDOW: Final = 600.0
_log = logging.getLogger(__name__)


@contextlib.contextmanager
def live_bars() -> Iterator[Progress | None]:
    """The display that all open shards share; None if stderr is no terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        _StatusColumn(),
        console=Console(stderr=True),
    ) as bars:
        yield bars


class ShardProgress:
    """Shows the counts of one shard: a bar on a terminal, else a line a minute in the log.

    Args:
        title: Name of the shard.
        counts: Counts of the shard, read at each update.
        bars: The display, from `live_bars`.
    """

    def __init__(self, title: str, counts: ShardCounts, bars: Progress | None = None) -> None:
        self._title = title
        self._counts = counts
        self._last_line = time.monotonic()
        self._bars = bars
        self._bar = TaskID(0)

    def __enter__(self) -> Self:
        if self._bars is not None:
            self._bar = self._bars.add_task(self._title, total=self._counts.planned, line=self.line)
            self.tick()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bars is not None:
            self._bars.remove_task(self._bar)
        _log.info("%s: %s", self._title, self.line())

    def tick(self) -> None:
        """Update the bar, or log a line if a minute has passed. Call it often."""
        now = time.monotonic()
        if self._bars is not None:
            self._bars.update(self._bar, completed=self._done(self._counts.of_this_run()))
        elif now - self._last_line >= _LINE_SECONDS:
            self._last_line = now
            _log.info("%s: %s", self._title, self.line())

    def line(self) -> str:
        """The progress in one line: `120 of 400 (100 ok, 15 unavailable, 5 failed), 290 an hour, 58 min left`."""
        counts, planned = self._counts.of_this_run(), self._counts.planned
        done = self._done(counts)
        outcomes = ", ".join(f"{counts[s]} {s}" for s in Status if counts[s] and s is not Status.PENDING)
        recent, seconds = self._counts.recorded_within(_RATE_WINDOW)
        rate = HOUR * recent / seconds if seconds > 0 else 0.0
        left = f", {duration(HOUR * (planned - done) / rate)} left" if rate and done < planned else ""
        return f"{done} of {planned}" + (f" ({outcomes})" if outcomes else "") + f", {rate:,.0f} an hour{left}"

    def _done(self, counts: Counter[Status]) -> int:
        return self._counts.planned - counts[Status.PENDING]


class _StatusColumn(ProgressColumn):
    def __init__(self) -> None:
        super().__init__(table_column=Column(no_wrap=True, overflow="ellipsis"))

    def render(self, task: Task) -> Text:
        line: str = task.fields["line"]()
        return Text(line.partition("(")[2].replace(")", "", 1))

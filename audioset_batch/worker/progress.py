"""What a person sees of a run: a live bar for each open shard on a terminal, one line a minute in a batch log."""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from collections import Counter, deque
from collections.abc import Iterator
from types import TracebackType
from typing import Final, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.table import Column
from rich.text import Text

from audioset_batch.reasons import Status
from audioset_batch.words import duration

_LINE_SECONDS: Final = 60.0
_RATE_WINDOW: Final = 600.0
_HOUR: Final = 3600.0
_log = logging.getLogger(__name__)


@contextlib.contextmanager
def live_bars() -> Iterator[Progress | None]:
    """The display that all open shards share; None where stderr is no terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        _Words(),
        console=Console(stderr=True),
    ) as bars:
        yield bars


class ShardProgress:
    """Counts outcomes of one shard and shows them.

    Args:
        title: Names the shard.
        planned: Segments of the shard.
        known: Counts by status of what earlier runs recorded.
        bars: Of `live_bars`.
    """

    def __init__(self, title: str, planned: int, known: Counter[Status], bars: Progress | None = None) -> None:
        self.counts = Counter(known)
        self.title = title
        self.planned = planned
        self._finished: deque[float] = deque()
        """Moments of the last hour."""
        self._started = self._last_line = time.monotonic()
        self._bars = bars
        self._bar = TaskID(0)

    def __enter__(self) -> Self:
        if self._bars is not None:
            known = self.counts.total()
            self._bar = self._bars.add_task(self.title, total=self.planned, completed=known, line=self.line)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bars is not None:
            self._bars.remove_task(self._bar)
        _log.info("%s: %s", self.title, self.line())

    def record(self, status: Status) -> None:
        """One more segment has its row."""
        self.counts[status] += 1
        self._finished.append(time.monotonic())
        if self._bars is not None:
            self._bars.advance(self._bar)

    def tick(self, note: str = "") -> None:
        """Call often; writes a line to the log when a minute has passed."""
        now = time.monotonic()
        if self._bars is None and now - self._last_line >= _LINE_SECONDS:
            self._last_line = now
            _log.info("%s: %s%s", self.title, self.line(), f"; {note}" if note else "")

    def rate_per_hour(self) -> float:
        """Segments finished per hour over the last ten minutes, or since the start."""
        now = time.monotonic()
        recent = sum(
            moment >= now - _RATE_WINDOW for moment in tuple(self._finished)
        )  # the display has a thread of its own
        span = min(_RATE_WINDOW, now - self._started)
        return _HOUR * recent / span if span > 0 else 0.0

    def last_hour(self) -> tuple[int, float]:
        """Segments finished in the last hour, or since the start, and how many seconds that is."""
        now = time.monotonic()
        while self._finished and self._finished[0] < now - _HOUR:
            self._finished.popleft()
        return len(self._finished), min(_HOUR, now - self._started)

    def line(self) -> str:
        """E.g. `120 of 400 (100 ok, 15 unavailable, 5 failed), 290 an hour, 58 min left`."""
        done = self.counts.total()
        outcomes = ", ".join(f"{self.counts[s]} {s}" for s in Status if self.counts[s])
        rate = self.rate_per_hour()
        left = f", {duration(3600 * (self.planned - done) / rate)} left" if rate and done < self.planned else ""
        return f"{done} of {self.planned}" + (f" ({outcomes})" if outcomes else "") + f", {rate:,.0f} an hour{left}"


class _Words(ProgressColumn):
    def __init__(self) -> None:
        super().__init__(table_column=Column(no_wrap=True, overflow="ellipsis"))

    def render(self, task: Task) -> Text:
        line: str = task.fields["line"]()
        return Text(line.partition("(")[2].replace(")", "", 1))

"""Ask the thumbnail host which videos are gone, so that the budget is spent on the others first.

The host answers 404 for most videos that are gone and costs no resolve. What it says is a hint: some dead videos keep
their picture, so none of this is ever recorded as an outcome.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from audioset_batch.errors import EgressBlocked, EgressExhausted, Interrupted, SegmentTransient
from audioset_batch.layout import DataDir, ShardId
from audioset_batch.plan.segments_csv import read_shard
from audioset_batch.record.hints import HintWriter, read_hints
from audioset_batch.record.manifest import replay
from audioset_batch.sharedfs.lease import Holder, Lease
from audioset_batch.slurm.job import JobIdentity
from audioset_batch.youtube.client import YtDlpClient
from audioset_batch.youtube.streams import RequestContext

_TIMEOUT: Final = 30.0
_MOST_IN_A_ROW: Final = 20
"""So many questions in a row without an answer are no accident."""
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class ScreenReport:
    """Videos by what is known of them now.

    Attributes:
        asked: Requests of this run that were answered.
        known: Videos with a hint from before.
        gone: Videos without a picture, hints from before included.
        unanswered: Videos that could not be asked about; the next run does.
        why: What the last of these ended with.
    """

    asked: int = 0
    known: int = 0
    gone: int = 0
    unanswered: int = 0
    why: str = ""


def screen(
    data: DataDir,
    shards: Sequence[ShardId],
    clients: Sequence[YtDlpClient],
    per_second: float,
    stopped: Callable[[], str],
) -> ScreenReport:
    """Ask about every video of `shards` that has no row and no hint yet, one at a time.

    Args:
        clients: One per egress, used in turn.
        per_second: Most requests a second, over all of them.
        stopped: Says why to stop, "" to go on.

    Raises:
        ShardHeld: another screen is at one of the shards.
        EgressExhausted: the host refuses, or gives no answer any more; what came is kept.
        Interrupted: `stopped` said so.
        StorageUnusable: a hint cannot be written.
    """
    report = ScreenReport()
    pace = _Pace(per_second)
    elsewhere: dict[str, bool] | None = None
    job = JobIdentity.from_environment()
    holder = Holder.current(job.job_id, job.restart_count)  # so that a requeued task succeeds itself
    for shard in shards:
        with Lease.acquire(data.screen_lease(shard), holder):
            hints = read_hints(data.hints(shard))
            settled = {key.ytid for key, one in replay(data.manifest(shard)).items() if one.status != "pending"}
            ids = dict.fromkeys(s.ytid for s in read_shard(data.shard_csv(shard), shard.subset))
            missing = [ytid for ytid in ids if ytid not in hints and ytid not in settled]
            if missing and elsewhere is None:
                elsewhere = _all_hints(data)
            with HintWriter(data.hints(shard)) as writer:
                for ytid in missing:
                    picture = (elsewhere or {}).get(ytid)
                    if picture is None:
                        picture = _ask(ytid, clients[report.asked % len(clients)], pace, stopped, report)
                        if picture is None:
                            continue
                    else:
                        report.known += 1
                    writer.append(ytid, picture=picture)
                    hints[ytid] = picture
            report.known += sum(ytid in hints for ytid in ids) - sum(ytid in hints for ytid in missing)
            report.gone += sum(not hints[ytid] for ytid in ids if ytid in hints)
        _log.info("%s: %d asked, %d without a picture so far", shard, report.asked, report.gone)
    return report


class _Pace:
    """Even spacing with jitter, counted from the start of each question."""

    def __init__(self, per_second: float) -> None:
        self._gap = 1 / per_second
        self._due = 0.0
        self.silent = 0

    def wait(self) -> None:
        now = time.monotonic()
        if now < self._due:
            time.sleep(self._due - now)
        self._due = max(now, self._due) + self._gap * random.uniform(0.8, 1.2)


def _ask(ytid: str, client: YtDlpClient, pace: _Pace, stopped: Callable[[], str], report: ScreenReport) -> bool | None:
    if why := stopped():
        raise Interrupted(f"stopped by {why}; {report.asked:,} answers are kept")
    pace.wait()
    try:
        picture = client.has_thumbnail(ytid, RequestContext(time.monotonic() + _TIMEOUT))
    except EgressBlocked as error:
        raise EgressExhausted(f"{error}; {report.asked:,} answers are kept. Run it again later, slower") from error
    except SegmentTransient as error:
        report.unanswered += 1
        report.why = str(error)
        pace.silent += 1
        if pace.silent >= _MOST_IN_A_ROW:
            raise EgressExhausted(
                f"{_MOST_IN_A_ROW} questions in a row without an answer; the last: {error}"
            ) from error
        return None
    pace.silent = 0
    report.asked += 1
    return picture


def _all_hints(data: DataDir) -> dict[str, bool]:
    """Those of all shards: after splitting again a video's hint may lie under another number."""
    found: dict[str, bool] = {}
    for path in sorted((data.root / "screen").glob("*.jsonl")):
        found |= read_hints(path)
    return found

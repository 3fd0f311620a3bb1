"""What must hold after a run, from the tables, the files and the server's log."""

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
from loopback import EXPECTED_REASON, Project
from loopback.project import GOOD_VIDEO

from audioset_batch.layout import DataDir
from audioset_batch.record.manifest import read_rows
from audioset_batch.standin import Catalog, Outcome

_BAN = re.compile(r"(?i)not a bot|rate.?limit|\b429\b|try again later|known to be good")


def most_in_a_window(times: Sequence[float], seconds: float) -> int:
    """The largest number of `times` in any half-open window of this length."""
    ordered = sorted(times)
    most = first = 0
    for last, time in enumerate(ordered):
        while time - ordered[first] >= seconds:
            first += 1
        most = max(most, last - first + 1)
    return most


def all_rows(data: DataDir) -> list[dict[str, Any]]:
    """Every row of every manifest, in no particular order."""
    return [row for shard in data.recorded_shards() for row in read_rows(data.manifest(shard))]


def check_budget(events: Sequence[dict[str, Any]], budget: int, window: float) -> int:
    """No window of any egress holds more resolves than the budget; returns the fullest one's."""
    by_egress: defaultdict[str, list[float]] = defaultdict(list)
    for event in events:
        if event["kind"] == "resolve":
            by_egress[event["egress"]].append(event["time"])
    most = max((most_in_a_window(times, window) for times in by_egress.values()), default=0)
    assert most <= budget, f"{most} resolves within {window} s, budget {budget}"
    return most


def check_hashes(table: pd.DataFrame, data: Path) -> None:
    """Every file is the very one that its row describes: size and SHA-256."""
    good = table[table.status == "ok"]
    assert len(good), "not one clip"
    for path, size, expected in zip(good.audio_path, good.audio_bytes, good.audio_sha256, strict=True):
        content = (data / path).read_bytes()
        found = hashlib.sha256(content).hexdigest()
        assert (len(content), found) == (size, expected), f"{path}: {len(content)} bytes, {found}; the row: {expected}"


def check_not_asked_again(rows: Sequence[dict[str, Any]], events: Sequence[dict[str, Any]]) -> None:
    """No resolve of a video after it was recorded as ok or unavailable."""
    settled: dict[str, float] = {}
    for row in rows:
        if row["status"] in ("ok", "unavailable"):
            when = datetime.fromisoformat(row["finished_at"]).timestamp()
            settled[row["ytid"]] = min(when, settled.get(row["ytid"], when))
    again = [
        (event["ytid"], round(event["time"] - settled[event["ytid"]], 3))
        for event in events
        if event["kind"] == "resolve"
        and event["ytid"] != GOOD_VIDEO
        and event["time"] > settled.get(event["ytid"], event["time"]) + 0.002  # rows say milliseconds
    ]
    assert not again, f"asked for again after being recorded (seconds later): {again}"


def check_no_ban_recorded(rows: Sequence[dict[str, Any]], project: Project, catalog: Catalog) -> None:
    """Every row that was ever written tells the truth about its video, or is a failure that is no ban."""
    planned = project.rows()
    for row in rows:
        video = catalog.get(row["ytid"])
        if row["status"] == "unavailable":
            starts = planned[row["subset"], row["ytid"]].start_ms
            truth = EXPECTED_REASON.get(video.outcome)
            if video.outcome is Outcome.OK and starts >= video.seconds * 1000:
                truth = "segment_past_end"
            assert row["reason"] == truth, f"recorded as {row['reason']} but it is {truth}: {row}"
        elif row["status"] == "failed":
            assert not _BAN.search(row["detail"]), f"a ban was recorded against a segment: {row}"


def check_drifts(
    events: Sequence[dict[str, Any]], catalog: Catalog, drifts: Sequence[tuple[float, float]], most: int = 25
) -> None:
    """At most so many resolves of videos that are there, between the begin and the end of each drift."""
    good = {ytid for ytid, video in catalog.videos.items() if video.outcome is Outcome.OK and ytid != GOOD_VIDEO}
    times = [event["time"] for event in events if event["kind"] == "resolve" and event["ytid"] in good]
    for begin, end in drifts:
        lost = sum(begin <= time < end for time in times)
        assert lost <= most, f"{lost} resolves in a drift of {end - begin:.0f} s"


def leftovers(data: Path) -> list[str]:
    """Files below the data directory that are nobody's: temporary ones, by name or by place."""
    return [
        path.relative_to(data).as_posix()
        for path in data.rglob("*")
        if path.is_file() and (path.name.endswith(".tmp") or ".tmp" in path.relative_to(data).parts)
    ]


def tracebacks(logs: Path) -> list[str]:
    """Logs of tasks in which Python lost its composure."""
    return [
        path.name for path in sorted(logs.glob("audiosetdl-*.log")) if "Traceback" in path.read_text("utf-8", "replace")
    ]


def reasons(rows: Sequence[dict[str, Any]]) -> Counter[str]:
    """Failed rows by reason."""
    return Counter(row["reason"] for row in rows if row["status"] == "failed")

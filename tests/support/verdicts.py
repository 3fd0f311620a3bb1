"""What must hold after a run, from the tables, the files and the server's log."""

import hashlib
import json
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import pandas as pd

from audioset_batch.layout import DataDir
from audioset_batch.record.manifest import read_rows
from audioset_batch.standin import Catalog, Outcome
from tests.support.loopback import EXPECTED_REASON, Project, Row
from tests.support.loopback.project import GOOD_VIDEO

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


def fullest_windows(events: Sequence[dict[str, Any]], window: float) -> dict[str, int]:
    """The most resolves in any window, by egress."""
    by_egress: defaultdict[str, list[float]] = defaultdict(list)
    for event in events:
        if event["kind"] == "resolve":
            by_egress[event["egress"]].append(event["time"])
    return {name: most_in_a_window(times, window) for name, times in sorted(by_egress.items())}


def check_budget(events: Sequence[dict[str, Any]], budget: int, window: float) -> int:
    """No window of any egress holds more resolves than the budget; returns the fullest one's."""
    most = max(fullest_windows(events, window).values(), default=0)
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


def settled_at(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """When each video's segment was settled, by the clocks of those who wrote the rows, which say milliseconds."""
    settled: dict[str, float] = {}
    for row in rows:
        if row["status"] in ("ok", "unavailable"):
            when = datetime.fromisoformat(row["finished_at"]).timestamp() + 0.002
            settled[row["ytid"]] = min(when, settled.get(row["ytid"], when))
    return settled


def check_not_asked_again(settled: Mapping[str, float], events: Sequence[dict[str, Any]]) -> None:
    """No resolve of a video after its segment was settled as ok or unavailable."""
    again = [
        (event["ytid"], round(event["time"] - settled[event["ytid"]], 3))
        for event in events
        if event["kind"] == "resolve"
        and event["ytid"] != GOOD_VIDEO
        and event["time"] > settled.get(event["ytid"], event["time"])
    ]
    assert not again, f"asked for again after being recorded (seconds later): {again}"


def check_probes(
    events: Sequence[dict[str, Any]], steps: Mapping[str, Sequence[Sequence[float]]], disturbed: Sequence[float]
) -> int:
    """At most one probe from each step of a pause (begin, end of a probe) to the next; returns how many there were.

    Args:
        events: Of the server.
        steps: Of each egress, of each pause: when it began, was made longer, ended.
        disturbed: When a process was killed or stopped: a probe that was under way is begun again.
    """
    probes: defaultdict[str, list[float]] = defaultdict(list)
    for event in events:
        if event["kind"] == "resolve" and event["ytid"] == GOOD_VIDEO:
            probes[event["egress"]].append(event["time"])
    total = 0
    for egress, pauses in steps.items():
        for begin, end in chain.from_iterable(map(pairwise, pauses)):
            found = sum(begin < time < end for time in probes[egress])
            allowed = 1 + sum(begin <= time <= end for time in disturbed)
            assert found <= allowed, (
                f"{found} probes of {egress} in {end - begin:.1f} s of a pause, from {begin:.1f} on"
            )
            total += found
    return total


def check_failures(
    failed: Mapping[tuple[str, str, str], float],
    planned: Iterable[Row],
    catalog: Catalog,
    excused: Sequence[tuple[float, float, Collection[str]]],
) -> None:
    """No `failed` row of a video that is there, but where it may have been that segment's own fault.

    Args:
        failed: Video, reason and time of each row -> when it was seen.
        planned: All segments.
        catalog: The truth.
        excused: From when to when a failure with one of these reasons could be a segment's own.
    """
    starts = {row.ytid: row.start_ms for row in planned}
    for (ytid, reason, _), seen in failed.items():
        video = catalog.get(ytid)
        good = video.outcome is Outcome.OK and starts[ytid] < video.seconds * 1000
        assert not good or any(begin <= seen <= end and reason in reasons for begin, end, reasons in excused), (
            f"{ytid} is there, but was recorded as failed ({reason}) at {seen:.1f}, when nothing was wrong with it"
        )


def check_came_back(endings: Sequence[tuple[float, str]], long_bans: Sequence[tuple[float, float]]) -> None:
    """No task gave up while waiting was all that was to be done."""
    for begin, end in long_bans:
        given_up = [how for time, how in endings if begin + 1 <= time <= end and how == "FAILED 75"]
        assert not given_up, f"{len(given_up)} tasks did not come back in a ban of {end - begin:.0f} s: {given_up}"


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
    """At most so many resolves by an egress of videos that are there, from the begin to the end of each drift."""
    good = {ytid for ytid, video in catalog.videos.items() if video.outcome is Outcome.OK and ytid != GOOD_VIDEO}
    asked = [event for event in events if event["kind"] == "resolve" and event["ytid"] in good]
    for begin, end in drifts:
        for egress, lost in Counter(event["egress"] for event in asked if begin <= event["time"] < end).items():
            assert lost <= most, f"{lost} resolves through {egress} in a drift of {end - begin:.0f} s"


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


def pause_steps(egress: Path) -> list[list[float]]:
    """When each pause of an egress began, was made longer and ended, in this order; also of histories set aside."""
    steps: defaultdict[int, set[float]] = defaultdict(set)
    for path in egress.glob("pauses.jsonl*"):
        if path.is_file() and not path.is_symlink():
            for line in path.read_bytes().splitlines():
                with suppress(ValueError, KeyError, TypeError):
                    row = json.loads(line)
                    steps[row["epoch"]].add(row["at"])
    return [sorted(steps[epoch]) for epoch in sorted(steps)]

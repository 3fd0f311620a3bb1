"""Who asked for what, when, and how many bytes went out."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import IO, Any, Final

MERGE_SECONDS: Final = 10.0
"""Requests of one client for one video within this time belong to one resolve, unless one is asked twice."""


class Journal:
    """The request log and its counters. Thread-safe.

    Every event has `time` (Unix, when the request came in), `kind` and `egress`; kinds and their further keys:

    - `resolve`: `ytid`, `issue` (this video's how-manieth resolve), `blocked` (how the address
      was turned away, or null)
    - `watch`, `player`, `embed`, `thumbnail`: `ytid`, `status`
    - `media`: `ytid`, `itag`, `start`, `end` (the range asked for, both inclusive, null for open), `status`,
      `bytes` (body bytes sent), `trouble` (the fault that it met, or null), `seconds`
    - `manifest`: `ytid`, `itag` (of an HLS format's playlist; 0: the master playlist), and as `media` from `status` on
    - `segment`: `ytid`, `itag`, `number` (from 0), and as `media` from `status` on
    - `other`: `host`, `path`, `status`

    Args:
        path: Also append each event to this file, one JSON object a line.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._lock = threading.Lock()
        self._events: list[dict[str, Any]] = []
        self._file: IO[str] | None = None if path is None else path.open("a", encoding="utf-8", buffering=1)
        self._open: dict[tuple[str, str], tuple[float, int, set[str]]] = {}
        self._issues: Counter[str] = Counter()

    def add(self, kind: str, egress: str, **details: Any) -> None:
        """Write one event; `time` is now unless given."""
        event = {"time": time.time(), "kind": kind, "egress": egress, **details}
        with self._lock:
            self._append(event)

    def begin(self, egress: str, ytid: str, question: str) -> tuple[int, bool]:
        """One of the requests of a resolve came in: the number of its resolve, and whether this began it.

        `question` is what was asked (the page, the player API as some client): asked twice means a new resolve.
        """
        now = time.time()
        with self._lock:
            since, issue, questions = self._open.get((egress, ytid), (0.0, 0, set()))
            if now - since < MERGE_SECONDS and question not in questions:
                questions.add(question)
                return issue, False
            self._issues[ytid] += 1
            issue = self._issues[ytid]
            self._open[egress, ytid] = (now, issue, {question})
            return issue, True

    def excuse(self, egress: str, ytid: str, question: str) -> None:
        """The question failed on the way (5xx, reset): asking it again is still the same resolve."""
        with self._lock:
            if (entry := self._open.get((egress, ytid))) is not None:
                entry[2].discard(question)

    def events(self, kind: str | None = None, ytid: str | None = None, since: float = 0.0) -> list[dict[str, Any]]:
        """The events so far, in the order in which they ended."""
        with self._lock:
            return [
                event
                for event in self._events
                if kind in (None, event["kind"]) and ytid in (None, event.get("ytid")) and event["time"] >= since
            ]

    def counters(self) -> dict[str, Any]:
        """Totals: `all`, by egress, and by video.

        Of each: `resolves`, `pages` (watch, embed), `player`, `thumbnails`, `media`, `manifests`, `segments`,
        `media_bytes` (of both kinds of media), `other`.
        """
        total: Counter[str] = Counter()
        egresses: defaultdict[str, Counter[str]] = defaultdict(Counter)
        videos: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for event in self.events():
            counters = [total, egresses[event["egress"]]]
            if "ytid" in event:
                counters.append(videos[event["ytid"]])
            for counter in counters:
                counter[_COUNTER_OF[event["kind"]]] += 1
                counter["media_bytes"] += event.get("bytes", 0) if event["kind"] != "manifest" else 0
        empty = dict.fromkeys([*_COUNTER_OF.values(), "media_bytes"], 0)
        return {
            "all": empty | total,
            "egresses": {name: empty | one for name, one in egresses.items()},
            "videos": {name: empty | one for name, one in videos.items()},
        }

    def clear(self) -> None:
        """Forget the events (not the file's, nor how often a video was resolved)."""
        with self._lock:
            self._events.clear()

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            if self._file is not None:
                self._file.close()
                self._file = None

    def _append(self, event: dict[str, Any]) -> None:
        self._events.append(event)
        if self._file is not None:
            self._file.write(json.dumps(event) + "\n")


_COUNTER_OF: Final = {
    "resolve": "resolves",
    "watch": "pages",
    "embed": "pages",
    "player": "player",
    "thumbnail": "thumbnails",
    "media": "media",
    "manifest": "manifests",
    "segment": "segments",
    "other": "other",
}

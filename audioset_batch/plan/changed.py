"""Rows whose outcome depends on a setting that is another one now, or on a date that has passed."""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from audioset_batch.plan.retry import Known
from audioset_batch.reasons import Reason, Status

Settings = Mapping[str, Any]
"""A config as `record.settings` has it: plain values, without secrets."""

BY_WORDING: Final = re.compile(r"\(by youtube\.wordings: (.*)\)$")
"""What `detail` ends with where a pattern of the user's decided."""

_SCHEDULED: Final = re.compile(r"scheduled for (\S+)")
_SOON: Final = re.compile(r"live_status is (?:is_live|is_upcoming|post_live)$|\bshortly\b|\bmoments\b", re.IGNORECASE)
"""What is on, or about to be, and names no date."""
_OVER_AFTER: Final = datetime.timedelta(days=7)
_IN: Final = re.compile(r"(?:begin|premieres?) in (\d{1,6}) (minute|hour|day)s?\b", re.IGNORECASE)


class Changed:
    """Fits rows that today's settings, or today, may change.

    Args:
        now: The config of the next run.
        noted: What workers noted of theirs (`record.settings.read_settings`): which held for a row, its time tells.
        today: The moment.
    """

    def __init__(self, now: Settings, noted: Sequence[Mapping[str, Any]], today: datetime.datetime) -> None:
        self._now = now
        self._noted = [
            (_time(one.get("first_used_at")), _time(one.get("last_used_at")), one["config"]) for one in noted
        ]
        self._today = today

    def why(self, known: Known) -> str | None:
        """What has changed since the row was written; None if nothing that could change its outcome."""
        row = known.row
        if row["status"] != Status.UNAVAILABLE:
            return None
        by_wording = BY_WORDING.search(str(row.get("detail") or ""))
        if by_wording is not None and by_wording[1] not in _wordings(self._now):
            return "youtube.wordings no longer say so"
        match row.get("reason"):
            case Reason.LOGIN_REQUIRED:
                had = any(str(row.get("egress") or "") in _with_cookies(then) for then in self._then(row))
                if _with_cookies(self._now) and not had:
                    return "an egress has cookies now"
            case Reason.GEO_BLOCKED:
                others = sorted(set(_egresses(self._now)) - known.geo_blocked_from)
                if others:
                    return f"not asked through {', '.join(others)} yet"
            case Reason.FORMAT_UNAVAILABLE:
                if any(_format(then) != _format(self._now) for then in self._then(row)):
                    return "youtube.args choose another format"
            case Reason.NO_VIDEO:
                if any(_video(then) != _video(self._now) for then in self._then(row)):
                    return "video.mode or video.max_height is another"
            case Reason.NO_AUDIO:
                muxed = [_video(then) for then in self._then(row) if _video(then)[0] == "bestvideoaudio"]
                if any(video != _video(self._now) for video in muxed):
                    return "video.mode or video.max_height is another"
            case Reason.LIVE:
                starts = _starts(row)
                if starts is not None and starts < self._today:
                    return "its date has passed"
        return None

    def _then(self, row: Mapping[str, Any]) -> list[Settings]:
        """The configs that may have held when the row was written; [] if none was noted."""
        written = _time(row.get("finished_at"))
        if written is None:
            return [config for _, _, config in self._noted]
        before = [one for one in self._noted if one[0] is None or one[0] <= written]
        # A worker notes its settings when it starts, and writes rows for hours after that.
        spanning = [config for _, last, config in before if last is None or last >= written]
        return spanning or [config for *_, config in before[:1]]


def _egresses(settings: Settings) -> Iterator[str]:
    return (str(one.get("name")) for one in _dicts(settings.get("egress")))


def _with_cookies(settings: Settings) -> set[str]:
    return {str(one.get("name")) for one in _dicts(settings.get("egress")) if one.get("cookies")}


def _video(settings: Settings) -> tuple[object, object]:
    video = settings.get("video")
    return (video.get("mode"), video.get("max_height")) if isinstance(video, dict) else (None, None)


def _wordings(settings: Settings) -> list[str]:
    youtube = settings.get("youtube")
    patterns = youtube.get("wordings") if isinstance(youtube, dict) else None
    return list(patterns) if isinstance(patterns, dict) else []


def _format(settings: Settings) -> object:
    """The value of yt-dlp's `-f`, or all options where their spelling keeps it from being told."""
    youtube = settings.get("youtube")
    given = youtube.get("args") if isinstance(youtube, dict) else None
    args = [str(one) for one in given] if isinstance(given, list) else []
    for place, arg in enumerate(args):
        if arg in ("-f", "--format"):
            return args[place + 1 : place + 2]
        if arg.startswith("--format="):
            return [arg.partition("=")[2]]
        if arg.startswith("-f"):
            return [arg[2:]]
    return []


def _dicts(value: object) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _starts(row: Mapping[str, Any]) -> datetime.datetime | None:
    """When a live event was to begin: by the date in `detail`, by words such as "in 3 days"; a week where it is on."""
    detail = str(row.get("detail") or "")
    if named := _SCHEDULED.search(detail):
        return _time(named[1])
    written = _time(row.get("finished_at"))
    if written is None:
        return None
    ahead = None
    if relative := _IN.search(detail):
        # Its words round: one unit more is surely past.
        ahead = datetime.timedelta(**{f"{relative[2].lower()}s": int(relative[1]) + 1})
    elif _SOON.search(detail):
        ahead = _OVER_AFTER
    try:
        return None if ahead is None else written + ahead
    except OverflowError:  # a row of the year 9999
        return None


def _time(text: object) -> datetime.datetime | None:
    try:
        moment = datetime.datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)

"""Disk space and traffic of a clip: measured so far, else estimated."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from audioset_batch.config import Config
from audioset_batch.layout import DataDir
from audioset_batch.reasons import Status
from audioset_batch.record.recent_rows import newest_rows

_SECONDS: Final = 10
_FLAC_SHARE: Final = 0.6
_LOSSY_BYTES_PER_SECOND: Final = 16_000
_VIDEO_BYTES_PER_SECOND: Final = 250_000
_ENOUGH: Final = 100
"""Number of clips or rows from which their means replace the estimates."""
_REQUESTS_OF_A_CLIP: Final = 3.0
"""One request to resolve and two for media, as measured (docs/performance.md)."""
_FETCHED_AUDIO_BYTES: Final = 190_000
_AVAILABLE_SHARE: Final = 0.8
"""Estimate: 6% of the videos were unavailable by 2020, 15% by 2023."""


@dataclass(frozen=True, slots=True)
class Expectation:
    """What a planned segment is expected to take.

    Attributes:
        requests, fetched_bytes: Mean per segment, including retries and unavailable segments.
        available: Share of the segments that are still available.
        clip_bytes: Bytes on disk per clip that is ok.
        counted: Number of rows behind the means; 0 for estimates.
    """

    requests: float
    fetched_bytes: float
    available: float
    clip_bytes: float
    counted: int


def expect(data: DataDir, config: Config) -> Expectation:
    """From `summary.json` if it has enough rows, else from a sample of the newest rows, else from the config.

    Raises:
        StorageUnusable: a manifest cannot be read.
    """
    clip_bytes, _ = bytes_per_clip(data, config)
    with contextlib.suppress(KeyError, TypeError, ZeroDivisionError):
        by_status = _summary(data)["cost"]["by_status"]
        rows = sum(one["segments"] for one in by_status.values())
        settled = by_status["ok"]["segments"] + by_status["unavailable"]["segments"]
        if settled >= _ENOUGH:
            return Expectation(
                requests=sum(one["requests"] for one in by_status.values()) / rows,
                fetched_bytes=sum(one["fetched_bytes"] for one in by_status.values()) / rows,
                available=by_status["ok"]["segments"] / settled,
                clip_bytes=clip_bytes,
                counted=rows,
            )
    sampled = _sampled(data)
    if sampled is not None:
        return sampled
    fetched = _FETCHED_AUDIO_BYTES + (0 if config.video.mode == "none" else _VIDEO_BYTES_PER_SECOND * _SECONDS)
    requests = _AVAILABLE_SHARE * _REQUESTS_OF_A_CLIP + (1 - _AVAILABLE_SHARE)
    return Expectation(requests, _AVAILABLE_SHARE * fetched, _AVAILABLE_SHARE, clip_bytes, 0)


def _sampled(data: DataDir) -> Expectation | None:
    """From the newest rows that workers wrote; None if there are too few."""
    rows = [row for row in newest_rows(data) if (row.get("attempts") or 0) > 0]
    clips = [row for row in rows if row["status"] == Status.OK]
    settled = len(clips) + sum(row["status"] == Status.UNAVAILABLE for row in rows)
    if settled < _ENOUGH or not clips:
        return None
    return Expectation(
        requests=_mean(rows, "requests"),
        fetched_bytes=_mean(rows, "fetched_bytes"),
        available=len(clips) / settled,
        clip_bytes=_mean(clips, "audio_bytes") + _mean(clips, "video_bytes"),
        counted=len(rows),
    )


def _mean(rows: Sequence[Mapping[str, Any]], column: str) -> float:
    return sum(row.get(column) or 0 for row in rows) / len(rows)


def files_per_clip(config: Config) -> int:
    """Files on disk per clip; about 0 in tars."""
    if config.output.layout != "files":
        return 0
    return 1 if config.video.mode == "none" else 2


def bytes_per_clip(data: DataDir, config: Config) -> tuple[float, str]:
    """Bytes on disk of a clip of ten seconds, and the source of this number: the last merge, or an estimate."""
    with contextlib.suppress(KeyError, TypeError, ValueError):
        summary = _summary(data)
        clips = int(summary["totals"]["ok"])
        if clips >= _ENOUGH:
            return (summary["audio_bytes"] + summary["video_bytes"]) / clips, f"the mean of {clips:,} so far"
    audio = config.audio
    rate = 48000 if audio.sample_rate == "keep" else audio.sample_rate
    channels = 2 if audio.channels == "keep" else audio.channels
    plain = rate * channels * audio.bit_depth / 8
    per_second = {"flac": plain * _FLAC_SHARE, "wav": plain}.get(audio.format, _LOSSY_BYTES_PER_SECOND)
    if config.video.mode != "none":
        per_second += _VIDEO_BYTES_PER_SECOND
    return per_second * _SECONDS, "estimated"


def _summary(data: DataDir) -> Any:
    """The content of `summary.json`; empty if it is missing or damaged."""
    try:
        return json.loads(data.summary_json.read_bytes())
    except (OSError, ValueError):
        return {}

"""The values that travel between stages. Frozen, slotted; times are integer milliseconds."""

from __future__ import annotations

import dataclasses
import datetime
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from audioset_batch.reasons import Reason, Status

SUBSETS: Final = ("eval_segments", "balanced_train_segments", "unbalanced_train_segments")
"""The three released subsets, in the order in which they are run: small and most wanted first."""

YTID_PATTERN: Final = re.compile(r"[A-Za-z0-9_-]{11}\Z")


class SegmentKey(NamedTuple):
    """What identifies a segment: AudioSet uses a video at most once per subset, adopted trees may not."""

    subset: str
    ytid: str
    start_ms: int
    end_ms: int


@dataclass(frozen=True, slots=True)
class Segment:
    """One row of a segments CSV.

    Attributes:
        subset: Stem of the CSV, e.g. `eval_segments`.
        ytid: The 11-character YouTube id; may start with `-`.
        start_ms: Start in the video, milliseconds, >= 0.
        end_ms: End in the video, milliseconds, > start_ms.
        labels: MIDs such as `/m/09x0r`, in the order of the CSV.
    """

    subset: str
    ytid: str
    start_ms: int
    end_ms: int
    labels: tuple[str, ...]

    @property
    def key(self) -> SegmentKey:
        return SegmentKey(self.subset, self.ytid, self.start_ms, self.end_ms)


@dataclass(frozen=True, slots=True)
class Clip:
    """Verified temporary files of one segment, ready to be published.

    Attributes:
        columns: The manifest's columns about the media.
    """

    audio: Path
    video: Path | None
    columns: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestRow:
    """One line of a shard's manifest and one row of the merged table; the field names are the columns.

    Paths are relative to DATADIR with forward slashes. `finished_at` is UTC, ISO 8601. `audio_sha256` is
    of the published bytes. Levels are in dB relative to full scale (1.0).
    """

    subset: str
    shard: int
    ytid: str
    start_seconds: float
    end_seconds: float
    labels: str
    status: Status
    reason: Reason | str = ""
    audio_path: str = ""
    video_path: str = ""
    tar: str = ""
    offset: int | None = None
    duration_seconds: float | None = None
    sample_rate: int | None = None
    channels: int | None = None
    frames: int | None = None
    source_sample_rate: int | None = None
    format_id: str = ""
    audio_language: str = ""
    audio_track: str = ""
    video_start_seconds: float | None = None
    audio_bytes: int | None = None
    video_bytes: int | None = None
    audio_sha256: str = ""
    silent: bool | None = None
    peak_dbfs: float | None = None
    rms_dbfs: float | None = None
    attempts: int = 0
    elapsed_seconds: float = 0.0
    fetched_bytes: int = 0
    requests: int = 0
    egress: str = ""
    job_id: str = ""
    restart_count: int = 0
    host: str = ""
    finished_at: str = ""
    ytdlp_version: str = ""
    detail: str = ""

    @classmethod
    def of(cls, segment: Segment, shard: int, status: Status, **columns: Any) -> ManifestRow:
        """The row of a planned segment; `columns` are all others. `finished_at` is now unless it is among them."""
        columns.setdefault("finished_at", datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds"))
        return cls(
            subset=segment.subset,
            shard=shard,
            ytid=segment.ytid,
            start_seconds=segment.start_ms / 1000,
            end_seconds=segment.end_ms / 1000,
            labels=",".join(segment.labels),
            status=status,
            **columns,
        )

    @property
    def key(self) -> SegmentKey:
        return SegmentKey(self.subset, self.ytid, round(self.start_seconds * 1000), round(self.end_seconds * 1000))

    def to_json(self) -> dict[str, Any]:
        """The row as a flat dict in column order, ready for `json.dumps`."""
        return {name: getattr(self, name) for name in COLUMNS}


COLUMNS: Final = tuple(field.name for field in dataclasses.fields(ManifestRow))
"""Columns of the manifest and of the merged table, in order."""

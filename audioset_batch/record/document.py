"""Generate `docs/manifest.md`: `python -m audioset_batch.record.document` prints it.

Names, order and types come from `ManifestRow` and its Arrow schema, statuses and reasons from their enumerations; the
descriptions are here. A column, status or reason without a description is an error.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from typing import Final

from audioset_batch.model import COLUMNS
from audioset_batch.reasons import Reason, Status
from audioset_batch.record.manifest import RETRY
from audioset_batch.record.schema import MANIFEST_SCHEMA

_HEAD: Final = """\
# Manifest

Generated from the code (`make reference`).

Workers append one JSON line per segment and run to `DATADIR/manifests/<subset>.<NN>.jsonl`, after
all retries of that run. `audioset-batch merge` combines them into one table: `manifest.parquet`
(with the types below) and `manifest.csv`. The keys of a line are the columns of the table, in this
order. [python.md](python.md) shows how to read the table.
"""

_RULE: Final = f"""\
For each subset, `ytid`, start and end, one row counts: the last `ok` since the last reset, else the
newest row. A reset is a row with status `pending` and reason `{RETRY}`. `audioset-batch retry` writes
it, and so does a worker if a crash has damaged the sample of an open tar.

A planned segment without a row is `pending`. In the merged table it has subset, shard, segment and
labels, and nulls. Rows about segments that are no longer planned stay in the manifests and in the
table, and are counted as `outside_plan` in `summary.json`.
"""

_NEVER: Final = """\
A blocked egress (bot check, rate limit, 429), an outage of it, a drift (YouTube or its client
changed) and a full disk say nothing about a segment. They are never recorded: such segments stay
`pending`."""

_COLUMN_WORDS: Final[Mapping[str, str]] = {
    "subset": "`eval_segments`, `balanced_train_segments` or `unbalanced_train_segments`",
    "shard": "number of the segment's shard, from 1",
    "ytid": "the video ID: 11 characters; may begin with `-`",
    "start_seconds": "start of the segment in the video",
    "end_seconds": "end of the segment in the video",
    "labels": "MIDs such as `/m/09x0r`, comma-separated, as in the CSV; names are in `class_labels_indices.csv`",
    "status": "see below",
    "reason": "see below; empty when `ok`",
    "audio_path": "the clip, relative to DATADIR; empty if there is none, or if it is in a tar",
    "video_path": "the video of the clip, in the same way",
    "tar": "with `output.layout: webdataset`: the tar, relative to DATADIR. While a worker still adds to it, the file "
    "on disk has this name with `.open` at the end",
    "offset": "byte of the sample's first header in `tar`",
    "duration_seconds": "of the published audio; if the video ends early, this is shorter than the segment",
    "sample_rate": "Hz, of the published audio",
    "channels": "of the published audio",
    "frames": "samples per channel of the published audio",
    "source_sample_rate": "Hz, of the stream from which the clip was cut",
    "format_id": "yt-dlp's name of that stream; `audio+video` if there are two",
    "audio_language": "language of the sound track, as YouTube writes it (`en`, `pt-BR`); empty if it names none, "
    "as for most videos",
    "audio_track": "`original`, `dubbed`, `descriptive` or `secondary`; empty if YouTube does not say",
    "video_start_seconds": "actual start of the video in the source; with `video.cut: copy`, the keyframe before the "
    "segment",
    "audio_bytes": "size of the published audio",
    "video_bytes": "size of the published video",
    "audio_sha256": "of the published bytes, hexadecimal",
    "silent": "the peak is below -60 dBFS",
    "peak_dbfs": "highest sample of all channels, dB relative to full scale; null for digital silence",
    "rms_dbfs": "root mean square over all channels, dB relative to full scale; null for digital silence",
    "attempts": "attempts of this run; a blocked address does not count",
    "elapsed_seconds": "total time of these attempts",
    "fetched_bytes": "total bytes that they fetched",
    "requests": "total of their HTTP requests",
    "egress": "name of the egress of the last attempt",
    "job_id": "SLURM's ID of the job that wrote the row; empty without SLURM",
    "restart_count": "how often that job had been requeued",
    "host": "the node that wrote the row",
    "finished_at": "when the row was written: UTC, ISO 8601",
    "ytdlp_version": "version of yt-dlp that resolved the video",
    "detail": "the message behind the reason, for people; `adopted` for clips that existed before",
}

_STATUS_WORDS: Final[Mapping[str, tuple[str, str]]] = {
    Status.OK: ("its files exist, complete and verified", "do not try it again"),
    Status.UNAVAILABLE: (
        "permanently unavailable, with a reason",
        "do not try it again; `audioset-batch retry` resets it",
    ),
    Status.FAILED: ("failed for a transient reason, after the retries of its run", "try it again"),
    Status.PENDING: ("not tried yet, given back, or reset", "try it"),
}

_REASON_WORDS: Final[Mapping[str, str]] = {
    Reason.REMOVED: "removed by the uploader, or by YouTube for breaking its rules",
    Reason.ACCOUNT_TERMINATED: "the uploader's account no longer exists",
    Reason.COPYRIGHT: "removed or blocked by a copyright claim",
    Reason.GEO_BLOCKED: "not available in the country of the egress; another egress may reach it",
    Reason.PRIVATE: "the uploader made it private",
    Reason.LOGIN_REQUIRED: "needs an account: age limit, members only, purchase, rental",
    Reason.NONEXISTENT: "YouTube does not know the video. An address in a soft ban gets this answer for every video, "
    "so it is recorded only between two answers that know a video",
    Reason.NO_AUDIO: "the video has pictures, but no stream with audio",
    Reason.NO_VIDEO: "the config asks for video, but no stream has any",
    Reason.SEGMENT_PAST_END: "the video ends before the segment starts",
    Reason.LIVE: "a live stream or premiere that has not ended yet",
    Reason.FORMAT_UNAVAILABLE: "the video does not have the format that `-f` in `youtube.args` asks for",
    Reason.NETWORK: "a connection failed or was lost",
    Reason.HTTP_ERROR: "an HTTP error status, or an answer that is not the player's; if there are many, yt-dlp may be "
    "too old",
    Reason.TIMEOUT: "`worker.segment_timeout` or the time limit of a socket was exceeded",
    Reason.TRUNCATED: "fewer bytes arrived than announced",
    Reason.MEDIA_FORBIDDEN: "HTTP 403 for the media, although the video was resolved",
    Reason.DECODE_ERROR: "the data is not media, or is damaged",
    Reason.NO_USABLE_FORMAT: "there are formats, but none that yt-dlp can fetch with its JavaScript runtime, tokens "
    "and settings: they have no address (SABR), are ciphered or protected (DRM), or need a PO token",
    Reason.UNRECOGNIZED: "YouTube refused in words that this version does not know; `detail` has them. "
    "`youtube.wordings` maps them to a reason",
    Reason.INTERNAL: "any other error; `detail` has the message",
}

_TYPE_WORDS: Final = {
    "string": "text",
    "double": "float",
    "bool": "true or false",
    "int32": "integer",
    "int64": "integer",
}


def markdown() -> str:
    """The text of `docs/manifest.md`.

    Raises:
        ValueError: a column, status or reason has no description, or a description belongs to none.
    """
    _check("columns", COLUMNS, _COLUMN_WORDS)
    _check("statuses", Status, _STATUS_WORDS)
    _check("reasons", Reason, _REASON_WORDS)
    lines = [_HEAD, "## Columns", "", "| column | type | meaning |", "|---|---|---|"]
    for name in COLUMNS:
        kind = _TYPE_WORDS[str(MANIFEST_SCHEMA.field(name).type)]
        lines.append(f"| `{name}` | {kind} | {_COLUMN_WORDS[name]} |")
    lines += ["", "In a line, unknown text is empty, and other unknown values are null.", "", _RULE]
    lines += ["## Status", "", "| status | meaning | later runs |", "|---|---|---|"]
    lines += [f"| `{status}` | {' | '.join(_STATUS_WORDS[status])} |" for status in Status]
    for title, permanent, status in (("Permanent", True, Status.UNAVAILABLE), ("Transient", False, Status.FAILED)):
        lines += ["", f"## {title} reasons (status `{status}`)", "", "| reason | meaning |", "|---|---|"]
        lines += [f"| `{reason}` | {_REASON_WORDS[reason]} |" for reason in Reason if reason.permanent is permanent]
    lines += ["", _NEVER]
    return "\n".join(lines) + "\n"


def _check(what: str, names: Iterable[str], words: Mapping[str, object]) -> None:
    differing = {str(name) for name in names} ^ {str(name) for name in words}
    if differing:
        raise ValueError(f"{what} without words, or words without them: {', '.join(sorted(differing))}")


if __name__ == "__main__":
    sys.stdout.write(markdown())

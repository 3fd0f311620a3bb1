"""Take over the clips of an existing tree, as audiosetdl leaves it: verify them and write their manifest rows."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from audioset_batch.layout import DataDir, ShardId, no_shards
from audioset_batch.model import ManifestRow, Segment, SegmentKey
from audioset_batch.plan.edit_manifest import edit_manifest
from audioset_batch.plan.segments_csv import read_shard
from audioset_batch.plan.verify_files import FileCheck, Found, Verifier
from audioset_batch.reasons import Status
from audioset_batch.record.manifest import replay

AUDIO_ENDINGS: Final = ("flac", "wav", "ogg", "mp3")
VIDEO_ENDINGS: Final = ("mp4",)


@dataclass(slots=True)
class AdoptReport:
    """What was found. Paths are relative to DATADIR.

    Attributes:
        adopted: Segments that were given a row.
        recorded: Segments with files that have an `ok` row already, or wait for a retry that was asked for.
        broken: (path, why) of files that cannot be decoded.
        outside: Files whose segment is not in the plan.
        unnamed: Files whose name is not `<ytid>_<start ms>_<end ms>.<ending>`.
        video_only: Videos without an audio file beside them; left for the worker.
    """

    adopted: int = 0
    recorded: int = 0
    broken: list[tuple[str, str]] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)
    unnamed: list[str] = field(default_factory=list)
    video_only: list[str] = field(default_factory=list)


def parse_clip_name(name: str, subset: str) -> tuple[SegmentKey, str] | None:
    """The segment and ending (lower case) in a file name, read from the right because ids may hold `_`."""
    stem, dot, ending = name.rpartition(".")
    parts = stem.rsplit("_", 2)
    if not dot or len(parts) != 3 or len(parts[0]) != 11:
        return None
    ytid, start, end = parts
    if not (start.isascii() and start.isdigit() and end.isascii() and end.isdigit()):
        return None
    return SegmentKey(subset, ytid, int(start), int(end)), ending.lower()


def adopt(root: Path, processes: int) -> AdoptReport:
    """Verify the files of every planned segment that has no `ok` row, and record those that are whole.

    No file is changed or removed. Doing it again continues where it stopped.

    Raises:
        InputRefused: DATADIR has no shards.
        ShardHeld: a worker has one of the shards; those before it are done.
        StorageUnusable: a manifest cannot be written.
    """
    data = DataDir(root)
    subsets = data.subsets_present()
    if not subsets:
        raise no_shards(root)
    report = AdoptReport()
    with Verifier(processes) as verifier:
        for subset in subsets:
            found = _find_files(data, subset, report)
            for shard in data.shards(subset) if found else ():
                _adopt_shard(data, shard, found, verifier, report)
            for files in found.values():
                report.outside += [data.relative(path) for path in (files.audio, files.video) if path is not None]
    report.outside.sort()
    return report


def _find_files(data: DataDir, subset: str, report: AdoptReport) -> dict[SegmentKey, Found]:
    found: dict[SegmentKey, Found] = {}
    folders = ((data.audio_dir(subset), AUDIO_ENDINGS), (data.video_dir(subset), VIDEO_ENDINGS))
    for folder, endings in folders:
        for name in _names(folder):
            path = folder / name
            parsed = parse_clip_name(name, subset)
            if parsed is None or parsed[1] not in endings:
                report.unnamed.append(data.relative(path))
                continue
            before = found.get(parsed[0], Found(None, None))
            if endings is VIDEO_ENDINGS:
                found[parsed[0]] = Found(before.audio, path)
            elif before.audio is None or _preference(path) < _preference(before.audio):
                found[parsed[0]] = Found(path, before.video)
    return found


def _preference(path: Path) -> int:
    return AUDIO_ENDINGS.index(path.suffix[1:].lower())


def _names(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in entries if entry.is_file() and not entry.name.startswith("."))
    except FileNotFoundError:
        return []


def _adopt_shard(
    data: DataDir,
    shard: ShardId,
    found: dict[SegmentKey, Found],
    verifier: Verifier,
    report: AdoptReport,
) -> None:
    """Take this shard's segments out of `found` and record those that are whole."""
    if not any(s.key in found for s in read_shard(data.shard_csv(shard), shard.subset)):
        return
    with edit_manifest(data, shard) as (planned, append):
        known = replay(data.manifest(shard))
        waiting: list[tuple[Segment, Found]] = []
        for segment in (s for s in planned if s.key in found):
            files = found.pop(segment.key)
            outcome = known.get(segment.key)
            if outcome is not None and (outcome.ok or outcome.reset):
                report.recorded += 1
            elif files.audio is None:
                report.video_only.append(data.relative(files.video)) if files.video else None
            else:
                waiting.append((segment, files))
        verdicts = verifier.verdicts(files for _, files in waiting)
        for (segment, files), verdict in zip(waiting, verdicts, strict=True):
            if verdict.broken:
                report.broken += [(data.relative(Path(path)), why) for path, why in verdict.broken]
                continue
            append(_row(data, shard, segment, files, verdict))
            report.adopted += 1


def _row(data: DataDir, shard: ShardId, segment: Segment, files: Found, verdict: FileCheck) -> ManifestRow:
    return ManifestRow.of(
        segment,
        shard.number,
        Status.OK,
        audio_path=data.relative(files.audio) if files.audio else "",
        video_path=data.relative(files.video) if files.video else "",
        host=socket.gethostname(),
        detail="adopted",
        **verdict.columns,
    )

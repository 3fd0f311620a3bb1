"""Publish clips as samples of tars, in the layout of the `webdataset` package.

A sample is on disk when `put` returns; the manifest row that is written next makes it part of the data set.
`record.tars` describes how open tars survive kills.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from audioset_batch.errors import StorageUnusable
from audioset_batch.layout import DataDir, ShardId
from audioset_batch.model import Clip, Segment, SegmentKey
from audioset_batch.record.manifest import Outcome
from audioset_batch.record.tars import OpenTar, encode_sample, next_number, resume, tar_name
from audioset_batch.sharedfs.publish import make_folders, remove_quietly

_FACTS: Final = (
    "duration_seconds",
    "sample_rate",
    "channels",
    "frames",
    "silent",
    "audio_sha256",
    "video_start_seconds",
)


class TarSink:
    """Writes `data/<subset>/tar/<NN>-<n>.tar`, each of about `tar_bytes`; continues what an earlier run left open.

    Args:
        data: The data directory.
        shard: The shard, whose lease the caller holds.
        known: Outcomes in the shard's manifest.
        staging: Folder for temporary files on the data directory's filesystem.
        tar_bytes: Largest size of a tar with more than one sample.
        names: MID -> name of a class, for the samples' JSON; a class without a name is named by its MID.
        fence: True if the previous holder may still be alive.

    Attributes:
        lost: Recorded segments whose samples are damaged, to be made again.

    Raises:
        StorageUnusable: an open tar cannot be resumed.
    """

    def __init__(
        self,
        data: DataDir,
        shard: ShardId,
        known: Mapping[SegmentKey, Outcome],
        staging: Path,
        *,
        tar_bytes: int,
        names: Mapping[str, str],
        fence: bool,
    ) -> None:
        self._data = data
        self._shard = shard
        self._tar_bytes = tar_bytes
        self._names = names
        self._tar, lost = resume(data, shard, known, staging, fence=fence)
        self.lost = frozenset(lost)
        self._number = next_number(data, shard)

    def put(self, segment: Segment, clip: Clip) -> dict[str, Any]:
        """Append one clip and remove its temporary files; returns `tar` and `offset`."""
        files = [path for path in (clip.audio, clip.video) if path is not None]
        stem = self._data.stem(segment)
        members = [(f"{stem}{path.suffix}", _read(path)) for path in files]
        columns = self.add(stem, members, sample_json(segment, clip.columns, self._names))
        for path in files:
            remove_quietly(path)
        return columns

    def add(self, stem: str, members: Sequence[tuple[str, bytes]], facts: bytes) -> dict[str, Any]:
        """Append a sample of `members` and its JSON; returns `tar` and `offset`.

        Raises:
            StorageUnusable: it failed; nothing was appended.
        """
        sample = encode_sample([*members, (f"{stem}.json", facts)])
        if self._tar is not None and self._tar.size and self._tar.size + len(sample) > self._tar_bytes:
            self.finish()
        if self._tar is None:
            self._tar = self._begin()
        offset = self._tar.append(sample)
        return {"tar": self._data.relative(self._tar.final), "offset": offset}

    def _begin(self) -> OpenTar:
        folder = self._data.tar_dir(self._shard.subset)
        make_folders(folder, self._data.root)
        tar = OpenTar(folder / tar_name(self._shard, self._number))
        self._number += 1
        return tar

    def finish(self) -> None:
        """Publish the open tar."""
        if self._tar is not None:
            self._tar.publish()
            self._tar = None

    def close(self) -> None:
        """Close the open tar; the next run continues it."""
        if self._tar is not None:
            self._tar.close()


def sample_json(segment: Segment, columns: Mapping[str, Any], names: Mapping[str, str]) -> bytes:
    """The JSON of a sample, for users who read tars without the manifest.

    It has no nulls, and the same keys in every sample of a run: `datasets` infers the types from the first few.
    """
    facts = {
        "subset": segment.subset,
        "ytid": segment.ytid,
        "start_seconds": segment.start_ms / 1000,
        "end_seconds": segment.end_ms / 1000,
        "labels": list(segment.labels),
        "label_names": [names.get(mid, mid) for mid in segment.labels],
        **{name: columns[name] for name in _FACTS if columns.get(name) is not None},
    }
    return json.dumps(facts, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode("utf-8")


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise StorageUnusable(
            f"temporary file {path} is gone before it could become part of a tar: something clears that folder"
        ) from error

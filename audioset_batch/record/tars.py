"""Tars that grow by one sample at a time and never lose a recorded sample.

An open tar is `data/<subset>/tar/<NN>-<n>.tar.open`; it becomes `<NN>-<n>.tar` when it is full or its shard is done. A
sample is appended and synced to disk before its row is written, so the manifest says up to where an open tar is valid:
the next run (`resume`) truncates it after the last sample that a row points at. What is cut off was never recorded.
Only the holder of the shard's lease appends. If the previous holder may still be alive, for example stopped or cut off
from its server, the new one continues in a copy, so that late writes go to the old file, which nobody reads.
"""

from __future__ import annotations

import io
import logging
import os
import re
import tarfile
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, Final

from audioset_batch.errors import UnsafePath
from audioset_batch.layout import DataDir, ShardId, shard_suffix
from audioset_batch.model import ManifestRow, Segment, SegmentKey
from audioset_batch.reasons import Status
from audioset_batch.record.clip_files import BLOCK, OPEN_SUFFIX, sample_end
from audioset_batch.record.manifest import RETRY, ManifestWriter, Outcome, latest_rows, read_rows, replay
from audioset_batch.sharedfs.folders import Folder
from audioset_batch.sharedfs.publish import make_folders, storage

_NAME: Final = re.compile(r"(\d{2,})-(\d{5,})\.tar(\.open)?")
_END: Final = bytes(2 * BLOCK)
_MODE: Final = 0o644
_PIECE: Final = 1 << 24
_log = logging.getLogger(__name__)


def tar_name(shard: ShardId, number: int) -> str:
    """Name of a tar, such as `17-00003.tar`."""
    return f"{shard_suffix(shard.number)}-{number:05d}.tar"


def encode_sample(members: Sequence[tuple[str, bytes]]) -> bytes:
    """Encode (name, content) pairs as in a tar: ustar headers, contents, padding."""
    whole = io.BytesIO()
    now = int(time.time())
    for name, content in members:
        header = tarfile.TarInfo(name)
        header.size, header.mtime, header.mode = len(content), now, _MODE
        whole.write(header.tobuf(tarfile.USTAR_FORMAT))
        whole.write(content)
        whole.write(bytes(-len(content) % BLOCK))
    return whole.getvalue()


class OpenTar:
    """A tar that samples are appended to.

    Args:
        final: Its final path; until then the name ends with `.open`.
        size: Bytes that are valid; the rest is cut off. 0: a new tar.

    Raises:
        StorageUnusable: it cannot be opened.
    """

    def __init__(self, final: Path, size: int = 0) -> None:
        self.final = final
        self.size = size
        self._path = final.with_name(final.name + OPEN_SUFFIX)
        with storage(final.parent):
            # O_APPEND: late writes of a stopped predecessor go after ours, never into them.
            with Folder(final.parent, may_be_link=True) as folder:
                self._fd = folder.open_or_create(self._path.name, os.O_RDWR | os.O_APPEND)
            if os.fstat(self._fd).st_nlink > 1:
                self.close()
                raise UnsafePath(f"{self._path} has a hard link, which would be cut off, too: put a copy in its place")
            os.ftruncate(self._fd, size)

    def append(self, sample: bytes) -> int:
        """Append a sample from `encode_sample`, and sync it to disk; returns its offset.

        Raises:
            StorageUnusable: it could not be written; the tar is unchanged.
        """
        offset = self.size
        with storage(self.final.parent):
            try:
                self._write(sample)
            except BaseException:
                os.ftruncate(self._fd, offset)
                raise
        self.size += len(sample)
        return offset

    def _write(self, content: bytes) -> None:
        view = memoryview(content)
        while view:
            view = view[os.write(self._fd, view) :]
        os.fsync(self._fd)

    def publish(self) -> None:
        """Finish the tar and rename it to its final name; an empty one is removed. Nothing can be added afterwards.

        Raises:
            StorageUnusable: it failed; the tar keeps its open name and can be resumed.
        """
        with storage(self.final.parent):
            if self.size:
                os.ftruncate(self._fd, self.size)
                self._write(_END)
                self._path.replace(self.final)
            else:
                self._path.unlink()
        self.close()

    def close(self) -> None:
        """Close the file as it is. May be called twice."""
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)


def open_tars(data: DataDir, shard: ShardId) -> list[Path]:
    """Final paths of the tars that this shard's workers left open, by number."""
    return [final for _, final, still_open in _tars(data, shard) if still_open]


def next_number(data: DataDir, shard: ShardId) -> int:
    """The first unused number for a tar of this shard."""
    return max((number for number, _, _ in _tars(data, shard)), default=-1) + 1


def _tars(data: DataDir, shard: ShardId) -> list[tuple[int, Path, bool]]:
    """(number, final name, still open) of all tars of a shard."""
    folder = data.tar_dir(shard.subset)
    try:
        names = [path.name for path in folder.iterdir()]
    except FileNotFoundError:
        return []
    wanted = shard_suffix(shard.number)
    found = [match for match in map(_NAME.fullmatch, names) if match is not None and match[1] == wanted]
    return sorted((int(m[2]), folder / m[0].removesuffix(OPEN_SUFFIX), m[3] is not None) for m in found)


def resume(
    data: DataDir, shard: ShardId, known: Mapping[SegmentKey, Outcome], staging: Path, *, fence: bool
) -> tuple[OpenTar | None, list[SegmentKey]]:
    """Open the tar that an earlier run of this shard left open, truncated after its last recorded sample.

    Args:
        data: The data directory.
        shard: Whose lease the caller holds.
        known: Outcomes in the shard's manifest.
        staging: Folder for temporary files on the data directory's filesystem.
        fence: True if the previous holder may still be alive: continue in a copy.

    Returns:
        The open tar, or None; and the recorded segments whose samples are damaged or missing. Their rows have been
        reset, so that they are made again.

    Raises:
        StorageUnusable: the tar cannot be read or written.
    """
    left: OpenTar | None = None
    lost: list[SegmentKey] = []
    for final in open_tars(data, shard):
        if left is not None:
            left.publish()
        name = data.relative(final)
        recorded = [(out.offset, key) for key, out in known.items() if out.ok and out.tar == name]
        size, gone = _good_until(final, recorded)
        if gone:  # before they are overwritten, else they would count as ok for ever
            _reset(data, shard, gone, name)
        lost += gone
        if fence:
            _replace_by_copy(final, size, staging)
        left = OpenTar(final, size)
    if lost:
        _log.warning("%s: %d recorded samples are damaged in its open tar; they are made again", shard, len(lost))
    return left, lost


def _reset(data: DataDir, shard: ShardId, lost: Iterable[SegmentKey], tar: str) -> None:
    rows = latest_rows(read_rows(data.manifest(shard)))
    with ManifestWriter(data.manifest(shard), fsync_seconds=0) as manifest:
        for key in lost:
            labels = tuple(str(rows[key].get("labels") or "").split(","))
            segment = Segment(key.subset, key.ytid, key.start_ms, key.end_ms, labels)
            detail = f"its sample in {tar} was damaged"
            manifest.append(ManifestRow.of(segment, shard.number, Status.PENDING, reason=RETRY, detail=detail))


def publish_open_tars(
    data: DataDir, shard: ShardId, known: Mapping[SegmentKey, Outcome], staging: Path, *, fence: bool
) -> list[SegmentKey]:
    """Publish the tars that earlier runs of this shard left open, truncated after the last recorded sample.

    Returns:
        Recorded segments that have to be made again, as by `resume`.
    """
    left, lost = resume(data, shard, known, staging, fence=fence)
    if left is not None:
        left.publish()
    return lost


def publish_left_open_tars(data: DataDir, shard: ShardId, *, fence: bool) -> list[SegmentKey]:
    """As `publish_open_tars`, for commands that change a shard's manifest but make no clips; cheap if no tar is open.

    Returns:
        As `publish_open_tars`.

    Raises:
        StorageUnusable: an open tar cannot be published.
    """
    if not open_tars(data, shard):
        return []
    staging = data.tmp(shard)
    make_folders(staging, data.root)
    return publish_open_tars(data, shard, replay(data.manifest(shard)), staging, fence=fence)


def _good_until(final: Path, recorded: Iterable[tuple[int | None, SegmentKey]]) -> tuple[int, list[SegmentKey]]:
    lost: list[SegmentKey] = []
    ordered = sorted(((offset, key) for offset, key in recorded if offset is not None), reverse=True)
    path = final.with_name(final.name + OPEN_SUFFIX)
    with storage(path), _reading(path) as file:
        for offset, key in ordered:
            end = sample_end(file, offset, f"{key.ytid}_{key.start_ms}_{key.end_ms}")
            if end is not None:
                return end, lost
            lost.append(key)
    return 0, lost


def _replace_by_copy(final: Path, size: int, staging: Path) -> None:
    """Replace an open tar by a copy of its first `size` bytes."""
    path = final.with_name(final.name + OPEN_SUFFIX)
    with storage(final.parent), _reading(path) as source, Folder(staging) as folder:
        with open(folder.create(path.name), "wb") as target:  # noqa: PTH123 - of a descriptor
            for _ in range(0, size, _PIECE):
                target.write(source.read(min(_PIECE, size - target.tell())))
            target.flush()
            os.fsync(target.fileno())
        with Folder(final.parent, may_be_link=True) as tars:
            folder.rename(path.name, path.name, tars)
    _log.warning("%s: the worker before may still be alive; going on in a copy", path)


def _reading(path: Path) -> BinaryIO:
    with Folder(path.parent, may_be_link=True) as folder:
        return open(folder.open(path.name, os.O_RDONLY), "rb")  # noqa: PTH123 - of a descriptor

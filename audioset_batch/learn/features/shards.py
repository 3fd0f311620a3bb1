"""The released set as a sequence of shards: from the archive as it streams by, or from an unpacked folder."""

from __future__ import annotations

import io
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

from audioset_batch.errors import InputRefused, UsageError
from audioset_batch.fetch import Progress
from audioset_batch.learn.features.compressed import DecompressingReader, Readable, is_compressed
from audioset_batch.learn.features.released import SPLITS
from audioset_batch.learn.features.tfrecord import Damage, OnBad, starts_with_record

SUFFIXES: Final = (".tfrecord", ".tfrecord.gz")
_READ: Final = 1 << 17
_HEAD: Final = 512


@dataclass(frozen=True, slots=True)
class Shard:
    """One TFRecord file; `stream` is valid until the next shard is asked for."""

    split: str
    source: str
    stream: Readable


def iter_shards(
    source: Path, splits: tuple[str, ...] | None, on_bad: OnBad, progress: Progress | None = None
) -> Iterator[Shard]:
    """All shards of an archive, a folder or a single file, in the order in which they are stored.

    Args:
        source: `features.tar.gz` (or an uncompressed tar), a folder that holds `<split>/*.tfrecord` at any
            depth, or one TFRecord file. The name of a shard's folder is its split. Shards may be compressed.
        splits: Only these; None for all.
        on_bad: Told when the archive itself is damaged; if it returns, the shards end there.
        progress: Told (bytes or files read so far, all) after each shard.

    Raises:
        InputRefused: `source` is not there or holds no shard of `splits`.
    """
    if source.is_dir():
        shards = _folder_shards(source, splits, progress)
    elif source.is_file() and _is_archive(source):
        shards = _archive_shards(source, splits, on_bad, progress)
    elif source.is_file():
        shards = _one(source, splits, progress)
    else:
        raise UsageError(f"{source}: no such file or folder; `audioset-batch features fetch` gets the archive")
    found = False
    for shard in shards:
        found = True
        yield shard
    if not found:
        wanted = ", ".join(splits or SPLITS)
        archives = sorted(path.name for path in source.glob("*.tar*")) if source.is_dir() else []
        hint = f"; an archive must be named itself, here {source / archives[0]}" if archives else ""
        raise InputRefused(f"{source}: expected files <split>/*{SUFFIXES[0]} with split in {wanted}, found none{hint}")


def _is_archive(path: Path) -> bool:
    """True for a tar, compressed or not, and for a compressed file that is not named as a shard and holds no record."""
    with path.open("rb") as raw:
        head = raw.read(_HEAD)
        if not head or starts_with_record(head) or not is_compressed(head):
            return _is_tar(head)
        reader, start = DecompressingReader(raw, head), b""
        try:
            while len(start) < _HEAD and (more := reader.read(_HEAD - len(start))):
                start += more
        except (EOFError, zlib.error):
            pass  # the reader reports it
        return _is_tar(start) or not (starts_with_record(start) or _is_shard(path.name))


def _is_tar(head: bytes) -> bool:
    return head[257:262] == b"ustar"


def _is_shard(name: str) -> bool:
    # Names that macOS adds ("._xx") are no shards; released names have two characters.
    return name.endswith(SUFFIXES) and not name.startswith("._")


def _one(path: Path, splits: tuple[str, ...] | None, progress: Progress | None) -> Iterator[Shard]:
    split = path.resolve().parent.name
    if splits is None or split in splits:
        with path.open("rb") as stream:
            yield Shard(split, str(path), stream)
    if progress:
        progress(1, 1)


def _folder_shards(folder: Path, splits: tuple[str, ...] | None, progress: Progress | None) -> Iterator[Shard]:
    paths = sorted(path for path in folder.rglob("*.tfrecord*") if _is_shard(path.name))
    root = folder.resolve()
    for number, path in enumerate(paths, 1):
        split = path.parent.name if path.parent != folder else root.name
        if splits is None or split in splits:
            with path.open("rb") as stream:
                yield Shard(split, str(path), stream)
        if progress:
            progress(number, len(paths))


def _archive_shards(
    path: Path, splits: tuple[str, ...] | None, on_bad: OnBad, progress: Progress | None
) -> Iterator[Shard]:
    size = path.stat().st_size
    with path.open("rb") as raw:
        packed = is_compressed(raw.read(3))
        raw.seek(0)
        stream: Readable = DecompressingReader(raw) if packed else raw
        try:
            with closing(tarfile.open(fileobj=stream, mode="r|", bufsize=_READ)) as archive:  # type: ignore[call-overload]
                for member in archive:
                    name = PurePosixPath(member.name)
                    wanted = splits is None or name.parent.name in splits
                    if member.isfile() and wanted and _is_shard(name.name):
                        content = archive.extractfile(member)
                        assert content is not None
                        # Read whole, so that damage of the archive comes up here; released shards are below 1 MB.
                        yield Shard(name.parent.name, f"{path}:{member.name}", io.BytesIO(content.read()))
                    # Otherwise every member ever seen stays in memory.
                    archive.members = []
                    if progress:
                        progress(raw.tell(), size)
            # What follows the last member still counts for the checksum of the compressed stream.
            while stream.read(_READ):
                pass
        except (tarfile.TarError, zlib.error, EOFError) as error:
            problem = f"the archive is cut off or damaged near here: {error}"
            on_bad(Damage(str(path), raw.tell(), problem, truncated=True))
        if progress:
            progress(size, size)

"""Reading features wherever they are: a TFRecord file, the archive, an unpacked folder, a packed file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from audioset_batch.errors import UsageError
from audioset_batch.fetch import Progress
from audioset_batch.learn.features.arrays import FeatureSet
from audioset_batch.learn.features.batch import RecordBatch, join_batches
from audioset_batch.learn.features.compressed import Readable
from audioset_batch.learn.features.fastpath import BatchParser, Payload
from audioset_batch.learn.features.packed import iter_packed, packed_info, read_npy
from audioset_batch.learn.features.packed_files import packed_at, packed_by_split
from audioset_batch.learn.features.released import CLASSES, EMBEDDING_SIZE, MAX_FRAMES
from audioset_batch.learn.features.sequence import Record, parse_record
from audioset_batch.learn.features.shards import iter_shards
from audioset_batch.learn.features.tfrecord import Damage, OnBad, iter_payloads, raise_damage
from audioset_batch.learn.features.wire import MalformedMessage

BATCH_ROWS: Final = 4096


def iter_records(source: Path | str | Readable, on_bad: OnBad = raise_damage) -> Iterator[Record]:
    """Yield every record of a TFRecord file, an archive, a folder, a packed file, or an open TFRecord stream.

    Both checksums of every TFRecord are checked. Any number of rows and any label is accepted.

    Args:
        source: Path or binary stream.
        on_bad: Called for a damaged record, which is then left out.

    Raises:
        DamagedRecord: From the default `on_bad`.
        InputRefused: `source` is nothing of the kind.
    """
    if not isinstance(source, Path | str):
        yield from _records_of(source, getattr(source, "name", "stream"), on_bad)
        return
    path = Path(source)
    if packed := packed_at(path):
        for file in packed:
            for batch in iter_packed(file):
                yield from batch.records()
        return
    for shard in iter_shards(path, None, on_bad):
        yield from _records_of(shard.stream, shard.source, on_bad)


def _records_of(stream: Readable, source: str, on_bad: OnBad) -> Iterator[Record]:
    for offset, payload in iter_payloads(stream, str(source), on_bad):
        try:
            yield parse_record(payload)
        except MalformedMessage as error:
            on_bad(Damage(str(source), offset, str(error)))


def iter_batches(
    source: Path,
    splits: tuple[str, ...] | None = None,
    *,
    frames: int = MAX_FRAMES,
    classes: int = CLASSES,
    on_bad: OnBad = raise_damage,
    progress: Progress | None = None,
    shards: Counter[str] | None = None,
) -> Iterator[tuple[str, RecordBatch]]:
    """Yield (split, up to 4096 records) of TFRecords, in file order within each split.

    Args:
        source: As for `iter_shards`.
        splits: Only these folders.
        frames: A record with more rows is damaged.
        classes: A record with a label from this number on is damaged.
        on_bad: Called for each damaged record, which is then left out.
        progress: Told (done, total) after each shard.
        shards: Counts the shards of each split, if given.

    Raises:
        DamagedRecord: From the default `on_bad`.
        InputRefused: No shards there.
    """
    parsers: dict[str, BatchParser] = {}
    waiting: dict[str, list[Payload]] = {}
    for shard in iter_shards(source, splits, on_bad, progress):
        payloads = waiting.setdefault(shard.split, [])
        on_bad_here = partial(_with_split, on_bad, shard.split)
        if shard.split not in parsers:
            parsers[shard.split] = BatchParser(frames, classes, on_bad_here)
        if shards is not None:
            shards[shard.split] += 1
        for offset, data in iter_payloads(shard.stream, shard.source, on_bad_here):
            payloads.append(Payload(shard.source, offset, data))
            if len(payloads) == BATCH_ROWS:
                yield shard.split, parsers[shard.split].parse(payloads)
                payloads.clear()
    for split, payloads in waiting.items():
        # Also when nothing is left: a split whose shards are all empty is still there.
        yield split, parsers[split].parse(payloads)


def iter_features(
    source: Path,
    split: str | None = None,
    *,
    frames: int = MAX_FRAMES,
    classes: int = CLASSES,
    on_bad: OnBad = raise_damage,
    progress: Progress | None = None,
) -> Iterator[tuple[str, RecordBatch]]:
    """Yield (split, batch) of features in any form: packed, or TFRecords as `iter_batches` reads them.

    Raises:
        DamagedRecord: From the default `on_bad`.
        InputRefused: No features there, or some shards are missing.
    """
    packed = [(name, path) for name, paths in packed_by_split(source, split).items() for path in paths]
    for name, path in packed:
        for batch in iter_packed(path):
            yield name, batch
    if not packed:
        splits = (split,) if split else None
        yield from iter_batches(source, splits, frames=frames, classes=classes, on_bad=on_bad, progress=progress)


def _with_split(on_bad: OnBad, split: str, damage: Damage) -> None:
    on_bad(replace(damage, split=split))


def read_split(
    source: Path | str,
    split: str | None = None,
    *,
    classes: int | None = None,
    frames: int = MAX_FRAMES,
    mmap: bool = False,
    on_bad: OnBad = raise_damage,
) -> FeatureSet:
    """One split in memory: embeddings uint8 (N, 10, 128), lengths, labels bool (N, K), video_ids, start, end.

    Args:
        source: What `features convert` or `embed` wrote (a Parquet file, a folder of arrays, the folder above, or
            `FOLDER/SPLIT` for any of these), or TFRecords as `iter_shards` takes them. Packed forms are much faster.
            Shards of `embed` are joined, in their order.
        split: `eval`, `bal_train` or `unbal_train`; None takes everything there is.
        classes: K; None takes the packed file's own number, or 527.
        frames: Rows per record of TFRecords; packed files know theirs, and joined ones get the most of any.
        mmap: Leave the embeddings of a folder of arrays on disk until they are used.
        on_bad: Called for each damaged record, which is then left out.

    Raises:
        DamagedRecord: From the default `on_bad`.
        InputRefused: No such features there, or some shards are missing.
    """
    path = Path(source)
    packed = packed_at(path, split)
    if not packed:
        splits = (split,) if split else None
        number = CLASSES if classes is None else classes
        batches = iter_batches(path, splits, frames=frames, classes=number, on_bad=on_bad)
        return join_batches((batch for _, batch in batches), number, frames)
    for file in packed:
        if not file.exists():
            raise UsageError(f"{file}: no such file; `features convert` and `embed` write such files")
    if len(packed) == 1 and packed[0].is_dir():
        return read_npy(packed[0], mmap)
    return _read_packed(packed, classes)


def _read_packed(paths: list[Path], classes: int | None) -> FeatureSet:
    """Embeddings and labels are filled in place: at no time are they in memory twice."""
    found = [packed_info(path) for path in paths]
    rows = sum(info.rows for info in found)
    frames = max(info.frames for info in found)
    number = max(info.classes for info in found) if classes is None else classes
    embeddings = np.zeros((rows, frames, EMBEDDING_SIZE), np.uint8)
    labels = np.zeros((rows, number), np.bool_)
    # Only the last batch tells how wide the ids are, so the narrow columns are joined at the end.
    columns: list[tuple[npt.NDArray[Any], ...]] = []
    position = 0
    for batch in (batch for path in paths for batch in iter_packed(path)):
        here = slice(position, position + len(batch))
        embeddings[here, : batch.embeddings.shape[1]] = batch.embeddings
        labels[here] = batch.dense_labels(number)
        columns.append((batch.lengths, batch.video_ids, batch.start, batch.end))
        position += len(batch)
    if not columns:
        return join_batches([], number, frames)
    lengths, video_ids, start, end = (np.concatenate(column) for column in zip(*columns, strict=True))
    return FeatureSet(embeddings, lengths, labels, video_ids, start, end)

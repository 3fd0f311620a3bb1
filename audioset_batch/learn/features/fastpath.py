"""Payloads to arrays, thousands at a time.

TensorFlow's writers all produce the same few byte layouts: the context (four entries in any order), then the
embedding. For those one regular expression takes the context apart and NumPy the embeddings of the whole
batch; every length byte and every constant is compared, so what passes is a valid record and means just this.
Anything else goes to the general parser, one record at a time.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from audioset_batch.errors import UsageError
from audioset_batch.learn.features.arrays import UInt8Array
from audioset_batch.learn.features.batch import RecordBatch, batch_of_records
from audioset_batch.learn.features.released import EMBEDDING_SIZE
from audioset_batch.learn.features.sequence import Record, parse_record, serialize_embedding
from audioset_batch.learn.features.tfrecord import Damage, OnBad
from audioset_batch.learn.features.wire import MalformedMessage

MAX_CLASSES: Final = 32_767
"""Labels are 16-bit numbers in batches and packed files."""

_ROW_BYTES: Final = 137
"""One row with its nine bytes of nested tags and lengths."""

# Entry lengths are fixed except for the labels'; see the layout in sequence.py.
_CONTEXT: Final = re.compile(
    rb"(?:\n\x1b\n\x08video_id\x12\x0f\n\r\n\x0b([A-Za-z0-9_-]{11})"
    rb"|\n\x1e\n\x12start_time_seconds\x12\x08\x12\x06\n\x04(.{4})"
    rb"|\n\x1c\n\x10end_time_seconds\x12\x08\x12\x06\n\x04(.{4})"
    rb"|(\n[\x0e-\x7f]\n\x06labels\x12[\x04-\x7f]\x1a[\x02-\x7f]\n.)((?:[\x80-\xff]?[\x00-\x7f])+?)"
    rb"){4}",
    re.DOTALL,
)
_LABEL_HEADS: Final = {n: b"\n%c\n\x06labels\x12%c\x1a%c\n%c" % (n + 14, n + 4, n + 2, n) for n in range(1, 128 - 14)}


class Payload(NamedTuple):
    """One record's bytes and where they came from."""

    source: str
    offset: int
    data: bytes


_Fields = tuple[bytes, bytes, bytes, bytes, bytes]


class _Template(NamedTuple):
    rows: int
    head: UInt8Array
    row_head: UInt8Array


def _template(rows: int) -> tuple[int, _Template]:
    """(bytes of `feature_lists` with that many rows, its constant parts)."""
    block = np.frombuffer(serialize_embedding(np.zeros((rows, EMBEDDING_SIZE), np.uint8)), np.uint8)
    head = len(block) - rows * _ROW_BYTES
    return len(block), _Template(rows, block[:head], block[head : head + _ROW_BYTES - EMBEDDING_SIZE])


class BatchParser:
    """Parses payloads into batches.

    Args:
        frames: Rows of the batch's embeddings; a record with more is damaged.
        classes: Labels from this number on are damage; at most 32,767.
        on_bad: Called for a damaged record, which is then left out; may raise instead.
    """

    def __init__(self, frames: int, classes: int, on_bad: OnBad) -> None:
        if classes > MAX_CLASSES:
            raise UsageError(f"expected at most {MAX_CLASSES:,} classes, got {classes:,}")
        self._frames = frames
        self._classes = classes
        self._on_bad = on_bad
        self._templates = dict(_template(rows) for rows in range(1, frames + 1))
        self.general = 0
        """Records so far that needed the general parser."""

    def parse(self, payloads: Sequence[Payload]) -> RecordBatch:
        """The batch of all payloads that are good, in order."""
        split = [self._split(payload.data) for payload in payloads]
        usual = [fields for fields in split if fields is not None]
        if not usual:
            return self._merge(payloads, {})
        batch, good = self._assemble(usual)
        if len(usual) == len(payloads) and good.all():
            return batch
        rows = [row for row, fields in enumerate(split) if fields is not None]
        records = zip(rows, batch.records(), good, strict=True)
        return self._merge(payloads, {row: record for row, record, fine in records if fine})

    def _split(self, data: bytes) -> _Fields | None:
        """(video id, start, end, labels, feature_lists) of a record in the usual layout."""
        if data[:1] != b"\n" or len(data) < 100:
            return None
        size, first = data[1], 2
        if size > 127:
            size, first = size & 127 | data[2] << 7, 3
            if data[2] > 127:
                return None
        match = _CONTEXT.fullmatch(data, first, first + size)
        if match is None or len(data) - first - size not in self._templates:
            return None
        video_id, start, end, head, labels = match.groups()
        if not (video_id and start and end and labels) or _LABEL_HEADS.get(len(labels)) != head:
            return None
        return video_id, start, end, labels, data[first + size :]

    def _assemble(self, fields: list[_Fields]) -> tuple[RecordBatch, npt.NDArray[np.bool_]]:
        """All as one batch, and for each whether its constants and values are as they must be."""
        ids, starts, ends, labels, blocks = zip(*fields, strict=True)
        values, counts = _decode_labels(labels)
        offsets = np.concatenate(([0], np.cumsum(counts)))
        start = np.frombuffer(b"".join(starts), "<f4")
        end = np.frombuffer(b"".join(ends), "<f4")
        good = np.isfinite(start) & np.isfinite(end)
        good &= np.maximum.reduceat(values, offsets[:-1]) < self._classes
        embeddings = np.zeros((len(fields), self._frames, EMBEDDING_SIZE), np.uint8)
        lengths = np.empty(len(fields), np.int64)
        sizes = np.fromiter(map(len, blocks), np.int64, len(blocks))
        for size in np.unique(sizes):
            rows = np.flatnonzero(sizes == size)
            template = self._templates[int(size)]
            chosen = blocks if len(rows) == len(blocks) else [blocks[row] for row in rows]
            table = np.frombuffer(b"".join(chosen), np.uint8).reshape(len(rows), size)
            split = len(template.head)
            body = table[:, split:].reshape(len(rows), template.rows, _ROW_BYTES)
            row_split = len(template.row_head)
            good[rows] &= (table[:, :split] == template.head).all(axis=1)
            good[rows] &= (body[:, :, :row_split] == template.row_head).all(axis=(1, 2))
            embeddings[rows, : template.rows] = body[:, :, row_split:]
            lengths[rows] = template.rows
        batch = RecordBatch(
            embeddings=embeddings,
            lengths=lengths,
            label_values=values.astype(np.int16),
            label_offsets=offsets.astype(np.int32),
            video_ids=np.frombuffer(b"".join(ids), "S11").astype(np.str_),
            start=start,
            end=end,
        )
        return batch, good

    def _merge(self, payloads: Sequence[Payload], parsed: dict[int, Record]) -> RecordBatch:
        """The batch with the general parser's results for all rows that are not in `parsed`."""
        records = []
        for row, payload in enumerate(payloads):
            if row in parsed:
                records.append(parsed[row])
                continue
            self.general += 1
            try:
                record = parse_record(payload.data)
                self._check(record)
            except MalformedMessage as error:
                self._on_bad(Damage(payload.source, payload.offset, str(error)))
            else:
                records.append(record)
        return batch_of_records(records, self._frames)

    def _check(self, record: Record) -> None:
        if len(record.embedding) > self._frames:
            raise MalformedMessage(
                f"expected at most {self._frames} rows, found {len(record.embedding)} (see --max_frames of train)"
            )
        wrong = [label for label in record.labels if not 0 <= label < self._classes]
        if wrong:
            raise MalformedMessage(
                f"expected labels 0..{self._classes - 1}, found {wrong[0]} (more classes? --classes, --num_classes)"
            )


def _decode_labels(blobs: Sequence[bytes]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """(all values, how many in each blob) of lists of varints of one or two bytes."""
    data = np.frombuffer(b"".join(blobs), np.uint8)
    last = data < 128
    positions = np.flatnonzero(last)
    values = data[positions].astype(np.int64)
    previous = positions - 1
    long = (positions > 0) & ~last[previous]
    values[long] = values[long] << 7 | data[previous[long]] & 127
    starts = np.cumsum([0, *map(len, blobs[:-1])])
    return values, np.add.reduceat(last, starts, dtype=np.int64)

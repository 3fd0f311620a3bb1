"""One released record: a `SequenceExample` parsed and written without TensorFlow or protobuf.

Message numbers (tensorflow/core/example/{example,feature}.proto):
SequenceExample{context=1, feature_lists=2}; Features{feature=1 map}; FeatureLists{feature_list=1 map};
FeatureList{feature=1 repeated}; Feature oneof{bytes_list=1, float_list=2, int64_list=3}; value=1 in each.
A map entry is {key=1, value=2}, entries come in any order.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from audioset_batch.learn.features import wire
from audioset_batch.learn.features.arrays import UInt8Array
from audioset_batch.learn.features.released import EMBEDDING_SIZE
from audioset_batch.learn.features.wire import MalformedMessage, bytes_field, iter_fields

VIDEO_ID: Final = "video_id"
START: Final = "start_time_seconds"
END: Final = "end_time_seconds"
LABELS: Final = "labels"
EMBEDDING: Final = "audio_embedding"

_BYTES_LIST, _FLOAT_LIST, _INT64_LIST = 1, 2, 3
_KINDS: Final = {_BYTES_LIST: "bytes", _FLOAT_LIST: "floats", _INT64_LIST: "integers"}


@dataclass(frozen=True, slots=True, eq=False)
class Record:
    """One segment as released.

    Attributes:
        video_id: YouTube id.
        start: Seconds, as stored (float32).
        end: Seconds, as stored (float32).
        labels: `index` of class_labels_indices.csv, in the order of the record.
        embedding: uint8 (rows, 128), one row per 0.96 s, 10 for a full segment.
    """

    video_id: str
    start: float
    end: float
    labels: tuple[int, ...]
    embedding: UInt8Array


def parse_record(payload: bytes) -> Record:
    """Parse any serialization of a released record.

    Packed and unpacked lists, unknown fields and keys, any order and split messages are fine, as in protobuf.

    Raises:
        MalformedMessage: Not a SequenceExample, or not one of an AudioSet segment; says which part.
    """
    context: dict[str, bytes] = {}
    lists: dict[str, bytes] = {}
    for number, kind, value in iter_fields(payload):
        if kind == wire.BYTES and number in (1, 2):
            _read_map(_as_bytes(value), context if number == 1 else lists)
    features = iter_fields(lists.get(EMBEDDING, b""))
    messages = (_as_bytes(value) for number, kind, value in features if (number, kind) == (1, wire.BYTES))
    rows = [_embedding_row(message, index) for index, message in enumerate(messages)]
    raw_id = _one(context, VIDEO_ID, _BYTES_LIST)
    assert isinstance(raw_id, bytes)
    try:
        video_id = raw_id.decode("utf-8")
    except UnicodeDecodeError:
        raise MalformedMessage(f"context {VIDEO_ID!r}: expected text, found {raw_id[:20]!r}") from None
    start, end = (float(_one(context, key, _FLOAT_LIST)) for key in (START, END))
    if not (math.isfinite(start) and math.isfinite(end)):
        raise MalformedMessage(f"expected finite times, found {start} and {end}")
    labels = _values(context, LABELS, _INT64_LIST)
    return Record(
        video_id=video_id,
        start=start,
        end=end,
        labels=tuple(int(label) for label in labels),
        embedding=np.frombuffer(b"".join(rows), np.uint8).reshape(-1, EMBEDDING_SIZE),
    )


def serialize_record(record: Record) -> bytes:
    """The record as TensorFlow would write it (keys in a fixed order)."""
    context = b"".join(
        _map_entry(key, bytes_field(kind, values))
        for key, kind, values in (
            (VIDEO_ID, _BYTES_LIST, bytes_field(1, record.video_id.encode())),
            (START, _FLOAT_LIST, bytes_field(1, struct.pack("<f", record.start))),
            (END, _FLOAT_LIST, bytes_field(1, struct.pack("<f", record.end))),
            (LABELS, _INT64_LIST, _packed(record.labels)),
        )
    )
    return bytes_field(1, context) + serialize_embedding(record.embedding)


def serialize_embedding(embedding: UInt8Array) -> bytes:
    """The field `feature_lists` of a record: everything after its context."""
    features = b"".join(bytes_field(1, bytes_field(_BYTES_LIST, bytes_field(1, row.tobytes()))) for row in embedding)
    return bytes_field(2, _map_entry(EMBEDDING, features))


def _packed(values: Sequence[int]) -> bytes:
    return bytes_field(1, b"".join(map(wire.varint, values))) if values else b""


def _map_entry(key: str, value: bytes) -> bytes:
    return bytes_field(1, bytes_field(1, key.encode()) + bytes_field(2, value))


def _as_bytes(value: bytes | int) -> bytes:
    assert isinstance(value, bytes)
    return value


def _read_map(message: bytes, into: dict[str, bytes]) -> None:
    """Add the entries of a map field 1 to `into`; a later entry of the same key replaces an earlier one."""
    for number, kind, entry in iter_fields(message):
        if (number, kind) != (1, wire.BYTES):
            continue
        key, content = "", b""
        for part, part_kind, value in iter_fields(_as_bytes(entry)):
            if part_kind == wire.BYTES and part == 1:
                key = _as_bytes(value).decode("utf-8", "replace")
            elif part_kind == wire.BYTES and part == 2:
                # Repeated parts of one message are merged, and merging is joining their bytes.
                content += _as_bytes(value)
        into[key] = content


def _parse_feature(message: bytes) -> tuple[int, list[bytes | float | int]]:
    """(which list, its values); (0, []) if none is set. Of several lists the last counts, as in any oneof."""
    chosen = 0
    values: list[bytes | float | int] = []
    for number, kind, content in iter_fields(message):
        if kind != wire.BYTES or number not in _KINDS:
            continue
        if number != chosen:
            chosen, values = number, []
        for part, part_kind, value in iter_fields(_as_bytes(content)):
            if part == 1:
                values.extend(_list_values(chosen, part_kind, value))
    return chosen, values


def _list_values(chosen: int, kind: int, value: bytes | int) -> list[bytes | float | int]:
    if isinstance(value, int):
        return [value - (1 << 64) if value >> 63 else value] if chosen == _INT64_LIST else []
    if chosen == _BYTES_LIST:
        return [value] if kind == wire.BYTES else []
    if chosen == _FLOAT_LIST:
        if kind not in (wire.BYTES, wire.FIXED32):
            return []
        if len(value) % 4:
            raise MalformedMessage(f"a list of floats of {len(value)} bytes")
        return list(struct.unpack(f"<{len(value) // 4}f", value))
    if kind != wire.BYTES:
        return []
    numbers: list[bytes | float | int] = []
    position = 0
    while position < len(value):
        number, position = wire.read_varint(value, position)
        numbers.append(number - (1 << 64) if number >> 63 else number)
    return numbers


def _values(context: dict[str, bytes], key: str, expected: int) -> list[bytes | float | int]:
    kind, values = _parse_feature(context.get(key, b""))
    if values and kind != expected:
        raise MalformedMessage(f"context {key!r}: expected {_KINDS[expected]}, found {_KINDS[kind]}")
    return values


def _one(context: dict[str, bytes], key: str, expected: int) -> bytes | float | int:
    values = _values(context, key, expected)
    if len(values) != 1:
        found = ", ".join(sorted(context)) or "none"
        raise MalformedMessage(f"context {key!r}: expected 1 value, found {len(values)} (keys here: {found})")
    return values[0]


def _embedding_row(message: bytes, index: int) -> bytes:
    kind, values = _parse_feature(message)
    if kind != _BYTES_LIST or len(values) != 1:
        found = f"{len(values)} {_KINDS.get(kind, 'values')}"
        raise MalformedMessage(f"{EMBEDDING} row {index}: expected 1 bytes value, found {found}")
    row = values[0]
    assert isinstance(row, bytes)
    if len(row) != EMBEDDING_SIZE:
        raise MalformedMessage(f"{EMBEDDING} row {index}: expected {EMBEDDING_SIZE} bytes, found {len(row)}")
    return row

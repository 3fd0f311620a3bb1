"""Our parser against protobuf's own (through the package `tfrecord`), and the fast path against the general one."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audioset_batch.learn.features import wire
from audioset_batch.learn.features.batch import batch_of_features, batch_of_records
from audioset_batch.learn.features.fastpath import BatchParser, Payload
from audioset_batch.learn.features.sequence import Record, parse_record, serialize_record
from audioset_batch.learn.features.tfrecord import Damage, raise_damage
from audioset_batch.learn.features.wire import MalformedMessage, bytes_field, varint
from tests.support.feature_data import clips

IDS = st.text("abcXYZ019_-", min_size=1, max_size=14)
TIMES = st.floats(0, 1e6, width=32)
LABELS = st.lists(st.integers(0, 526), max_size=9)


def same(one: Record, other: Record) -> bool:
    return (one.video_id, one.start, one.end, one.labels) == (
        other.video_id,
        other.start,
        other.end,
        other.labels,
    ) and np.array_equal(one.embedding, other.embedding)


@st.composite
def records(draw: st.DrawFn) -> Record:
    rows = draw(st.integers(0, 10))
    embedding = np.frombuffer(draw(st.binary(min_size=rows * 128, max_size=rows * 128)), np.uint8)
    return Record(draw(IDS), draw(TIMES), draw(TIMES), tuple(draw(LABELS)), embedding.reshape(-1, 128))


@settings(max_examples=60, deadline=None)
@given(records())
def test_round_trip(record: Record) -> None:
    assert same(parse_record(serialize_record(record)), record)


def protobuf_of(record: Record) -> bytes:
    pb = pytest.importorskip("tfrecord").example_pb2
    example = pb.SequenceExample()
    context = example.context.feature
    context["labels"].int64_list.value.extend(record.labels)
    context["end_time_seconds"].float_list.value.append(record.end)
    context["video_id"].bytes_list.value.append(record.video_id.encode())
    context["start_time_seconds"].float_list.value.append(record.start)
    rows = example.feature_lists.feature_list["audio_embedding"]
    for row in record.embedding:
        rows.feature.add().bytes_list.value.append(row.tobytes())
    return example.SerializeToString()


@settings(max_examples=60, deadline=None)
@given(records())
def test_protobuf_writes_what_we_read_and_reads_what_we_write(record: Record) -> None:
    assert same(parse_record(protobuf_of(record)), record)
    pb = pytest.importorskip("tfrecord").example_pb2
    example = pb.SequenceExample.FromString(serialize_record(record))
    assert list(example.context.feature["labels"].int64_list.value) == list(record.labels)
    assert list(example.context.feature["video_id"].bytes_list.value) == [record.video_id.encode()]
    assert list(example.context.feature["end_time_seconds"].float_list.value) == [record.end]
    rows = example.feature_lists.feature_list["audio_embedding"].feature
    assert [row.bytes_list.value[0] for row in rows] == [row.tobytes() for row in record.embedding]


def entry(key: str, feature: bytes) -> bytes:
    return bytes_field(1, bytes_field(1, key.encode()) + bytes_field(2, feature))


def hand_made(labels: bytes, extra: bytes = b"", start: bytes | None = None) -> bytes:
    start = bytes_field(2, bytes_field(1, struct.pack("<f", 30.0))) if start is None else start
    context = (
        entry("labels", bytes_field(3, labels))
        + entry("start_time_seconds", start)
        + extra
        + entry("end_time_seconds", bytes_field(2, bytes_field(1, struct.pack("<f", 40.0))))
        + entry("video_id", bytes_field(1, bytes_field(1, b"--PJHxphWEs")))
    )
    row = bytes_field(1, bytes_field(1, bytes_field(1, bytes(range(128)))))
    return bytes_field(2, entry("audio_embedding", row)) + bytes_field(1, context)


def test_unpacked_lists_unknown_fields_and_any_order_are_read() -> None:
    unpacked = varint(1 << 3 | wire.VARINT) + varint(5) + varint(1 << 3 | wire.VARINT) + varint(300)
    single_float = bytes_field(2, varint(1 << 3 | wire.FIXED32) + struct.pack("<f", 12.5))
    group = varint(9 << 3 | wire.GROUP_START) + bytes_field(1, b"inside") + varint(9 << 3 | wire.GROUP_END)
    unknown = bytes_field(77, b"?") + varint(78 << 3 | wire.FIXED64) + bytes(8) + entry("other", b"") + group
    record = parse_record(hand_made(unpacked, unknown, single_float) + varint(15 << 3) + varint(1))
    assert (record.video_id, record.start, record.end) == ("--PJHxphWEs", 12.5, 40.0)
    assert record.labels == (5, 300)
    assert record.embedding.tolist() == [list(range(128))]


def test_negative_integers_are_read_as_such() -> None:
    record = parse_record(hand_made(bytes_field(1, varint(-2) + varint(7))))
    assert record.labels == (-2, 7)


def test_of_two_entries_of_a_key_the_later_counts() -> None:
    again = entry("labels", bytes_field(3, bytes_field(1, varint(9))))
    assert parse_record(hand_made(bytes_field(1, varint(1)), again)).labels == (9,)


@pytest.mark.parametrize(
    ("payload", "text"),
    [
        (b"", "context 'video_id': expected 1 value, found 0"),
        (b"\x0a\x05ab", "a field of 5 bytes where 2 are left"),
        (b"\xff" * 12, "a varint that does not end"),
        (b"\x0e", "unknown wire type 6"),
        (bytes_field(1, entry("id", b"")), r"keys here: id\)"),
        (hand_made(b"", start=bytes_field(3, bytes_field(1, b"\1"))), "expected floats, found integers"),
        (hand_made(b"", start=bytes_field(2, bytes_field(1, b"abc"))), "a list of floats of 3 bytes"),
    ],
)
def test_malformed_messages_say_what_is_wrong(payload: bytes, text: str) -> None:
    with pytest.raises(MalformedMessage, match=text):
        parse_record(payload)


@given(st.binary(max_size=60))
def test_noise_is_refused_not_a_crash(noise: bytes) -> None:
    with pytest.raises(MalformedMessage):
        parse_record(noise)


def test_a_row_of_the_wrong_size_is_refused() -> None:
    record = Record("a" * 11, 0, 10, (1,), np.zeros((1, 128), np.uint8))
    payload = serialize_record(record).replace(b"\n\x83\x01\n\x80\x01" + bytes(128), b"\n\x83\x01\n\x7f" + bytes(128))
    with pytest.raises(MalformedMessage):
        parse_record(payload)


def parse_batch(payloads: list[bytes]) -> tuple[list[Record], BatchParser, list[Damage]]:
    damages: list[Damage] = []
    parser = BatchParser(10, 527, damages.append)
    batch = parser.parse([Payload("f", n, data) for n, data in enumerate(payloads)])
    return list(batch.records()), parser, damages


def test_the_fast_path_takes_the_usual_layouts_and_agrees_with_the_general_parser() -> None:
    features = clips(400)
    originals = list(batch_of_features(features).records())
    for make in (serialize_record, protobuf_of):
        payloads = [make(record) for record in originals]
        parsed, parser, _ = parse_batch(payloads)
        assert parser.general == 0
        assert all(same(a, b) and same(a, parse_record(p)) for a, b, p in zip(parsed, originals, payloads, strict=True))


@settings(max_examples=80, deadline=None)
@given(st.lists(records(), min_size=1, max_size=5))
def test_the_fast_path_agrees_on_any_mix_of_records(mixed: list[Record]) -> None:
    parsed, _, damages = parse_batch([protobuf_of(record) for record in mixed])
    assert not damages
    assert all(same(a, b) for a, b in zip(parsed, mixed, strict=True))


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 255))
def test_a_changed_byte_means_the_same_to_both_parsers(where: int, change: int) -> None:
    good = serialize_record(Record("--PJHxphWEs", 30, 40, (0, 137, 500), np.zeros((2, 128), np.uint8)))
    payload = bytearray(good)
    payload[where % len(good)] ^= change
    parsed, _, damages = parse_batch([bytes(payload), good])
    try:
        expected = parse_record(bytes(payload))
        if any(not 0 <= label < 527 for label in expected.labels):
            raise MalformedMessage("label")
    except MalformedMessage:
        assert len(parsed) == len(damages) == 1
    else:
        assert same(parsed[0], expected)
    assert same(parsed[-1], parse_record(good))


def test_too_many_rows_and_labels_out_of_range_are_damage() -> None:
    eleven = Record("a" * 11, 0, 10, (1,), np.zeros((11, 128), np.uint8))
    label = Record("b" * 11, 0, 10, (1, 527), np.zeros((10, 128), np.uint8))
    good = Record("c" * 11, 0, 10, (526,), np.ones((10, 128), np.uint8))
    parsed, _, damages = parse_batch([serialize_record(record) for record in (eleven, label, good)])
    assert [record.video_id for record in parsed] == ["c" * 11]
    assert [damage.offset for damage in damages] == [0, 1]
    assert "at most 10 rows, found 11" in damages[0].what and "labels 0..526, found 527" in damages[1].what


def test_an_empty_batch_has_the_right_shapes() -> None:
    batch = BatchParser(10, 527, raise_damage).parse([])
    assert batch.embeddings.shape == (0, 10, 128)
    assert batch.to_feature_set(527).labels.shape == (0, 527)
    assert list(batch_of_records([], 10).records()) == []

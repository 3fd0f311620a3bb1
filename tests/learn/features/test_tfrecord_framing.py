"""Framing: published test values, damage of every kind, and going on after it."""

from __future__ import annotations

import io
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audioset_batch.learn.features.tfrecord import (
    Damage,
    DamagedRecord,
    RecordWriter,
    iter_payloads,
    load_crc32c,
    mask_crc,
)


def framed(*payloads: bytes) -> bytes:
    stream = io.BytesIO()
    writer = RecordWriter(stream)
    for payload in payloads:
        writer.write(payload)
    return stream.getvalue()


def read(data: bytes, chunk: int | None = None) -> tuple[list[tuple[int, bytes]], list[Damage]]:
    damages: list[Damage] = []
    stream: io.BytesIO = io.BytesIO(data) if chunk is None else Slow(data, chunk)
    return list(iter_payloads(stream, "f", damages.append)), damages


class Slow(io.BytesIO):
    """Returns a few bytes per read, as a pipe may."""

    def __init__(self, data: bytes, chunk: int) -> None:
        super().__init__(data)
        self.chunk = chunk

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(min(self.chunk, size if size and size > 0 else self.chunk))


@pytest.mark.parametrize(
    ("data", "crc", "masked"), [(b"123456789", 0xE3069283, 0xC78AB0E5), (bytes(32), 0x8A9136AA, 0x0FD7FFFA)]
)
def test_checksum_has_the_published_values(data: bytes, crc: int, masked: int) -> None:
    assert load_crc32c()(data) == crc
    assert mask_crc(crc) == masked


def test_empty_record_has_the_known_bytes() -> None:
    assert framed(b"") == bytes.fromhex("000000000000000029039807d8ea82a2")
    assert read(framed(b"")) == ([(0, b"")], [])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.binary(max_size=300), max_size=8), st.integers(1, 40))
def test_what_was_written_is_read_however_it_arrives(payloads: list[bytes], chunk: int) -> None:
    records, damages = read(framed(*payloads), chunk)
    assert [payload for _, payload in records] == payloads
    assert not damages
    assert [offset for offset, _ in records] == [sum(16 + len(p) for p in payloads[:i]) for i in range(len(payloads))]


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 3 * 116 - 1), st.integers(0, 7))
def test_every_flipped_bit_is_found_and_costs_one_record(byte: int, bit: int) -> None:
    payloads = [bytes([n]) * 100 for n in (1, 2, 3)]
    data = bytearray(framed(*payloads))
    data[byte] ^= 1 << bit
    records, damages = read(bytes(data))
    hit = byte // 116
    assert [payload for _, payload in records] == [p for n, p in enumerate(payloads) if n != hit]
    assert [damage.offset for damage in damages] == [hit * 116]


@given(st.integers(1, 2 * 116 - 1))
def test_a_cut_off_file_is_reported_where_the_record_starts(keep: int) -> None:
    records, damages = read(framed(b"a" * 100, b"b" * 100)[:keep])
    if keep == 116:
        assert (len(records), damages) == (1, [])
    else:
        assert len(records) == keep // 116
        assert [damage.offset for damage in damages] == [keep // 116 * 116]
        assert "the file ends after" in damages[0].what


def test_damage_stops_the_reading_unless_asked_otherwise() -> None:
    data = bytearray(framed(b"a" * 100, b"b" * 100))
    data[150] ^= 1
    with pytest.raises(DamagedRecord, match=r"f: byte 116: wrong payload checksum.*--skip-bad"):
        list(iter_payloads(io.BytesIO(bytes(data)), "f"))


def test_a_huge_length_with_a_correct_checksum_is_refused() -> None:
    length = struct.pack("<Q", 1 << 40)
    data = length + struct.pack("<I", mask_crc(load_crc32c()(length))) + framed(b"good")
    records, damages = read(data)
    assert [payload for _, payload in records] == [b"good"]
    assert "at most" in damages[0].what

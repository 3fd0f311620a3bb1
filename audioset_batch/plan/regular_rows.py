"""The fast reader: rows in one of the usual spellings, a few million bytes at a time, without a loop over rows.

A row is regular if it is `id,start,end,labels` with at most one space after each comma, plain decimal numbers with
at most three decimals, and labels that are quoted as a whole or not at all. Whatever is not regular is left to
`careful_row`, which gives the same values for regular rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from audioset_batch.plan.careful_row import MAX_MS

Bytes = npt.NDArray[np.uint8]
Index = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

_COMMA, _QUOTE, _SPACE, _DOT, _CR, _LF = b'," .\r\n'
_NUMBER_WIDTH: Final = 12
_PAD: Final = 64


def _charset(characters: bytes) -> Mask:
    table = np.zeros(256, dtype=np.bool_)
    table[np.frombuffer(characters, dtype=np.uint8)] = True
    return table


_WORD: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_"
_ID_CHARACTERS: Final = _charset(_WORD + b"-")
_LABEL_CHARACTERS: Final = _charset(_WORD + b"/,")


@dataclass(frozen=True, slots=True)
class RegularRows:
    """What the fast reader made of one piece of a file.

    Attributes:
        starts, ends: Where each line lies in the piece (line end excluded).
        regular: Which lines are regular rows; the other columns hold these only.
    """

    starts: Index
    ends: Index
    regular: Mask
    ytid: npt.NDArray[np.bytes_]
    start_ms: Index
    end_ms: Index
    labels: Any


def parse_regular(piece: bytes) -> RegularRows:
    """Parse a piece of a CSV that starts at the beginning of a line."""
    size = len(piece)
    buffer = np.frombuffer(piece + bytes(_PAD), dtype=np.uint8)
    ends = np.flatnonzero(buffer[:size] == _LF)
    if size and piece[-1] != _LF:
        ends = np.append(ends, size)
    starts = np.concatenate([np.zeros(min(1, len(ends)), dtype=np.int64), ends[:-1] + 1])
    ends = ends - ((ends > starts) & (buffer[ends - 1] == _CR))

    ids = buffer[starts[:, None] + np.arange(11)]
    first = starts + 11
    ok = _ID_CHARACTERS[ids].all(axis=1) & (buffer[first] == _COMMA) & (first < ends)

    commas = np.flatnonzero(buffer[:size] == _COMMA)
    padded = np.append(commas, [size, size, size])
    at = np.searchsorted(commas, first)
    second, third = padded[at + 1], padded[at + 2]
    ok &= third < ends
    start_ms, start_ok = _milliseconds(buffer, _after(buffer, first), second)
    end_ms, end_ok = _milliseconds(buffer, _after(buffer, second), third)
    ok &= start_ok & end_ok

    begin, stop = _after(buffer, third), ends
    quoted = buffer[np.minimum(begin, size)] == _QUOTE
    ok &= ~quoted | ((buffer[ends - 1] == _QUOTE) & (ends - 1 > begin))
    begin, stop = begin + quoted, stop - quoted
    ok &= stop > begin
    rows = np.flatnonzero(ok)
    ok[rows] = _labels_regular(buffer, commas, begin[rows], stop[rows])
    rows = np.flatnonzero(ok)
    return RegularRows(
        starts=starts,
        ends=ends,
        regular=ok,
        ytid=np.ascontiguousarray(ids[rows]).view("S11").reshape(-1),
        start_ms=start_ms[rows],
        end_ms=end_ms[rows],
        labels=_gather(buffer, begin[rows], stop[rows]),
    )


def _after(buffer: Bytes, comma: Index) -> Index:
    after: Index = comma + 1 + (buffer[comma + 1] == _SPACE)
    return after


def _milliseconds(buffer: Bytes, begin: Index, end: Index) -> tuple[Index, Mask]:
    """The numbers in [begin, end) and which of them are plain decimals with at most three decimals."""
    width = end - begin
    ok = (width > 0) & (width <= _NUMBER_WIDTH)
    value = np.zeros(len(begin), dtype=np.int64)
    decimals = np.zeros(len(begin), dtype=np.int64)
    seen_dot = np.zeros(len(begin), dtype=np.bool_)
    for k in range(int(width[ok].max(initial=0))):
        inside = ok & (k < width)
        character = buffer[np.minimum(begin + k, len(buffer) - 1)]
        digit = character - np.uint8(48)
        is_digit = inside & (digit < 10)
        is_dot = inside & (character == _DOT) & ~seen_dot & (k > 0)
        ok &= ~inside | is_digit | is_dot
        value = np.where(is_digit, value * 10 + digit, value)
        decimals += is_digit & seen_dot
        seen_dot |= is_dot
    ok &= decimals <= 3
    value *= np.array([1000, 100, 10, 1], dtype=np.int64)[np.minimum(decimals, 3)]
    return value, ok & (value <= MAX_MS)


def _labels_regular(buffer: Bytes, commas: Index, begin: Index, stop: Index) -> Mask:
    other = np.zeros(len(buffer) + 1, dtype=np.int32)
    np.cumsum(~_LABEL_CHARACTERS[buffer], out=other[1:])
    ok: Mask = other[begin] == other[stop]
    ok &= (buffer[begin] != _COMMA) & (buffer[stop - 1] != _COMMA)
    double = commas[:-1][np.diff(commas) == 1]
    ok &= np.searchsorted(double, begin) == np.searchsorted(double, stop)
    return ok


def _gather(buffer: Bytes, begin: Index, stop: Index) -> Any:
    edges = np.zeros(len(buffer) + 1, dtype=np.int8)
    edges[begin] += 1
    edges[stop] -= 1
    data = buffer[np.cumsum(edges[:-1], dtype=np.int8).view(np.bool_)]
    offsets = np.zeros(len(begin) + 1, dtype=np.int32)
    np.cumsum(stop - begin, out=offsets[1:])
    return pa.StringArray.from_buffers(len(begin), pa.py_buffer(offsets), pa.py_buffer(data))

"""Segment CSVs: everything seen in the wild is read or named, and a file that is not whole is recognised.

The released format has three header lines that start with `#`, then rows `YTID, start, end, "mid,mid"` with times in
seconds (https://research.google.com/audioset/download.html). Shards are written in the same format.
"""

from __future__ import annotations

import gzip
import zlib
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from audioset_batch.errors import InputRefused
from audioset_batch.humanize import counted
from audioset_batch.model import Segment
from audioset_batch.plan.careful_row import BadRow, Kind, ParsedRow, parse_careful
from audioset_batch.plan.header import PROMISE
from audioset_batch.plan.table import YTID_DTYPE, SegmentTable, concat, segment_hashes

SHOWN_PROBLEMS: Final = 20
_SPREADSHEET_ROWS: Final = 1_048_576
_MID: Final = r"^/[a-z]/[0-9A-Za-z_]+$"
_LABELS: Final = r"[0-9A-Za-z_/]+(?:,[0-9A-Za-z_/]+)*"
_REGULAR: Final = (
    r"\A(?P<ytid>[0-9A-Za-z_-]{11}), ?(?P<start>\d{1,7}(?:\.\d{1,3})?), ?(?P<end>\d{1,7}(?:\.\d{1,3})?), ?"
    rf'(?P<labels>{_LABELS}|"{_LABELS}")\r?\n?\z'
)
"""Rows that Arrow reads. All other lines are left to `parse_careful`, which gives the same values for these."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One row that cannot be used: where (line 1 is the first of the file), what, and the row itself."""

    line: int
    kind: Kind
    detail: str
    raw: str


@dataclass(frozen=True, slots=True)
class SegmentsCsv:
    """What a segments CSV holds.

    Attributes:
        table: The good rows, in order.
        problems: The others, in order.
        promised: What the header says of the number of segments, if it does.
        lines: Lines in the file.
        unfinished: Why the file ends before its end, if it visibly does; the torn row is in neither list.
    """

    path: Path
    table: SegmentTable
    problems: tuple[Problem, ...]
    promised: int | None
    lines: int
    unfinished: str

    @property
    def rows(self) -> int:
        return len(self.table) + len(self.problems)

    def shortfall(self) -> str:
        """Why the file is not whole: expected against found; empty if it is whole as far as can be seen."""
        found = f"{self.rows:,} {'row' if self.rows == 1 else 'rows'} came"
        reasons = [self.unfinished] if self.unfinished else []
        spreadsheet = self.lines == _SPREADSHEET_ROWS
        if self.promised is not None and self.rows < self.promised:
            reasons.insert(0, f"expected {counted(self.promised, 'segment')} (num_segs in its header), {found}")
        elif self.promised is None and self.rows == 0:
            reasons.insert(0, "expected segments, found none")
        elif spreadsheet:
            reasons.insert(0, found)
        if spreadsheet:
            reasons.append("it has exactly the 1,048,576 lines that a spreadsheet keeps")
        return "; ".join(reasons)


def read_segments_csv(path: Path, subset: str, known_labels: Collection[str] | None = ()) -> SegmentsCsv:
    """Read a segments CSV, plain or gzip, and check every row.

    Args:
        path: The file.
        subset: Name of the subset, for the table.
        known_labels: All MIDs there are; empty: only the form of the labels is checked; None: nothing of them is.

    Raises:
        InputRefused: the file cannot be read or is no CSV at all, for example an error page.
    """
    data, unfinished = _load(path)
    _refuse_other_formats(path, data)
    lines = _lines(data)
    table, numbers, problems, promised = _parse(lines, subset)
    if not len(table) and b"\0" in data:
        raise InputRefused(f"{path}: expected a segments CSV, found binary data")
    if problems and problems[-1].line == len(lines) and not data.endswith(b"\n"):
        torn = problems.pop()
        unfinished = unfinished or f"its last row (line {torn.line:,}) is cut off: {torn.raw[:80]!r}"
    table, found = _check(table, numbers, lines, known_labels)
    problems = sorted([*problems, *found], key=lambda problem: problem.line)
    return SegmentsCsv(path, table, tuple(problems), promised, len(lines), unfinished)


def read_shard(path: Path, subset: str) -> list[Segment]:
    """The segments of a shard that prep wrote, in order.

    Raises:
        InputRefused: the shard is missing, torn, or has a row that is not a segment.
    """
    return read_shard_table(path, subset).segments()


def read_shard_table(path: Path, subset: str) -> SegmentTable:
    """`read_shard` as columns.

    Raises:
        InputRefused: as `read_shard`.
    """
    parsed = read_segments_csv(path, subset)
    if parsed.problems:
        raise InputRefused(
            f"{path}: {describe_problems(parsed.problems, path)}\n"
            "Run download_subset_files.sh again to make the shards again"
        )
    shortfall = parsed.shortfall()
    if shortfall and not (parsed.rows == 0 and parsed.lines > 0 and not parsed.unfinished and not parsed.promised):
        raise InputRefused(
            f"{path} is not whole: {shortfall}. Run download_subset_files.sh again to make the shards again"
        )
    return parsed.table


def describe_problems(problems: Collection[Problem], path: Path) -> str:
    """The first problems with file and line, and the counts by kind."""
    shown = [
        f"{path}: line {problem.line}: {problem.kind}: {problem.detail}" for problem in list(problems)[:SHOWN_PROBLEMS]
    ]
    if len(problems) > SHOWN_PROBLEMS:
        shown.append(f"... and {len(problems) - SHOWN_PROBLEMS:,} more")
    counts = Counter(problem.kind for problem in problems)
    total = ", ".join(f"{count:,} {kind}" for kind, count in counts.most_common())
    return "\n  ".join([f"{len(problems):,} bad {'row' if len(problems) == 1 else 'rows'} ({total})", *shown])


def _load(path: Path) -> tuple[bytes, str]:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputRefused(f"{path}: cannot be read: {error.strerror or error}") from error
    unfinished = ""
    if data.startswith(b"\x1f\x8b"):
        try:
            data = gzip.decompress(data)
        except (EOFError, OSError, zlib.error) as error:
            unfinished = f"its gzip stream breaks off ({error})"
            data = _inflate_what_is_there(data)
    if data.startswith(b"\xef\xbb\xbf"):
        data = data[3:]
    if b"\n" not in data and b"\r" in data:
        data = data.replace(b"\r", b"\n")
    return data, unfinished


def _inflate_what_is_there(data: bytes) -> bytes:
    inflater = zlib.decompressobj(wbits=31)
    whole = bytearray()
    try:
        for begin in range(0, len(data), 1 << 16):
            whole += inflater.decompress(data[begin : begin + (1 << 16)])
    except zlib.error:
        pass  # what came before the damage is what there is; the caller has noted the damage
    return bytes(whole)


def _refuse_other_formats(path: Path, data: bytes) -> None:
    head = data[:512].lstrip()
    if head.startswith(b"<"):
        raise InputRefused(
            f"{path}: expected a segments CSV, found an HTML or XML page, as servers and proxies send with an error: "
            f"{head[:80].decode('utf-8', 'replace')!r}"
        )
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise InputRefused(f"{path}: expected UTF-8 text, found UTF-16: save it as UTF-8")
    if data.startswith(b"PK\x03\x04"):
        raise InputRefused(f"{path}: expected a segments CSV, found a spreadsheet or zip file")


def _lines(data: bytes) -> Any:
    """The lines with their line ends, an Array of binary that shares the memory of `data`."""
    ends = np.flatnonzero(np.frombuffer(data, dtype=np.uint8) == ord("\n")) + 1
    if data and not data.endswith(b"\n"):
        ends = np.append(ends, len(data))
    offsets = np.concatenate([np.zeros(1, dtype=np.int64), ends])
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(data)]
    return pa.LargeBinaryArray.from_buffers(pa.large_binary(), len(ends), buffers)


def _parse(lines: Any, subset: str) -> tuple[SegmentTable, npt.NDArray[np.int64], list[Problem], int | None]:
    """The rows, their line numbers, the lines that are no rows, and num_segs."""
    fields = pc.extract_regex(lines, _REGULAR)
    is_regular = fields.is_valid().to_numpy(zero_copy_only=False)
    promised: int | None = None
    problems: list[Problem] = []
    rows: list[ParsedRow] = []
    numbers: list[int] = []
    for index in np.flatnonzero(~is_regular).tolist():
        line = lines[index].as_py()
        parsed = parse_careful(line)
        if isinstance(parsed, ParsedRow):
            rows.append(parsed)
            numbers.append(index + 1)
        elif isinstance(parsed, BadRow):
            problems.append(Problem(index + 1, parsed.kind, parsed.detail, _raw(line)))
        elif promised is None and (match := PROMISE.search(line)):
            promised = int(match[1])
    table = _regular_rows(fields.filter(fields.is_valid()), subset)
    number = np.flatnonzero(is_regular) + 1
    if rows:
        careful = SegmentTable(
            subset,
            np.array([row.ytid for row in rows], dtype=YTID_DTYPE),
            np.array([row.start_ms for row in rows], dtype=np.int64),
            np.array([row.end_ms for row in rows], dtype=np.int64),
            pa.array([row.labels for row in rows], type=pa.string()),
        )
        number = np.concatenate([number, np.array(numbers, dtype=np.int64)])
        by_line = np.argsort(number)
        table, number = concat(subset, [table, careful]).take(by_line), number[by_line]
    return table, number, problems, promised


def _regular_rows(fields: Any, subset: str) -> SegmentTable:
    def milliseconds(name: str) -> npt.NDArray[np.int64]:
        seconds: npt.NDArray[np.float64] = fields.field(name).cast(pa.string()).cast(pa.float64()).to_numpy()
        return np.rint(1000 * seconds).astype(np.int64)

    return SegmentTable(
        subset,
        np.array(fields.field("ytid").to_numpy(zero_copy_only=False), dtype=YTID_DTYPE),
        milliseconds("start"),
        milliseconds("end"),
        pc.utf8_trim(fields.field("labels").cast(pa.string()), characters='"'),
    )


def _raw(line: bytes) -> str:
    return line.removesuffix(b"\n").removesuffix(b"\r").decode("utf-8", "replace")


def _check(
    table: SegmentTable, numbers: npt.NDArray[np.int64], lines: Any, known_labels: Collection[str] | None
) -> tuple[SegmentTable, list[Problem]]:
    """Take out the rows whose values are impossible; the first of equal rows stays."""
    found: dict[int, tuple[Kind, str]] = {}
    for row in np.flatnonzero(table.end_ms <= table.start_ms).tolist():
        start, end = table.start_ms[row] / 1000, table.end_ms[row] / 1000
        found[row] = (Kind.ORDER, f"end {end:.3f} is not after start {start:.3f}")
    if known_labels is not None:
        for row, label in _unknown_labels(table.labels, known_labels):
            found.setdefault(row, (Kind.UNKNOWN_LABEL, f"{label!r} is not a class of AudioSet"))
    good = np.ones(len(table), dtype=np.bool_)
    good[list(found)] = False
    for row, first in _duplicates(table, np.flatnonzero(good)):
        found[row] = (Kind.DUPLICATE, f"the same segment as line {numbers[first]}")
        good[row] = False
    if not found:
        return table, []
    problems = [
        Problem(int(numbers[row]), kind, detail, _raw(lines[numbers[row] - 1].as_py()))
        for row, (kind, detail) in found.items()
    ]
    return table.take(good), problems


def _unknown_labels(labels: Any, known: Collection[str]) -> list[tuple[int, str]]:
    """(row, label) of the first unknown label of each row that has one."""
    split = pc.split_pattern(labels, ",")
    flat = pc.list_flatten(split)
    distinct = pc.unique(flat)
    if known:
        bad = pc.filter(distinct, pc.invert(pc.is_in(distinct, pa.array(list(known), type=pa.string()))))
    else:
        bad = pc.filter(distinct, pc.invert(pc.match_substring_regex(distinct, _MID)))
    if not len(bad):
        return []
    at = pc.filter(pa.array(np.arange(len(flat))), pc.is_in(flat, bad))
    rows = pc.list_parent_indices(split).take(at).to_pylist()
    return list(dict(zip(reversed(rows), reversed(flat.take(at).to_pylist()), strict=True)).items())


def _duplicates(table: SegmentTable, rows: npt.NDArray[np.int64]) -> list[tuple[int, int]]:
    """(row, earlier row) for each of `rows` that repeats an earlier one."""
    hashes = segment_hashes(table.ytid, table.start_ms, table.end_ms)[rows]
    ordered = np.sort(hashes)
    repeated = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
    first: dict[tuple[bytes, int, int], int] = {}
    result: list[tuple[int, int]] = []
    for row in rows[np.isin(hashes, repeated)].tolist() if len(repeated) else []:
        key = (bytes(table.ytid[row]), int(table.start_ms[row]), int(table.end_ms[row]))
        if first.setdefault(key, row) != row:
            result.append((row, first[key]))
    return result

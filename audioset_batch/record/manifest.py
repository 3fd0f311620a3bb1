"""The manifest of one shard: append-only JSON lines, one row per segment and run.

A line is written by one `write`. What a kill or a full disk left of one is moved to `<manifest>.torn` when the manifest
is next opened for writing. Readers never change the file. A line that cannot be read is reported and skipped; its
segment then counts by its other rows, at worst as pending, so that nothing is lost and no run is blocked.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Final, Self

from audioset_batch.errors import StorageUnusable, UnsafePath
from audioset_batch.model import ManifestRow, SegmentKey
from audioset_batch.reasons import Reason, Status
from audioset_batch.sharedfs.folders import Folder
from audioset_batch.sharedfs.publish import storage

RETRY: Final = "retry"
"""The reason of a `pending` row that resets its segment."""

TIME_LIMIT: Final = 1e9
"""Upper limit for times, seconds; a row with a larger one is damaged."""

_log = logging.getLogger(__name__)
_STATUSES: Final = frozenset(str(status) for status in Status)
_PATHS: Final = ("audio_path", "video_path", "tar")
_TYPES: Final[tuple[tuple[str, type], ...]] = (
    *((name, str) for name in ("reason", *_PATHS, "finished_at")),
    *((name, int) for name in ("attempts", "offset", "restart_count")),
)
"""Columns whose values are used here, and their types."""

OUTSIDE: Final = r"^/|(^|/)\.\.(/|$)"
"""Pattern of paths that lead out of the data directory."""

_TAIL_BLOCK: Final = 1 << 16
_LONGEST_LINE: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class LineProblem:
    """A line that is not a row. `torn`: the last line, without its line end; it may just be being written."""

    path: Path
    line: int
    torn: bool
    why: str

    def __str__(self) -> str:
        where = f"{self.path}: line {self.line}"
        if self.torn:
            return f"{where}: the last line is torn ({self.why}); skipped, the next worker repairs it"
        return f"{where}: {self.why}; skipped, its segment counts by its other rows"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the manifest says of one segment after replay; the names are those of the manifest row."""

    status: str
    reason: str
    audio_path: str
    video_path: str
    tar: str
    offset: int | None
    sample_rate: int | None
    video_bytes: int | None
    words: str = ""
    """Text of a refusal with unrecognized wording, else ""."""

    @property
    def ok(self) -> bool:
        return self.status == "ok"

    @property
    def settled(self) -> bool:
        """True if no later run tries it again."""
        return self.status in (Status.OK, Status.UNAVAILABLE)

    @property
    def reset(self) -> bool:
        """True if `retry` has reset this segment and no later row exists."""
        return self.status == "pending" and self.reason == RETRY


def warn_of_problem(problem: LineProblem) -> None:
    """Log an unreadable line as a warning; the default of the readers."""
    _log.warning("%s", problem)


def encode_row(row: ManifestRow) -> bytes:
    """Encode a row as one line of JSON with its line end. Infinite levels become null, lone surrogates `?`."""
    values = row.to_json()
    try:
        text = _dump(values)
    except ValueError:  # JSON has no NaN and no infinity, and other readers reject Python's spelling of them
        text = _dump({k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in values.items()})
    return text.encode("utf-8", errors="replace") + b"\n"


def _dump(values: dict[str, Any]) -> str:
    return json.dumps(values, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def decode_row(line: bytes) -> dict[str, Any]:
    """Decode the row in `line`.

    Raises:
        ValueError: the line is not a manifest row; the text says why.
    """
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError("not JSON" if line.strip(b"\0 \r\n") else "blank or zero bytes") from error
    if not isinstance(row, dict):
        raise ValueError("not a JSON object")
    missing = [k for k in ("subset", "ytid", "start_seconds", "end_seconds", "status") if k not in row]
    if missing:
        raise ValueError(f"without {', '.join(missing)}")
    if not all(isinstance(row[k], str) for k in ("subset", "ytid", "status")):
        raise ValueError("subset, ytid or status that is not text")
    if row["status"] not in _STATUSES:
        raise ValueError(f"unknown status {row['status'][:40]!r}")
    if not all(isinstance(row[k], int | float) and abs(row[k]) < TIME_LIMIT for k in ("start_seconds", "end_seconds")):
        raise ValueError("times that are not numbers, or not of a video")
    for name, kind in _TYPES:
        value = row.get(name)
        if value and type(value) is not kind:
            row[name] = None  # as `merge` does with a value of the wrong type
    for name in _PATHS:
        value = row.get(name)
        if value and (value[0] == "/" or (".." in value and ".." in value.split("/"))):
            raise ValueError(f"{name} leads out of the data directory")
    return row


def row_key(row: dict[str, Any]) -> SegmentKey:
    """The key of the segment of a row from `read_rows`."""
    return SegmentKey(row["subset"], row["ytid"], round(row["start_seconds"] * 1000), round(row["end_seconds"] * 1000))


def read_rows(path: Path, on_problem: Callable[[LineProblem], None] = warn_of_problem) -> Iterator[dict[str, Any]]:
    """Read the rows of a manifest in the order of writing; none if the file does not exist.

    Args:
        path: The manifest; may be written to meanwhile.
        on_problem: Called with each line that is not a row; such lines are left out.

    Raises:
        StorageUnusable: the filesystem fails, or forbids it.
    """
    with storage(path.parent), contextlib.ExitStack() as stack:
        try:
            with Folder(path.parent, may_be_link=True) as folder:
                fd = folder.open(path.name, os.O_RDONLY)
        except FileNotFoundError:
            return
        file = stack.enter_context(open(fd, "rb"))  # noqa: PTH123 - of a descriptor
        for number, line in enumerate(_lines(file), 1):
            try:
                row = decode_row(line)
            except ValueError as error:
                on_problem(LineProblem(path, number, torn=not line.endswith(b"\n"), why=str(error)))
                continue
            # A complete object without its line end is a complete row: no proper prefix of an object is valid JSON.
            yield row


def _lines(file: BinaryIO) -> Iterator[bytes]:
    """The lines of a file. Of a line that is longer than any row, only the beginning, which is then reported."""
    while line := file.readline(_LONGEST_LINE):
        yield line
        while len(line) == _LONGEST_LINE and not line.endswith(b"\n"):
            line = file.readline(_LONGEST_LINE)


def replay(path: Path) -> dict[SegmentKey, Outcome]:
    """The outcome of each segment in a manifest: the last `ok` since its last reset, else its newest row."""
    return {key: _outcome(row) for key, row in latest_rows(read_rows(path)).items()}


def latest_rows(rows: Iterable[dict[str, Any]]) -> dict[SegmentKey, dict[str, Any]]:
    """The row that counts for each segment, chosen as by `replay`, in the order of the segments' first rows."""
    latest: dict[SegmentKey, dict[str, Any]] = {}
    for row in rows:
        key = row_key(row)
        known = latest.get(key)
        if known is None or known["status"] != "ok" or row["status"] == "ok" or is_reset(row):
            latest[key] = row
    return latest


def is_reset(row: dict[str, Any]) -> bool:
    """True for a row that resets its segment, as `retry` writes, and `tars` for a damaged sample."""
    return row["status"] == "pending" and row.get("reason") == RETRY


def _outcome(row: dict[str, Any]) -> Outcome:
    return Outcome(
        status=row["status"],
        reason=row.get("reason") or "",
        audio_path=row.get("audio_path") or "",
        video_path=row.get("video_path") or "",
        tar=row.get("tar") or "",
        offset=row.get("offset"),
        sample_rate=row.get("sample_rate"),
        video_bytes=row.get("video_bytes"),
        words=str(row.get("detail") or "") if row.get("reason") == Reason.UNRECOGNIZED else "",
    )


def _open_own(path: Path) -> int:
    """Open a file of `manifests/` for appending, creating it if necessary; returns the descriptor.

    Raises:
        UnsafePath: it is no regular file, or has a second hard link, so that rows would also be written elsewhere.
        OSError: it cannot be opened.
    """
    with Folder(path.parent, may_be_link=True) as folder:
        fd = folder.open_or_create(path.name, os.O_RDWR | os.O_APPEND)
    links = os.fstat(fd).st_nlink
    if links > 1:
        os.close(fd)
        raise UnsafePath(
            f"{path} has {links} names (hard links), so that rows would be appended elsewhere, too. Give it a file of "
            f"its own: cp '{path}' '{path}.copy' && mv '{path}.copy' '{path}'"
        )
    return fd


class ManifestWriter:
    """Appends rows to one manifest; the caller holds the shard's lease. Thread-safe.

    Args:
        path: The manifest; created, with its folder, if it does not exist. A half-written last line is repaired.
        fsync_seconds: Call `fsync` if this many seconds have passed since the last time, and on closing; None: never.
            A kill of the process loses nothing either way.

    Raises:
        StorageUnusable: the file cannot be opened, repaired or written.
    """

    def __init__(self, path: Path, fsync_seconds: float | None = None) -> None:
        self.path = path
        self.repaired_bytes = 0
        self._fsync_seconds = fsync_seconds
        self._synced_at = time.monotonic()
        self._lock = threading.Lock()
        self._damaged = False
        self._fd = -1
        with storage(path, any_error=True):
            with Folder(path.parent.parent, may_be_link=True) as above:
                above.make_folder(path.parent.name)
            self._fd = _open_own(path)
            try:
                facts = os.fstat(self._fd)
                self._file, self._size = (facts.st_dev, facts.st_ino), facts.st_size
                self._repair()
            except BaseException:
                self._close_fd()
                raise

    def append(self, row: ManifestRow) -> None:
        """Write one row. Once this has returned, a kill of the process does not lose it.

        Raises:
            StorageUnusable: the row was not written completely, and what was written has been removed again; or the
                file was removed, replaced or shortened since the last row, and this row is in the new file.
        """
        line = encode_row(row)
        with self._lock, storage(self.path, any_error=True):
            if what := self._what_became_of_the_file():
                with contextlib.suppress(StorageUnusable, UnsafePath), ManifestWriter(self.path) as successor:
                    successor.append(row)
                raise self._lost(what)
            if self._damaged:
                self._repair()
            self._damaged = True
            written = os.write(self._fd, line)
            if written != len(line):
                self._repair()
                raise OSError(None, f"only {written} of {len(line)} bytes of a row could be written")
            self._damaged = False
            self._size += written
            if self._fsync_seconds is not None and time.monotonic() - self._synced_at >= self._fsync_seconds:
                self._sync()

    def check(self) -> None:
        """Check the file once more, before the shard counts as done.

        Raises:
            StorageUnusable: the file was removed, replaced or shortened since the last row.
        """
        with self._lock, storage(self.path, any_error=True):
            if what := self._what_became_of_the_file():
                raise self._lost(what)

    def _lost(self, what: str) -> StorageUnusable:
        return StorageUnusable(
            f"{self.path} {what} while this worker wrote to it (an editor, rsync, a restore?). Nothing more is "
            "recorded; run the same command again: it finds the clips that were published, and goes by the "
            "manifest that is there"
        )

    def _what_became_of_the_file(self) -> str:
        """What happened to the file, by a look at its name; "" if it is the same. A row in an unlinked file is lost."""
        try:
            facts = self.path.lstat()
        except FileNotFoundError:
            if not self.path.parent.exists():
                raise
            return "was removed"
        if (facts.st_dev, facts.st_ino) != self._file:
            return "was replaced by another file"
        if facts.st_size < self._size:
            return f"was shortened from {self._size:,} to {facts.st_size:,} bytes"
        self._size = facts.st_size
        return ""

    def close(self) -> None:
        """Close the file, after a last `fsync` if `fsync_seconds` is set. May be called twice."""
        with self._lock, storage(self.path, any_error=True):
            if self._fd < 0:
                return
            try:
                if self._fsync_seconds is not None:
                    self._sync()
            finally:
                self._close_fd()  # NFS may report a full disk only now

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _repair(self) -> None:
        """Complete a last row without line end; move an incomplete one to the `.torn` file."""
        size = os.fstat(self._fd).st_size
        start = self._last_line_start(size)
        if size - start > _LONGEST_LINE:
            raise UnsafePath(
                f"{self.path} ends with {size - start:,} bytes that are not a row: restore it from a backup, or "
                "move it away"
            )
        tail = os.pread(self._fd, size - start, start)
        if tail:
            try:
                decode_row(tail)
            except ValueError:
                with open(_open_own(self.path.with_name(f"{self.path.name}.torn")), "ab") as side:
                    side.write(tail + b"\n")
                    side.flush()
                    os.fsync(side.fileno())
                os.ftruncate(self._fd, start)
                self.repaired_bytes += len(tail)
                _log.warning(
                    "%s: moved %d bytes of a half-written row to %s.torn",
                    self.path,
                    len(tail),
                    self.path.name,
                )
            else:
                os.write(self._fd, b"\n")
        self._damaged = False
        self._size = os.fstat(self._fd).st_size

    def _last_line_start(self, size: int) -> int:
        end = size
        while end > 0 and size - end <= _LONGEST_LINE:
            begin = max(0, end - _TAIL_BLOCK)
            newline = os.pread(self._fd, end - begin, begin).rfind(b"\n")
            if newline >= 0:
                return begin + newline + 1
            end = begin
        return 0

    def _sync(self) -> None:
        os.fsync(self._fd)
        self._synced_at = time.monotonic()

    def _close_fd(self) -> None:
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)

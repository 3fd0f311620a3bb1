"""Read the bytes of a recorded clip, from a file of its own or from a sample in a tar.

A sample is a run of members `<key>.<ending>` in a tar, as the `webdataset` package reads them; here the key is
`<ytid>_<start ms>_<end ms>` and the endings are the audio format's, `mp4` if there is video, and `json`, in this order.
The manifest is authoritative: a sample that no row points at, for example before a retry, is unused.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Final, Literal

from audioset_batch.errors import InputRefused

BLOCK: Final = tarfile.BLOCKSIZE
"""Headers and contents begin at multiples of 512 bytes (POSIX.1-1988, ustar)."""

OPEN_SUFFIX: Final = ".open"
"""Suffix of a tar that a worker still appends to. Rows always have the name without it."""

AUDIO_ENDINGS: Final = ("flac", "wav", "ogg", "mp3")
VIDEO_ENDINGS: Final = ("mp4",)
JSON_ENDING: Final = "json"

_ENDINGS: Final = {"audio": AUDIO_ENDINGS, "video": VIDEO_ENDINGS, "json": (JSON_ENDING,)}


@dataclass(frozen=True, slots=True)
class Member:
    """One file in a tar.

    Attributes:
        begin: Position of its content in the tar, bytes.
        size: Bytes of its content.
    """

    key: str
    ending: str
    begin: int
    size: int

    @property
    def end(self) -> int:
        """Position after its padding, bytes."""
        return self.begin + -(-self.size // BLOCK) * BLOCK


def row_stem(row: Mapping[str, Any]) -> str:
    """`<ytid>_<start ms>_<end ms>` of a manifest row: its file's stem and its key in tars."""
    return f"{row['ytid']}_{round(row['start_seconds'] * 1000)}_{round(row['end_seconds'] * 1000)}"


def in_tar(row: Mapping[str, Any]) -> bool:
    """True if the clip of an `ok` row is in a tar."""
    return bool(_text(row, "tar"))


def read_clip(data_dir: Path | str, row: Mapping[str, Any], kind: Literal["audio", "video", "json"] = "audio") -> bytes:
    """Read one clip, in the format in which it was published.

    Args:
        data_dir: DATADIR.
        row: An `ok` row of a manifest or of the merged table: a dict, or a row of a pandas frame.
        kind: Which of its files; `json` (a summary of the row, see docs/layouts.md) exists in tars only.

    Raises:
        InputRefused: the row names no such file, or the file is missing, cut off or of another clip.
    """
    data_dir = Path(data_dir)
    if in_tar(row):
        return _from_tar(data_dir, row, kind)
    path = _text(row, f"{kind}_path")
    if not path:
        raise InputRefused(f"{row_stem(row)}: the manifest names no {kind} for it")
    try:
        return (data_dir / path).read_bytes()
    except OSError as error:
        raise InputRefused(
            f"{data_dir / path}: {error.strerror}, though the manifest has it; {_again(data_dir, row)}"
        ) from error


def _again(data_dir: Path, row: Mapping[str, Any]) -> str:
    """How to get a clip that is recorded but missing."""
    return f"`audioset-batch retry {data_dir} --ytid={row.get('ytid')} --reset` lets the next run fetch it again"


def read_files(data_dir: Path, row: Mapping[str, Any]) -> list[tuple[str, bytes]]:
    """(ending, bytes) of a clip's audio, and of its video if it has one. Raises what `read_clip` raises."""
    if not in_tar(row):
        paths = [("audio", _text(row, "audio_path")), ("video", _text(row, "video_path"))]
        return [
            (PurePosixPath(path).suffix[1:].lower(), read_clip(data_dir, row, "audio" if kind == "audio" else "video"))
            for kind, path in paths
            if path
        ]
    return _members(data_dir, row, (*AUDIO_ENDINGS, *VIDEO_ENDINGS))


def _from_tar(data_dir: Path, row: Mapping[str, Any], kind: str) -> bytes:
    for _, content in _members(data_dir, row, _ENDINGS[kind]):
        return content
    raise InputRefused(
        f"{data_dir / _text(row, 'tar')}: expected {kind} of {row_stem(row)} in the sample at byte {row['offset']}, "
        f"found none; {_again(data_dir, row)}"
    )


def _members(data_dir: Path, row: Mapping[str, Any], endings: Sequence[str]) -> list[tuple[str, bytes]]:
    stem = row_stem(row)
    path = data_dir / _text(row, "tar")
    offset = row.get("offset")
    if offset is None or offset != offset:  # pandas has NaN for null
        raise InputRefused(f"{stem}: its row names {path} without an offset")
    found = []
    try:
        with open_tar(path) as file:
            for member in sample_members(file, int(offset), stem):
                if member.ending in endings:
                    file.seek(member.begin)
                    found.append((member.ending, file.read(member.size)))
                    if len(found[-1][1]) != member.size:
                        raise InputRefused(f"{path}: ends within the sample {stem} at byte {int(offset)}")
    except OSError as error:
        raise InputRefused(f"{path}: {error.strerror}, though the manifest has {stem} there") from error
    return found


def _text(row: Mapping[str, Any], name: str) -> str:
    value = row.get(name)
    return value if isinstance(value, str) else ""


def open_tar(path: Path) -> BinaryIO:
    """Open a tar by its name in the rows, also while a worker still appends to it.

    Raises:
        FileNotFoundError: it exists under neither name.
    """
    for name in (path, path.with_name(path.name + OPEN_SUFFIX)):
        try:
            return name.open("rb")
        except FileNotFoundError:
            continue
    return path.open("rb")  # published between the two attempts


def sample_members(file: BinaryIO, offset: int, key: str) -> Iterator[Member]:
    """The members of the sample `key` whose first header is at `offset`, up to another key or the end."""
    while True:
        file.seek(offset)
        try:
            header = tarfile.TarInfo.frombuf(file.read(BLOCK), "utf-8", "surrogateescape")
        except tarfile.HeaderError:
            return
        found, _, ending = header.name.partition(".")
        if found != key or not header.isreg():
            return
        member = Member(found, ending, offset + BLOCK, header.size)
        yield member
        offset = member.end


def sample_end(file: BinaryIO, offset: int, key: str) -> int | None:
    """The position after the sample at `offset`; None if it is missing or incomplete."""
    size = file.seek(0, 2)
    for member in sample_members(file, offset, key):
        if member.ending == JSON_ENDING:
            return member.end if member.end <= size else None
    return None

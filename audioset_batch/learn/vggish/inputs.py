"""Which clips there are to embed, and their bytes: from the merged manifest or from a folder of audio."""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from audioset_batch.errors import InputRefused, UsageError
from audioset_batch.layout import DataDir
from audioset_batch.learn.features.released import SPLITS
from audioset_batch.learn.vggish.audio import EXTENSIONS
from audioset_batch.plan.labels import load_class_rows
from audioset_batch.reasons import Status
from audioset_batch.record.clip_files import read_clip

FOLDER_SPLIT: Final = "audio"
"""Split of clips from a plain folder."""

_SPLIT_OF: Final = {subset: split for split, subset in SPLITS.items()}
_MAX_LABEL: Final = 2**15 - 1
"""Packed features store labels in 16 bits."""
_STEM: Final = re.compile(r"(?P<ytid>[A-Za-z0-9_-]{11})_(?P<start>\d+)_(?P<end>\d+)")
_COLUMNS: Final = (
    "subset",
    "ytid",
    "start_seconds",
    "end_seconds",
    "labels",
    "status",
    "audio_path",
    "tar",
    "offset",
)


@dataclass(frozen=True, slots=True)
class Sound:
    """One sound to embed.

    Attributes:
        split: `eval`, `bal_train`, `unbal_train`, or `FOLDER_SPLIT`.
        video_id: YouTube id, or the path below the folder (see `clips_of_folder`).
        start_ms: Start in the video.
        end_ms: End in the video; None if only the file knows (start plus its duration).
        labels: `index` of class_labels_indices.csv.
        path: Audio file, or the tar that holds it.
        offset: Byte of the sample's first tar header in `path`; None for a plain file.
    """

    split: str
    video_id: str
    start_ms: int
    end_ms: int | None
    labels: tuple[int, ...]
    path: Path
    offset: int | None = None

    @property
    def name(self) -> str:
        """What messages call it."""
        return str(self.path) if self.offset is None else f"{self.path}@{self.offset} ({self.video_id})"


@dataclass(frozen=True, slots=True)
class ShardOf:
    """Part `number` (from 1) of `count` parts. A clip's part depends on its name only, so it never moves."""

    number: int = 1
    count: int = 1

    def holds(self, name: str) -> bool:
        return zlib.crc32(name.encode()) % self.count == self.number - 1

    def __str__(self) -> str:
        return f"{self.number:04d}-of-{self.count:04d}"


def has_manifest(root: Path) -> bool:
    """True if `root` is a data directory that has been merged.

    Raises:
        UsageError: It is a data directory that has not.
    """
    data = DataDir(root)
    if data.merged_parquet.is_file():
        return True
    if data.subsets_present() or data.manifests.is_dir():
        raise UsageError(f"{data.merged_parquet} does not exist: run `audioset-batch merge {root}` first")
    return False


def clips_of_manifest(root: Path, shard: ShardOf, subsets: tuple[str, ...] | None = None) -> list[Sound]:
    """The clips of the merged table with status `ok`, in its order.

    Args:
        root: DATADIR.
        shard: Which part of them.
        subsets: Only these, e.g. `eval_segments`; None for all.

    Raises:
        InputRefused: The table cannot be read or lacks columns.
        UsageError: Class_labels_indices.csv is needed for the labels and missing.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    data = DataDir(root)
    path = data.merged_parquet
    try:
        file = pq.ParquetFile(path)
        missing = [name for name in _COLUMNS if name not in file.schema_arrow.names]
        if missing:
            raise InputRefused(f"{path}: expected the merged manifest; columns missing: {', '.join(missing)}")
        rows = [
            row
            for batch in file.iter_batches(columns=list(_COLUMNS))
            for row in batch.to_pylist()
            if row["status"] == Status.OK
            and (subsets is None or row["subset"] in subsets)
            and shard.holds(f"{row['subset']}/{row['ytid']}")
        ]
    except (OSError, pa.ArrowInvalid) as error:
        raise InputRefused(f"{path}: cannot be read as Parquet: {error}") from error
    indices = class_indices(data.class_labels_csv) if any(row["labels"] for row in rows) else {}
    return [_clip_of_row(row, data, indices) for row in rows]


def _clip_of_row(row: dict[str, Any], data: DataDir, indices: dict[str, int]) -> Sound:
    mids = [mid for mid in (row["labels"] or "").split(",") if mid]
    unknown = [mid for mid in mids if mid not in indices]
    if unknown:
        raise InputRefused(f"{data.class_labels_csv} lacks {unknown[0]}, a label of {row['ytid']}")
    in_tar = bool(row["tar"])
    if in_tar and row["offset"] is None:
        raise InputRefused(f"{data.merged_parquet}: {row['ytid']} is in {row['tar']} but has no offset")
    if not in_tar and not row["audio_path"]:
        raise InputRefused(f"{data.merged_parquet}: {row['ytid']} is ok but has neither audio_path nor tar")
    return Sound(
        split=_SPLIT_OF.get(row["subset"], row["subset"]),
        video_id=row["ytid"],
        start_ms=round(row["start_seconds"] * 1000),
        end_ms=round(row["end_seconds"] * 1000),
        labels=tuple(indices[mid] for mid in mids),
        path=data.root / (row["tar"] if in_tar else row["audio_path"]),
        offset=int(row["offset"]) if in_tar else None,
    )


def class_indices(path: Path) -> dict[str, int]:
    """MID -> `index` of class_labels_indices.csv, which may hold only some of the classes.

    Raises:
        UsageError: There is no such file.
        InputRefused: It cannot be read, or an index is too high to be stored.
    """
    if not path.is_file():
        raise UsageError(
            f"{path} is missing; records hold label indices, not MIDs: ./download_subset_files.sh fetches it"
        )
    rows = load_class_rows(path)
    highest = max(rows, key=lambda row: row.index)
    if highest.index > _MAX_LABEL:
        raise InputRefused(f"{path}: expected indices up to {_MAX_LABEL}, found {highest.index} of {highest.mid}")
    return {row.mid: row.index for row in rows}


def clips_of_folder(root: Path, shard: ShardOf, passed_over: list[Path] | None = None) -> list[Sound]:
    """Every audio file below `root`, by name; hidden files and folders are left out.

    `<ytid>_<start ms>_<end ms>` in a file's name is taken apart; any other file is called by its path below `root`
    without the extension. Files that would then be the same clip are called by their whole path below `root`: a new
    file can thus rename an older one, whose record under the earlier name stays until `embed --overwrite`.

    Args:
        root: The folder.
        shard: Which part of the clips.
        passed_over: Files that are no audio by their names are added to it.
    """
    paths: list[Path] = []
    for folder, folders, names in root.walk() if hasattr(root, "walk") else _walk(root):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            if not name.startswith("."):
                found = paths if name.lower().endswith(EXTENSIONS) else passed_over
                if found is not None:
                    found.append(folder / name)
    clips = [(_clip_of_file(path, root), path_id(path, root)) for path in sorted(paths)]
    taken = Counter((name, clip.start_ms) for clip, whole in clips for name in (clip.video_id, whole))
    unique = (
        clip if taken[clip.video_id, clip.start_ms] == 1 else replace(clip, video_id=whole) for clip, whole in clips
    )
    return [clip for clip in unique if shard.holds(clip.video_id)]


def path_id(path: Path, root: Path) -> str:
    """The path of a file below `root` as a clip's id; bytes that are no UTF-8 are escaped."""
    return path.relative_to(root).as_posix().encode("utf-8", "backslashreplace").decode()


def _walk(root: Path) -> Iterator[tuple[Path, list[str], list[str]]]:
    """`Path.walk`, which Python 3.11 lacks."""
    import os

    for folder, folders, names in os.walk(root):
        yield Path(folder), folders, names


def _clip_of_file(path: Path, root: Path) -> Sound:
    match = _STEM.fullmatch(path.stem)
    if match:
        start, end = int(match["start"]), int(match["end"])
        return Sound(FOLDER_SPLIT, match["ytid"], start, end, (), path)
    return Sound(FOLDER_SPLIT, path_id(path.with_suffix(""), root), 0, None, (), path)


def audio_source(clip: Sound) -> Path | bytes:
    """The clip's file, or its bytes out of the tar.

    Raises:
        InputRefused: The tar is damaged, or another sample stands at the offset.
    """
    if clip.offset is None or clip.end_ms is None:
        return clip.path
    row = {
        "ytid": clip.video_id,
        "start_seconds": clip.start_ms / 1000,
        "end_seconds": clip.end_ms / 1000,
        "tar": clip.path.name,
        "offset": clip.offset,
    }
    return read_clip(clip.path.parent, row)

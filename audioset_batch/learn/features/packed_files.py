"""Which packed files a folder holds: one per split, or the shards of it that `embed` tasks wrote.

<split>.parquet    <split>/meta.json    <split>.<KKKK>-of-<NNNN>.parquet with embed.<KKKK>-of-<NNNN>.json
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from audioset_batch.errors import InputRefused
from audioset_batch.learn.features.packed import NPY_META, is_features_parquet, is_packed

_SHARD: Final = re.compile(r"(?P<split>.+)\.(?P<number>\d{4})-of-(?P<count>\d{4})\.parquet")
_SHOWN: Final = 5


def packed_files(folder: Path, split: str) -> list[Path]:
    """The packed form of `split` in `folder`: one file or folder of arrays, all its shards, or nothing.

    Raises:
        InputRefused: Some shards are missing, or there are shards of two divisions.
    """
    for path in (folder / f"{split}.parquet", folder / split):
        if is_packed(path) and path.exists():
            return [path]
    shards = {path: found for path in sorted(folder.glob("*.parquet")) if (found := _SHARD.fullmatch(path.name))}
    own = {
        path: (int(found["number"]), int(found["count"])) for path, found in shards.items() if found["split"] == split
    }
    if not own:
        return []
    counts = sorted({count for _, count in own.values()})
    if len(counts) > 1:
        raise InputRefused(f"{folder}: {split} is there in {' and in '.join(map(str, counts))} shards: remove one set")
    there = {number for number, _ in own.values()}
    missing = [
        number
        for number in range(1, counts[0] + 1)
        # A shard without any clip of the split has only the file that says so.
        if number not in there and not (folder / f"embed.{number:04d}-of-{counts[0]:04d}.json").is_file()
    ]
    if missing:
        named = ", ".join(map(str, missing[:_SHOWN])) + (" ..." if len(missing) > _SHOWN else "")
        raise InputRefused(
            f"{folder}: {split} has {counts[0]} shards, and {len(missing)} are missing ({named}): run these tasks of "
            "`embed`, or name the files that you want"
        )
    return sorted(own)


def packed_splits(folder: Path) -> dict[str, list[Path]]:
    """All splits of `folder` that are there in packed form; other Parquet files are passed over.

    Raises:
        InputRefused: As `packed_files` does.
    """
    names = {path.parent.name for path in folder.glob(f"[!.]*/{NPY_META}")}
    for path in folder.glob("[!.]*.parquet"):
        if is_features_parquet(path):
            found = _SHARD.fullmatch(path.name)
            names.add(found["split"] if found else path.stem)
    return {name: packed_files(folder, name) for name in sorted(names)}


def packed_at(path: Path, split: str | None = None) -> list[Path]:
    """What is packed at `path`: itself, what it holds of `split` (None: of all), or nothing.

    `FOLDER/SPLIT` may also be a name that is not there, of a split that is there in FOLDER as Parquet.

    Raises:
        InputRefused: As `packed_files` does.
    """
    return [file for files in packed_by_split(path, split).values() for file in files]


def packed_by_split(path: Path, split: str | None = None) -> dict[str, list[Path]]:
    """`packed_at`, by the name of the split."""
    if is_packed(path):
        return {path.stem: [path]}
    if path.is_dir():
        return packed_splits(path) if split is None else {split: packed_files(path, split)}
    return {} if path.exists() else {path.name: packed_files(path.parent, path.name)}

"""Embeddings named on the command line: TFRecord globs, packed files, folders; several separated by commas."""

from __future__ import annotations

import glob
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from audioset_batch.errors import InputRefused, UsageError
from audioset_batch.learn.features.arrays import FeatureSet
from audioset_batch.learn.features.batch import RecordBatch, join_batches
from audioset_batch.learn.features.packed import is_packed, packed_info
from audioset_batch.learn.features.packed_files import packed_at
from audioset_batch.learn.features.reading import iter_batches, read_split
from audioset_batch.learn.features.released import CLASSES, MAX_FRAMES
from audioset_batch.learn.features.tfrecord import OnBad, raise_damage
from audioset_batch.paths import expand_home

_GLOB_CHARACTERS: Final = frozenset("*?[")


def expand_pattern(pattern: str) -> list[Path]:
    """Existing files and folders that a comma-separated list of paths and globs means, each once, in order.

    `FOLDER/SPLIT` and FOLDER mean what is packed there: the split's Parquet file, or all its shards.

    Raises:
        UsageError: The pattern is empty, or a part of it matches nothing.
        InputRefused: Some shards are missing.
    """
    found: dict[Path, None] = {}
    for part in (piece.strip() for piece in pattern.split(",")):
        if not part:
            continue
        literal = expand_home(part)
        matches = packed_at(literal) if not _GLOB_CHARACTERS & set(part) else []
        if literal.exists() and not matches:
            matches = [literal]
        if not matches and _GLOB_CHARACTERS & set(part):
            matches = [Path(name) for name in sorted(glob.glob(str(literal)))]  # noqa: PTH207 - takes absolute globs
        if not matches:
            raise UsageError(f"{part}: no such file or folder, and no file matches it as a pattern")
        found |= dict.fromkeys(matches)
    if not found:
        raise UsageError("expected a file, folder or pattern of features, got an empty one")
    return list(found)


def number_of_classes(pattern: str) -> int:
    """What the first packed file of `pattern` says, else 527."""
    packed = next((path for path in expand_pattern(pattern) if is_packed(path)), None)
    return packed_info(packed).classes if packed is not None else CLASSES


def read_features(
    pattern: str,
    classes: int,
    frames: int = MAX_FRAMES,
    *,
    mmap: bool = False,
    on_bad: OnBad = raise_damage,
) -> list[FeatureSet]:
    """All features of `pattern`: one set per packed file, one for all TFRecords together.

    Args:
        pattern: As `expand_pattern` takes it.
        classes: K of TFRecords.
        frames: Rows per record of TFRecords.
        mmap: Leave the embeddings of packed folders on disk.
        on_bad: Told about damaged records of TFRecords, which are left out.

    Raises:
        UsageError: Nothing there.
        InputRefused: Not features, or none in them.
    """
    paths = expand_pattern(pattern)
    packed = [path for path in paths if is_packed(path)]
    records = [path for path in paths if not is_packed(path)]
    sets = [read_split(path, classes=classes, mmap=mmap) for path in packed]
    if records:
        sets.append(join_batches(_batches(records, classes, frames, on_bad), classes, frames))
    sets = [features for features in sets if len(features)]
    if not sets:
        raise InputRefused(f"{pattern}: no segments in there")
    return sets


def _batches(paths: list[Path], classes: int, frames: int, on_bad: OnBad) -> Iterator[RecordBatch]:
    for path in paths:
        for _, batch in iter_batches(path, classes=classes, frames=frames, on_bad=on_bad):
            yield batch

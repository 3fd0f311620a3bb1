"""Packed features on disk and their readers: per split one Parquet file or one folder of .npy arrays.

Parquet columns: video_id string, start_seconds float32, end_seconds float32, labels list<int16>,
length uint8, embedding fixed_size_binary(frames * 128): rows one after another, zero from `length` on.
Folder: embeddings.npy uint8 (N, frames, 128), lengths.npy uint8 (N,), labels.npy uint8 (N, ceil(classes / 8))
= `numpy.packbits(labels, axis=1)`, video_ids.npy str (N,), start.npy and end.npy float32 (N,), meta.json.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from audioset_batch.errors import InputRefused
from audioset_batch.learn.features.arrays import FeatureSet
from audioset_batch.learn.features.batch import RecordBatch, batch_of_features
from audioset_batch.learn.features.released import EMBEDDING_SIZE

METADATA_KEY: Final = b"audioset_batch.features"
LEFT_OUT_KEY: Final = b"audioset_batch.left_out"
"""Entry of a Parquet file's metadata: damaged places that were left out, if any; `left_out` in meta.json."""
FORMAT_VERSION: Final = 1
_BATCH: Final = 4096
NPY_META: Final = "meta.json"


def packed_metadata(frames: int, classes: int) -> dict[str, Any]:
    """What is recorded with a packed file."""
    return {"version": FORMAT_VERSION, "frames": frames, "size": EMBEDDING_SIZE, "classes": classes}


def is_packed(path: Path) -> bool:
    """True for what the writers of this module write."""
    return path.suffix == ".parquet" or (path / NPY_META).is_file()


@dataclass(frozen=True, slots=True)
class PackedInfo:
    """What a packed file or folder says of itself.

    Attributes:
        rows: Records.
        frames: Rows per embedding.
        classes: K.
        left_out: Damaged places that were left out when it was made.
    """

    rows: int
    frames: int
    classes: int
    left_out: int


def packed_info(path: Path) -> PackedInfo:
    """What is recorded with a packed file or folder.

    Raises:
        InputRefused: It cannot be read, or is not in the format that this module describes.
    """
    try:
        if path.suffix == ".parquet":
            return _open_parquet(path)[1]
        meta = json.loads((path / NPY_META).read_text())
        return PackedInfo(meta["rows"], meta["frames"], meta["classes"], meta.get("left_out", 0))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputRefused(f"{path}: cannot be read as packed features: {error}") from error


def _open_parquet(path: Path) -> tuple[Any, PackedInfo]:
    """The open file and what it says of itself."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
        stored = file.metadata.metadata or {}
        meta = json.loads(stored.get(METADATA_KEY, b"{}"))
        left_out = int(stored.get(LEFT_OUT_KEY, 0))
    except (pa.ArrowException, OSError, ValueError) as error:
        raise InputRefused(f"{path}: cannot be read as packed features: {error}") from error
    if meta.get("version") != FORMAT_VERSION or meta.get("size") != EMBEDDING_SIZE:
        raise InputRefused(
            f"{path}: expected packed features (format {FORMAT_VERSION}), found the columns "
            f"{', '.join(file.schema_arrow.names)}; `features convert` and `embed` write them"
        )
    return file, PackedInfo(file.metadata.num_rows, meta["frames"], meta["classes"], left_out)


def is_features_parquet(path: Path) -> bool:
    """True for a Parquet file of features; others have other columns."""
    try:
        _open_parquet(path)
    except InputRefused:
        return False
    return True


def iter_packed(path: Path) -> Iterator[RecordBatch]:
    """The batches of a packed file or folder, a few thousand rows at a time.

    Raises:
        InputRefused: Not in the format that this module describes.
    """
    if path.suffix == ".parquet":
        yield from _iter_parquet(path)
        return
    features = read_npy(path, mmap=True)
    for first in range(0, len(features), _BATCH):
        yield batch_of_features(features.select(slice(first, first + _BATCH)))


def _iter_parquet(path: Path) -> Iterator[RecordBatch]:
    import pyarrow as pa

    file, info = _open_parquet(path)
    width = info.frames * EMBEDDING_SIZE
    try:
        for group in file.iter_batches(batch_size=_BATCH):
            embedding = group.column("embedding")
            raw = np.frombuffer(embedding.buffers()[1], np.uint8)[embedding.offset * width :]
            labels = group.column("labels")
            offsets = labels.offsets.to_numpy().astype(np.int32)
            yield RecordBatch(
                embeddings=raw[: len(group) * width].reshape(-1, info.frames, EMBEDDING_SIZE),
                lengths=group.column("length").to_numpy().astype(np.int64),
                label_values=labels.values.to_numpy()[offsets[0] : offsets[-1]],
                label_offsets=offsets - offsets[0],
                video_ids=np.array(group.column("video_id").to_pylist(), np.str_),
                start=group.column("start_seconds").to_numpy(),
                end=group.column("end_seconds").to_numpy(),
            )
    except (pa.ArrowException, OSError) as error:
        raise InputRefused(f"{path}: cannot be read as Parquet: {error}") from error


def read_npy(folder: Path, mmap: bool = False) -> FeatureSet:
    """The arrays of a folder; with `mmap` the embeddings stay on disk until they are used.

    Raises:
        InputRefused: Arrays are missing or do not belong together.
    """
    try:
        meta = json.loads((folder / NPY_META).read_text())
        arrays = {
            name: np.load(folder / f"{name}.npy", mmap_mode="r" if mmap and name == "embeddings" else None)
            for name in ("embeddings", "lengths", "labels", "video_ids", "start", "end")
        }
        labels = np.unpackbits(arrays["labels"], axis=1, count=meta["classes"]).view(np.bool_)
        if len(labels) != meta["rows"]:
            raise ValueError(f"{NPY_META} says {meta['rows']} rows, the arrays have {len(labels)}")
        return FeatureSet(
            **arrays | {"labels": labels, "lengths": arrays["lengths"].astype(np.int64)},
        )
    except (OSError, ValueError, KeyError) as error:
        raise InputRefused(f"{folder}: cannot be read as packed .npy features: {error}") from error

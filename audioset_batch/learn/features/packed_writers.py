"""Writers of packed features (the format is described in packed.py).

Everything is written under a temporary name beside the target and renamed when it is whole.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Final, Self

import numpy as np
import numpy.typing as npt

from audioset_batch.errors import InputRefused
from audioset_batch.learn.features.batch import RecordBatch
from audioset_batch.learn.features.packed import LEFT_OUT_KEY, METADATA_KEY, NPY_META, packed_metadata, read_npy
from audioset_batch.learn.features.released import CLASSES, EMBEDDING_SIZE, MAX_FRAMES

ID_WIDTH: Final = 11
"""Characters of a video id in .npy form."""


def temporary_beside(target: Path) -> Path:
    """A name for the unfinished `target`, in the same folder, hidden, unique to this process."""
    return target.with_name(f".{target.name}.{os.uname().nodename}.{os.getpid()}.tmp")


def clear_leftovers(target: Path) -> None:
    """Remove what processes of this host that are gone left of `target`."""
    prefix = f".{target.name}.{os.uname().nodename}."
    for path in target.parent.glob(".*.tmp"):
        pid = path.name.removeprefix(prefix).removesuffix(".tmp")
        if path.name.startswith(prefix) and pid.isdigit() and not _alive(int(pid)):
            remove(path)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def remove(path: Path) -> None:
    """Remove a packed file or folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(FileNotFoundError):
            path.unlink()


class PackedWriter(ABC):
    """Writes batches beside `target`; a context manager that leaves nothing behind unless `commit` was called.

    Args:
        target: Final path; replaced by `commit` if it is there.
    """

    def __init__(self, target: Path) -> None:
        self.rows = 0
        self._target = target
        self._temporary = temporary_beside(target)

    @abstractmethod
    def write(self, batch: RecordBatch) -> None:
        """Append rows."""

    def commit(self, target: Path | None = None, left_out: int = 0) -> None:
        """Finish what was written, look at it once more, and give it its final name.

        Args:
            target: Instead of the target that the writer was made for; in the same folder.
            left_out: Damaged places that were left out, recorded with the file.

        Raises:
            OSError: It cannot be written, or does not hold the rows that were written.
        """
        self._finish(left_out)
        self._publish(target or self._target)

    @abstractmethod
    def _finish(self, left_out: int) -> None: ...

    def _publish(self, target: Path) -> None:
        self._temporary.replace(target)

    @abstractmethod
    def _close(self) -> None: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):
            self._close()
        remove(self._temporary)


class ParquetWriter(PackedWriter):
    """One Parquet file; at most one batch is held in memory.

    Args:
        target: Final path; replaced by `commit` if it is there.
        frames: Rows per embedding, those of the batches.
        classes: Recorded with the file.
        compression: Of the embeddings: "none" or "zstd". They are close to noise: zstd saves about a fifth.
    """

    def __init__(
        self, target: Path, frames: int = MAX_FRAMES, classes: int = CLASSES, compression: str = "none"
    ) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        super().__init__(target)
        self._schema = pa.schema(
            [
                ("video_id", pa.string()),
                ("start_seconds", pa.float32()),
                ("end_seconds", pa.float32()),
                ("labels", pa.list_(pa.int16())),
                ("length", pa.uint8()),
                ("embedding", pa.binary(frames * EMBEDDING_SIZE)),
            ],
            metadata={METADATA_KEY: json.dumps(packed_metadata(frames, classes)).encode()},
        )
        small = "zstd" if compression == "zstd" else "snappy"
        self._writer = pq.ParquetWriter(
            self._temporary,
            self._schema,
            compression=dict.fromkeys(self._schema.names, small) | {"embedding": compression},
            use_dictionary=["start_seconds", "end_seconds", "labels", "length"],
            write_statistics=["video_id"],
        )

    def write(self, batch: RecordBatch) -> None:
        """Append one row group."""
        import pyarrow as pa

        if not len(batch):
            return
        embedding = np.ascontiguousarray(batch.embeddings)
        kind = self._schema.field("embedding").type
        self._writer.write_table(
            pa.Table.from_arrays(
                [
                    pa.array(batch.video_ids.tolist(), pa.string()),
                    pa.array(batch.start),
                    pa.array(batch.end),
                    pa.ListArray.from_arrays(pa.array(batch.label_offsets), pa.array(batch.label_values)),
                    pa.array(batch.lengths, pa.uint8()),
                    pa.FixedSizeBinaryArray.from_buffers(kind, len(batch), [None, pa.py_buffer(embedding)]),
                ],
                schema=self._schema,
            )
        )
        self.rows += len(batch)

    def _finish(self, left_out: int) -> None:
        import pyarrow.parquet as pq

        if left_out:
            self._writer.add_key_value_metadata({LEFT_OUT_KEY: str(left_out)})
        self._writer.close()
        rows = pq.ParquetFile(self._temporary).metadata.num_rows
        if rows != self.rows:
            raise OSError(f"{self._temporary}: wrote {self.rows} rows, the file holds {rows}")
        _sync(self._temporary)

    def _close(self) -> None:
        self._writer.close()


class _NpyColumn:
    """An .npy file that grows; its header has room for any number of rows."""

    def __init__(self, path: Path, dtype: npt.DTypeLike, row_shape: tuple[int, ...]) -> None:
        self._stream: BinaryIO = path.open("w+b")
        self._dtype = np.dtype(dtype)
        self._row_shape = row_shape
        self._write_header(0)
        self._data_start = self._stream.tell()

    def _write_header(self, rows: int) -> None:
        # NumPy pads the header so that the first axis may grow to 21 digits without moving the data.
        np.lib.format.write_array_header_1_0(
            self._stream,
            {"descr": self._dtype.str, "fortran_order": False, "shape": (rows, *self._row_shape)},
        )

    def append(self, values: npt.NDArray[Any]) -> None:
        self._stream.write(np.ascontiguousarray(values, self._dtype).data)

    def finish(self, rows: int) -> None:
        self._stream.seek(0)
        self._write_header(rows)
        if self._stream.tell() != self._data_start:
            raise OSError("the .npy header has changed its length; this NumPy cannot be used to stream arrays")
        self._stream.flush()
        os.fsync(self._stream.fileno())
        self._stream.close()

    def close(self) -> None:
        self._stream.close()


class NpyWriter(PackedWriter):
    """One folder of arrays; arguments as for `ParquetWriter`."""

    def __init__(self, target: Path, frames: int = MAX_FRAMES, classes: int = CLASSES) -> None:
        super().__init__(target)
        self._classes = classes
        self._meta = packed_metadata(frames, classes)
        remove(self._temporary)
        self._temporary.mkdir()
        kinds: dict[str, tuple[npt.DTypeLike, tuple[int, ...]]] = {
            "embeddings": (np.uint8, (frames, EMBEDDING_SIZE)),
            "lengths": (np.uint8, ()),
            "labels": (np.uint8, (-(-classes // 8),)),
            "video_ids": (f"<U{ID_WIDTH}", ()),
            "start": ("<f4", ()),
            "end": ("<f4", ()),
        }
        self._columns = {
            name: _NpyColumn(self._temporary / f"{name}.npy", dtype, shape) for name, (dtype, shape) in kinds.items()
        }

    def write(self, batch: RecordBatch) -> None:
        """Append rows.

        Raises:
            InputRefused: A video id is longer than 11 characters, which only Parquet holds.
        """
        if len(batch) and batch.video_ids.dtype.itemsize > 4 * ID_WIDTH:
            longest = max(batch.video_ids.tolist(), key=len)
            raise InputRefused(f".npy holds ids of up to {ID_WIDTH} characters, found {longest!r}: use Parquet")
        columns = self._columns
        columns["embeddings"].append(batch.embeddings)
        columns["lengths"].append(batch.lengths)
        columns["labels"].append(np.packbits(batch.dense_labels(self._classes), axis=1))
        columns["video_ids"].append(batch.video_ids)
        columns["start"].append(batch.start)
        columns["end"].append(batch.end)
        self.rows += len(batch)

    def _finish(self, left_out: int) -> None:
        for column in self._columns.values():
            column.finish(self.rows)
        meta = self._meta | {"rows": self.rows, "left_out": left_out}
        (self._temporary / NPY_META).write_text(json.dumps(meta) + "\n")
        _sync(self._temporary / NPY_META)
        read_npy(self._temporary, mmap=True)

    def _publish(self, target: Path) -> None:
        """An older folder of that name is replaced."""
        old = target.with_name(self._temporary.name + ".old.tmp")
        with contextlib.suppress(FileNotFoundError):
            target.rename(old)
        self._temporary.rename(target)
        remove(old)

    def _close(self) -> None:
        for column in self._columns.values():
            column.close()


def _sync(path: Path) -> None:
    with path.open("rb") as stream:
        os.fsync(stream.fileno())

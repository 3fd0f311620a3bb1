"""The files of one shard of embeddings: parts while it is under way, then one file per split.

    OUT/<split>/<KKKK>-of-<NNNN>.tfrecord        the released format; the folder is what `features` reads
    OUT/<split>.parquet                          with `--format parquet`; of several shards
    OUT/<split>.<KKKK>-of-<NNNN>.parquet
    OUT/embed.<KKKK>-of-<NNNN>.json              how they were made, counts, what was left out
    OUT/.parts/<KKKK>-of-<NNNN>/                 finished parts; gone when the shard is
    OUT/.leases/embed.<KKKK>-of-<NNNN>.lease     who is at it

A file under its final name is whole. Parts are Parquet with checksums, so a torn one would be noticed.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from audioset_batch.errors import InputRefused, UsageError
from audioset_batch.learn.features.batch import batch_of_records
from audioset_batch.learn.features.reading import iter_records
from audioset_batch.learn.features.released import CLASSES, EMBEDDING_SIZE, MAX_FRAMES
from audioset_batch.learn.features.sequence import Record, serialize_record
from audioset_batch.learn.features.tfrecord import RecordWriter
from audioset_batch.learn.vggish.inputs import ShardOf, Sound
from audioset_batch.sharedfs.lease import Holder, Lease
from audioset_batch.sharedfs.publish import replacing, storage
from audioset_batch.slurm.job import JobIdentity

Format = Literal["tfrecord", "parquet"]
Key = tuple[str, float, float | None]

_PART_SUFFIX: Final = ".part"
_PARQUET_ROWS: Final = 4096
_PARQUET_FRAMES: Final = 255


def hold_shard(out: Path, shard: ShardOf) -> Lease:
    """The lease without which nobody may write the files of `shard` in `out`; a context manager.

    Raises:
        ShardHeld: Another process, of any host, is embedding this shard.
        StorageUnusable: `out` cannot be written.
    """
    return hold_output(out, f"embed.{shard}")


def hold_output(folder: Path, name: str) -> Lease:
    """The lease called `name` in an output folder, which is made if need be; a context manager.

    Raises:
        ShardHeld: Another process, of any host, holds it.
        StorageUnusable: The folder cannot be written.
    """
    job = JobIdentity.from_environment()
    holder = Holder.current(job.job_id, job.restart_count)
    with storage(folder):
        folder.mkdir(parents=True, exist_ok=True)
    return Lease.acquire(folder / ".leases" / f"{name}.lease", holder)


class ShardStore:
    """What one shard has on disk.

    Args:
        out: The output folder; made if need be.
        shard: Which part of how many.
        kind: Format of the final files.
        provenance: How the embeddings are made; a shard is only continued with the same.
        overwrite: Forget what an earlier run of this shard wrote.
        check: Called before anything is published or removed: `hold_shard(...).check`.

    Raises:
        ShardHeld: From `check`; by `write_part` and `finish` too.
        UsageError: The folder holds embeddings made otherwise, or cut into another number of shards.
        StorageUnusable: The folder cannot be written.
    """

    def __init__(
        self,
        out: Path,
        shard: ShardOf,
        kind: Format,
        provenance: dict[str, Any],
        *,
        overwrite: bool = False,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        self._out = out
        self._shard = shard
        self._kind = kind
        self._provenance = provenance
        self._check = check
        self._parts = out / ".parts" / str(shard)
        self.sidecar = out / f"embed.{shard}.json"
        with storage(out):
            if overwrite:
                self._forget()
            self._refuse_mixture()
            self._parts.mkdir(parents=True, exist_ok=True)
            for leftover in (*self._parts.rglob("*.tmp"), *out.glob(f"*/.{shard}.tfrecord.*.tmp")):
                leftover.unlink(missing_ok=True)
            self._write_json(self._parts / "provenance.json", {**provenance, "format": kind})

    def final(self, split: str) -> Path:
        """The finished file of `split`."""
        if self._kind == "tfrecord":
            return self._out / split / f"{self._shard}.tfrecord"
        middle = "" if self._shard.count == 1 else f".{self._shard}"
        return self._out / f"{split}{middle}.parquet"

    def done(self, split: str) -> set[Key]:
        """Keys of the clips of `split` that need not be embedded again."""
        keys: set[Key] = set()
        for record in self._stored(split):
            start, end = _as_stored(record.start), _as_stored(record.end)
            keys |= {(record.video_id, start, end), (record.video_id, start, None)}
        return keys

    def write_part(self, split: str, records: list[Record]) -> None:
        """Keep finished records; atomic."""
        if not records:
            return
        import pyarrow as pa
        import pyarrow.parquet as pq

        rows = [asdict(record) | {"embedding": record.embedding.tobytes()} for record in records]
        table = pa.Table.from_pylist(rows, _part_schema())
        folder = self._parts / split
        with storage(self._out):
            folder.mkdir(parents=True, exist_ok=True)
        number = 1 + max((int(path.stem) for path in folder.glob(f"*{_PART_SUFFIX}")), default=0)
        with replacing(folder / f"{number:06d}{_PART_SUFFIX}") as temporary:
            pq.write_table(table, temporary, compression="none", write_page_checksum=True)
            self._check()

    def finish(self, splits: Iterable[str], summary: dict[str, Any]) -> list[Path]:
        """Join the parts and what an earlier run published into the final files; returns those."""
        written = []
        with storage(self._out):
            for split in splits:
                target = self.final(split)
                target.parent.mkdir(parents=True, exist_ok=True)
                if any((self._parts / split).glob(f"*{_PART_SUFFIX}")):
                    self._publish(target, split)
                if target.exists():
                    written.append(target)
            self._write_json(self.sidecar, {**self._provenance, "format": self._kind, **summary})
            self._check()
            shutil.rmtree(self._parts)
        return written

    def _publish(self, target: Path, split: str) -> None:
        records = self._unique(split)
        if self._kind == "tfrecord":
            self._write_records(target, records)
            return
        from audioset_batch.learn.features.packed_writers import ParquetWriter

        # Two passes: the row length of the file is that of the longest clip, and must be known first.
        frames = max([MAX_FRAMES, *(len(record.embedding) for record in self._stored(split))])
        if frames > _PARQUET_FRAMES:
            raise InputRefused(
                f"{target}: a clip has {frames} rows, and Parquet output holds at most {_PARQUET_FRAMES} "
                f"({_PARQUET_FRAMES * 0.96:.0f} s): use --format tfrecord"
            )
        with ParquetWriter(target, frames, CLASSES) as writer:
            waiting: list[Record] = []
            for record in records:
                waiting.append(record)
                if len(waiting) == _PARQUET_ROWS:
                    writer.write(batch_of_records(waiting, frames))
                    waiting.clear()
            writer.write(batch_of_records(waiting, frames))
            self._check()
            writer.commit()

    def _stored(self, split: str) -> Iterator[Record]:
        """Records of the final file, then of the parts."""
        if (final := self.final(split)).exists():
            yield from iter_records(final)
        for part in sorted((self._parts / split).glob(f"*{_PART_SUFFIX}")):
            yield from _read_part(part)

    def _unique(self, split: str) -> Iterator[Record]:
        """`_stored` without doubles, which a run killed between publishing and clearing leaves."""
        seen: set[tuple[str, float, float]] = set()
        for record in self._stored(split):
            # Parts hold float64, the final file float32.
            key = (record.video_id, _as_stored(record.start), _as_stored(record.end))
            if key not in seen:
                seen.add(key)
                yield record

    def _write_records(self, target: Path, records: Iterable[Record]) -> None:
        with replacing(target) as temporary:
            with temporary.open("wb") as stream:
                writer = RecordWriter(stream)
                for record in records:
                    writer.write(serialize_record(record))
            self._check()

    def _write_json(self, target: Path, content: dict[str, Any]) -> None:
        with replacing(target) as temporary:
            temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
            self._check()

    def _forget(self) -> None:
        self._check()
        shutil.rmtree(self._parts, ignore_errors=True)
        pattern = f"*/{self._shard}.tfrecord" if self._kind == "tfrecord" else f"*.{self._shard}.parquet"
        for path in self._out.glob(pattern):
            path.unlink()
        if self._kind == "parquet" and self._shard.count == 1:
            for path in self._out.glob("*.parquet"):
                path.unlink()
        self.sidecar.unlink(missing_ok=True)

    def _refuse_mixture(self) -> None:
        for path in sorted(self._out.glob("embed.*.json")):
            if path != self.sidecar and not path.name.endswith(f"-of-{self._shard.count:04d}.json"):
                raise UsageError(
                    f"{self._out} holds {path.name}, of another number of shards than {self._shard.count}: clips "
                    "would be there twice; take the same number, or another --out"
                )
        for path in (self.sidecar, self._parts / "provenance.json"):
            if not path.is_file():
                continue
            earlier = json.loads(path.read_text(encoding="utf-8"))
            now = {**self._provenance, "format": self._kind}
            changed = [name for name in _IDENTITY if earlier.get(name) != now.get(name)]
            if changed:
                differences = "; ".join(f"{name} was {earlier.get(name)}, is {now.get(name)}" for name in changed)
                raise UsageError(
                    f"{path} says that this shard was made otherwise: {differences}. Take the same options, "
                    "another --out, or --overwrite to make it again"
                )


_IDENTITY: Final = ("weights_sha256", "pca_sha256", "random_weights_seed", "final_relu", "resampler", "format")
"""Entries of the provenance that must agree within a shard."""


def clip_key(clip: Sound) -> Key:
    """What identifies a clip within its split; see `ShardStore.done`."""
    end = None if clip.end_ms is None else _as_stored(clip.end_ms / 1000)
    return clip.video_id, _as_stored(clip.start_ms / 1000), end


def _as_stored(seconds: float) -> float:
    """Rounded as the released format stores it: float32."""
    return float(np.float32(seconds))


def _part_schema() -> Any:
    """Of a part: the fields of `Record`, the embedding as bytes."""
    import pyarrow as pa

    return pa.schema(
        [
            ("video_id", pa.string()),
            ("start", pa.float64()),
            ("end", pa.float64()),
            ("labels", pa.list_(pa.int16())),
            ("embedding", pa.binary()),
        ]
    )


def _read_part(path: Path) -> Iterator[Record]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        rows = pq.ParquetFile(path, page_checksum_verification=True).read().to_pylist()
    except (pa.ArrowException, OSError) as error:
        raise InputRefused(f"{path}: damaged: {error}; remove it, and its clips are embedded again") from error
    for row in rows:
        embedding = np.frombuffer(row["embedding"], np.uint8).reshape(-1, EMBEDDING_SIZE)
        yield Record(row["video_id"], row["start"], row["end"], tuple(row["labels"]), embedding)

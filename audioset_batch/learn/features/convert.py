"""`features convert`: TFRecords to one packed file per split, in one pass and with flat memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from audioset_batch.errors import UsageError
from audioset_batch.fetch import Progress
from audioset_batch.learn.features.packed import packed_info
from audioset_batch.learn.features.packed_writers import NpyWriter, PackedWriter, ParquetWriter, clear_leftovers, remove
from audioset_batch.learn.features.reading import iter_batches
from audioset_batch.learn.features.released import CLASSES, EXPECTED_SHARDS, MAX_FRAMES, SPLITS
from audioset_batch.learn.features.tfrecord import Damage, DamagedRecord

FORMATS: Final = ("parquet", "npy")


@dataclass(frozen=True, slots=True)
class Converted:
    """What one conversion did.

    Attributes:
        rows: Records per split that was written.
        shards: Shards per split that was written.
        files: What was written, by split; what is truncated is there under `truncated_name`.
        kept: Splits that were there already and were left alone.
        damaged: What was skipped.
        truncated: Splits of which an unknown number of records is missing, whether anything was written or not.
    """

    rows: dict[str, int]
    shards: dict[str, int]
    files: dict[str, Path]
    kept: tuple[str, ...]
    damaged: tuple[Damage, ...]
    truncated: tuple[str, ...] = ()

    @property
    def unexpected_shards(self) -> dict[str, int]:
        """Splits with another number of shards than the released set -> the number it has."""
        return {
            split: EXPECTED_SHARDS[split]
            for split in self.shards
            if self.shards[split] != EXPECTED_SHARDS.get(split, self.shards[split])
        }


def target_of(output: Path, split: str, form: str) -> Path:
    """Where a split goes: `OUT/eval.parquet` or the folder `OUT/eval`."""
    return output / (f"{split}.parquet" if form == "parquet" else split)


def truncated_name(split: str) -> str:
    """What a split is called of which an unknown number of records is missing."""
    return f"{split}.incomplete"


def convert(
    source: Path,
    output: Path,
    *,
    form: str = "parquet",
    compression: str = "none",
    splits: tuple[str, ...] = tuple(SPLITS),
    frames: int = MAX_FRAMES,
    classes: int = CLASSES,
    skip_bad: bool = False,
    overwrite: bool = False,
    report: Callable[[Damage], None] = lambda damage: None,
    progress: Progress | None = None,
) -> Converted:
    """Convert the splits that are not in `output` yet; each appears there when it is whole, none before.

    What `skip_bad` leaves out of a split is recorded with it, and the next conversion does such a split again. Where a
    file ends too early nobody knows how much is missing: such a split gets the name `truncated_name(split)`, which
    nothing takes for the split.

    Args:
        source: The archive, an unpacked folder, or one TFRecord file.
        output: Folder, made if needed.
        form: "parquet" or "npy".
        compression: Of the embeddings in Parquet: "none" or "zstd".
        splits: Which to convert.
        frames: Rows per record.
        classes: Number of classes.
        skip_bad: Leave out damaged records, and everything after the place where a file or archive is cut off.
        overwrite: Convert splits that are there already too.
        report: Called with each damage that is skipped.
        progress: Told (done, total) after each shard.

    Raises:
        DamagedRecord: Damage, and `skip_bad` is false. Nothing is published then.
        InputRefused: No shards there.
        UsageError: A format or compression that does not exist.
    """
    if form not in FORMATS or compression not in ("none", "zstd"):
        raise UsageError(f"expected a format of {', '.join(FORMATS)} and compression none or zstd")
    output.mkdir(parents=True, exist_ok=True)
    kept = tuple(split for split in splits if not overwrite and _is_whole(target_of(output, split, form)))
    wanted = tuple(split for split in splits if split not in kept)
    damaged: list[Damage] = []

    def on_bad(damage: Damage) -> None:
        if not skip_bad:
            raise DamagedRecord(damage)
        damaged.append(damage)
        report(damage)

    writers: dict[str, PackedWriter] = {}
    shards: Counter[str] = Counter()
    if not wanted:
        return Converted({}, {}, {}, kept, ())
    with ExitStack() as stack:
        batches = iter_batches(
            source,
            wanted,
            frames=frames,
            classes=classes,
            on_bad=on_bad,
            progress=progress,
            shards=shards,
        )
        for split, batch in batches:
            if split not in writers:
                writer = _writer(target_of(output, split, form), form, compression, frames, classes)
                writers[split] = stack.enter_context(writer)
            writers[split].write(batch)
        truncated = _truncated(damaged, wanted, shards)
        files = {
            split: target_of(output, truncated_name(split) if split in truncated else split, form) for split in writers
        }
        left_out = Counter(damage.split for damage in damaged)
        for split, writer in writers.items():
            writer.commit(files[split], left_out[split])
            if split not in truncated:
                remove(target_of(output, truncated_name(split), form))
    return Converted(
        rows={split: writer.rows for split, writer in writers.items()},
        shards=dict(shards),
        files=files,
        kept=kept,
        damaged=tuple(damaged),
        truncated=truncated,
    )


def _truncated(damaged: list[Damage], wanted: tuple[str, ...], shards: Counter[str]) -> tuple[str, ...]:
    """The splits of `wanted` that end too early: behind the cut in an archive all that are not known to be whole."""
    cut = {damage.split for damage in damaged if damage.truncated}
    return tuple(
        split for split in wanted if split in cut or ("" in cut and shards[split] != EXPECTED_SHARDS.get(split))
    )


def _is_whole(target: Path) -> bool:
    """True if `target` is there and nothing was left out when it was made."""
    return target.exists() and not packed_info(target).left_out


def _writer(target: Path, form: str, compression: str, frames: int, classes: int) -> PackedWriter:
    clear_leftovers(target)
    if form == "npy":
        return NpyWriter(target, frames, classes)
    return ParquetWriter(target, frames, classes, compression)

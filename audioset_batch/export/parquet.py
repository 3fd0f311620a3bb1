"""Parquet with embedded audio, which `datasets` of Hugging Face reads without a loading script.

`audio` is a struct of `bytes` (the file as published) and `path` (its name), which is how `datasets.Audio` stores
embedded files, as the metadata of the schema declares (huggingface.co/docs/datasets, "Audio"). The manifests alone
determine which clips go to which file, so that after a kill the digests in the footers identify the finished files.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from audioset_batch.errors import InputRefused
from audioset_batch.export.source import ExportReport, checked_files, folder_for, planned_rows, shards_of
from audioset_batch.layout import DataDir
from audioset_batch.plan.labels import load_class_names
from audioset_batch.plan.swap import watch_split
from audioset_batch.reasons import Status
from audioset_batch.record.clip_files import row_stem
from audioset_batch.sharedfs.publish import atomic_write_text, replacing, storage

_ROW_GROUP: Final = 100
"""Clips per row group, which a reader must hold in memory: about 100 MB."""

_DIGEST: Final = b"audioset-batch.clips"

_FACTS: Final = {
    "ytid": pa.string(),
    "start_seconds": pa.float64(),
    "end_seconds": pa.float64(),
    "duration_seconds": pa.float64(),
    "sample_rate": pa.int32(),
    "channels": pa.int32(),
    "frames": pa.int64(),
    "source_sample_rate": pa.int32(),
    "silent": pa.bool_(),
    "peak_dbfs": pa.float64(),
    "rms_dbfs": pa.float64(),
    "audio_sha256": pa.string(),
}
"""Columns copied from the manifest."""

SCHEMA: Final = pa.schema(
    [
        ("audio", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
        ("labels", pa.list_(pa.string())),
        ("label_names", pa.list_(pa.string())),
        *_FACTS.items(),
    ],
    metadata={b"huggingface": json.dumps({"info": {"features": {"audio": {"_type": "Audio"}}}}).encode()},
)
_log = logging.getLogger(__name__)


def export_parquet(root: Path, to: Path, *, file_bytes: int, subsets: Sequence[str] | None = None) -> ExportReport:
    """Write `to/<subset>/part-<n>.parquet` and a `README.md` that names the splits for `datasets`.

    Args:
        root: The data directory, in either layout.
        to: Another folder. An earlier export in it is continued.
        file_bytes: Approximate bytes of audio per file.
        subsets: Subsets to export; None for all.

    Raises:
        InputRefused: there are no shards, or `to` cannot be made.
        StorageUnusable: `to` cannot be written; run the same command again.
    """
    data = DataDir(root)
    unchanged = watch_split(data)
    shards = shards_of(data, subsets)
    target = folder_for(to, root)
    names = load_class_names(data.class_labels_csv)
    report = ExportReport()
    found: list[str] = []
    for subset in dict.fromkeys(shard.subset for shard in shards):
        folder = target / subset
        with storage(target):
            folder.mkdir(exist_ok=True)
        rows = (
            row
            for shard in shards
            if shard.subset == subset
            for _, row in planned_rows(data, shard, unchanged)
            if row["status"] == Status.OK
        )
        count = 0
        for part in _parts(rows, file_bytes):
            _write_part(data, folder / f"part-{count:05d}.parquet", part, names, report)
            count += 1
        for number, stale in _numbered(folder):
            if number >= count:
                stale.unlink()
        if count:
            found.append(subset)
    atomic_write_text(target / "README.md", _card(found))
    return report


def _numbered(folder: Path) -> list[tuple[int, Path]]:
    """Files that this or an earlier export wrote; other files must not be removed."""
    found = ((re.fullmatch(r"part-(\d{5,})\.parquet", path.name), path) for path in folder.iterdir())
    return [(int(match[1]), path) for match, path in found if match is not None]


def _parts(rows: Iterator[dict[str, Any]], file_bytes: int) -> Iterator[list[dict[str, Any]]]:
    part: list[dict[str, Any]] = []
    size = 0
    for row in rows:
        part.append(row)
        size += row.get("audio_bytes") or 0
        if size >= file_bytes:
            yield part
            part, size = [], 0
    if part:
        yield part


def _write_part(
    data: DataDir, path: Path, rows: Sequence[dict[str, Any]], names: dict[str, str], report: ExportReport
) -> None:
    wanted = hashlib.sha256(
        "".join(f"{row_stem(row)} {row.get('audio_sha256')}\n" for row in rows).encode()
    ).hexdigest()
    if _digest_of(path) == wanted:
        report.present += len(rows)
        return
    before = len(report.problems)
    columns = list(_FACTS)
    with (
        replacing(path) as temporary,
        pq.ParquetWriter(
            temporary,
            SCHEMA,
            compression={"audio.bytes": "none"} | dict.fromkeys(columns, "zstd"),
            use_dictionary=["labels.list.element", "label_names.list.element"],
            write_statistics=columns,
        ) as writer,
    ):
        for begin in range(0, len(rows), _ROW_GROUP):
            group = rows[begin : begin + _ROW_GROUP]
            records = [record for row in group if (record := _record(data, row, names, report)) is not None]
            writer.write_table(pa.Table.from_pylist(records, schema=SCHEMA), row_group_size=_ROW_GROUP)
            report.clips += len(records)
        if len(report.problems) == before:  # without it, the next run tries these clips again
            writer.add_key_value_metadata({_DIGEST: wanted.encode()})
    _log.info("%s: %d clips", path, len(rows))


def _digest_of(path: Path) -> str | None:
    try:
        metadata = pq.read_metadata(path).metadata or {}
    except (FileNotFoundError, pa.ArrowInvalid):
        return None
    return (metadata.get(_DIGEST) or b"").decode() or None


def _record(data: DataDir, row: dict[str, Any], names: dict[str, str], report: ExportReport) -> dict[str, Any] | None:
    try:
        ending, content = checked_files(data, row)[0]
    except InputRefused as error:
        report.problems.append(str(error))
        return None
    mids = [mid for mid in (row.get("labels") or "").split(",") if mid]
    return {
        **{name: row.get(name) for name in _FACTS},
        "audio": {"bytes": content, "path": f"{row_stem(row)}.{ending}"},
        "labels": mids,
        "label_names": [names.get(mid, mid) for mid in mids],
    }


def _card(subsets: Sequence[str]) -> str:
    """The dataset card; its YAML head is what `datasets.load_dataset(folder)` reads the splits from."""
    lines = ["---", "configs:", "- config_name: default", "  data_files:"]
    for subset in subsets:
        lines += [f"  - split: {subset.removesuffix('_segments')}", f"    path: {subset}/part-*.parquet"]
    lines += ["---", "", "AudioSet clips, written by `audioset-batch export --parquet`.", ""]
    return "\n".join(lines)

"""A made-up data directory of AudioSet's size: CSVs in the released format, manifests as workers leave them."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import random
import string
from pathlib import Path
from typing import Final

from audioset_batch.layout import DataDir, ShardId
from audioset_batch.model import ManifestRow, Segment
from audioset_batch.plan.segments_csv import read_shard
from audioset_batch.reasons import Reason, Status
from audioset_batch.record.manifest import encode_row
from audioset_batch.record.state import ShardState

SHARES: Final = {"eval_segments": 20_371, "balanced_train_segments": 22_160, "unbalanced_train_segments": 2_041_789}
ALL: Final = sum(SHARES.values())
_CLASSES: Final = 527
_GONE: Final = (Reason.NONEXISTENT, Reason.PRIVATE, Reason.REMOVED, Reason.ACCOUNT_TERMINATED, Reason.COPYRIGHT)
_OK_SHARE: Final = 0.80
_GONE_SHARE: Final = 0.96
_FAILED_SHARE: Final = 0.98
"""Up to here; the rest is pending."""


def write_csvs(folder: Path, rows: int) -> None:
    """The three CSVs and the list of classes; labels are about as many as in AudioSet."""
    chance = random.Random(0)
    mids = [f"/m/0{index:05x}" for index in range(_CLASSES)]
    with (folder / "class_labels_indices.csv").open("w", encoding="utf-8") as file:
        file.write("index,mid,display_name\n")
        file.writelines(f'{index},{mid},"Class {index}"\n' for index, mid in enumerate(mids))
    alphabet = string.ascii_letters + string.digits + "-_"
    counts = {subset: rows * share // ALL for subset, share in SHARES.items()}
    counts["unbalanced_train_segments"] += rows - sum(counts.values())
    for subset, count in counts.items():
        with (folder / f"{subset}.csv").open("w", encoding="utf-8") as file:
            file.write(f"# Segments csv generated for a benchmark\n# num_ytids={count}, num_segs={count}\n")
            file.write("# YTID, start_seconds, end_seconds, positive_labels\n")
            for _ in range(count):
                start = chance.randrange(60) * 10
                labels = ",".join(chance.sample(mids, chance.choice((1, 1, 2, 2, 3, 4))))
                ytid = "".join(chance.choices(alphabet, k=11))
                file.write(f'{ytid}, {start}.000, {start + 10}.000, "{labels}"\n')


def record_everything(root: Path, *, finished: bool = False) -> None:
    """Manifests and state files of workers that are nearly done: 80% ok, 16% gone, 2% failed, 2% without a row.

    With `finished` there is nothing left to do: 83% ok, 17% gone.
    """
    data = DataDir(root)
    data.manifests.mkdir(exist_ok=True)
    data.states.mkdir(exist_ok=True)
    chance = random.Random(1)
    for shard in [shard for subset in data.subsets_present() for shard in data.shards(subset)]:
        counts = {Status.OK: 0, Status.UNAVAILABLE: 0, Status.FAILED: 0}
        segments = read_shard(data.shard_csv(shard), shard.subset)
        with data.manifest(shard).open("wb") as file:
            for segment in segments:
                row = _row(data, shard, segment, chance, chance.random() * (_GONE_SHARE if finished else 1))
                if row is not None:
                    file.write(encode_row(row))
                    counts[row.status] += 1
        state = ShardState(
            planned=len(segments),
            counts={str(k): v for k, v in counts.items()},
            host="node07",
            pid=4711,
            job_id="123456",
            finished_lately=290,
            lately_seconds=3600.0,
            started_at="2026-01-01T00:00:00+00:00",
            updated_at="2026-01-08T00:00:00+00:00",
            finished=True,
        )
        data.state(shard).write_text(json.dumps(dataclasses.asdict(state)))


def _row(data: DataDir, shard: ShardId, segment: Segment, chance: random.Random, draw: float) -> ManifestRow | None:
    about = {
        "egress": "direct",
        "attempts": 1,
        "elapsed_seconds": round(chance.uniform(1, 8), 3),
        "requests": 3,
        "job_id": "123456",
        "host": "node07",
        "finished_at": f"2026-01-0{chance.randrange(1, 9)}T{chance.randrange(24):02d}:00:00.000+00:00",
        "ytdlp_version": "2026.8.1",
    }
    if draw >= _FAILED_SHARE:
        return None
    if draw >= _GONE_SHARE:
        return ManifestRow.of(segment, shard.number, Status.FAILED, reason=Reason.TIMEOUT, detail="timed out", **about)
    if draw >= _OK_SHARE:
        reason = chance.choice(_GONE)
        return ManifestRow.of(segment, shard.number, Status.UNAVAILABLE, reason=reason, detail="Video gone", **about)
    return ManifestRow.of(
        segment,
        shard.number,
        Status.OK,
        audio_path=data.relative(data.audio(segment, "flac")),
        audio_sha256=hashlib.sha256(segment.ytid.encode()).hexdigest(),
        duration_seconds=10.0,
        sample_rate=48_000,
        channels=2,
        frames=480_000,
        source_sample_rate=48_000,
        format_id="251",
        audio_bytes=chance.randrange(500_000, 1_500_000),
        silent=False,
        peak_dbfs=round(chance.uniform(-20, 0), 2),
        rms_dbfs=round(chance.uniform(-40, -10), 2),
        fetched_bytes=chance.randrange(150_000, 250_000),
        **about,
    )

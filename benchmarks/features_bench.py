"""CPU time of `features convert` (both checksums checked) against PyPI `tfrecord` merely reading the same files.

    python benchmarks/features_bench.py --records 200000 --runs 3

Writes N synthetic records into shards like the released ones (498 records each), as a folder and as tar.gz, then
measures in turn, each in a process of its own: ours from the folder, ours from the tar.gz, `tfrecord`'s sequence
loader over the folder. Prints JSON: CPU seconds (user + system) of each run, peak memory, and the median ratio.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import numpy as np

RECORDS_PER_SHARD = 498
"""2,042,985 records in 4,096 shards."""


def synthesize(folder: Path, records: int, seed: int = 0) -> int:
    """Write shards; returns their total size. Contents are random: they do not matter, their layout does."""
    from audioset_batch.learn.features.sequence import Record, serialize_record
    from audioset_batch.learn.features.tfrecord import RecordWriter

    rng = np.random.default_rng(seed)
    shards = folder / "audioset_v1_embeddings" / "unbal_train"
    shards.mkdir(parents=True)
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"
    size = 0
    # There are 64 x 64 names: beyond that, shards grow.
    per_shard = max(RECORDS_PER_SHARD, -(-records // 4096))
    for number, first in enumerate(range(0, records, per_shard)):
        count = min(per_shard, records - first)
        prefix = alphabet[number // 64 % 64] + alphabet[number % 64]
        # Normal values compress by about a quarter, as the released ones do.
        embeddings = np.clip(rng.normal(128, 40, (count, 10, 128)), 0, 255).astype(np.uint8)
        path = shards / f"{prefix}.tfrecord"
        with path.open("wb") as stream:
            writer = RecordWriter(stream)
            for row in range(count):
                labels = rng.integers(0, 527, min(1 + int(rng.geometric(0.5)), 8) if row % 2 else 1)
                rows = 10 if row % 60 else int(rng.integers(1, 10))
                writer.write(
                    serialize_record(
                        Record(
                            f"{prefix}{first + row:09d}", 30.0, 40.0, tuple(map(int, labels)), embeddings[row, :rows]
                        )
                    )
                )
        size += path.stat().st_size
    return size


def convert_ours(source: Path, output: Path) -> int:
    from audioset_batch.learn.features.convert import convert

    return sum(convert(source, output, splits=("unbal_train",)).rows.values())


def read_tfrecord(folder: Path) -> int:
    from tfrecord.reader import sequence_loader

    context = {"video_id": "byte", "start_time_seconds": "float", "end_time_seconds": "float", "labels": "int"}
    count = 0
    for path in sorted(folder.rglob("*.tfrecord")):
        for _ in sequence_loader(str(path), None, context, {"audio_embedding": "byte"}):
            count += 1
    return count


def measure(what: str, source: Path, output: Path) -> dict[str, float]:
    """Run one measurement in a fresh process; CPU seconds without starting Python and importing."""
    command = [sys.executable, __file__, "--measure", what, "--source", str(source), "--output", str(output)]
    result = subprocess.run(command, check=True, capture_output=True, text=True)
    numbers: dict[str, float] = json.loads(result.stdout)
    return numbers


def measured(what: str, source: Path, output: Path) -> dict[str, float]:
    if what == "tfrecord":
        import tfrecord.reader  # noqa: F401
    else:
        import pyarrow.parquet  # noqa: F401

        import audioset_batch.learn.features.convert  # noqa: F401
    # Wall time includes waiting for the disk; per core is CPU time.
    before = os.times()
    count = read_tfrecord(source) if what == "tfrecord" else convert_ours(source, output)
    after = os.times()
    return {
        "records": count,
        "cpu_seconds": after.user - before.user + after.system - before.system,
        "wall_seconds": after.elapsed - before.elapsed,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=200_000)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--work", type=Path, help="folder for the synthetic set (default: a temporary one)")
    parser.add_argument("--measure", choices=("folder", "tar.gz", "tfrecord"), help=argparse.SUPPRESS)
    parser.add_argument("--source", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--output", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.measure:
        sys.stdout.write(json.dumps(measured(args.measure, args.source, args.output)))
        return
    with tempfile.TemporaryDirectory(dir=args.work) as name:
        work = Path(name)
        size = synthesize(work / "set", args.records)
        archive = work / "features.tar.gz"
        with tarfile.open(archive, "w:gz", compresslevel=1) as tar:
            tar.add(work / "set" / "audioset_v1_embeddings", "audioset_v1_embeddings")
        sources = {"folder": work / "set", "tar.gz": archive, "tfrecord": work / "set"}
        runs: dict[str, list[dict[str, float]]] = {what: [] for what in sources}
        for run in range(args.runs):
            for what, source in sources.items():
                output = work / f"out-{run}-{what}"
                runs[what].append(measure(what, source, output))
                for path in output.glob("*") if output.exists() else ():
                    path.unlink()
    counts = {run["records"] for results in runs.values() for run in results}
    if counts != {args.records}:
        raise SystemExit(f"wrote {args.records} records, but {counts} were read: the figures would mean nothing")
    cpu = {what: statistics.median(run["cpu_seconds"] for run in results) for what, results in runs.items()}
    summary = {
        "records": args.records,
        "bytes": size,
        "runs": runs,
        "median_cpu_us_per_record": {what: 1e6 * value / args.records for what, value in cpu.items()},
        "ratio_folder": cpu["tfrecord"] / cpu["folder"],
        "ratio_tar_gz": cpu["tfrecord"] / cpu["tar.gz"],
    }
    sys.stdout.write(json.dumps(summary, indent=1) + "\n")


if __name__ == "__main__":
    main()

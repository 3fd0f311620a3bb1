"""How long prep takes for the whole of AudioSet: 2,084,320 generated segments, validated, into 1,000 shards.

    python benchmarks/prep_bench.py [--rows 2084320] [--shards 1000] [--recorded] [--folder DIR]

Prints JSON: wall and CPU seconds, peak memory of the process, and the ratio to one pass of `csv.reader` over the
same files. `--recorded` also splits again (into half as many shards) with a manifest row for every segment.
"""

from __future__ import annotations

import argparse
import csv
import json
import platform
import random
import resource
import shutil
import string
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SHARES = {"eval_segments": 20_371, "balanced_train_segments": 22_160, "unbalanced_train_segments": 2_041_789}
CLASSES = 527
MEASURE = """
import json, resource, sys, time
began = time.perf_counter()
from audioset_batch.cli import main
status = main(sys.argv[1:])
usage = resource.getrusage(resource.RUSAGE_SELF)
print("\\n" + json.dumps({
    "status": status, "seconds": round(time.perf_counter() - began, 2),
    "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 2), "peak_mb": round(usage.ru_maxrss / 1024),
}))
"""


def generate(folder: Path, rows: int) -> None:
    """Write the three CSVs and the class list in the released format; labels are about as many as in AudioSet."""
    chance = random.Random(0)
    mids = [f"/m/0{index:05x}" for index in range(CLASSES)]
    with (folder / "class_labels_indices.csv").open("w", encoding="utf-8") as file:
        file.write("index,mid,display_name\n")
        file.writelines(f'{index},{mid},"Class {index}"\n' for index, mid in enumerate(mids))
    alphabet = string.ascii_letters + string.digits + "-_"
    total = sum(SHARES.values())
    for subset, share in SHARES.items():
        count = (
            rows * share // total
            if subset != "unbalanced_train_segments"
            else rows - sum(rows * n // total for name, n in SHARES.items() if name != subset)
        )
        with (folder / f"{subset}.csv").open("w", encoding="utf-8") as file:
            file.write(f"# Segments csv generated for a benchmark\n# num_ytids={count}, num_segs={count}\n")
            file.write("# YTID, start_seconds, end_seconds, positive_labels\n")
            for _ in range(count):
                start = chance.randrange(60) * 10
                labels = ",".join(chance.sample(mids, chance.choice((1, 1, 2, 2, 3, 4))))
                ytid = "".join(chance.choices(alphabet, k=11))
                file.write(f'{ytid}, {start}.000, {start + 10}.000, "{labels}"\n')


def csv_reader_pass(folder: Path) -> float:
    """Seconds of one pass of `csv.reader` over the three files."""
    began = time.perf_counter()
    for subset in SHARES:
        with (folder / f"{subset}.csv").open(newline="", encoding="utf-8") as file:
            for _ in csv.reader(file, skipinitialspace=True):
                pass
    return time.perf_counter() - began


def measure(*arguments: str) -> dict[str, float]:
    """Run one command in a fresh process and return its figures."""
    command = [sys.executable, "-c", MEASURE, *arguments]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    if figures["status"]:
        raise SystemExit(done.stdout + done.stderr)
    return figures


def record_everything(data_dir: Path) -> None:
    """Give every planned segment a manifest row, as finished workers would have."""
    from audioset_batch.layout import DataDir
    from audioset_batch.model import ManifestRow
    from audioset_batch.plan.segments_csv import read_shard
    from audioset_batch.reasons import Status
    from audioset_batch.record.manifest import encode_row

    data = DataDir(data_dir)
    data.manifests.mkdir()
    for shard in [shard for subset in data.subsets_present() for shard in data.shards(subset)]:
        with data.manifest(shard).open("wb") as file:
            for segment in read_shard(data.shard_csv(shard), shard.subset):
                row = ManifestRow.of(
                    segment,
                    shard.number,
                    Status.OK,
                    audio_path=data.relative(data.audio(segment, "flac")),
                    audio_sha256="0" * 64,
                    finished_at="2026-01-01T00:00:00+00:00",
                )
                file.write(encode_row(row))


def main() -> None:
    """Generate, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=sum(SHARES.values()))
    parser.add_argument("--shards", type=int, default=1000)
    parser.add_argument("--recorded", action="store_true")
    parser.add_argument("--folder", type=Path, help="where to work (default: a temporary folder)")
    options = parser.parse_args()
    work = Path(tempfile.mkdtemp(prefix="prep-bench-", dir=options.folder))
    try:
        source, target = work / "source", work / "data"
        source.mkdir()
        generate(source, options.rows)
        reader = csv_reader_pass(source)
        command = ("prep", str(target), "--base-url", str(source), "--split")
        fresh = measure(*command, str(options.shards))
        result = {
            "rows": options.rows,
            "shards_per_subset": options.shards,
            "python": platform.python_version(),
            "csv_reader_seconds": round(reader, 2),
            "prep": fresh | {"ratio_to_csv_reader": round(fresh["seconds"] / reader, 2)},
            "prep_again_unchanged": measure(*command, str(options.shards)),
        }
        if options.recorded:
            record_everything(target)
            result["split_again_with_all_rows_recorded"] = measure(*command, str(max(1, options.shards // 2)))
        result["bench_peak_mb"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        sys.stdout.write(json.dumps(result, indent=2) + "\n")
    finally:
        shutil.rmtree(work)


if __name__ == "__main__":
    main()

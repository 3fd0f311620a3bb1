"""What the commands cost at the size of the set: 2,084,320 made-up segments in 1,000 shards of each subset.

    python benchmarks/scale.py [--rows 20000,2084320] [--shards 1000] [--folder DIR]

For each size: prep, splitting again with every row recorded, merge, report, status, plan, and a worker that resumes a
shard of 20,000 finished rows; wall and CPU seconds and peak memory of a fresh process each. Peers, in this run: one
pass of `csv.reader`, Arrow's own reading of the same manifests one by one, Arrow's CSV writer on the merged table.
Writes benchmarks/results/scale.json and the table in docs/performance.md.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import fullset
import machine
from table import replace_between_markers

ROOT: Final = Path(__file__).resolve().parents[1]
RESULTS: Final = ROOT / "benchmarks" / "results" / "scale.json"
PAGE: Final = ROOT / "docs" / "performance.md"
RESUME_ROWS: Final = 20_000
_COMMAND: Final = "from audioset_batch.cli import main; status = main(sys.argv[1:])"
_READ: Final = """
import pathlib, pyarrow.json
for path in sorted(pathlib.Path(sys.argv[1], "manifests").glob("*.jsonl")):
    pyarrow.json.read_json(path)
status = 0
"""
_WRITE: Final = """
import pyarrow.csv, pyarrow.parquet
table = pyarrow.parquet.read_table(sys.argv[1] + "/manifest.parquet")
began = time.perf_counter()
pyarrow.csv.write_csv(table, sys.argv[1] + "/peer.csv")
status = 0
"""
_FRAME: Final = """
import json, resource, sys, time
began = time.perf_counter()
{body}
usage = resource.getrusage(resource.RUSAGE_SELF)
print("\\n" + json.dumps({{
    "status": status, "seconds": round(time.perf_counter() - began, 3),
    "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 3), "peak_mb": round(usage.ru_maxrss / 1024),
}}))
"""
Figures = dict[str, Any]


def measure(*arguments: str, body: str = _COMMAND, status: int = 0) -> Figures:
    """Run a command of ours, or `body`, in a fresh process and return its figures."""
    command = [sys.executable, "-c", _FRAME.format(body=body), *arguments]
    done = subprocess.run(command, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    try:
        figures: Figures = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        raise SystemExit(f"{arguments}: no figures\n{done.stdout}{done.stderr}") from None
    if figures.pop("status") != status:
        raise SystemExit(f"{arguments}: unexpected status\n{done.stdout}{done.stderr}")
    return figures


def csv_reader_pass(folder: Path) -> float:
    """Seconds of one pass of `csv.reader` over the three files."""
    began = time.perf_counter()
    for subset in fullset.SHARES:
        with (folder / f"{subset}.csv").open(newline="", encoding="utf-8") as file:
            for _ in csv.reader(file, skipinitialspace=True):
                pass
    return round(time.perf_counter() - began, 3)


def one_size(work: Path, rows: int, shards: int) -> Figures:
    """All figures of one size."""
    source, target = work / "source", work / "data"
    source.mkdir(parents=True)
    fullset.write_csvs(source, rows)
    prep = ("prep", str(target), "--base-url", str(source), "--split")
    figures: Figures = {"rows": rows, "csv_reader_seconds": csv_reader_pass(source)}
    figures["prep"] = measure(*prep, str(shards))
    fullset.record_everything(target)
    figures["split again, every row recorded"] = measure(*prep, str(max(1, shards // 2)))
    measure(*prep, str(shards))
    figures["manifest_mb"] = round(sum(p.stat().st_size for p in (target / "manifests").iterdir()) / 1e6)
    figures["pyarrow reads the manifests"] = measure(str(target), body=_READ)
    figures["merge without manifest.csv"] = measure("merge", str(target), "--no-csv", "--allow-pending")
    figures["merge"] = measure("merge", str(target), "--allow-pending")
    figures["pyarrow writes the CSV"] = measure(str(target), body=_WRITE)
    figures["report"] = measure("report", str(target))
    figures["status"] = measure("status", str(target), "--json")
    figures["plan"] = measure("plan", str(target), "--json")
    return figures


def resume(work: Path) -> Figures:
    """A worker on a shard whose rows are all recorded, none of them to be tried again."""
    source, target = work / "source", work / "data"
    source.mkdir(parents=True)
    fullset.write_csvs(source, RESUME_ROWS)
    measure("prep", str(target), "--base-url", str(source))
    fullset.record_everything(target, finished=True)
    return measure("worker", "--data-dir", str(target), "--task", "1") | {"rows": RESUME_ROWS}


def render(results: Mapping[str, Any]) -> str:
    """The table of docs/performance.md."""
    sizes = results["sizes"]
    large = sizes[-1]
    about = results["machine"]
    steps = [key for key, value in large.items() if isinstance(value, dict)]
    lines = [
        f"`{results['command']}` writes this section; all figures are in [{RESULTS.relative_to(ROOT)}]"
        f"(../{RESULTS.relative_to(ROOT)}).",
        "",
        f"- Machine: {about['cpu']}, {about['cores']} cores, {about['memory_gb']} GB; load average before: "
        f"{about['load_before'][0]}.",
        f"- {results['shards']:,} shards of each subset; {large['manifest_mb']:,} MB of manifests.",
        "",
        "| | " + " | ".join(f"{size['rows']:,} rows: s | CPU s | MB" for size in sizes) + " |",
        f"|---|{'---:|' * 3 * len(sizes)}",
    ]
    for step in steps:
        cells = [f"{one['seconds']:.2f} | {one['cpu_seconds']:.2f} | {one['peak_mb']}" for one in _each(sizes, step)]
        lines.append(f"| {step} | {' | '.join(cells)} |")
    again = results["resume"]
    no_csv, reads = large["merge without manifest.csv"], large["pyarrow reads the manifests"]
    added = large["merge"]["seconds"] - no_csv["seconds"]
    lines += [
        "",
        f"- prep takes {large['prep']['seconds'] / large['csv_reader_seconds']:.1f} times as long as one pass of "
        f"`csv.reader` over the same files ({large['csv_reader_seconds']:.2f} s).",
        f"- merge without `manifest.csv` takes {no_csv['seconds'] / reads['seconds']:.1f} times as long as pyarrow "
        "takes to read the same files one by one (in CPU seconds: "
        f"{no_csv['cpu_seconds'] / reads['cpu_seconds']:.1f} times).",
        f"- `manifest.csv` adds {added / large['pyarrow writes the CSV']['seconds']:.1f} times the time of pyarrow's "
        "CSV writer for the same table.",
        f"- A worker on a shard of {again['rows']:,} finished rows ends after {again['seconds']:.2f} s, with "
        f"{again['cpu_seconds']:.2f} s of CPU and {again['peak_mb']} MB.",
    ]
    return "\n".join(lines)


def _each(sizes: list[Figures], step: str) -> list[Figures]:
    return [size[step] for size in sizes]


def main() -> None:
    """Generate, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default=f"20000,{fullset.ALL}", help="sizes, separated by commas")
    parser.add_argument("--shards", type=int, default=1000)
    parser.add_argument("--folder", type=Path, help="where to work (default: a temporary folder)")
    options = parser.parse_args()
    work = Path(tempfile.mkdtemp(prefix="scale-bench-", dir=options.folder))
    try:
        about = machine.describe(sorted(os.sched_getaffinity(0)))
        results = {
            "command": "python benchmarks/scale.py",
            "machine": about,
            "shards": options.shards,
            "resume": resume(work / "resume"),
            "sizes": [one_size(work / rows, int(rows), options.shards) for rows in options.rows.split(",")],
        }
    finally:
        shutil.rmtree(work)
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    replace_between_markers(PAGE, render(results), "scale")
    sys.stdout.write(render(results) + "\n")


if __name__ == "__main__":
    main()

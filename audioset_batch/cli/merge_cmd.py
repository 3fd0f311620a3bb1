"""`audioset-batch merge`: manifests into one table."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from audioset_batch.cli.common import existing_data_dir


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command `merge`."""
    parser = commands.add_parser(
        "merge",
        help="merge all manifests into manifest.parquet, manifest.csv and summary.json",
        description="Merge the manifests of all shards into one table with exactly one row for every planned segment. "
        "You can run it while workers work. Exit status 1: segments are failed or pending, or counts do not add up.",
    )
    parser.add_argument("data_dir", type=Path, metavar="DATADIR")
    parser.add_argument("--allow-pending", action="store_true", help="exit 0 even if segments are failed or pending")
    parser.add_argument("--no-csv", action="store_true", help="do not write manifest.csv")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Merge and print the counts."""
    from audioset_batch.merge import merge

    root = existing_data_dir(args.data_dir)
    result = merge(root, write_csv=not args.no_csv)
    summary = result.summary
    names = ("planned", "ok", "unavailable", "failed", "pending")
    width = max(len(name) for name in (*summary["subsets"], "all"))
    print(" " * width, *(f"{name:>12}" for name in names))
    for subset, counts in (*summary["subsets"].items(), ("all", summary["totals"])):
        print(f"{subset:<{width}}", *(f"{counts[name]:>12,}" for name in names))
    for reason, count in summary["reasons"].items():
        print(f"  {reason:<20} {count:>10,}")
    if summary["outside_plan"]:
        print(f"outside the plan (kept in the table): {summary['outside_plan']:,}")
    if result.unreadable_lines:
        print(f"manifest lines left out because they are not rows: {result.unreadable_lines:,}")
    for difference in result.differences:
        print(f"does not add up: {difference}")
    print(f"written: {root / 'manifest.parquet'}, summary.json" + ("" if args.no_csv else ", manifest.csv"))
    if not result.finished:
        for line in _resubmit(root):
            print(line)
    if result.differences:
        return 1
    return 0 if result.finished or args.allow_pending else 1


def _resubmit(root: Path) -> Sequence[str]:
    """Lines about shards that no task will continue; nothing is asked where there is no note of one."""
    from audioset_batch.layout import DataDir
    from audioset_batch.record.resubmission import read_resubmissions

    data = DataDir(root)
    if not read_resubmissions(data):
        return ()
    from audioset_batch.config import Config
    from audioset_batch.status.collect import collect

    return collect(data, Config()).resubmit

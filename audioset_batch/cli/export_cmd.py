"""`audioset-batch export`: a data directory in another form."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from audioset_batch.cli.argument_types import positive, subset_list
from audioset_batch.cli.common import existing_data_dir
from audioset_batch.paths import expand_home

_SHOWN = 20


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "export",
        help="write the clips in another layout or as Parquet, or the list of unavailable segments",
        description="Write the clips of DATADIR in another form. DATADIR does not change. The SHA-256 of every clip is "
        "checked. Run the same command again to continue an export that was stopped.",
        epilog="Exit status: 0 done; 1 some clips are damaged or missing (they are named), or there are no shards; "
        "75 another export holds a shard, or the disk is full.",
    )
    parser.add_argument("data_dir", type=Path, metavar="DATADIR")
    form = parser.add_mutually_exclusive_group(required=True)
    form.add_argument(
        "--layout", choices=("files", "webdataset"), help="write a data directory of this layout, with its manifests"
    )
    form.add_argument(
        "--parquet", action="store_true", help="write Parquet files that contain the audio, for `datasets`"
    )
    form.add_argument(
        "--unavailable",
        type=Path,
        metavar="FILE",
        help="write the rows of permanently unavailable segments as JSON lines",
    )
    parser.add_argument("--to", type=Path, metavar="DIR", help="output folder, not DATADIR")
    parser.add_argument("--subsets", type=subset_list, metavar="A,B", help="only these subsets")
    parser.add_argument("--task", type=positive, metavar="K", help="with --layout: only shard K, as in a job array")
    parser.add_argument(
        "--tar-bytes", type=positive, default=1_000_000_000, metavar="N", help="bytes per tar (default: 1000000000)"
    )
    parser.add_argument(
        "--file-bytes",
        type=positive,
        default=500_000_000,
        metavar="N",
        help="bytes of audio per Parquet file (default: 500000000)",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Export; 1 if some clips had to be left out."""
    from audioset_batch.cli.log import log_to_stderr
    from audioset_batch.errors import UsageError
    from audioset_batch.export import export_layout, export_parquet, export_unavailable

    root = existing_data_dir(args.data_dir)
    if args.unavailable is None and args.to is None:
        raise UsageError("--layout and --parquet need --to DIR, the folder to write")
    if args.task is not None and args.layout is None:
        raise UsageError("--task goes with --layout only")
    if args.unavailable is not None and expand_home(args.unavailable).is_dir():
        raise UsageError(f"--unavailable {args.unavailable}: expected a file to write, this is a folder")
    log_to_stderr(False)
    if args.unavailable is not None:
        report = export_unavailable(root, expand_home(args.unavailable), args.subsets)
        print(f"{report.other_rows:,} unavailable segments in {args.unavailable}")
        return 0
    to = expand_home(args.to)
    if args.parquet:
        report = export_parquet(root, to, file_bytes=args.file_bytes, subsets=args.subsets)
    else:
        report = export_layout(root, to, args.layout, tar_bytes=args.tar_bytes, subsets=args.subsets, task=args.task)
    for problem in report.problems[:_SHOWN]:
        print(f"left out: {problem}", file=sys.stderr)
    if len(report.problems) > _SHOWN:
        print(f"... and {len(report.problems) - _SHOWN:,} more", file=sys.stderr)
    print(f"clips written {report.clips:,}, there before {report.present:,}, left out {len(report.problems):,}")
    return 1 if report.problems else 0

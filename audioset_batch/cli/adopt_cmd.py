"""`audioset-batch adopt`: take over the clips of an existing tree."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from audioset_batch.cli.argument_types import positive
from audioset_batch.cli.common import existing_data_dir
from audioset_batch.paths import expand_home

if TYPE_CHECKING:
    from audioset_batch.plan.known import KnownReport

_SHOWN = 20


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "adopt",
        help="record the clips of an existing tree, so that they are not fetched again",
        description="Verify the clips in DATADIR/data/<subset>/audio and video, as audiosetdl writes them, and add a "
        "manifest row for each planned segment whose files are complete. Run prep first. Removes nothing, skips "
        "segments that are recorded already, and lists files that are broken or outside the plan.",
        epilog="Exit status: 0 all files are complete; 1 some are broken, or there are no shards; 75 a shard is held.",
    )
    parser.add_argument("data_dir", type=Path, metavar="DATADIR")
    parser.add_argument(
        "--processes", type=positive, metavar="N", help="number of decoding processes (default: all CPUs)"
    )
    parser.add_argument(
        "--list", type=Path, metavar="FILE", help="write every file that was not adopted to FILE, with the reason"
    )
    parser.add_argument(
        "--known",
        type=Path,
        metavar="FILE",
        help="instead of files, import permanently unavailable segments from another manifest: .jsonl (`export "
        "--unavailable`), .parquet or .csv",
    )
    parser.add_argument(
        "--known-geo-blocked",
        action="store_true",
        help="with --known: include geo_blocked, if the other addresses are in the same country as yours",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Adopt; 1 if some files are broken."""
    from audioset_batch.errors import UsageError
    from audioset_batch.plan.adopt import adopt

    root = existing_data_dir(args.data_dir)
    if args.list is not None and not expand_home(args.list).absolute().parent.is_dir():
        raise UsageError(f"--list {args.list}: there is no such folder")
    if args.known_geo_blocked and args.known is None:
        raise UsageError("--known-geo-blocked says something about --known FILE, which is missing")
    if args.known is not None:
        from audioset_batch.plan.known import take_over

        say_known(take_over(root, expand_home(args.known), geo_blocked=args.known_geo_blocked), args.known)
        return 0
    report = adopt(root, args.processes or len(os.sched_getaffinity(0)))
    left = [
        *((path, f"broken: {why}") for path, why in report.broken),
        *((path, "outside the plan") for path in report.outside),
        *((path, "not named <ytid>_<start ms>_<end ms>") for path in report.unnamed),
        *((path, "video without audio") for path in report.video_only),
    ]
    if args.list is not None:
        text = "".join(f"{path}\t{why}\n" for path, why in left)
        expand_home(args.list).write_text(text, encoding="utf-8", errors="surrogateescape")
    for path, why in left[:_SHOWN]:
        print(f"{path}: {why}", file=sys.stderr)
    if len(left) > _SHOWN:
        print(f"... and {len(left) - _SHOWN:,} more; --list FILE writes them all", file=sys.stderr)
    print(
        f"adopted {report.adopted:,}, recorded before {report.recorded:,}, broken {len(report.broken):,}, "
        f"outside the plan {len(report.outside):,}, other names {len(report.unnamed):,}, "
        f"video without audio {len(report.video_only):,}"
    )
    return 1 if report.broken else 0


def say_known(report: KnownReport, file: Path) -> None:
    """Tell what was taken over from `file`."""
    reasons = ", ".join(f"{reason} {count:,}" for reason, count in report.taken.most_common())
    print(f"known from {file}: {report.taken.total():,} taken over" + (f" ({reasons})" if reasons else ""))
    print(f"  recorded here before {report.recorded:,}, outside the plan {report.unplanned:,}")
    if report.passed_over:
        passed = ", ".join(f"{word} {count:,}" for word, count in report.passed_over.most_common())
        print(f"  passed over, not permanent here: {passed}")

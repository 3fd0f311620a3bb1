"""`audioset-batch retry`: list what is not ok by reason, and reset some of it."""

from __future__ import annotations

import argparse
from pathlib import Path

from audioset_batch.cli.common import existing_data_dir


def _words(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command `retry`."""
    parser = commands.add_parser(
        "retry",
        help="list what is not ok by reason, and reset some of it for the next run",
        description="Without --reset: list how many segments the choice fits. With it: reset them, so that the next "
        "run tries them again. `failed` segments are tried again anyway.",
    )
    parser.add_argument("data_dir", type=Path, metavar="DATADIR")
    parser.add_argument("--reason", type=_words, default=(), metavar="A,B", help="only these reasons")
    parser.add_argument("--status", type=_words, default=(), metavar="A,B", help="only these: ok, unavailable, failed")
    parser.add_argument("--ytid", action="append", default=[], help="only this video, as --ytid=ID (may be repeated)")
    parser.add_argument("--reset", action="store_true", help="reset them")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """List or reset."""
    from audioset_batch.adapters.lease import Holder
    from audioset_batch.errors import InputRefused, UsageError
    from audioset_batch.layout import DataDir
    from audioset_batch.plan.retry import Choice, count, reset, unplanned
    from audioset_batch.reasons import Reason, Status

    root = existing_data_dir(args.data_dir)
    settled = [status for status in Status if status is not Status.PENDING]
    for given, valid in ((args.reason, list(Reason)), (args.status, settled)):
        unknown = sorted(set(given) - {str(item) for item in valid})
        if unknown:
            raise UsageError(f"unknown: {', '.join(unknown)}; choose from {', '.join(valid)}")
    if args.reset and not (args.reason or args.status or args.ytid):
        raise UsageError("--reset of everything is not what you want: name --reason, --status or --ytid")
    data = DataDir(root)
    if unknown := unplanned(data, args.ytid):
        raise InputRefused(f"{', '.join(unknown)}: in no shard of {root}; nothing was reset")
    statuses = args.status or (() if args.ytid or args.reason else (Status.UNAVAILABLE, Status.FAILED))
    choice = Choice(statuses, args.reason, args.ytid)
    counts = reset(data, choice, Holder.current()) if args.reset else count(data, choice)
    for (status, reason), number in sorted(counts.items()):
        print(f"{status:<12} {reason:<20} {number:>10,}")
    print(f"{'reset' if args.reset else 'fitting'}: {counts.total():,}")
    return 0

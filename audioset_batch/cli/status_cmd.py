"""`audioset-batch status|logs|clip`: how a run stands, why tasks stopped, what is known of one video."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from audioset_batch.cli.argument_types import count, number_between
from audioset_batch.cli.common import add_config_options, config_from, existing_data_dir
from audioset_batch.errors import UsageError
from audioset_batch.paths import expand_home
from audioset_batch.reasons import TRANSIENT_REASONS

if TYPE_CHECKING:
    from audioset_batch.status.collect import Collector
    from audioset_batch.status.logs import LogTail


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the commands `status`, `logs` and `clip`."""
    parser = commands.add_parser(
        "status",
        help="show the status of a run: counts, pace, time left, shards, egresses",
        description="Show the status of a run, during the run or afterwards, on any node. Reads the workers' state "
        "files (written every 30 s), the leases, the egresses and SLURM's queue. Changes nothing.",
    )
    _add_common(parser)
    parser.add_argument("--watch", action="store_true", help="full screen, updated until q or Ctrl-C")
    parser.add_argument(
        "--every",
        type=number_between(0.5, 3600, "seconds"),
        default=5.0,
        metavar="SECONDS",
        help="interval of --watch (default: 5)",
    )
    parser.add_argument("--shards", type=count, default=20, metavar="N", help="list at most N shards (default: 20)")
    parser.add_argument("--exact", action="store_true", help="count every row of manifests newer than their state file")
    parser.add_argument("--json", action="store_true", help="print JSON, with every shard")
    parser.set_defaults(run=run_status)

    parser = commands.add_parser(
        "logs",
        help="show the last log lines of tasks that stopped, died or left failed segments",
        description="Show the end of the log of every task that did not finish its shard. Looks in DATADIR/logs, where "
        "submit puts the logs, and in the folder from which you submitted (--folder; default: the current folder).",
    )
    _add_common(parser)
    parser.add_argument("--lines", type=count, default=15, metavar="N", help="lines of each log (default: 15)")
    parser.add_argument(
        "--tasks", type=count, default=10, metavar="N", help="only the N tasks that were active last (default: 10)"
    )
    parser.add_argument(
        "--folder", type=Path, action="append", metavar="DIR", help="another folder with logs (repeatable)"
    )
    parser.set_defaults(run=run_logs)

    parser = commands.add_parser(
        "clip",
        help="show everything about the segments of one video",
        description="Show the segments of one video: labels, shard, the row that counts, every row in order, and "
        "whether the files exist. Exit status 1: no shard and no row has the video.",
        epilog='In scripts, put -- before the ID: audioset-batch clip DATADIR -- "$YTID"',
    )
    parser.add_argument("data_dir", type=Path, metavar="DATADIR")
    parser.add_argument(
        "segment",
        metavar="YTID[_START]",
        help="the 11 characters of the YouTube ID, with _START (milliseconds) for one segment; or the file name of a "
        "clip. It may start with -",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=run_clip)


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("data_dir", type=Path, metavar="DATADIR")
    add_config_options(parser)


def _root(args: argparse.Namespace) -> Path:
    return existing_data_dir(args.data_dir)


def _collector(args: argparse.Namespace, *, exact: bool) -> Collector:
    from audioset_batch.layout import DataDir
    from audioset_batch.record.settings import egress_config
    from audioset_batch.status.collect import Collector

    data = DataDir(_root(args))
    given = args.config is not None or args.overrides
    config = config_from(args, data.root) if given else egress_config(data)
    return Collector(data, config, exact=exact)


def run_status(args: argparse.Namespace) -> int:
    """Print the overview, once or again and again."""
    import json
    import sys

    from audioset_batch.status.as_json import to_json
    from audioset_batch.status.text import render

    if args.json and args.watch:
        raise UsageError("--json and --watch exclude each other")
    collector = _collector(args, exact=args.exact)
    if args.watch:
        from audioset_batch.status.watch import watch

        watch(collector.look, args.every, most_shards=args.shards)
    elif args.json:
        print(json.dumps(to_json(collector.look()), ensure_ascii=False, indent=2))
    elif sys.stdout.isatty():
        from rich.console import Console

        from audioset_batch.status.colour import coloured

        Console(highlight=False).print(coloured(render(collector.look(), most_shards=args.shards)), soft_wrap=True)
    else:
        print(render(collector.look(), most_shards=args.shards))
    return 0


def run_logs(args: argparse.Namespace) -> int:
    """Print the tails."""
    from audioset_batch.layout import DataDir
    from audioset_batch.status.logs import find_logs
    from audioset_batch.untrusted import visible_lines

    folders = [expand_home(folder) for folder in args.folder or [Path()]]
    for folder in folders:
        if not folder.is_dir():
            raise UsageError(f"--folder {folder}: there is no such folder")
    overview = _collector(args, exact=False).look()
    found = find_logs(DataDir(_root(args)), overview, folders, most_lines=args.lines, most_tasks=args.tasks)
    if not found.tails and not found.omitted:
        print("no task stopped, died or left failed segments")
    for tail in found.tails:
        print(visible_lines(_heading(tail)))
        if tail.path is None:
            places = ", ".join(str(folder.resolve()) for folder in folders)
            print(f"   no log found in {overview.data_dir}/logs, {places}; --folder DIR says where else to look\n")
            continue
        print(f"   {tail.path}")
        print("\n".join([*(f"   | {visible_lines(line)}" for line in tail.lines), ""]))
    if found.omitted:
        print(f"{found.omitted:,} tasks that were active earlier are not shown; --tasks N shows more")
    return 0


def _heading(tail: LogTail) -> str:
    about = f"job {tail.job_id}" if tail.job_id else "without SLURM"
    about += f", host {tail.host}" if tail.host else ""
    about += f", restarts {tail.restarts}" if tail.restarts else ""
    lines = [f"== {about}"]
    for line in tail.shards:
        seen = line.seen
        failed = [f"{reason} {count:,}" for reason, count in seen.reasons.items() if reason in TRANSIENT_REASONS]
        parts = [f"   {seen.shard} {line.activity}", line.note]
        parts.append(f"{seen.counts['failed']:,} failed: {', '.join(failed)}" if seen.counts["failed"] else "")
        lines.append("; ".join(filter(None, parts)))
    return "\n".join(lines)


def run_clip(args: argparse.Namespace) -> int:
    """Print what is known."""
    import json
    import sys

    from audioset_batch.layout import DataDir
    from audioset_batch.status.segment import find_segment
    from audioset_batch.status.segment_text import describe, to_json

    data = DataDir(_root(args))
    ytid, start = _which(args.segment)
    every = find_segment(data, ytid)
    if not every:
        data.all_shards()  # without any, that is what to say
        print(f"{ytid} is in no shard of {data.root}, and no manifest has a row for it", file=sys.stderr)
        return 1
    found = [one for one in every if start is None or one.key.start_ms == start]
    if not found:
        starts = ", ".join(f"{ytid}_{one.key.start_ms}" for one in every)
        print(f"{ytid} has no segment that starts at {start} ms; there is {starts}", file=sys.stderr)
        return 1
    if args.json:
        print(json.dumps([to_json(one) for one in found], ensure_ascii=False, indent=2))
    else:
        print("\n\n".join(describe(one) for one in found))
    return 0


def _which(text: str) -> tuple[str, int | None]:
    """The id and, if given, the start in milliseconds: from `ID`, `ID_START` or the name of a clip's file."""
    from audioset_batch.model import YTID_PATTERN

    name = Path(text).name
    start, _, _ = name[12:].partition("_")
    if YTID_PATTERN.match(name[:11]) and (len(name) == 11 or (name[11] == "_" and start.isdecimal())):
        return name[:11], int(start) if start else None
    raise UsageError(
        f"{text!r} is not a YouTube id: expected 11 characters of A-Z a-z 0-9 - _, alone or with _<start in ms> behind "
        "them as in the name of a clip's file"
    )

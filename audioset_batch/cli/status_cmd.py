"""`audioset-batch status|logs|clip`: how a run stands, why tasks stopped, what is known of one video."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from audioset_batch.cli.common import add_config_options, config_from
from audioset_batch.errors import UsageError

if TYPE_CHECKING:
    from audioset_batch.status.collect import Collector
    from audioset_batch.status.segment import SegmentFacts


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the commands `status`, `logs` and `clip`."""
    parser = commands.add_parser(
        "status",
        help="how a run stands: counts, pace, time left, shards, egresses",
        description="Show how the run of a data directory stands, while it runs or afterwards, on any node. Reads the "
        "small state files of the workers (every 30 s), the leases, the egresses and SLURM's queue; changes nothing.",
    )
    _add_common(parser)
    parser.add_argument("--watch", action="store_true", help="full screen, renewed until q or Ctrl-C")
    parser.add_argument("--every", type=_seconds, default=5.0, metavar="SECONDS", help="with --watch (default: 5)")
    parser.add_argument("--shards", type=_count, default=20, metavar="N", help="list at most N shards (default: 20)")
    parser.add_argument("--exact", action="store_true", help="count every row of manifests newer than their state file")
    parser.add_argument("--json", action="store_true", help="all of it as JSON, every shard included")
    parser.set_defaults(run=run_status)

    parser = commands.add_parser(
        "logs",
        help="the last lines of the tasks that stopped, died or left failed segments",
        description="Show the end of the log of every task that did not finish its shard. Looks in DATADIR/logs, where "
        "submit puts them, and in the folder from which you submitted (--folder; default: this one).",
    )
    _add_common(parser)
    parser.add_argument("--lines", type=_count, default=15, metavar="N", help="lines of each log (default: 15)")
    parser.add_argument("--folder", type=Path, action="append", metavar="DIR", help="where else logs lie (repeatable)")
    parser.set_defaults(run=run_logs)

    parser = commands.add_parser(
        "clip",
        help="all that is known about the segments of one video",
        description="Show the segments of one video: labels, shard, what counts, every row in order, and whether the "
        "files are there. Exit status 1 if no shard and no row names it.",
        epilog="An id that starts with - goes behind --: audioset-batch clip DATADIR -- -0RWZT-miFs",
    )
    parser.add_argument("data_dir", type=Path, metavar="DATADIR")
    parser.add_argument(
        "ytid", metavar="YTID", help="the 11 characters of the YouTube id, or the name of a clip's file"
    )
    parser.add_argument("--json", action="store_true", help="as JSON")
    parser.set_defaults(run=run_clip)


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("data_dir", type=Path, metavar="DATADIR")
    add_config_options(parser)


def _count(text: str) -> int:
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0.5 <= seconds <= 3600:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds from 0.5 to 3600")
    return seconds


def _root(args: argparse.Namespace) -> Path:
    root: Path = args.data_dir.expanduser().resolve()
    if not root.is_dir():
        raise UsageError(f"data directory {root} does not exist")
    return root


def _collector(args: argparse.Namespace, *, exact: bool) -> Collector:
    from audioset_batch.layout import DataDir
    from audioset_batch.status.collect import Collector
    from audioset_batch.status.settings import egress_config

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

    overview = _collector(args, exact=False).look()
    folders = [folder.expanduser() for folder in args.folder or [Path()]]
    tails = find_logs(DataDir(_root(args)), overview, folders, args.lines)
    if not tails:
        print("no task stopped, died or left failed segments")
    for tail in tails:
        about = ", ".join(
            f"{line.shard} {line.activity}" + (f" ({line.note})" if line.note else "")
            + (f", {line.counts['failed']:,} failed" if line.counts["failed"] else "")
            for line in tail.shards
        )  # fmt: skip
        print(f"== {f'job {tail.job_id}' if tail.job_id else 'without SLURM'}: {about}")
        if tail.path is None:
            places = ", ".join(str(folder.resolve()) for folder in folders)
            print(f"   no log found in {overview.data_dir}/logs, {places}; --folder DIR says where else to look")
            continue
        print(f"   {tail.path}")
        for line in tail.lines:
            print(f"   | {line}")
    return 0


def run_clip(args: argparse.Namespace) -> int:
    """Print what is known."""
    import dataclasses
    import json
    import sys

    from audioset_batch.layout import DataDir
    from audioset_batch.model import YTID_PATTERN
    from audioset_batch.status.segment import find_segment

    data = DataDir(_root(args))
    ytid = Path(args.ytid).name[:11]
    if not YTID_PATTERN.match(ytid):
        raise UsageError(f"{args.ytid!r} is not a YouTube id: expected 11 characters of A-Z a-z 0-9 - _")
    found = find_segment(data, ytid)
    if args.json:
        values = [
            {
                **dataclasses.asdict(one),
                "key": one.key._asdict(),
                "shard": one.shard.number,
                "labels": [{"mid": mid, "name": name} for mid, name in one.labels],
            }
            for one in found
        ]
        print(json.dumps(values, ensure_ascii=False, indent=2))
    elif found:
        print("\n\n".join(_describe(one) for one in found))
    if not found:
        print(f"{ytid} stands in no shard of {data.root} and no manifest has a row of it", file=sys.stderr)
        return 1
    return 0


def _describe(one: SegmentFacts) -> str:
    start, end = one.key.start_ms / 1000, one.key.end_ms / 1000
    lines = [
        f"{one.key.ytid}  {start:g} to {end:g} s  https://www.youtube.com/watch?v={one.key.ytid}&t={int(start)}",
        f"  shard    {one.shard}" + ("" if one.planned else "  (not in the plan any more)"),
        f"  labels   {', '.join(f'{name} ({mid})' if name else mid for mid, name in one.labels) or 'none'}",
        f"  status   {one.status}{f': {one.reason}' if one.reason else ''}",
    ]
    for file in one.files:
        there = "MISSING" if file.found is None else f"{file.found:,} bytes"
        if file.found is not None and file.promised is not None and file.found != file.promised:
            there += f", but the row says {file.promised:,}"
        lines.append(f"  file     {file.path}  {there}")
    if not one.rows:
        lines.append("  rows     none yet")
    for number, row in enumerate(one.rows, 1):
        shown = {key: value for key, value in row.items() if value not in ("", None, 0, 0.0) and key not in _SAID}
        lines.append(
            f"  row {number:<4} {row.get('finished_at', '')}  {row.get('status')} {row.get('reason') or ''}".rstrip()
        )
        lines += [f"           {key}: {value}" for key, value in shown.items()]
    return "\n".join(lines)


_SAID = frozenset(
    {"subset", "shard", "ytid", "start_seconds", "end_seconds", "labels", "status", "reason", "finished_at"}
)

"""`audioset-batch retry`: list what is not ok by reason, and reset some of it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from audioset_batch.cli.argument_types import words, ytdlp_version
from audioset_batch.cli.common import add_config_options, config_from, existing_data_dir

if TYPE_CHECKING:
    from audioset_batch.config import Config
    from audioset_batch.layout import DataDir
    from audioset_batch.plan.retry import Counts, Rule


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command `retry`."""
    parser = commands.add_parser(
        "retry",
        help="list segments that are not ok by reason, and reset some of them",
        description="List how many segments match, why, and how much of the budgets a retry costs. With --yes (or "
        "--reset), reset them, so that the next run tries them again. It tries `failed` segments again in any case. If "
        "you combine options, a segment must match all of them.",
    )
    parser.add_argument("data_dir", type=Path, metavar="DATADIR")
    parser.add_argument("--reason", type=words, default=(), metavar="A,B", help="only these reasons")
    parser.add_argument("--status", type=words, default=(), metavar="A,B", help="only these: ok, unavailable, failed")
    parser.add_argument("--ytid", action="append", default=[], help="only this video, as --ytid=ID (repeatable)")
    parser.add_argument(
        "--before-ytdlp", type=ytdlp_version, metavar="VERSION", help="only rows of a yt-dlp older than VERSION"
    )
    parser.add_argument(
        "--doubtful",
        action="store_true",
        help="only permanent rows without evidence about the video, from earlier versions of this program",
    )
    parser.add_argument(
        "--changed",
        action="store_true",
        help="only rows that depend on a setting that --config changes, or on a date that has passed",
    )
    parser.add_argument("--yes", "--reset", dest="reset", action="store_true", help="reset the segments that match")
    add_config_options(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """List or reset."""
    from audioset_batch.errors import InputRefused, UsageError
    from audioset_batch.layout import DataDir
    from audioset_batch.plan.retry import count, reset, unplanned
    from audioset_batch.reasons import Reason, Status
    from audioset_batch.record.settings import egress_config

    root = existing_data_dir(args.data_dir)
    settled = [status for status in Status if status is not Status.PENDING]
    for given, valid in ((args.reason, list(Reason)), (args.status, settled)):
        unknown = sorted(set(given) - {str(item) for item in valid})
        if unknown:
            raise UsageError(f"unknown: {', '.join(unknown)}; choose from {', '.join(valid)}")
    chosen = (args.reason, args.status, args.ytid, args.before_ytdlp, args.doubtful, args.changed)
    if args.reset and not any(chosen):
        raise UsageError(
            "--reset of everything is not what you want: name --reason, --status, --ytid, --before-ytdlp, --doubtful "
            "or --changed"
        )
    data = DataDir(root)
    if unknown := unplanned(data, args.ytid):
        raise InputRefused(f"{', '.join(unknown)}: in no shard of {root}; nothing was reset")
    given_config = config_from(args, root) if args.config is not None or args.overrides else None
    rule = _rule(args, data, given_config)
    counts = reset(data, rule) if args.reset else count(data, rule)
    _print(counts, given_config or egress_config(data), reset=args.reset, chosen=any(chosen))
    return 0


def _rule(args: argparse.Namespace, data: DataDir, config: Config | None) -> Rule:
    import datetime

    from audioset_batch.config.redact import redact_values
    from audioset_batch.plan.changed import Changed
    from audioset_batch.plan.doubtful import Doubtful
    from audioset_batch.plan.retry import All, Choice
    from audioset_batch.reasons import Status
    from audioset_batch.record.settings import read_settings

    statuses = args.status or (() if args.ytid or args.reason else (Status.UNAVAILABLE, Status.FAILED))
    rules: list[Rule] = [Choice(statuses, args.reason, args.ytid, args.before_ytdlp or "")]
    if args.doubtful:
        rules.append(Doubtful())
    if args.changed:
        noted = read_settings(data)
        # Without --config the next run has the settings of the last one, and only dates have passed.
        now = noted[0]["config"] if noted else {}
        if config is not None:
            now = redact_values(config.model_dump(mode="json", warnings=False))
        rules.append(Changed(now, noted, datetime.datetime.now(datetime.UTC)))
    return All(rules)


def _print(counts: Counts, config: Config, *, reset: bool, chosen: bool) -> None:
    from audioset_batch.humanize import counted, duration

    for (status, reason, why), number in sorted(counts.items()):
        print(f"{status:<12} {reason:<20} {number:>10,}   {why}".rstrip())
    total = counts.total()
    print(f"{'reset' if reset else 'fitting'}: {total:,}")
    if not total:
        return
    budgets = [one.per_hour for one in config.egress]
    cost = "asking again costs no budget: an egress has none (videos_per_hour: null)"
    if None not in budgets:
        budget = sum(one for one in budgets if one is not None)
        hours = duration(3600 * total / budget)
        cost = f"asking again takes {hours} of the budget of {budget:,.0f} an hour ({counted(total, 'video')})"
    print(cost)
    if not reset:
        print("nothing is changed; --yes resets them")

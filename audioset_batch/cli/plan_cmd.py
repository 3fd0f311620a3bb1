"""`audioset-batch plan`: how much is left, and how long it will take."""

from __future__ import annotations

import argparse
from pathlib import Path

from audioset_batch.cli.common import add_config_options, config_from, existing_data_dir


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "plan",
        help="how many segments are left, what they will take, and how long at the given budgets",
        description="Tell how many segments are left, the requests, bytes and disk space to expect, and the time at "
        "the budgets of the config's egresses. The means of this data set's own rows count once merge has seen enough.",
    )
    parser.add_argument("data_dir", type=Path, metavar="DATADIR")
    add_config_options(parser)
    parser.add_argument("--exact", action="store_true", help="count every row of manifests newer than their state file")
    parser.add_argument("--json", action="store_true", help="as JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the forecast."""
    import dataclasses
    import json

    from audioset_batch.layout import DataDir
    from audioset_batch.record.settings import egress_config
    from audioset_batch.status.collect import collect
    from audioset_batch.status.forecast import forecast, render

    root = existing_data_dir(args.data_dir)
    data = DataDir(root)
    given = args.config is not None or args.overrides
    config = config_from(args, root) if given else egress_config(data)
    plan = forecast(data, config, collect(data, config, exact=args.exact, ask_slurm=False))
    if args.json:
        print(json.dumps(dataclasses.asdict(plan), indent=2))
    else:
        print(render(plan))
    return 0

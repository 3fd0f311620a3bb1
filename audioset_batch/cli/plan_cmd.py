"""`audioset-batch plan`: how much is left, and how long it will take."""

from __future__ import annotations

import argparse
from pathlib import Path

from audioset_batch.cli.common import add_config_options, config_from, existing_data_dir


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "plan",
        help="show how many segments are left, what they cost, and how long they take",
        description="Show how many segments are left, the expected requests, bytes and disk space, and the time at the "
        "budgets of the config's egresses. The estimates use this dataset's own rows once there are enough.",
    )
    parser.add_argument("data_dir", type=Path, metavar="DATADIR")
    add_config_options(parser)
    parser.add_argument("--exact", action="store_true", help="count every row of manifests newer than their state file")
    parser.add_argument("--json", action="store_true", help="print JSON")
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

"""`audioset-batch check`: preflight, here and where the workers will run."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from audioset_batch.cli.common import add_config_options, config_from, config_options, ignore_stdout, named_data_dir

if TYPE_CHECKING:
    from audioset_batch.config import Config
    from audioset_batch.layout import DataDir
    from audioset_batch.submit.checks.finding import Finding


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command `check`."""
    parser = commands.add_parser(
        "check",
        help="preflight: versions, disk, network, one clip per egress, SLURM's limits",
        description="Check everything that a run needs, and say how to fix problems. One clip is fetched through each "
        "egress, within its budget, and discarded.",
        epilog="Exit status: 0 no error (there may be warnings); 1 a check failed; 2 usage or config error.",
    )
    add_config_options(parser, runs=True)
    parser.add_argument("--data-dir", type=Path, metavar="DIR", help="overrides data_dir of the config")
    parser.add_argument(
        "--on-compute", action="store_true", help="check software, disk and network on a compute node, with srun"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--only-node", action="store_true", help=argparse.SUPPRESS)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Check, print, and return 1 if there is an error."""
    from audioset_batch.humanize import counted
    from audioset_batch.layout import DataDir

    config = config_from(args, args.data_dir)
    data = DataDir(named_data_dir(config))
    findings = []
    for finding in _checks(args, config, data):
        findings.append(finding)
        if not args.json:
            try:
                _print(finding)
            except BrokenPipeError:  # `check | head`: the exit status is still to be found out
                ignore_stdout()
    failed = sum(finding.level == "error" for finding in findings)
    if args.json:
        import json

        print(json.dumps({"ok": not failed, "checks": [finding.to_json() for finding in findings]}))
    else:
        warned = sum(finding.level == "warning" for finding in findings)
        print(f"{len(findings)} checks: {counted(failed, 'error')}, {counted(warned, 'warning')}")
    return _status(config) or (1 if failed else 0)


def _status(config: Config) -> int:
    """2 where every command that goes out would refuse the config; why is among the findings."""
    from audioset_batch.errors import UsageError
    from audioset_batch.worker.preflight import check_clients

    try:
        check_clients(config)
    except UsageError:
        return 2
    return 0


def _checks(args: argparse.Namespace, config: Config, data: DataDir) -> Iterator[Finding]:
    import socket

    from audioset_batch.submit.checks.compute import check_on_node
    from audioset_batch.submit.checks.scheduler import check_scheduler
    from audioset_batch.submit.checks.storage import check_leases, check_room

    here = socket.gethostname()
    if args.on_compute:
        print("waiting for a compute node (srun) ...", file=sys.stderr)
        yield from check_on_node(config, ["--data-dir", str(data.root), *config_options(args)])
    else:
        yield from (finding.at(here) for finding in _node(config, data))
    if args.only_node:
        return
    for part in (check_room(data, config), check_leases(data), check_scheduler(config, data)):
        yield from (finding.at(here) for finding in part)


def _node(config: Config, data: DataDir) -> Iterator[Finding]:
    """What may differ from one machine to the next."""
    from audioset_batch.submit.checks.egress import check_ways_out
    from audioset_batch.submit.checks.software import check_software
    from audioset_batch.submit.checks.storage import check_writing

    yield from check_software(config)
    yield from check_writing(data)
    yield from check_ways_out(config, data)


def _print(finding: Finding) -> None:
    mark = {"ok": "ok     ", "warning": "warning", "error": "ERROR  "}[finding.level]
    print(f"{mark} {finding.topic}: {finding.text}" + (f" [{finding.host}]" if finding.host else ""))
    if finding.advice:
        print(f"        -> {finding.advice}")
    sys.stdout.flush()

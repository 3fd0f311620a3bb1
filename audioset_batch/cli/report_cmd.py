"""`audioset-batch report`: one page about what came of a data set."""

from __future__ import annotations

import argparse
from pathlib import Path

from audioset_batch.cli.argument_types import count
from audioset_batch.cli.common import existing_data_dir
from audioset_batch.paths import expand_home


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command `report`."""
    parser = commands.add_parser(
        "report",
        help="write report.html from the results of merge",
        description="Write report.html, one file that opens offline: outcomes, reasons, clips by label, progress over "
        "time with the pauses of each egress, durations and levels, cost, versions and config. Run merge first.",
    )
    parser.add_argument("data_dir", type=Path, metavar="DATADIR")
    parser.add_argument(
        "--threshold",
        type=count,
        default=50,
        metavar="N",
        help="mark labels with fewer clips than N (default: 50; you can change it in the page)",
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="default: DATADIR/report.html")
    parser.add_argument("--json", action="store_true", help="also print the numbers as JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Write the page and say where it is."""
    import json
    import sys

    from audioset_batch.errors import UsageError
    from audioset_batch.report.run import is_stale, write_report

    root = existing_data_dir(args.data_dir)
    out = None if args.out is None else expand_home(args.out).absolute()
    if out is not None and not out.parent.is_dir():
        raise UsageError(f"--out {args.out}: there is no folder {out.parent}")
    path, summary, findings = write_report(root, out=out, threshold=args.threshold)
    if is_stale(root):
        print(
            f"manifests have grown since the merge of {summary['generated_at']}: `audioset-batch merge {root}` and "
            "`report` again show the newest numbers",
            file=sys.stderr,
        )
    if args.json:
        print(
            json.dumps(
                {**summary, "report": findings.to_json(), "report_html": str(path)}, ensure_ascii=False, indent=2
            )
        )
    else:
        print(f"written: {path}")
    return 0

"""`audioset-batch prep`: fetch the segment lists, check them, split them into shards."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from audioset_batch.cli.argument_types import count, positive, subset_list
from audioset_batch.model import SUBSETS
from audioset_batch.paths import expand_home

if TYPE_CHECKING:
    from audioset_batch.plan.prep import PrepReport


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "prep",
        help="fetch the segment CSVs, check them and split them into shards",
        description="Fetch the segment CSVs and class_labels_indices.csv into DATADIR, check every row, select "
        "rows, and split each subset into N shards (DATADIR/eval_segments.csv.01 ...). Complete files are not "
        "fetched again. Splitting again keeps everything that is recorded, and does not change subsets that you do "
        "not name.",
        epilog="The rows of the shards are the plan. To split again, give the filters again. Exit "
        "status: 0 done; 1 input refused; 2 usage; 75 a shard is held by a worker, or the disk is full.",
    )
    parser.add_argument("data_dir", type=Path, metavar="DATADIR", help="the data directory; created if necessary")
    parser.add_argument("--split", type=positive, default=1, metavar="N", help="shards of each subset (default: 1)")
    parser.add_argument(
        "--subsets",
        type=subset_list,
        default=SUBSETS,
        metavar="A,B",
        help="some of eval_segments, balanced_train_segments, unbalanced_train_segments (default: all)",
    )
    parser.add_argument(
        "--base-url",
        metavar="URL|DIR",
        help="folder with the CSVs, plain or .csv.gz: http(s)://, file:// or a path (default: Google's)",
    )
    choose = parser.add_argument_group("rows to plan")
    choose.add_argument(
        "--labels",
        metavar="NAMES",
        help="only segments with one of these labels: display names or MIDs, e.g. 'Dog,Male speech, man speaking'",
    )
    choose.add_argument("--descendants", action="store_true", help="include all labels below them in the ontology")
    choose.add_argument("--limit", type=count, metavar="N", help="only the first N segments of each subset")
    choose.add_argument("--sample", type=count, metavar="N", help="only N segments of each subset, chosen at random")
    choose.add_argument("--seed", type=int, default=0, metavar="S", help="random seed of --sample (default: 0)")
    choose.add_argument("--ontology", metavar="URL|FILE", help="ontology.json for --descendants (default: GitHub)")
    choose.add_argument(
        "--known",
        type=Path,
        metavar="FILE",
        help="record permanently unavailable segments from another manifest (`export --unavailable`), without a "
        "request; see also adopt --known",
    )
    choose.add_argument("--known-geo-blocked", action="store_true", help="with --known: include geo_blocked")
    accept = parser.add_argument_group("fetching and damaged files")
    accept.add_argument("--allow-partial", action="store_true", help="accept a file that was cut off")
    accept.add_argument(
        "--skip-bad-rows", action="store_true", help="skip bad rows and write them to SUBSET.rejected.csv"
    )
    accept.add_argument("--refetch", action="store_true", help="fetch all files again")
    accept.add_argument("--retries", type=count, default=5, metavar="N", help="attempts without progress (default: 5)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Prepare DATADIR."""
    from audioset_batch.config.schema import DEFAULT_BASE_URL
    from audioset_batch.errors import UsageError
    from audioset_batch.fetch import FetchOptions
    from audioset_batch.plan.prep import ONTOLOGY_URL, PrepRequest, prep

    if args.descendants and args.labels is None:
        raise UsageError("--descendants needs --labels: it adds what is below them in the ontology")
    request = PrepRequest(
        root=expand_home(args.data_dir).absolute(),
        base=args.base_url or DEFAULT_BASE_URL,
        ontology=args.ontology or ONTOLOGY_URL,
        subsets=args.subsets,
        shards=args.split,
        labels=args.labels,
        descendants=args.descendants,
        limit=args.limit,
        sample=args.sample,
        seed=args.seed,
        allow_partial=args.allow_partial,
        skip_bad_rows=args.skip_bad_rows,
        refetch=args.refetch,
        fetching=FetchOptions(retries=args.retries, say=lambda text: print(text, file=sys.stderr)),
    )
    known = None if args.known is None else expand_home(args.known)
    if args.known_geo_blocked and known is None:
        raise UsageError("--known-geo-blocked says something about --known FILE, which is missing")
    if known is not None and not known.is_file():
        raise UsageError(f"--known {known}: no such file")
    _print(prep(request), request.shards, request.root)
    if known is not None:
        from audioset_batch.cli.adopt_cmd import say_known
        from audioset_batch.plan.known import take_over

        say_known(take_over(request.root, known, geo_blocked=args.known_geo_blocked), known)
    return 0


def _print(report: PrepReport, shards: int, root: Path) -> None:
    for note in report.notes:
        print(f"note: {note}", file=sys.stderr)
    print(f"{'subset':26}{'rows':>12}{'rejected':>10}{'planned':>12}{'shards':>8}  manifest rows")
    for one in report.subsets:
        done = one.split
        told = f"{done.moved:,} moved, {done.outside:,} outside the plan" if done.changed else "unchanged"
        print(f"{one.subset:26}{one.rows:>12,}{one.rejected:>10,}{one.planned:>12,}{done.shards:>8}  {told}")
    if report.filters:
        print(f"filters: {report.filters}")
    print(f"next: sbatch --array=1-{shards} audiosetdl-job-array.s, or audioset-batch download {root}")

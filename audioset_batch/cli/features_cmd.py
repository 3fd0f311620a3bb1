"""`audioset-batch features fetch|convert|info|read|compare`."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from audioset_batch.cli.argument_types import count, positive
from audioset_batch.errors import InputRefused
from audioset_batch.learn.features.released import CLASSES, SPLITS

if TYPE_CHECKING:
    from collections.abc import Callable

    from audioset_batch.learn.features.csvs import LabelTable
    from audioset_batch.learn.features.info import Comparison, SplitCounts
    from audioset_batch.learn.features.tfrecord import Damage

_SPLITS = tuple(SPLITS)


def register(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `features` and its subcommands."""
    parser = commands.add_parser("features", help="fetch, convert, inspect and compare Google's released features")
    actions = parser.add_subparsers(title="actions", metavar="ACTION", dest="action", required=True)

    fetch = actions.add_parser("fetch", help="download the released archive (2.4 GB); run it again to resume")
    fetch.add_argument("folder", type=Path, metavar="FOLDER", help="folder for features.tar.gz")
    fetch.add_argument(
        "--region", default="us", choices=("us", "eu", "asia"), help="region of the bucket (default: us)"
    )
    fetch.add_argument("--base-url", metavar="URL", help="URL of a mirror, without /features/features.tar.gz")
    fetch.add_argument("--gsutil", action="store_true", help="use `gsutil -m rsync` instead")
    fetch.set_defaults(run=_run, act=_fetch)

    convert = actions.add_parser("convert", help="convert TFRecords to one packed file per split")
    convert.add_argument("source", type=Path, metavar="SOURCE", help="features.tar.gz or an unpacked folder")
    convert.add_argument("output", type=Path, metavar="OUT", help="folder for eval.parquet and so on")
    convert.add_argument("--format", default="parquet", choices=("parquet", "npy"), help="default: parquet")
    convert.add_argument(
        "--compression",
        default="none",
        choices=("none", "zstd"),
        help="compression of the embeddings in Parquet (default: none)",
    )
    convert.add_argument("--splits", type=_split_list, default=_SPLITS, metavar="A,B", help=f"of {','.join(_SPLITS)}")
    convert.add_argument("--overwrite", action="store_true", help="also convert splits that are in OUT already")
    _add_reading_options(convert)
    convert.set_defaults(run=_run, act=_convert)

    info = actions.add_parser("info", help="show counts per split and label, and compare them with the CSVs")
    info.add_argument("source", type=Path, metavar="SOURCE", help="the archive, TFRecords, or packed features")
    info.add_argument(
        "--data-dir",
        type=Path,
        metavar="DATADIR",
        help="folder with the CSVs to compare with; it also gives the number of labels",
    )
    info.add_argument("--list", type=Path, metavar="DIR", help="write missing and extra segments as CSV files to DIR")
    info.add_argument("--json", action="store_true", help="print JSON, with all labels")
    info.add_argument("--top", type=count, default=10, metavar="N", help="labels to print per split (default: 10)")
    _add_reading_options(info)
    info.set_defaults(run=_run, act=_info)

    read = actions.add_parser("read", help="print records as JSON lines")
    read.add_argument("source", type=Path, metavar="FILE", help="a TFRecord file, the archive, or packed features")
    read.add_argument("--limit", type=count, metavar="N", help="stop after N records")
    read.add_argument("--id", metavar="YTID", help="only this video (write --id=-abc if it starts with -)")
    read.add_argument("--embedding", default="none", choices=("none", "uint8", "float"), help="also print the rows")
    read.add_argument("--skip-bad", action="store_true", help="report damaged records and continue")
    read.set_defaults(run=_run, act=_read)

    compare = actions.add_parser("compare", help="compare your embeddings with the released ones")
    compare.add_argument("own", type=Path, metavar="OWN", help="TFRecords or packed features, as `embed` writes them")
    compare.add_argument("released", type=Path, metavar="RELEASED", help="the archive, TFRecords, or packed features")
    compare.add_argument("--split", choices=_SPLITS, help="use only this split of RELEASED (default: all)")
    compare.add_argument("--data-dir", type=Path, metavar="DATADIR", help="folder with the label names")
    compare.add_argument(
        "--worst", type=count, default=10, metavar="N", help="number of segments to list (default: 10)"
    )
    compare.add_argument("--json", action="store_true", help="print JSON")
    _add_reading_options(compare)
    compare.set_defaults(run=_run, act=_compare)


def _run(args: argparse.Namespace) -> int:
    """Run the action; failures of the file system become errors with a decision."""
    from audioset_batch.sharedfs.publish import is_storage_failure, unusable

    try:
        status: int = args.act(args)
    except BrokenPipeError:
        raise
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        if is_storage_failure(error):
            raise unusable(Path(error.filename or "."), error) from error
        if isinstance(error, (FileExistsError, NotADirectoryError)):
            raise InputRefused(f"{place}expected a folder, or a name for a new one; a file is there") from error
        raise InputRefused(f"{place}{error.strerror or error}") from error
    return status


def _add_reading_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--skip-bad", action="store_true", help="report damaged records and continue (default: stop)")
    parser.add_argument(
        "--classes", type=positive, default=CLASSES, metavar="K", help="number of labels (default: 527)"
    )


def _split_list(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    unknown = [name for name in names if name not in _SPLITS]
    if unknown or not names:
        raise argparse.ArgumentTypeError(f"{', '.join(unknown) or text!r}: choose from {', '.join(_SPLITS)}")
    return names


def _progress(unit: str, scale: float) -> Callable[[int, int], None] | None:
    """A line on stderr that is rewritten twice a second; none if stderr is no terminal."""
    if not sys.stderr.isatty():
        return None
    last = 0.0

    def show(done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last < 0.5 and done < total:
            return
        last = now
        end = "\n" if done >= total else ""
        share = done / max(total, 1)
        print(f"\r{done / scale:,.0f} of {total / scale:,.0f} {unit} ({share:.0%}) ", end=end, file=sys.stderr)

    return show


def _say_damage(damage: Damage) -> None:
    print(f"skipped: {damage}", file=sys.stderr)


def _on_bad(args: argparse.Namespace) -> Callable[[Damage], None]:
    from audioset_batch.learn.features.tfrecord import raise_damage

    return _say_damage if args.skip_bad else raise_damage


def _labels(data_dir: Path | None) -> LabelTable | None:
    from audioset_batch.layout import DataDir
    from audioset_batch.learn.features.csvs import read_label_table

    return read_label_table(DataDir(data_dir).class_labels_csv) if data_dir else None


def _fetch(args: argparse.Namespace) -> int:
    from audioset_batch.learn.features.fetch import SHA256, fetch, rsync

    if args.gsutil:
        rsync(args.folder, args.region)
        return 0
    done = fetch(args.folder, args.region, base_url=args.base_url, progress=_progress("MB", 1e6))
    if done.as_published is None:
        print(f"{done.path}: already there ({done.size:,} bytes)")
        return 0
    resumed = f", {done.resumed_at:,} of them from an earlier run" if done.resumed_at else ""
    print(f"{done.path}: {done.size:,} bytes{resumed}, SHA-256 {done.sha256}")
    if not done.as_published:
        print(
            f"warning: expected SHA-256 {SHA256}, which others have recorded; `features convert` checks every record",
            file=sys.stderr,
        )
    return 0


def _convert(args: argparse.Namespace) -> int:
    from audioset_batch.learn.features.convert import convert, target_of

    done = convert(
        args.source,
        args.output,
        form=args.format,
        compression=args.compression,
        splits=args.splits,
        classes=args.classes,
        skip_bad=args.skip_bad,
        overwrite=args.overwrite,
        report=_say_damage,
        progress=_progress("MB" if args.source.is_file() else "shards", 1e6 if args.source.is_file() else 1),
    )
    for split in done.kept:
        print(f"{target_of(args.output, split, args.format)}: already there, kept (--overwrite converts it again)")
    for split, rows in done.rows.items():
        print(f"{done.files[split]}: {rows:,} segments from {done.shards[split]:,} shards")
    if done.damaged:
        print(f"{len(done.damaged):,} damaged places skipped", file=sys.stderr)
    for split, expected in done.unexpected_shards.items():
        print(
            f"warning: {split}: {done.shards.get(split, 0):,} shards, the released set has {expected:,}; names "
            "differ only in case, so a folder unpacked on a disk that ignores case has lost some (your own "
            "embeddings have any number)",
            file=sys.stderr,
        )
    for split in done.truncated:
        there = f"what was readable is in {done.files[split]}" if split in done.files else "nothing of it was readable"
        print(
            f"error: {split} is incomplete: {args.source} ends too early, so an unknown number of segments is missing; "
            f"{there}. Get the whole file and run the same command again",
            file=sys.stderr,
        )
    return 1 if done.truncated else 0


def _info(args: argparse.Namespace) -> int:
    from audioset_batch.learn.features.info import compare_with_csv, count_features, summary

    table = _labels(args.data_dir)
    classes = len(table) if table else args.classes
    counts = count_features(
        args.source,
        classes=classes,
        keep_segments=args.data_dir is not None,
        on_bad=_on_bad(args),
        progress=_progress("MB" if args.source.is_file() else "shards", 1e6 if args.source.is_file() else 1),
    )
    comparisons: dict[str, Comparison | None] = {}
    if args.data_dir and table:
        comparisons = {split: compare_with_csv(part, split, args.data_dir, table) for split, part in counts.items()}
    document = summary(counts, comparisons, table)
    if args.list:
        _write_lists(args.list, comparisons)
    if args.json:
        json.dump(document, sys.stdout, indent=1)
        print()
        return 0
    for split, entry in document.items():
        _print_split(split, counts[split], entry, args.top)
        if args.data_dir and "csv" not in entry:
            print(f"  {args.data_dir} has no CSV for it")
    return 0


def _print_split(split: str, counts: SplitCounts, entry: dict[str, Any], top: int) -> None:
    with_label = int((counts.labels > 0).sum())
    print(f"{split}: {counts.records:,} segments, {counts.short:,} with fewer rows, {with_label} labels in use")
    if "csv" in entry:
        csv = entry["csv"]
        print(
            f"  {csv['path']}: {csv['segments']:,} segments; missing here {csv['missing']:,}, extra here "
            f"{csv['extra']:,}, other labels {csv['different_labels']:,}"
        )
        if csv["unreadable_lines"]:
            print(f"  {csv['unreadable_lines']:,} lines of that CSV cannot be read")
    used = [row for row in entry["labels"] if row["records"] or row["csv"]]
    rows = sorted(used, key=lambda row: -row["records"])[:top]
    for row in rows:
        planned = "" if row["csv"] is None else f" ({row['csv']:,} in the CSV)"
        print(f"  {row['index']:4d} {row['records']:>9,}{planned}  {row['name'] or ''}")


def _write_lists(folder: Path, comparisons: dict[str, Comparison | None]) -> None:
    import csv

    folder.mkdir(parents=True, exist_ok=True)
    for split, comparison in comparisons.items():
        if comparison is None:
            continue
        for kind in ("missing", "extra", "different_labels"):
            with (folder / f"{split}.{kind}.csv").open("w", newline="", encoding="utf-8") as stream:
                writer = csv.writer(stream)
                writer.writerow(("YTID", "start_seconds"))
                writer.writerows((key.video_id, f"{key.start_ms / 1000:.3f}") for key in getattr(comparison, kind))


def _read(args: argparse.Namespace) -> int:
    from audioset_batch.learn.features.arrays import dequantize
    from audioset_batch.learn.features.reading import iter_records

    count = 0
    for record in iter_records(args.source, _on_bad(args)):
        if args.id is not None and record.video_id != args.id:
            continue
        if args.limit is not None and count >= args.limit:
            break
        count += 1
        row: dict[str, Any] = {
            "video_id": record.video_id,
            "start_seconds": record.start,
            "end_seconds": record.end,
            "labels": list(record.labels),
            "rows": len(record.embedding),
        }
        if args.embedding == "uint8":
            row["audio_embedding"] = record.embedding.tolist()
        elif args.embedding == "float":
            row["audio_embedding"] = dequantize(record.embedding).round(6).tolist()
        print(json.dumps(row))
    return 0


def _compare(args: argparse.Namespace) -> int:
    from audioset_batch.learn.features.compare import agreement_summary, compare_features

    agreement = compare_features(args.own, args.released, args.split, classes=args.classes, on_bad=_on_bad(args))
    document = agreement_summary(agreement, _labels(args.data_dir), args.worst)
    if args.json:
        json.dump(document, sys.stdout, indent=1)
        print()
        return 0
    print(
        f"{document['segments']:,} segments compared; {document['only_own']:,} of OWN not found in RELEASED; "
        f"{document['different_length']:,} with another number of rows"
    )
    for name in ("cosine", "mean_abs_difference_steps", "share_within_one_step"):
        print(f"  {name:26s} " + "  ".join(f"{key} {value}" for key, value in document[name].items()))
    print("worst segments:")
    for row in document["worst"]:
        print(
            f"  {row['video_id']} at {row['start_seconds']:g} s: cosine {row['cosine']}, "
            f"{row['mean_abs_difference_steps']} steps, labels {row['labels']}"
        )
    print("labels that differ most:")
    for row in document["by_label"][: args.worst]:
        print(f"  {row['index']:4d} {row['name'] or ''}: cosine {row['cosine']} over {row['segments']:,} segments")
    return 0

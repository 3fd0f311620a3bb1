"""Prep: fetch the lists, check them, choose the rows, split them."""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import os
import shutil
import tempfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from audioset_batch.config.schema import DEFAULT_BASE_URL
from audioset_batch.errors import InputRefused, UsageError
from audioset_batch.fetch import FetchOptions, NotThere, Unreachable, fetched, join_source, require_there
from audioset_batch.humanize import counted
from audioset_batch.layout import DataDir
from audioset_batch.model import SUBSETS
from audioset_batch.plan.filters import Filters
from audioset_batch.plan.labels import load_class_names, load_ontology, resolve_labels
from audioset_batch.plan.segments_csv import Problem, SegmentsCsv, describe_problems, read_segments_csv
from audioset_batch.plan.split import SplitReport, split
from audioset_batch.plan.swap import ensure_settled
from audioset_batch.sharedfs.publish import atomic_write_text, make_user_folder, storage

ONTOLOGY_URL: Final = "https://raw.githubusercontent.com/audioset/ontology/master/ontology.json"
CLASSES_NAME: Final = "class_labels_indices.csv"
_EXAMPLE: Final = '`--4gqARaEJE, 0.000, 10.000, "/m/068hy,/m/07q6cd_"`'
MOST_SHARDS: Final = 100_000
"""Each is a file; with so many, all of AudioSet has some 20 segments in each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PrepRequest:
    """What the user asked for; the defaults are those of the command line.

    Attributes:
        sources: Files or URLs of single subsets, instead of `base`/<subset>.csv.
    """

    root: Path
    base: str = DEFAULT_BASE_URL
    sources: Mapping[str, str] = field(default_factory=dict)
    ontology: str = ONTOLOGY_URL
    subsets: tuple[str, ...] = SUBSETS
    shards: int = 1
    labels: str | None = None
    descendants: bool = False
    limit: int | None = None
    sample: int | None = None
    seed: int = 0
    allow_partial: bool = False
    skip_bad_rows: bool = False
    refetch: bool = False
    fetching: FetchOptions = field(default_factory=FetchOptions)


@dataclass(frozen=True, slots=True)
class SubsetReport:
    """What became of one subset: rows that came, were rejected, and are planned."""

    subset: str
    rows: int
    rejected: int
    planned: int
    split: SplitReport


@dataclass(frozen=True, slots=True)
class PrepReport:
    """The outcome of a prep; `notes` are things the user should know."""

    subsets: tuple[SubsetReport, ...]
    filters: str
    notes: tuple[str, ...]


def prep(request: PrepRequest) -> PrepReport:
    """Do what the command `prep` says.

    Raises:
        InputRefused: a list cannot be had, is not whole, or has bad rows.
        UsageError: a label is not known, or the data directory is a file.
        ShardHeld: a worker holds a shard that would change.
        StorageUnusable: the data directory cannot be written.
    """
    if request.shards > MOST_SHARDS:
        raise UsageError(f"--split {request.shards:,}: expected at most {MOST_SHARDS:,} shards")
    data = DataDir(request.root)
    for subset in request.subsets:
        if subset in request.sources:
            require_there(request.sources[subset])
        elif request.refetch or not data.segments_csv(subset).exists():
            require_there(request.base)
    make_user_folder(data.root)
    notes: list[str] = []
    if ensure_settled(data):
        notes.append("finished the split that an earlier prep was killed in")
    names = _classes(data, request, notes)
    mids = _mids(data, request, names)
    filters = Filters(mids, request.limit, request.sample, request.seed, _wording(request, mids))

    refusals: list[str] = []
    parsed: list[SegmentsCsv] = []
    for subset in request.subsets:
        try:
            parsed.append(_subset(data, request, subset, names, notes))
        except InputRefused as error:
            refusals.append(str(error))
    if refusals:
        raise InputRefused("\n".join(refusals))
    tables = [filters.apply(one.table) for one in parsed]
    if not any(map(len, tables)) and any(one.rows for one in parsed):
        raise InputRefused(f"no segment of {', '.join(request.subsets)} fits: {filters.describe()}")
    splits = split(data, tables, request.shards, filters.describe())
    if request.shards > (most := max((len(table) for table in tables), default=0)):
        notes.append(f"{counted(request.shards, 'shard')} for at most {counted(most, 'segment')}: the others are empty")
    return PrepReport(
        tuple(
            SubsetReport(table.subset, one.rows, len(one.problems), len(table), done)
            for one, table, done in zip(parsed, tables, splits, strict=True)
        ),
        filters.describe(),
        tuple(notes),
    )


def _classes(data: DataDir, request: PrepRequest, notes: list[str]) -> dict[str, str]:
    target = data.class_labels_csv
    if request.refetch or not target.exists():
        source = join_source(request.base, CLASSES_NAME)
        try:
            with _fetched(source, target, request) as path:
                load_class_names(path)
        except NotThere as error:
            if request.labels is not None:
                raise InputRefused(f"--labels needs the list of classes, but {error}") from error
            if target.exists():
                return load_class_names(target)
            notes.append(f"{source} is not there: labels are checked for their form only")
            return {}
    return load_class_names(target)


def _mids(data: DataDir, request: PrepRequest, names: dict[str, str]) -> tuple[str, ...]:
    if request.labels is None:
        return ()
    if not request.descendants:
        return resolve_labels(request.labels, names)
    target = data.ontology_json
    if request.refetch or not target.exists():
        with _fetched(request.ontology, target, request) as path:
            load_ontology(path)
    ontology = load_ontology(target)
    return ontology.with_descendants(resolve_labels(request.labels, ontology.names | names))


def _wording(request: PrepRequest, mids: Sequence[str]) -> str:
    if request.labels is None:
        return ""
    words = " ".join(request.labels.split())
    return f"{words} and below ({counted(len(mids), 'label')})" if request.descendants else words


@contextlib.contextmanager
def _fetched(sources: str | tuple[str, ...], target: Path, request: PrepRequest) -> Iterator[Path]:
    """`fetch.fetched` for the lists; one that cannot be had counts as refused, like one that is not whole."""
    options = replace(request.fetching, length_required=False, keep_refused=True)
    try:
        with fetched(sources, target, options) as file:
            yield file.path
    except Unreachable as error:
        raise InputRefused(str(error)) from error


def _subset(data: DataDir, request: PrepRequest, subset: str, names: dict[str, str], notes: list[str]) -> SegmentsCsv:
    """The rows of one subset from the file that is there or is fetched, if they are acceptable."""
    target = data.segments_csv(subset)
    fresh = request.refetch or subset in request.sources or not target.exists()
    with _fetched_list(data, request, subset) if fresh else contextlib.nullcontext(target) as path:
        one = read_segments_csv(path, subset, names)
        shortfall = one.shortfall()
        if shortfall and not request.allow_partial:
            given = request.sources.get(subset)
            again = "" if given else f"{'Run again to fetch' if fresh else '--refetch fetches'} it again; "
            raise InputRefused(
                f"{given or path} is not whole: {shortfall}. {again}--allow-partial accepts what is there"
            )
        if one.problems and not len(one.table) and not request.skip_bad_rows:
            raise InputRefused(
                f"{path}: expected a segments CSV, with rows like {_EXAMPLE}; found none: "
                f"{describe_problems(one.problems, path)}"
            )
        if fresh:
            _unpack(path)
    if shortfall:
        notes.append(f"{target}: partial: {shortfall}")
    if one.problems:
        if not request.skip_bad_rows:
            raise InputRefused(
                f"{target}: {describe_problems(one.problems, target)}\n"
                f"  --skip-bad-rows goes on without them and keeps them in {data.rejected_csv(subset).name}"
            )
        notes.append(f"{len(one.problems):,} bad rows are in {data.rejected_csv(subset)}")
        _write_rejected(data.rejected_csv(subset), one.problems)
    else:
        data.rejected_csv(subset).unlink(missing_ok=True)
    return one


@contextlib.contextmanager
def _fetched_list(data: DataDir, request: PrepRequest, subset: str) -> Iterator[Path]:
    target = data.segments_csv(subset)
    if subset in request.sources:
        with _fetched(request.sources[subset], target, request) as path:
            yield path
        return
    sources = tuple(join_source(request.base, f"{subset}.csv{ending}") for ending in ("", ".gz"))
    try:
        with _fetched(sources, target, request) as path:
            yield path
    except NotThere as error:
        others = ",".join(one for one in SUBSETS if one != subset)
        raise InputRefused(f"{error}. Check --base-url, or name the subsets you want: --subsets {others}") from error


def _unpack(path: Path) -> None:
    """Unpack a gzip file in its place; of a torn one, what there is (the reader has reported it).

    The file itself stays, because it is locked.
    """
    with storage(path), path.open("r+b") as file, tempfile.TemporaryFile(dir=path.parent) as plain:
        if file.read(2) != b"\x1f\x8b":
            return
        file.seek(0)
        with gzip.open(file) as packed, contextlib.suppress(EOFError, zlib.error, gzip.BadGzipFile):
            while block := packed.read(1 << 20):
                plain.write(block)
        for one in (plain, file):
            one.seek(0)
        file.truncate()
        shutil.copyfileobj(plain, file)
        file.flush()
        os.fsync(file.fileno())


def _write_rejected(path: Path, problems: Sequence[Problem]) -> None:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["line", "problem", "detail", "row"])
    writer.writerows([problem.line, problem.kind, problem.detail, problem.raw] for problem in problems)
    atomic_write_text(path, text.getvalue())

"""Reset segments, so that the next run tries them again: those that a rule fits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from audioset_batch.layout import DataDir, ShardId
from audioset_batch.model import ManifestRow, Segment
from audioset_batch.plan.edit_manifest import edit_manifest
from audioset_batch.plan.segments_csv import read_shard
from audioset_batch.plan.swap import ensure_settled
from audioset_batch.reasons import Reason, Status
from audioset_batch.record.manifest import RETRY, latest_rows, read_rows, row_key
from audioset_batch.youtube.versions import order

Counts = Counter[tuple[str, str, str]]
"""Segments by status, reason, and why they fit."""


@dataclass(frozen=True, slots=True)
class Known:
    """What is recorded of a segment.

    Attributes:
        row: The row that counts.
        geo_blocked_from: The egresses that its video was `geo_blocked` from, in this or an earlier run.
    """

    row: dict[str, Any]
    geo_blocked_from: frozenset[str] = frozenset()


class Rule(Protocol):
    """Tells which segments to reset."""

    def why(self, known: Known) -> str | None:
        """Why this one, "" if that needs no words; None: not this one."""
        ...


@dataclass(frozen=True, slots=True)
class Choice:
    """Fits by what the row says; an empty value does not restrict.

    Attributes:
        statuses: `ok`, `unavailable` or `failed`.
        reasons: As in the manifest.
        ytids: Video ids.
        before_ytdlp: Only rows of an older yt-dlp than this; rows that name none do not count.
    """

    statuses: Collection[str] = ()
    reasons: Collection[str] = ()
    ytids: Collection[str] = ()
    before_ytdlp: str = ""

    def why(self, known: Known) -> str | None:
        """ "" if the row fits."""
        row = known.row
        version = str(row.get("ytdlp_version") or "")
        fits = (
            (not self.statuses or row["status"] in self.statuses)
            and (not self.reasons or row.get("reason") in self.reasons)
            and (not self.ytids or row["ytid"] in self.ytids)
            and (not self.before_ytdlp or (bool(version) and order(version) < order(self.before_ytdlp)))
        )
        return "" if fits else None


@dataclass(frozen=True, slots=True)
class All:
    """Fits what every one of several rules fits."""

    rules: Sequence[Rule]

    def why(self, known: Known) -> str | None:
        """Their words together."""
        said = [rule.why(known) for rule in self.rules]
        return None if None in said else "; ".join(filter(None, said))


def count(data: DataDir, rule: Rule) -> Counts:
    """How many segments `rule` fits.

    Raises:
        InputRefused: there are no shards.
        PlanChanging: prep is splitting just now.
    """
    ensure_settled(data)
    return Counter(
        _counted(row, why)
        for shard in data.all_shards()
        for _, row, why in _fitting(data, shard, read_shard(data.shard_csv(shard), shard.subset), rule)
    )


def reset(data: DataDir, rule: Rule) -> Counts:
    """Append a reset row for each segment that `rule` fits; returns how many.

    Raises:
        InputRefused: there are no shards.
        ShardHeld: a worker has one of the shards; those before it are done, and doing it again is harmless.
        StorageUnusable: a manifest cannot be written.
    """
    done: Counts = Counter()
    ensure_settled(data)
    for shard in data.all_shards():
        planned = read_shard(data.shard_csv(shard), shard.subset)
        if not any(True for _ in _fitting(data, shard, planned, rule)):
            continue
        with edit_manifest(data, shard) as (planned, append):
            for segment, row, why in list(_fitting(data, shard, planned, rule)):
                append(_reset_row(shard, segment, row, why))
                done[_counted(row, why)] += 1
    return done


def unplanned(data: DataDir, ytids: Collection[str]) -> list[str]:
    """Those of `ytids` that are in no shard, sorted."""
    missing = set(ytids)
    for shard in data.all_shards() if missing else ():
        missing.difference_update(segment.ytid for segment in read_shard(data.shard_csv(shard), shard.subset))
    return sorted(missing)


def _fitting(
    data: DataDir, shard: ShardId, planned: Sequence[Segment], rule: Rule
) -> Iterator[tuple[Segment, dict[str, Any], str]]:
    rows = list(read_rows(data.manifest(shard)))
    known = latest_rows(rows)
    if not known:
        return
    blocked: dict[tuple[Any, ...], set[str]] = {}
    for row in rows:
        if row.get("reason") == Reason.GEO_BLOCKED:
            blocked.setdefault(row_key(row), set()).add(str(row.get("egress") or ""))
    for segment in planned:
        found = known.get(segment.key)
        if found is None or found["status"] == Status.PENDING:
            continue
        why = rule.why(Known(found, frozenset(blocked.get(segment.key, ()))))
        if why is not None:
            yield segment, found, why


def _counted(row: dict[str, Any], why: str) -> tuple[str, str, str]:
    return row["status"], str(row.get("reason") or ""), why


def _reset_row(shard: ShardId, segment: Segment, row: dict[str, Any], why: str) -> ManifestRow:
    was = f"was {row['status']} {row.get('reason') or ''}".rstrip()
    return ManifestRow.of(segment, shard.number, Status.PENDING, reason=RETRY, detail=f"{was}: {why}" if why else was)

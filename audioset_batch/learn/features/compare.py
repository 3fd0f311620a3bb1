"""`features compare`: one's own embeddings against the released ones of the same segments."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from audioset_batch.errors import InputRefused
from audioset_batch.humanize import counted
from audioset_batch.learn.features.arrays import FeatureSet, dequantize
from audioset_batch.learn.features.batch import RecordBatch
from audioset_batch.learn.features.csvs import LabelTable, SegmentId
from audioset_batch.learn.features.reading import iter_features, read_split
from audioset_batch.learn.features.tfrecord import OnBad, raise_damage

QUANTILES: Final = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)


@dataclass(frozen=True, slots=True, eq=False)
class Agreement:
    """M segments that both sides have, over the rows that both have.

    Attributes:
        segments: Which segments, in the order of the arrays.
        cosine: float64 (M,), cosine similarity of the dequantized values of all common rows; NaN without any.
        difference: float64 (M,), mean absolute difference in quantized steps (0..255); NaN without common rows.
        within_one: float64 (M,), share of the values that differ by at most one step; NaN likewise.
        own_rows: int64 (M,), rows of one's own.
        released_rows: int64 (M,), rows as released.
        labels: bool (M, classes), as released.
        only_own: Segments without a released counterpart.
        released: Released segments that were looked at.
    """

    segments: tuple[SegmentId, ...]
    cosine: npt.NDArray[np.float64]
    difference: npt.NDArray[np.float64]
    within_one: npt.NDArray[np.float64]
    own_rows: npt.NDArray[np.int64]
    released_rows: npt.NDArray[np.int64]
    labels: npt.NDArray[np.bool_]
    only_own: int
    released: int


def compare_features(
    own: Path, released: Path, split: str | None = None, *, classes: int, on_bad: OnBad = raise_damage
) -> Agreement:
    """Compare segment by segment; one's own set is held in memory, the released one streams by.

    Args:
        own: TFRecords or packed features, e.g. what `embed` wrote.
        released: The same kinds; the whole released archive will do.
        split: Look only at this split of `released`; None for all.
        classes: Number of classes.
        on_bad: Called for each damaged record, which is then left out.

    Raises:
        InputRefused: The two have no segment in common.
        DamagedRecord: From the default `on_bad`.
    """
    mine = read_split(own, classes=classes, on_bad=on_bad)
    rows = dict(zip(_keys(mine.video_ids, mine.start), range(len(mine)), strict=True))
    parts: list[tuple[npt.NDArray[Any], ...]] = []
    found: list[SegmentId] = []
    seen = 0
    for _, batch in iter_features(released, split, classes=classes, on_bad=on_bad):
        seen += len(batch)
        pairs = [
            (key, rows[key], other) for other, key in enumerate(_keys(batch.video_ids, batch.start)) if key in rows
        ]
        # A segment may be in two splits of a set that somebody put together: the first one counts.
        pairs = [pair for pair in pairs if rows.pop(pair[0], None) is not None]
        if pairs:
            found.extend(key for key, _, _ in pairs)
            mine_rows, other_rows = (np.array([pair[n] for pair in pairs]) for n in (1, 2))
            parts.append(_measure(mine, mine_rows, batch, other_rows, classes))
    if not parts:
        raise InputRefused(
            f"{own} ({counted(len(mine), 'segment')}) and {released} ({counted(seen, 'segment')}) have no segment in "
            "common; segments are matched by video id and start time"
        )
    cosine, difference, within, own_rows, released_rows, labels = (
        np.concatenate(column) for column in zip(*parts, strict=True)
    )
    return Agreement(tuple(found), cosine, difference, within, own_rows, released_rows, labels, len(rows), seen)


def _keys(video_ids: npt.NDArray[np.str_], start: npt.NDArray[np.float32]) -> Iterator[SegmentId]:
    return map(SegmentId, video_ids.tolist(), np.rint(start * 1000).astype(np.int64).tolist())


def _measure(
    mine: FeatureSet,
    rows: npt.NDArray[np.int64],
    other: RecordBatch,
    other_rows: npt.NDArray[np.int64],
    classes: int,
) -> tuple[npt.NDArray[Any], ...]:
    frames = min(mine.embeddings.shape[1], other.embeddings.shape[1])
    ours, theirs = mine.embeddings[rows, :frames], other.embeddings[other_rows, :frames]
    own_rows, released_rows = mine.lengths[rows], other.lengths[other_rows]
    common = np.minimum(np.minimum(own_rows, released_rows), frames)
    mask = (np.arange(frames) < common[:, None])[:, :, None]
    steps = np.abs(ours.astype(np.int16) - theirs.astype(np.int16))
    values = (common * ours.shape[2]).astype(np.float64)
    values[values == 0] = np.nan
    a = np.where(mask, dequantize(ours).astype(np.float64), 0.0)
    b = np.where(mask, dequantize(theirs).astype(np.float64), 0.0)
    cosine = (a * b).sum((1, 2)) / np.sqrt((a**2).sum((1, 2)) * (b**2).sum((1, 2)) + 1e-300)
    return (
        np.where(common > 0, cosine, np.nan),
        np.where(mask, steps, 0).sum((1, 2)) / values,
        (mask & (steps <= 1)).sum((1, 2)) / values,
        own_rows,
        released_rows,
        other.dense_labels(classes)[other_rows],
    )


def agreement_summary(agreement: Agreement, table: LabelTable | None, worst: int) -> dict[str, Any]:
    """Distribution, the `worst` segments by cosine, and means by label (most different first) as JSON."""
    order = np.argsort(agreement.cosine)[:worst]
    return {
        "segments": len(agreement.segments),
        "only_own": agreement.only_own,
        "released_seen": agreement.released,
        "different_length": int((agreement.own_rows != agreement.released_rows).sum()),
        "no_common_rows": int(np.isnan(agreement.cosine).sum()),
        "cosine": _distribution(agreement.cosine),
        "mean_abs_difference_steps": _distribution(agreement.difference),
        "share_within_one_step": _distribution(agreement.within_one),
        "worst": [_segment_row(agreement, int(row)) for row in order],
        "by_label": _by_label(agreement, table),
    }


def _segment_row(agreement: Agreement, row: int) -> dict[str, Any]:
    return {
        "video_id": agreement.segments[row].video_id,
        "start_seconds": agreement.segments[row].start_ms / 1000,
        "cosine": _number(agreement.cosine[row]),
        "mean_abs_difference_steps": _number(agreement.difference[row]),
        "own_rows": int(agreement.own_rows[row]),
        "released_rows": int(agreement.released_rows[row]),
        "labels": np.flatnonzero(agreement.labels[row]).tolist(),
    }


def _by_label(agreement: Agreement, table: LabelTable | None) -> list[dict[str, Any]]:
    valid = ~np.isnan(agreement.cosine)
    labels = agreement.labels[valid].astype(np.float64)
    counts = labels.sum(axis=0)
    cosine = labels.T @ agreement.cosine[valid] / np.maximum(counts, 1)
    difference = labels.T @ agreement.difference[valid] / np.maximum(counts, 1)
    present = np.flatnonzero(counts)
    return [
        {
            "index": int(label),
            "name": table.names[label] if table and label < len(table) else None,
            "segments": int(counts[label]),
            "cosine": _number(cosine[label]),
            "mean_abs_difference_steps": _number(difference[label]),
        }
        for label in present[np.argsort(cosine[present])]
    ]


def _distribution(values: npt.NDArray[np.float64]) -> dict[str, float | None]:
    valid = values[~np.isnan(values)]
    if not len(valid):
        return {"mean": None}
    quantiles = np.quantile(valid, QUANTILES)
    names = (f"p{100 * q:g}" for q in QUANTILES)
    return {"mean": _number(valid.mean())} | {
        name: _number(value) for name, value in zip(names, quantiles, strict=True)
    }


def _number(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 6)

"""What the counts mean for training: labels with too few clips, and other things to know before you train."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from audioset_batch.humanize import counted
from audioset_batch.report.html import Remark
from audioset_batch.report.words import count, percent, subset_name

DEFAULT_THRESHOLD: Final = 50
"""The fewest clips that a label should have. AudioSet's balanced and eval sets aim at 59 or more."""

_NAMED: Final = 6


@dataclass(frozen=True, slots=True)
class Findings:
    """What `report` adds to the summary.

    Attributes:
        threshold: The fewest clips that a label should have.
        planned_labels: Number of labels that planned segments have.
        under: MIDs of planned labels with fewer clips, in ascending order of clips.
        without: MIDs of planned labels without a clip.
        remarks: Remarks, warnings first.
    """

    threshold: int
    planned_labels: int
    under: tuple[str, ...]
    without: tuple[str, ...]
    remarks: tuple[Remark, ...]

    def to_json(self) -> dict[str, Any]:
        """As `report --json` prints it."""
        return {
            "threshold": self.threshold,
            "planned_labels": self.planned_labels,
            "labels_under_threshold": list(self.under),
            "labels_without_clips": list(self.without),
            "findings": [{"level": f.level, "head": f.head, "body": f.body} for f in self.remarks],
        }


def label_name(label: Mapping[str, Any]) -> str:
    """The display name, or the MID if the list of classes does not contain it."""
    return str(label["name"] or label["mid"])


def find(summary: Mapping[str, Any], threshold: int) -> Findings:
    """Search the content of `summary.json` for what matters before training."""
    planned = [label for label in summary["labels"] if label["planned"]]
    under = sorted((label for label in planned if label["ok"] < threshold), key=lambda label: int(label["ok"]))
    without = [label for label in under if label["ok"] == 0]
    texts = [
        *_completeness(summary["totals"], summary["reasons"]),
        *_unknown_words(summary.get("unrecognized", {})),
        *_labels(planned, under, without, threshold),
        *_uneven(planned, summary["totals"]),
        *_missing_in_subsets(planned, list(summary["subsets"])),
        *_clips(summary),
    ]
    order = {"warning": 0, "note": 1, "good": 2}
    return Findings(
        threshold,
        len(planned),
        tuple(label["mid"] for label in under),
        tuple(label["mid"] for label in without),
        tuple(sorted(texts, key=lambda finding: order[finding.level])),
    )


def _completeness(totals: Mapping[str, int], reasons: Mapping[str, int]) -> list[Remark]:
    if not totals["planned"]:
        return [Remark("warning", "Nothing is planned", "The shards hold no segment.")]
    left = totals["failed"] + totals["pending"]
    share = percent(totals["ok"], totals["planned"])
    if not left:
        lost = f"{count(totals['unavailable'])} are permanently unavailable."
        return [Remark("good", f"The run is complete: {share} of the planned clips are here", lost)]
    advice = "Run the workers again: they take up what is left."
    if reasons.get("internal"):
        advice += " `internal` is this program's own trouble: the `detail` column says what happened."
    parts = f"{count(totals['pending'])} are still to be tried, {count(totals['failed'])} failed and may work later."
    return [Remark("warning", f"{counted(left, 'segment')} still to do", f"{parts} {advice}")]


def _unknown_words(words: Mapping[str, int]) -> list[Remark]:
    if not words:
        return []
    said = _list([f"\u201c{one}\u201d ({count(number)})" for one, number in words.items()])
    body = f"{said}. Update yt-dlp and this program; until then `youtube.wordings` can give these words a reason."
    head = f"{counted(sum(words.values()), 'segment')} refused in words that this version does not know"
    return [Remark("warning", head, body)]


def _labels(
    planned: Sequence[Mapping[str, Any]],
    under: Sequence[Mapping[str, Any]],
    without: Sequence[Mapping[str, Any]],
    threshold: int,
) -> list[Remark]:
    if not planned:
        return []
    if not under:
        return [Remark("good", f"Every label has {counted(threshold, 'clip')} or more", f"{len(planned)} labels.")]
    head = f"{len(under)} of {counted(len(planned), 'label')} have fewer than {counted(threshold, 'clip')}"
    fewest = _list([f"{label_name(one)} ({one['ok']})" for one in under])
    body = f"Fewest: {fewest}."
    if without:
        body += f" {counted(len(without), 'label')} without any clip: a classifier cannot learn them."
    return [Remark("warning", head, body)]


def _uneven(planned: Sequence[Mapping[str, Any]], totals: Mapping[str, int]) -> list[Remark]:
    """Labels that lost far more clips than the others: such a loss is not random, and biases training."""
    tried = totals["planned"] - totals["pending"]
    if not tried:
        return []
    overall = totals["ok"] / tried
    shares = []
    for label in planned:
        own = label["planned"] - label["pending"]
        # At least 20 tried segments, and more than three standard deviations below the overall share.
        if own >= 20 and overall - label["ok"] / own > 3 * (overall * (1 - overall) / own) ** 0.5 + 0.05:
            shares.append((label["ok"] / own, label))
    if not shares:
        return []
    shares.sort(key=lambda item: item[0])
    names = _list([f"{label_name(label)} ({100 * share:.0f} %)" for share, label in shares])
    head = f"{counted(len(shares), 'label')} lost far more than the rest ({100 * overall:.0f} % overall)"
    return [Remark("note", head, f"The loss is not random: {names}. Compare with published results with care.")]


def _missing_in_subsets(planned: Sequence[Mapping[str, Any]], subsets: Sequence[str]) -> list[Remark]:
    found = []
    for subset in subsets:
        of_subset = [(label, label["subsets"][subset]) for label in planned]
        gone = [label for label, own in of_subset if own["planned"] and not own["ok"]]
        if gone and any(own["ok"] for _, own in of_subset):
            consequence = (
                " Their average precision cannot be computed: report the mean over the others."
                if subset == "eval_segments"
                else ""
            )
            head = f"{counted(len(gone), 'label')} without a clip in {subset_name(subset)}"
            found.append(Remark("warning", head, f"{_list([label_name(label) for label in gone])}.{consequence}"))
    return found


def _clips(summary: Mapping[str, Any]) -> list[Remark]:
    found = []
    ok = summary["totals"]["ok"]
    silent, cut, clipped = (
        summary["silent"], summary["durations"]["cut_short"], summary["levels"]["full_scale"],
    )  # fmt: skip
    if silent:
        body = "Their labels cannot be heard. Leave them out: the `silent` column says which."
        found.append(Remark("note", f"{counted(silent, 'clip')} silent ({percent(silent, ok)})", body))
    if cut:
        body = "The video ends before the segment does. `duration_seconds` has the true length: pad, or mask."
        found.append(Remark("note", f"{counted(cut, 'clip')} shorter than planned ({percent(cut, ok)})", body))
    if ok and clipped / ok > 0.01:
        body = "They are probably clipped at their source; `peak_dbfs` says which."
        found.append(Remark("note", f"{percent(clipped, ok)} of the clips reach full scale", body))
    rates = summary["media"]["sample_rate"]
    if len(rates) > 1:
        body = ", ".join(f"{count(number)} at {rate} Hz" for rate, number in rates.items())
        found.append(Remark("note", "Clips have different sample rates", f"{body}. Resample while loading."))
    return found


def _list(names: Sequence[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")

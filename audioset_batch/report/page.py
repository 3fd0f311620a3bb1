"""The report of a data set, section by section."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Any

from audioset_batch import __version__
from audioset_batch.config.reservation import amount
from audioset_batch.humanize import counted, size
from audioset_batch.report import charts, html
from audioset_batch.report.html import PageSection, Tile
from audioset_batch.report.labels import label_table, label_tree
from audioset_batch.report.numbers import Findings
from audioset_batch.report.ontology import Node
from audioset_batch.report.settings import settings, versions
from audioset_batch.report.timeline import timeline
from audioset_batch.report.words import count, duration, moment, percent, subset_name, text

_MEDIA = {
    "source_sample_rate": ("sample rate of the source", " Hz"),
    "sample_rate": ("sample rate", " Hz"),
    "channels": ("channels", ""),
    "format_id": ("YouTube's format", ""),
    "audio_track": ("sound track", ""),
}


def page(summary: Mapping[str, Any], findings: Findings, roots: Sequence[Node] | None, place: Path) -> str:
    """The HTML of the report.

    Args:
        summary: `summary.json`.
        findings: The result of `find`.
        roots: The roots of the ontology; None without the file.
        place: The data directory; its name becomes the title.
    """
    return html.document(
        "AudioSet report",
        place.name or str(place),
        f"Counted {text(moment(summary['generated_at']))} by audioset-batch {text(__version__)} in "
        f"<code>{text(place)}</code>",
        html.tiles(_tiles(summary, findings)),
        [
            PageSection("before", "Before you train", html.card(html.remarks(findings.remarks))),
            PageSection("outcome", "Outcome", html.card(charts.outcome(summary)) + html.card(charts.reasons(summary))),
            PageSection("labels", "Labels", _labels(summary, findings.threshold, roots)),
            PageSection("time", "Progress", html.card(timeline(summary))),
            PageSection("clips", "Clips", _clips(summary)),
            PageSection("cost", "Cost of a clip", html.card(_cost(summary)), link="Cost"),
            PageSection(
                "settings",
                "Versions and settings",
                html.card(versions(summary)) + html.card(settings(summary)),
                link="Settings",
            ),
        ],
        _FOOTER,
        ["labels.js"],
    )


def _labels(summary: Mapping[str, Any], threshold: int, roots: Sequence[Node] | None) -> str:
    labels = summary["labels"]
    tree = "" if roots is None else label_tree(roots, labels, threshold)
    table = Template(html.asset("labels.html")).substitute(
        threshold=threshold,
        label_total=len(labels),
        label_table=label_table(labels, list(summary["subsets"]), threshold),
        label_tree=tree,
        tree_note="" if tree else _NO_TREE,
        tree_button="" if tree else "disabled",
    )
    return html.card(charts.ranks(labels, threshold)) + html.card(table)


def _clips(summary: Mapping[str, Any]) -> str:
    durations, levels = summary["durations"], summary["levels"]
    return html.columns(
        charts.histogram(
            "Duration", "s", durations, every=4, log=True,
            note=f"{counted(durations['cut_short'], 'clip')} shorter than planned: the video ends early.",
        ),
        charts.histogram(
            "Level (RMS)", "dBFS", levels["rms_dbfs"], every=5,
            note="Clips of digital silence have no level: they are not in the bars.",
        ),
        charts.histogram(
            "Peak", "dBFS", levels["peak_dbfs"], every=5,
            note=f"{counted(levels['full_scale'], 'clip')} with a peak at full scale.",
        ),
    ) + html.columns(_silence(summary), _media(summary))  # fmt: skip


_NO_TREE = (
    '<p class="note">The labels are a flat list because DATADIR has no <code>ontology.json</code>. Put the file from '
    "github.com/audioset/ontology there (<code>curl -LO "
    "https://raw.githubusercontent.com/audioset/ontology/master/ontology.json</code>) and make the report again to see "
    "them as a tree.</p>"
)
_FOOTER = (
    "<b>ok</b>: the files are there and were verified. <b>unavailable</b>: permanent, with its reason. <b>failed</b>: "
    "a transient trouble, tried again by the next run. <b>pending</b>: not tried yet, given back because an address "
    "was blocked, or reset by <code>retry</code>. "
    "The same numbers are in <code>summary.json</code>, every segment is in <code>manifest.parquet</code>."
)


def _tiles(summary: Mapping[str, Any], findings: Findings) -> list[Tile]:
    totals = summary["totals"]
    stored = summary["audio_bytes"] + summary["video_bytes"]
    share = f"{percent(totals['ok'], totals['planned'])} of {count(totals['planned'])}"
    return [
        Tile(count(totals["ok"]), "clips", share, "ok"),
        Tile(count(totals["unavailable"]), "unavailable", "permanently", "unavailable"),
        Tile(count(totals["failed"]), "failed", "to be tried again", "failed"),
        Tile(count(totals["pending"]), "pending", "still to be tried", "pending"),
        Tile(duration(3600 * summary["hours"], days=False), "of audio", f"{size(stored)} on disk"),
        Tile(count(len(findings.under)), f"of {findings.planned_labels} labels", f"under {findings.threshold} clips"),
    ]


def _silence(summary: Mapping[str, Any]) -> str:
    rows = [
        [subset_name(name), count(one["ok"]), count(one["silent"]), percent(one["silent"], one["ok"])]
        for name, one in summary["subsets"].items()
    ]
    return f"<h3>Silence</h3>{html.table(['subset', 'clips', 'silent', 'share'], rows)}"


def _media(summary: Mapping[str, Any]) -> str:
    ok = summary["totals"]["ok"]
    rows = [
        [words, "\n".join(f"{value}{unit}: {percent(number, ok)}" for value, number in list(found.items())[:8])]
        for name, (words, unit) in _MEDIA.items()
        if (found := summary["media"].get(name))
    ]
    return f"<h3>Formats</h3>{html.table(['', 'share of the clips'], rows, 'data wordy lines')}" if rows else ""


def _cost(summary: Mapping[str, Any]) -> str:
    cost = summary["cost"]
    each = cost["per_clip"]
    cluster = _cluster(summary.get("cluster", {}))
    if each["requests"] is None:
        return f"<p>No worker has made a clip yet.</p>{cluster}"
    tiles = [
        Tile(f"{each['requests']:.3g}", "requests"),
        Tile(size(each["fetched_bytes"]), "fetched"),
        Tile(duration(each["elapsed_seconds"]), "of one thread"),
        Tile(size(each["published_bytes"]), "kept on disk"),
    ]
    by_status = [
        [
            status, count(one["segments"]), f"{one['requests'] / one['segments']:.3g}",
            size(one["fetched_bytes"] / one["segments"]), duration(one["elapsed_seconds"] / one["segments"]),
            f"{one['attempts'] / one['segments']:.3g}",
        ]
        for status, one in cost["by_status"].items() if one["segments"]
    ]  # fmt: skip
    found = cost["quantiles"]
    spread = [
        [words, *(show(found[name][q]) for q in ("p50", "p90", "p99"))]
        for name, words, show in (
            ("requests", "requests", lambda v: f"{v:.3g}"), ("fetched_bytes", "fetched", size),
            ("elapsed_seconds", "time", duration),
        ) if name in found
    ]  # fmt: skip
    means = html.table(["outcome", "segments", "requests", "fetched", "time", "tries"], by_status)
    clips = html.table(["", "half below", "90 % below", "99 % below"], spread)
    return (
        '<p class="note first">Of each clip that is ok, with what the lost segments cost shared out among them.</p>'
        f'{html.tiles(tiles, "tiles four")}<div class="pair"><div><h3>Mean by outcome</h3>{means}</div>'
        f"<div><h3>Spread over the clips that are ok</h3>{clips}</div></div>{cluster}"
    )


def _cluster(costs: Mapping[str, Any]) -> str:
    """Core-hours and GB-hours; "" if no task has recorded any."""
    if not costs.get("segments") and not costs.get("held_core_hours"):
        return ""
    rows = [["used", "used_core_hours", "", "used_core_hours_per_1000_clips"]]
    if costs["source"]:
        rows.insert(0, ["held", "held_core_hours", "held_gb_hours", "held_core_hours_per_1000_clips"])
    if costs["source"] and costs["expected_core_hours"]:
        rows.append(["expected for what is left", "expected_core_hours", "expected_gb_hours", ""])
    cells = [
        [what, *("" if (value := costs.get(key)) is None else amount(value) for key in keys)] for what, *keys in rows
    ]
    table = html.table(["", "core-hours", "GB-hours", "core-hours per 1,000 clips"], cells)
    by = {"sacct": "SLURM\u2019s accounting", "tasks": "the tasks\u2019 own clocks"}.get(costs["source"], "")
    note = f'<p class="note">What was held is by {text(by)}.</p>' if by else ""
    warning = f'<p class="note">{text(costs["warning"])}</p>' if costs["warning"] else ""
    return f"<h3>On the cluster</h3>{table}{note}{warning}"

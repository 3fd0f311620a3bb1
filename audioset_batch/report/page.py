"""Puts the page together: template, style and script are files of this package."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from audioset_batch import __version__
from audioset_batch.config.reservation import amount
from audioset_batch.report import charts, svg
from audioset_batch.report.labels import label_table, label_tree
from audioset_batch.report.numbers import Finding, Findings
from audioset_batch.report.ontology import Node
from audioset_batch.report.settings import settings, versions
from audioset_batch.report.timeline import timeline
from audioset_batch.report.words import count, duration, moment, percent, size, some, subset_name, text

_HEADS = {"warning": "Important", "note": "Note", "good": "Good"}
_CODE = re.compile(r"`([^`]*)`")
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
        findings: Of `find`.
        roots: The ontology; None where the file is missing.
        place: The data directory; its name is the title.
    """
    script = _asset("report.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    labels, subsets = summary["labels"], list(summary["subsets"])
    tree = "" if roots is None else label_tree(roots, labels, findings.threshold)
    return Template(_asset("report.html")).substitute(
        # The only script that runs is this one, nothing is loaded from anywhere.
        policy="default-src 'none'; base-uri 'none'; form-action 'none'; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'",
        style=_asset("report.css"),
        script=script,
        title=text(place.name or place),
        place=text(place),
        made=text(moment(summary["generated_at"])),
        program=text(f"audioset-batch {__version__}"),
        tiles="".join(_tiles(summary, findings)),
        findings="".join(map(_finding, findings.texts)),
        outcome=charts.outcome(summary),
        reasons=charts.reasons(summary),
        ranks=charts.ranks(labels, findings.threshold),
        threshold=findings.threshold,
        label_table=label_table(labels, subsets, findings.threshold),
        label_tree=tree,
        tree_note="" if tree else _NO_TREE,
        tree_button="" if tree else "disabled",
        label_total=len(labels),
        timeline=timeline(summary),
        durations=charts.histogram(
            "Duration", "s", summary["durations"], every=4, log=True,
            note=f"{some(summary['durations']['cut_short'], 'clip')} shorter than planned: the video ends early.",
        ),
        rms=charts.histogram(
            "Level (RMS)", "dBFS", summary["levels"]["rms_dbfs"], every=5,
            note="Clips of digital silence have no level: they are not in the bars.",
        ),
        peak=charts.histogram(
            "Peak", "dBFS", summary["levels"]["peak_dbfs"], every=5,
            note=f"{some(summary['levels']['full_scale'], 'clip')} with a peak at full scale.",
        ),
        silence=_silence(summary),
        media=_media(summary),
        cost=_cost(summary),
        versions=versions(summary),
        settings=settings(summary),
    )  # fmt: skip


_NO_TREE = (
    '<p class="note">The labels are a flat list because DATADIR has no <code>ontology.json</code>. Put the file from '
    "github.com/audioset/ontology there (<code>curl -LO "
    "https://raw.githubusercontent.com/audioset/ontology/master/ontology.json</code>) and make the report again to see "
    "them as a tree.</p>"
)


def _asset(name: str) -> str:
    return (files("audioset_batch.report") / name).read_text(encoding="utf-8")


def _tiles(summary: Mapping[str, Any], findings: Findings) -> list[str]:
    totals = summary["totals"]
    stored = summary["audio_bytes"] + summary["video_bytes"]
    tiles = [
        (
            "ok",
            count(totals["ok"]),
            "clips",
            f"{percent(totals['ok'], totals['planned'])} of {count(totals['planned'])}",
        ),
        ("unavailable", count(totals["unavailable"]), "unavailable", "gone for good"),
        ("failed", count(totals["failed"]), "failed", "to be tried again"),
        ("pending", count(totals["pending"]), "pending", "not tried yet"),
        ("", duration(3600 * summary["hours"], days=False), "of audio", f"{size(stored)} on disk"),
        ("", count(len(findings.under)), f"of {findings.planned_labels} labels", f"under {findings.threshold} clips"),
    ]
    return [
        f'<div class="tile"><span class="swatch k-{kind}" aria-hidden="true"></span>'
        f"<strong>{text(number)}</strong><span>{text(what)}</span><small>{text(detail)}</small></div>"
        for kind, number, what, detail in tiles
    ]


def _finding(finding: Finding) -> str:
    return (
        f'<li class="is-{finding.level}"><span class="badge">{_HEADS[finding.level]}</span>'
        f"<div><strong>{text(finding.head)}</strong><p>{_CODE.sub(_as_code, text(finding.body))}</p></div></li>"
    )


def _as_code(match: re.Match[str]) -> str:
    return f"<code>{match[1]}</code>"


def _silence(summary: Mapping[str, Any]) -> str:
    rows = [
        [subset_name(name), count(one["ok"]), count(one["silent"]), percent(one["silent"], one["ok"])]
        for name, one in summary["subsets"].items()
    ]
    return f"<h3>Silence</h3>{svg.table(['subset', 'clips', 'silent', 'share'], rows)}"


def _media(summary: Mapping[str, Any]) -> str:
    ok = summary["totals"]["ok"]
    rows = [
        [words, "\n".join(f"{value}{unit}: {percent(number, ok)}" for value, number in list(found.items())[:8])]
        for name, (words, unit) in _MEDIA.items()
        if (found := summary["media"].get(name))
    ]
    return f"<h3>Formats</h3>{svg.table(['', 'share of the clips'], rows, 'data wordy lines')}" if rows else ""


def _cost(summary: Mapping[str, Any]) -> str:
    cost = summary["cost"]
    each = cost["per_clip"]
    cluster = _cluster(summary.get("cluster", {}))
    if each["requests"] is None:
        return f"<p>No worker has made a clip yet.</p>{cluster}"
    tiles = [
        (f"{each['requests']:.3g}", "requests"),
        (size(each["fetched_bytes"]), "fetched"),
        (duration(each["elapsed_seconds"]), "of one thread"),
        (size(each["published_bytes"]), "kept on disk"),
    ]
    shown = "".join(f'<div class="tile"><strong>{text(a)}</strong><span>{text(b)}</span></div>' for a, b in tiles)
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
    means = svg.table(["outcome", "segments", "requests", "fetched", "time", "tries"], by_status)
    clips = svg.table(["", "half below", "90 % below", "99 % below"], spread)
    return (
        '<p class="note first">Of each clip that is ok, with what the lost segments cost shared out among them.</p>'
        f'<div class="tiles four">{shown}</div><div class="pair"><div><h3>Mean by outcome</h3>{means}</div>'
        f"<div><h3>Spread over the clips that are ok</h3>{clips}</div></div>{cluster}"
    )


def _cluster(costs: Mapping[str, Any]) -> str:
    """Core-hours and GB-hours; "" where no task has noted any."""
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
    table = svg.table(["", "core-hours", "GB-hours", "core-hours per 1,000 clips"], cells)
    by = {"sacct": "SLURM\u2019s accounting", "tasks": "the tasks\u2019 own clocks"}.get(costs["source"], "")
    note = f'<p class="note">What was held is by {text(by)}.</p>' if by else ""
    warning = f'<p class="note">{text(costs["warning"])}</p>' if costs["warning"] else ""
    return f"<h3>On the cluster</h3>{table}{note}{warning}"

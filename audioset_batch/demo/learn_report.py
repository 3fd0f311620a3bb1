"""The page of the learning demo, built from the same parts as the report."""

from __future__ import annotations

import csv
import importlib.metadata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from audioset_batch.humanize import counted
from audioset_batch.learn.training.evaluation import RESULT_CSV
from audioset_batch.learn.training.logs import TRAIN_LOG, VALIDATION_LOG
from audioset_batch.report import charts, html
from audioset_batch.report.html import PageSection, Remark, Tile
from audioset_batch.report.words import subset_name, text
from audioset_batch.sharedfs.publish import atomic_write_text
from audioset_batch.submit.checks.versions import version_lines

_CLIPS_SHOWN: Final = 16
_LEARN_PACKAGES: Final = ("keras", "jax", "torch", "tensorflow", "scikit-learn", "soxr", "numpy")


@dataclass(frozen=True, slots=True)
class LearnedClip:
    """A clip of the eval set: its labels and the best classes with their scores, by name."""

    ytid: str
    labels: tuple[str, ...]
    best: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class Material:
    """The input of the page.

    Attributes:
        evaluation: The content of `evaluation.json`.
        evaluation_dir: Folder that holds the table of the classes.
        train_dir: Folder that holds the logs of the training.
        embedding: The content of the sidecar file of `embed`.
        summary: The content of `summary.json`.
        chance: The mAP of a random ranking.
        clips: Clips of the eval set.
        seconds: Duration of each step.
        training: Options passed to `train`.
    """

    evaluation: Mapping[str, Any]
    evaluation_dir: Path
    train_dir: Path
    embedding: Mapping[str, Any]
    summary: Mapping[str, Any]
    chance: float
    clips: Sequence[LearnedClip]
    seconds: Mapping[str, float]
    training: Sequence[str]


_COUNTS: Final = ("planned", "ok", "unavailable", "failed")


def write_report(path: Path, material: Material) -> None:
    """Write the page. It needs no other file."""
    sections = [
        PageSection("clips", "Clips", html.card(_clips(material))),
        PageSection("classes", "By class", html.card(_classes(material))),
        PageSection("curves", "Curves", _curves(material)),
        PageSection("predictions", "Predictions", html.card(_predictions(material))),
        PageSection("how", "How", html.card(_how(material))),
    ]
    page = html.document(
        "Learning demo",
        "Clips to embeddings to a classifier",
        "What <code>audioset-batch demo --learn</code> came to, on made-up videos from this machine",
        _headline(material),
        sections,
        "Chance is the share of clips that have the label, mean over the classes: what a ranking at random comes to.",
    )
    atomic_write_text(path, page)


def _headline(material: Material) -> str:
    result = material.evaluation
    d_prime = result["d_prime"]
    tiles = [
        Tile(f"{result['map']:.3f}", "mAP reached"),
        Tile(f"{material.chance:.3f}", "mAP by chance"),
        Tile(f"{result['auc']:.3f}", "mean AUC", "chance 0.5"),
        Tile("unbounded" if d_prime is None else f"{d_prime:.2f}", "d\u2032", "chance 0"),
    ]
    warning = Remark(
        "warning",
        "The VGGish weights are random",
        f"The network that made these embeddings is untrained ({material.embedding['weights']}). The classifier works "
        "because the made-up sounds differ so plainly (a siren, a hum, ticking, noise ...) that even random filters "
        "answer differently to them. The figures show that every step from the CSV to a judged classifier works. They "
        "say nothing about AudioSet, nor about VGGish, and compare with nothing published. With the released weights "
        "(`audioset-batch fetch-weights`, then `embed` without `--random-weights`) the same commands give embeddings "
        "that mean something.",
    )
    return html.card(html.remarks([warning])) + html.tiles(tiles, "tiles four")


def _clips(material: Material) -> str:
    embedding, evaluation = material.embedding, material.evaluation
    rows = [
        [subset_name(subset), *(counts[name] for name in _COUNTS)]
        for subset, counts in material.summary["subsets"].items()
    ]
    left_out = embedding["damaged"] + embedding["too_short"]
    return html.table(["subset", *_COUNTS], rows) + _note(
        f"{counted(embedding['embedded'], 'clip')} embedded, {left_out} left out. A clip has one or two of "
        f"{evaluation['classes']} sounds, each at a pitch, pace and level of its own. The classifier was trained on "
        "balanced train; a part of that, held out, chose the checkpoint; all figures here are of the "
        f"{evaluation['clips']} clips of eval."
    )


def _classes(material: Material) -> str:
    with (material.evaluation_dir / RESULT_CSV).open(encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    rows, bars = [], []
    for row in table:
        name, ap = row["display_name"], _short(row["ap"])
        share = f"{int(row['positives']) / material.evaluation['clips']:.3f}"
        rows.append([name, row["positives"], ap, share, _short(row["auc"])])
        bars.append(charts.Bar(name, float(row["ap"] or 0), ap, f"{name}: AP {ap}, by chance {share}"))
    picture = charts.horizontal_bars(bars, "Average precision by class", top=1.0)
    figure = html.figure("Average precision", picture)
    return figure + html.table(["class", "clips", "AP", "AP by chance", "AUC"], rows)


def _curves(material: Material) -> str:
    loss = _points(material.train_dir / TRAIN_LOG, "loss")
    validation = _points(material.train_dir / VALIDATION_LOG, "map")
    return html.columns(
        charts.curve("Loss on the training clips", "loss", loss),
        charts.curve("mAP on the held-out clips", "mAP", validation, top=1.0, level=("chance", material.chance)),
    )


def _predictions(material: Material) -> str:
    shown = material.clips[:_CLIPS_SHOWN]
    rows = [[clip.ytid, " + ".join(clip.labels), ", ".join(_guesses(clip))] for clip in shown]
    return html.table(["clip", "labels", "predicted"], rows, "data wordy") + _note(
        f"The first {len(shown)} of {len(material.clips)} eval clips, two best classes each. ✓ is a label of the clip, "
        "✗ is not."
    )


def _guesses(clip: LearnedClip) -> list[str]:
    return [f"{name} {score:.2f} {'✓' if name in clip.labels else '✗'}" for name, score in clip.best]


def _how(material: Material) -> str:
    times = html.table(["step", "seconds"], [[step, f"{seconds:.0f}"] for step, seconds in material.seconds.items()])
    versions = [*version_lines(), *_installed(), f"computed on {material.embedding['device']}"]
    return (
        f"{times}<p>Trained with <code>{text(' '.join(material.training))}</code>.</p>"
        f"<p>{'<br>'.join(map(text, versions))}</p>"
    )


def _installed() -> list[str]:
    lines = []
    for name in _LEARN_PACKAGES:
        try:
            lines.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return lines


def _points(path: Path, column: str) -> list[tuple[float, float]]:
    """The (step, value) pairs of one column of a log."""
    with path.open(encoding="utf-8", newline="") as file:
        return [(float(row["step"]), float(row[column])) for row in csv.DictReader(file)]


def _note(words: str) -> str:
    return f'<p class="note">{text(words)}</p>'


def _short(number: str) -> str:
    return f"{float(number):.3f}" if number else "none"

"""The page of the learning demo: one HTML file with its figures inside."""

from __future__ import annotations

import base64
import csv
import importlib.metadata
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any, Final

from audioset_batch.training.evaluation import RESULT_CSV, RESULT_FIGURES
from audioset_batch.training.files import replace_text
from audioset_batch.training.logs import TRAIN_LOG, VALIDATION_LOG
from audioset_batch.versions import version_lines

_CLIPS_SHOWN: Final = 16
_LEARN_PACKAGES: Final = ("keras", "jax", "torch", "tensorflow", "scikit-learn", "soxr", "numpy")
_STYLE: Final = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #1c2330; }
h1 { font-size: 1.7rem; margin-bottom: 0 } h2 { font-size: 1.2rem; margin-top: 2.2rem }
table { border-collapse: collapse } th, td { padding: .2rem .9rem .2rem 0; text-align: left; vertical-align: top }
th { border-bottom: 1px solid #9aa5b5 } td.n, th.n { text-align: right; font-variant-numeric: tabular-nums }
.warning { background: #fff4d6; border-left: .4rem solid #d99a00; padding: .6rem 1rem; margin: 1rem 0 }
.key { display: flex; gap: 2.5rem; flex-wrap: wrap; margin: 1rem 0 } .key b { display: block; font-size: 1.9rem }
.right { color: #17703a } .wrong { color: #a3341f } img { max-width: 100% } code { font-size: .88em }
"""


@dataclass(frozen=True, slots=True)
class LearnedClip:
    """A clip of the eval set: its labels and the best classes with their scores, by name."""

    ytid: str
    labels: tuple[str, ...]
    best: tuple[tuple[str, float], ...]


@dataclass(frozen=True, slots=True)
class Material:
    """What the page is made of.

    Attributes:
        evaluation: `evaluation.json`.
        evaluation_dir: Folder of the table and figure by class.
        train_dir: Folder of the training's logs.
        embedding: The sidecar file of `embed`.
        summary: `summary.json` of the merge.
        chance: mAP of a ranking at random.
        clips: Of the eval set.
        seconds: By step.
        training: Options of `train`.
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


def write_report(path: Path, material: Material) -> None:
    """Write the page; it refers to no other file."""
    sections = (_headline(material), _data(material), _classes(material), _curves(material), _clips(material))
    body = "\n".join((*sections, _how(material)))
    replace_text(
        path,
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>Learning demo</title>\n'
        f"<style>{_STYLE}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n",
    )


def _headline(material: Material) -> str:
    result = material.evaluation
    d_prime = result["d_prime"]
    figures = (
        (f"{result['map']:.3f}", "mAP reached"),
        (f"{material.chance:.3f}", "mAP by chance"),
        (f"{result['auc']:.3f}", "mean AUC (chance 0.5)"),
        ("unbounded" if d_prime is None else f"{d_prime:.2f}", "d&#8242; (chance 0)"),
    )
    return (
        "<h1>Clips to embeddings to a classifier</h1>\n<p>What <code>audioset-batch demo --learn</code> came to, on "
        "made-up videos from this machine.</p>\n"
        '<div class="warning"><b>The VGGish weights are random.</b> The network that made these embeddings is '
        f"untrained ({escape(str(material.embedding['weights']))}). The classifier works because the made-up sounds "
        "differ so plainly (a siren, a hum, ticking, noise ...) that even random filters answer differently to them. "
        "The figures show that every step from the CSV to a judged classifier works. They say nothing about AudioSet, "
        "nor about VGGish, and compare with nothing published. With the released weights "
        "(<code>audioset-batch fetch-weights</code>, then <code>embed</code> without <code>--random-weights</code>) "
        "the same commands give embeddings that mean something.</div>\n"
        '<div class="key">' + "".join(f"<div><b>{value}</b>{name}</div>" for value, name in figures) + "</div>"
    )


def _data(material: Material) -> str:
    rows = []
    for subset, counts in material.summary["subsets"].items():
        numbers = "".join(_number(counts[name]) for name in ("planned", "ok", "unavailable", "failed"))
        rows.append(f"<tr><td>{escape(subset)}</td>{numbers}</tr>")
    head = "".join(f'<th class="n">{name}</th>' for name in ("planned", "ok", "unavailable", "failed"))
    left_out = material.embedding["damaged"] + material.embedding["too_short"]
    return (
        f"<h2>Clips</h2>\n<table><tr><th>subset</th>{head}</tr>{''.join(rows)}</table>\n"
        f"<p>{material.embedding['embedded']} clips embedded, {left_out} left out. A clip has one or two of "
        f"{material.evaluation['classes']} sounds, each at a pitch, pace and level of its own. The classifier was "
        "trained on <code>balanced_train_segments</code>; a part of that, held out, chose the checkpoint; "
        f"all figures here are of the {material.evaluation['clips']} clips of <code>eval_segments</code>.</p>"
    )


def _classes(material: Material) -> str:
    with (material.evaluation_dir / RESULT_CSV).open(encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    total = material.evaluation["clips"]
    rows = []
    for row in table:
        share = f"{int(row['positives']) / total:.3f}"
        numbers = (row["positives"], _short(row["ap"]), share, _short(row["auc"]))
        rows.append(f"<tr><td>{escape(row['display_name'])}</td>{''.join(map(_number, numbers))}</tr>")
    head = "".join(f'<th class="n">{name}</th>' for name in ("clips", "AP", "AP by chance", "AUC"))
    figure = (material.evaluation_dir / RESULT_FIGURES[1]).read_bytes()
    return (
        f"<h2>By class</h2>\n<table><tr><th>class</th>{head}</tr>{''.join(rows)}</table>\n"
        f"{_image(figure, 'Average precision by class')}"
    )


def _curves(material: Material) -> str:
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    loss = _columns(material.train_dir / TRAIN_LOG, "step", "loss")
    validation = _columns(material.train_dir / VALIDATION_LOG, "step", "map")
    figure = Figure(figsize=(11, 3.4), layout="constrained")
    FigureCanvasSVG(figure)
    left, right = figure.subplots(1, 2)
    left.plot(*loss)
    left.set(title="Loss on the training clips", xlabel="step", yscale="log")
    right.plot(*validation, marker="o", markersize=3)
    right.axhline(material.chance, color="grey", linestyle="--", linewidth=0.8)
    right.set(title="mAP on the held-out clips (dashed: chance)", xlabel="step", ylim=(0, 1.02))
    drawn = io.BytesIO()
    figure.savefig(drawn, format="svg")
    return f"<h2>Curves</h2>\n{_image(drawn.getvalue(), 'Loss and validation mAP by step')}"


def _clips(material: Material) -> str:
    rows = []
    for clip in material.clips[:_CLIPS_SHOWN]:
        guesses = ", ".join(
            f'<span class="{"right" if name in clip.labels else "wrong"}">{escape(name)} {score:.2f}</span>'
            for name, score in clip.best
        )
        rows.append(
            f"<tr><td><code>{escape(clip.ytid)}</code></td><td>{escape(' + '.join(clip.labels))}</td>"
            f"<td>{guesses}</td></tr>"
        )
    return (
        f"<h2>Predictions</h2>\n<p>The first {len(rows)} of {len(material.clips)} eval clips, two best classes each. "
        f"Red is no label of the clip.</p>\n"
        f"<table><tr><th>clip</th><th>labels</th><th>predicted</th></tr>{''.join(rows)}</table>"
    )


def _how(material: Material) -> str:
    times = "".join(f"<tr><td>{escape(step)}</td>{_number(f'{s:.0f} s')}</tr>" for step, s in material.seconds.items())
    versions = [*version_lines(), *_installed(), f"computed on {material.embedding['device']}"]
    return (
        f"<h2>How</h2>\n<table>{times}</table>\n<p>Trained with <code>{escape(' '.join(material.training))}</code>.</p>"
        f"\n<p>Chance is the share of clips that have the label, mean over the classes: what a ranking at random "
        f"comes to.</p>\n<h2>Versions</h2>\n<p>{'<br>'.join(escape(line) for line in versions)}</p>"
    )


def _installed() -> list[str]:
    lines = []
    for name in _LEARN_PACKAGES:
        try:
            lines.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return lines


def _columns(path: Path, *names: str) -> list[list[float]]:
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return [[float(row[name]) for row in rows] for name in names]


def _image(svg: bytes, text: str) -> str:
    # As an image of its own: two figures of matplotlib in one document would share ids.
    return f'<img alt="{escape(text)}" src="data:image/svg+xml;base64,{base64.b64encode(svg).decode()}">'


def _number(value: object) -> str:
    return f'<td class="n">{escape(str(value))}</td>'


def _short(number: str) -> str:
    return f"{float(number):.3f}" if number else "none"

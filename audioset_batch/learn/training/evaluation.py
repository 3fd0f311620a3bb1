"""Judging a model's scores: all metrics as JSON, one row per class as CSV, the APs as a figure."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from audioset_batch.errors import InputRefused
from audioset_batch.learn.features.csvs import read_label_table
from audioset_batch.learn.training import metrics
from audioset_batch.sharedfs.publish import atomic_write_json, make_user_folder, replacing

RESULT_JSON: Final = "evaluation.json"
RESULT_CSV: Final = "evaluation_classes.csv"
RESULT_FIGURES: Final = ("evaluation_ap.png", "evaluation_ap.svg")
_NAMED_BARS: Final = 20


@dataclass(frozen=True, slots=True)
class ClassName:
    """A class as people know it; `mid` is empty for classes that came from folders."""

    mid: str
    display_name: str


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """Scores judged.

    Attributes:
        classes: AP, AUC, d' and counts by class.
        hit_at_1: Share of clips whose best class is right.
        perr: Precision at equal recall rate.
        gap: Global average precision at `top_k`.
        yt8m_map: The starter code's MAP at `top_k`.
        top_k: Classes per clip that the last two look at.
        clips_without_labels: Clips that no metric per clip could use.
    """

    classes: metrics.ClassMetrics
    hit_at_1: float
    perr: float
    gap: float
    yt8m_map: float
    top_k: int
    clips_without_labels: int

    def summary(self) -> dict[str, Any]:
        """The numbers over all classes; undefined and infinite ones are None, as JSON has neither."""
        classes = self.classes
        values = {
            "map": classes.mean_ap,
            "auc": classes.mean_auc,
            "d_prime": classes.mean_d_prime,
            "classes": len(classes.ap),
            "classes_used": classes.classes_used,
            "classes_without_positives": len(classes.ap) - classes.classes_used,
            "clips": classes.clips,
            "clips_without_labels": self.clips_without_labels,
            "hit_at_1": self.hit_at_1,
            "perr": self.perr,
            f"gap_at_{self.top_k}": self.gap,
            "yt8m_map": self.yt8m_map,
            "top_k": self.top_k,
        }
        return {name: _finite(value) for name, value in values.items()}


def judge(labels: npt.NDArray[np.bool_], scores: npt.NDArray[Any], top_k: int = 20) -> Evaluation:
    """All metrics of scores (N, K).

    Raises:
        InputRefused: No class has a positive clip, or scores are NaN.
    """
    try:
        evaluation = Evaluation(
            classes=metrics.class_metrics(labels, scores),
            hit_at_1=metrics.hit_at_one(labels, scores),
            perr=metrics.perr(labels, scores),
            gap=metrics.gap(labels, scores, top_k),
            yt8m_map=metrics.yt8m_map(labels, scores, top_k),
            top_k=top_k,
            clips_without_labels=int((~labels.any(axis=1)).sum()),
        )
    except ValueError as error:
        raise InputRefused(f"cannot be evaluated: {error}") from error
    if not evaluation.classes.classes_used:
        raise InputRefused(f"none of the {len(labels)} clips has a label: there is nothing to evaluate against")
    return evaluation


def write_evaluation(
    folder: Path, evaluation: Evaluation, names: Sequence[ClassName], about: dict[str, Any]
) -> list[Path]:
    """Write JSON, CSV and figures into `folder`; returns their paths.

    Args:
        folder: Made if missing.
        evaluation: What to write.
        names: Of all classes.
        about: Further keys of the JSON: which model, which data.
    """
    make_user_folder(folder)
    paths = [folder / name for name in (RESULT_JSON, RESULT_CSV, *RESULT_FIGURES)]
    atomic_write_json(paths[0], about | evaluation.summary())
    with replacing(paths[1]) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("index", "mid", "display_name", "positives", "ap", "auc", "d_prime"))
        classes = evaluation.classes
        columns = zip(names, classes.positives, classes.ap, classes.auc, classes.d_prime, strict=True)
        for index, (name, positives, *values) in enumerate(columns):
            numbers = ("" if math.isnan(value) else f"{value:.6f}" for value in values)
            writer.writerow((index, name.mid, name.display_name, positives, *numbers))
    _draw(paths[2:], evaluation.classes, names)
    return paths


def read_class_names(path: Path, classes: int) -> list[ClassName]:
    """Names by index from class_labels_indices.csv.

    Raises:
        InputRefused: Other columns, or not `classes` rows.
    """
    table = read_label_table(path)
    if len(table) != classes:
        raise InputRefused(
            f"{path}: expected {classes} classes, as the model has, found {len(table)}: take the file that it was "
            "trained with"
        )
    return [ClassName(mid, name) for mid, name in zip(table.mids, table.names, strict=True)]


def numbered_names(classes: int) -> list[ClassName]:
    """Stand-ins where no names are known."""
    return [ClassName("", f"class {index}") for index in range(classes)]


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _draw(paths: Sequence[Path], classes: metrics.ClassMetrics, names: Sequence[ClassName]) -> None:
    """APs of all classes in descending order, the best and worst by name, against how frequent they are."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    used = np.flatnonzero(~np.isnan(classes.ap))
    order = used[np.argsort(-classes.ap[used], kind="stable")]
    if len(order) > 2 * _NAMED_BARS:
        named = np.concatenate([order[:_NAMED_BARS], order[-_NAMED_BARS:]])
    else:
        named = order
    figure = Figure(figsize=(11, 3.2 + 0.19 * len(named)), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(2, 2, height_ratios=(3, 0.2 * len(named) + 0.5))
    ranked, frequent = figure.add_subplot(grid[0, 0]), figure.add_subplot(grid[0, 1])
    bars = figure.add_subplot(grid[1, :])
    ranked.fill_between(np.arange(len(order)), classes.ap[order], step="mid", alpha=0.6)
    ranked.axhline(classes.mean_ap, color="black", linewidth=0.8)
    ranked.set(
        title=f"AP by class, mAP {classes.mean_ap:.3f} over {classes.classes_used} classes",
        xlabel="classes, best first",
        ylabel="AP",
        ylim=(0, 1.02),
    )
    frequent.scatter(classes.positives[used], classes.ap[used], s=8)
    frequent.set(title="AP and frequency", xlabel="clips with the label", ylabel="AP", xscale="log", ylim=(0, 1.02))
    places = np.arange(len(named))[::-1]
    bars.barh(places, classes.ap[named], height=0.8)
    # A dollar sign would start matplotlib's formulas.
    labels = [f"{names[k].display_name} ({classes.positives[k]})".replace("$", r"\$") for k in named]
    bars.set_yticks(places, labels, fontsize=7)
    bars.set(xlim=(0, 1), xlabel="AP; in brackets the clips with the label", ylim=(-1, len(named)))
    if len(order) > len(named):
        bars.set_title(f"the {_NAMED_BARS} best and the {_NAMED_BARS} worst classes")
    for path in paths:
        with replacing(path) as temporary:
            figure.savefig(temporary, dpi=110, format=path.suffix[1:])

"""Predictions as the YouTube-8M starter code writes them: `VideoId,LabelConfidencePairs`."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from audioset_batch.learn.training.metrics import top_classes
from audioset_batch.sharedfs.publish import make_user_folder, replacing

HEADER: Final = ("VideoId", "LabelConfidencePairs")


def write_predictions(path: Path, video_ids: npt.NDArray[np.str_], scores: npt.NDArray[Any], top_k: int = 20) -> None:
    """Write the header and per clip `id,index score index score ...` by descending score, atomically.

    Args:
        path: The CSV.
        video_ids: str (N,).
        scores: float (N, K).
        top_k: Classes per clip.
    """
    make_user_folder(path.parent)
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        # An id that is a path may hold commas and quotes.
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(HEADER)
        for name, row, best in zip(video_ids, scores, top_classes(scores, top_k), strict=True):
            writer.writerow((name, " ".join(f"{k} {row[k]:g}" for k in best)))

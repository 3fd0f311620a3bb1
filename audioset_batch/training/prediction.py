"""Predictions as the YouTube-8M starter code writes them: `VideoId,LabelConfidencePairs`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from audioset_batch.training.files import published
from audioset_batch.training.metrics import top_classes

HEADER: Final = "VideoId,LabelConfidencePairs"


def prediction_lines(video_ids: npt.NDArray[np.str_], scores: npt.NDArray[Any], top_k: int) -> Iterable[str]:
    """`id,index score index score ...` by descending score, without line ends."""
    for name, row, best in zip(video_ids, scores, top_classes(scores, top_k), strict=True):
        yield f"{name}," + " ".join(f"{k} {row[k]:g}" for k in best)


def write_predictions(path: Path, video_ids: npt.NDArray[np.str_], scores: npt.NDArray[Any], top_k: int = 20) -> None:
    """Write header and one line per clip, atomically."""
    with published(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
        file.write(HEADER + "\n")
        file.writelines(line + "\n" for line in prediction_lines(video_ids, scores, top_k))

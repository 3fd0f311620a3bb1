"""`audioset-batch demo`: prep, four shards (through SLURM where sbatch answers, else in parallel), merge, report."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from audioset_batch.demo.lists import MadeUpSegment
from audioset_batch.demo.stage import download_clips, empty_folder, slurm_answers
from audioset_batch.demo.videos import made_up_videos
from audioset_batch.merge import MergeResult
from audioset_batch.report import write_report
from audioset_batch.standin import Fault, Trouble

SEGMENTS: Final = 48
_FEW_CLIPS: Final = 5
_SUBSETS: Final = {"eval_segments": SEGMENTS // 2, "balanced_train_segments": SEGMENTS // 2}
_CLASSES: Final = (
    ("/m/09x0r", "Speech"),
    ("/m/0bt9lr", "Dog"),
    ("/m/04rlf", "Music"),
    ("/m/07yv9", "Vehicle"),
    ("/m/01yrx", "Cat"),
    ("/m/03m9d0z", "Wind"),
)


@dataclass(frozen=True, slots=True)
class DemoResult:
    """The result of the demo.

    Attributes:
        folder: The folder of the demo.
        merged: The result of merge.
        report: Path of the report.
        through_slurm: True if a real SLURM ran the array.
        seconds: Duration, from prep to report.
    """

    folder: Path
    merged: MergeResult
    report: Path
    through_slurm: bool
    seconds: float


def run_demo(folder: Path, config_file: Path, say: Callable[[str], None], *, slurm: bool | None = None) -> DemoResult:
    """Run the demo in `folder`, which is emptied first if an earlier demo made it.

    Args:
        folder: Made if needed.
        config_file: `configs/demo.yaml`, or one of your own.
        say: Called with one line per step.
        slurm: Whether to use SLURM; None uses it if it answers.

    Raises:
        UsageError: the folder is not empty, and no earlier demo made it.
        InputRefused: a step failed; the message contains its output.
    """
    empty_folder(folder)
    started = time.monotonic()
    subsets = _segments()
    needs = {row.ytid: float(row.end) for rows in subsets.values() for row in rows}
    through_slurm = slurm_answers() if slurm is None else slurm
    merged = download_clips(
        folder,
        config_file,
        made_up_videos(needs),
        _CLASSES,
        subsets,
        slurm=through_slurm,
        faults=[Fault(Trouble.SERVER_ERROR, probability=0.05)],
        say=say,
    )
    report = write_report(folder / "data", threshold=_FEW_CLIPS)[0]
    return DemoResult(folder, merged, report, through_slurm, time.monotonic() - started)


def _segments() -> dict[str, list[MadeUpSegment]]:
    subsets: dict[str, list[MadeUpSegment]] = {}
    number = 0
    for subset, count in _SUBSETS.items():
        rows = subsets[subset] = []
        for _ in range(count):
            start = (number * 10) % 50
            labels = [_CLASSES[number % len(_CLASSES)][0]]
            if number % 3 == 0:
                labels.append(_CLASSES[(number + 2) % len(_CLASSES)][0])
            ytid = f"{'-' if number % 12 == 0 else 'd'}emo{number:05d}_{number % 10}"
            rows.append(MadeUpSegment(ytid, start, start + (10 if number % 11 else 4), tuple(labels)))
            number += 1
    return subsets

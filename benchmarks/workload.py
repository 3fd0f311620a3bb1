"""The clips that everybody is asked for: the same made-up videos of 1, 3 and 10 minutes in equal parts.

Starts are spread as in AudioSet: a third at 30 s, the others mostly at multiples of ten seconds, later ones rarer.
"""

from __future__ import annotations

import random
import string
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from audioset_batch.standin import Catalog, Video

LENGTHS: Final = (60, 180, 600)
"""Seconds of the videos."""

SUBSET: Final = "balanced_train"
CLIP_SECONDS: Final = 10
_MEAN_START: Final = 120.0
_ALPHABET: Final = string.ascii_letters + string.digits
_LABELS: Final = {"/m/09x0r": "Speech", "/m/04rlf": "Music", "/m/0bt9lr": "Dog"}


@dataclass(frozen=True, slots=True)
class Clip:
    """Ten seconds from `start` (seconds) of a video of `length` seconds."""

    ytid: str
    length: int
    start: float
    label: str

    @property
    def url(self) -> str:
        """Where people watch it."""
        return f"https://www.youtube.com/watch?v={self.ytid}"


def make_clips(count: int, lengths: Sequence[int] = LENGTHS, seed: int = 0) -> list[Clip]:
    """`count` clips of videos of these lengths in turn; the same whenever the arguments are the same."""
    chance = random.Random(f"{seed}:{sorted(lengths)}")
    clips = []
    for index in range(count):
        length = lengths[index % len(lengths)]
        ytid = "".join(chance.choice(_ALPHABET) for _ in range(11))
        clips.append(Clip(ytid, length, _start(chance, length), chance.choice(list(_LABELS))))
    return clips


def _start(chance: random.Random, length: int) -> float:
    if chance.random() < 1 / 3:
        return 30.0
    while True:
        start = chance.expovariate(1 / _MEAN_START)
        start = round(start, 3) if chance.random() < 0.06 else start // 10 * 10
        if start + CLIP_SECONDS <= length:
            return start


def write_csvs(folder: Path, clips: Sequence[Clip]) -> None:
    """The segment list and the class list as Google publishes them."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [f'{index},{mid},"{name}"' for index, (mid, name) in enumerate(_LABELS.items())]
    (folder / "class_labels_indices.csv").write_text("\n".join(["index,mid,display_name", *names]) + "\n")
    lines = [
        "# Segments csv made for a benchmark",
        f"# num_ytids={len(clips)}, num_segs={len(clips)}, num_unique_labels={len(_LABELS)}, "
        f"num_positive_labels={len(clips)}",
        "# YTID, start_seconds, end_seconds, positive_labels",
        *(f'{clip.ytid}, {clip.start:.3f}, {clip.start + CLIP_SECONDS:.3f}, "{clip.label}"' for clip in clips),
    ]
    (folder / f"{SUBSET}_segments.csv").write_text("\n".join(lines) + "\n")


def catalog_of(clips: Sequence[Clip]) -> Catalog:
    """What the stand-in has to offer for these clips: the usual formats of each video."""
    return Catalog.of(*(Video(clip.ytid, float(clip.length)) for clip in clips))

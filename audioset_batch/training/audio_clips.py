"""Which sounds vgg16 sees, with labels: from the merged manifest or from a folder per class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from audioset_batch.errors import InputRefused, UsageError
from audioset_batch.layout import DataDir
from audioset_batch.vggish.audio import EXTENSIONS
from audioset_batch.vggish.inputs import (
    FOLDER_SPLIT,
    Clip,
    ShardOf,
    clips_of_manifest,
    has_manifest,
    read_class_indices,
)


@dataclass(frozen=True, slots=True, eq=False)
class LabelledClips:
    """Sounds and their classes.

    Attributes:
        clips: N of them.
        class_names: Folder names, or empty if the classes are those of class_labels_indices.csv.
        num_classes: K.
    """

    clips: Sequence[Clip]
    class_names: tuple[str, ...]
    num_classes: int

    def labels(self) -> npt.NDArray[np.bool_]:
        """bool (N, K)."""
        labels = np.zeros((len(self.clips), self.num_classes), np.bool_)
        for row, clip in enumerate(self.clips):
            labels[row, list(clip.labels)] = True
        return labels


def from_manifest(root: Path, subsets: tuple[str, ...] | None) -> LabelledClips:
    """The clips of DATADIR's merged manifest with status `ok`.

    Raises:
        UsageError: No class_labels_indices.csv.
        InputRefused: The table cannot be used, or holds no such clip.
    """
    clips = clips_of_manifest(root, ShardOf(), subsets)
    if not clips:
        raise InputRefused(
            f"{DataDir(root).merged_parquet}: no clip with status ok" + (f" in {', '.join(subsets)}" if subsets else "")
        )
    return LabelledClips(clips, (), len(read_class_indices(DataDir(root).class_labels_csv)))


def from_class_folders(root: Path, split: str, class_names: tuple[str, ...] = ()) -> LabelledClips:
    """The sounds of `root/<split>/<class>/*`; a file that lies in several class folders has several labels.

    Args:
        root: DATADIR.
        split: E.g. `train`.
        class_names: Of the model; empty takes the folders in alphabetical order.

    Raises:
        UsageError: No such folder.
        InputRefused: No sounds in it, or a class that the model lacks.
    """
    folder = root / split
    if not folder.is_dir():
        raise UsageError(f"{root}: expected a merged manifest (manifest.parquet), or a folder {split}/<class>/<sounds>")
    found = sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    names = class_names or tuple(found)
    unknown = sorted(set(found) - set(names))
    if unknown:
        raise InputRefused(f"{folder / unknown[0]}: the model has no such class; it has {', '.join(names)}")
    labels: dict[str, list[int]] = {}
    paths: dict[str, Path] = {}
    for index, name in enumerate(names):
        for path in sorted((folder / name).glob("*")):
            if path.suffix.lower() in EXTENSIONS and not path.name.startswith("."):
                labels.setdefault(path.name, []).append(index)
                paths.setdefault(path.name, path)
    if not paths:
        raise InputRefused(f"{folder}: expected sounds ({', '.join(EXTENSIONS)}) in one folder per class, found none")
    clips = [Clip(FOLDER_SPLIT, paths[name].stem, 0, None, tuple(labels[name]), paths[name]) for name in sorted(paths)]
    return LabelledClips(clips, names, len(names))


def labelled_clips(
    root: Path, subsets: tuple[str, ...] | None, split: str, class_names: tuple[str, ...]
) -> LabelledClips:
    """`from_class_folders` if `root/<split>` is there and no merged manifest, else `from_manifest`.

    Raises:
        UsageError: Neither is there.
        InputRefused: What is there cannot be used.
    """
    if has_manifest(root):
        return from_manifest(root, subsets)
    return from_class_folders(root, split, class_names)

"""Which sounds vgg16 sees, with labels: from the merged manifest or from a folder per class."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from audioset_batch.errors import InputRefused, UsageError
from audioset_batch.layout import DataDir
from audioset_batch.learn.features.csvs import read_label_table
from audioset_batch.learn.vggish.audio import EXTENSIONS
from audioset_batch.learn.vggish.inputs import (
    FOLDER_SPLIT,
    ShardOf,
    Sound,
    clips_of_manifest,
    has_manifest,
    path_id,
)


@dataclass(frozen=True, slots=True, eq=False)
class LabelledSounds:
    """Sounds and their classes.

    Attributes:
        clips: N of them.
        class_names: Folder names, or empty if the classes are those of class_labels_indices.csv.
        num_classes: K.
    """

    clips: Sequence[Sound]
    class_names: tuple[str, ...]
    num_classes: int

    def labels(self) -> npt.NDArray[np.bool_]:
        """bool (N, K)."""
        labels = np.zeros((len(self.clips), self.num_classes), np.bool_)
        for row, clip in enumerate(self.clips):
            labels[row, list(clip.labels)] = True
        return labels


def from_manifest(root: Path, subsets: tuple[str, ...] | None) -> LabelledSounds:
    """The clips of DATADIR's merged manifest with status `ok`.

    Raises:
        UsageError: No class_labels_indices.csv.
        InputRefused: The table cannot be used, or holds no such clip; the indices of the classes are not 0, 1, 2, ...
    """
    clips = clips_of_manifest(root, ShardOf(), subsets)
    if not clips:
        raise InputRefused(
            f"{DataDir(root).merged_parquet}: no clip with status ok" + (f" in {', '.join(subsets)}" if subsets else "")
        )
    return LabelledSounds(clips, (), len(read_label_table(DataDir(root).class_labels_csv)))


def from_class_folders(
    root: Path, split: str, class_names: tuple[str, ...] = (), passed_over: list[Path] | None = None
) -> LabelledSounds:
    """The sounds of `root/<split>/<class>/*`; a clip's id is `<class>/<file name>`.

    A clip has the label of each class folder that holds its file, as a link or as a copy of the same name and bytes.
    Different files are different clips, whatever their names.

    Args:
        root: DATADIR.
        split: E.g. `train`.
        class_names: Of the model; empty takes the folders in alphabetical order.
        passed_over: Files that are no sounds by their names are added to it.

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
    sounds: list[tuple[int, Path]] = []
    for index, name in enumerate(names):
        for path in sorted((folder / name).glob("[!.]*")):
            if path.suffix.lower() in EXTENSIONS:
                sounds.append((index, path))
            elif passed_over is not None:
                passed_over.append(path)
    if not sounds:
        raise InputRefused(f"{folder}: expected sounds ({', '.join(EXTENSIONS)}) in one folder per class, found none")
    kinds = [(path.name, _size(path)) for _, path in sounds]
    repeated = Counter(kinds)
    labels: dict[object, list[int]] = {}
    paths: dict[object, Path] = {}
    for (index, path), kind in zip(sounds, kinds, strict=True):
        identity = (kind, _digest(path)) if repeated[kind] > 1 else kind
        labels.setdefault(identity, []).append(index)
        paths.setdefault(identity, path)
    clips = [
        Sound(FOLDER_SPLIT, path_id(path, folder), 0, None, tuple(labels[identity]), path)
        for identity, path in paths.items()
    ]
    return LabelledSounds(sorted(clips, key=lambda clip: clip.video_id), names, len(names))


def _size(path: Path) -> int:
    """Bytes; -1 if nothing is there, as behind a link to nowhere."""
    try:
        return path.stat().st_size
    except OSError:
        return -1


def _digest(path: Path) -> bytes | Path:
    """What tells files of one name and size apart; the path if it cannot be read, which decoding reports later."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError:
        return path


def labelled_sounds(
    root: Path,
    subsets: tuple[str, ...] | None,
    split: str,
    class_names: tuple[str, ...],
    passed_over: list[Path] | None = None,
) -> LabelledSounds:
    """`from_class_folders` if `root/<split>` is there and no merged manifest, else `from_manifest`.

    Raises:
        UsageError: Neither is there.
        InputRefused: What is there cannot be used.
    """
    if has_manifest(root):
        return from_manifest(root, subsets)
    return from_class_folders(root, split, class_names, passed_over)

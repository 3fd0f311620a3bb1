"""Which clips a command works on, read as the model takes them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from audioset_batch.errors import UsageError
from audioset_batch.layout import DataDir
from audioset_batch.learn.features.tfrecord import Damage, raise_damage
from audioset_batch.learn.training.audio_clips import LabelledSounds, labelled_sounds
from audioset_batch.learn.training.evaluation import ClassName, numbered_names, read_class_names
from audioset_batch.learn.training.examples import EmbeddingExamples, Examples, Notify
from audioset_batch.learn.training.options import VGG16, ModelOptions
from audioset_batch.learn.training.sources import read_features

_NAMED_FILES: Final = 5


@dataclass(frozen=True, slots=True)
class DataOptions:
    """Which clips.

    Attributes:
        pattern: Embeddings, as `sources.expand_pattern` takes it; empty for vgg16.
        data_dir: DATADIR of vgg16's sounds.
        subsets: Of the merged manifest; None for all.
        split: Folder of the classes' folders, where there is no manifest.
        mmap: Leave packed embeddings on disk.
        class_labels_csv: Names of the classes, if wanted.
        skip_bad: Leave damaged TFRecords out, and say so, instead of stopping.
    """

    pattern: str = ""
    data_dir: Path | None = None
    subsets: tuple[str, ...] | None = None
    split: str = "train"
    mmap: bool = False
    class_labels_csv: Path | None = None
    skip_bad: bool = False


def find_sounds(data: DataOptions, class_names: tuple[str, ...], notify: Notify) -> LabelledSounds:
    """The sounds that `data` means, for vgg16.

    Args:
        data: Which.
        class_names: Of the model; empty takes what the folders or class_labels_indices.csv say.
        notify: Told which files were passed over.

    Raises:
        UsageError: No folder is named, or none is there.
        InputRefused: What is there cannot be used.
    """
    passed_over: list[Path] = []
    sounds = labelled_sounds(_data_dir(data), data.subsets, data.split, class_names, passed_over)
    if passed_over:
        named = ", ".join(map(str, passed_over[:_NAMED_FILES])) + (" ..." if passed_over[_NAMED_FILES:] else "")
        notify(f"skipped {len(passed_over):,} files that are not audio: {named}")
    return sounds


def load_examples(
    data: DataOptions,
    options: ModelOptions,
    train_dir: Path,
    notify: Notify,
    sounds: LabelledSounds | None = None,
) -> Examples:
    """The clips that `data` means, as the model of `options` takes them.

    Args:
        data: Which.
        options: The model's.
        train_dir: Its folder, which keeps the images of sounds.
        notify: Told about progress, and about what is left out.
        sounds: Of `find_sounds`, if it has been called.

    Raises:
        UsageError: Options of the other kind of model.
        InputRefused: Data cannot be used.
    """
    if options.model == VGG16:
        from audioset_batch.learn.training.image_cache import ImageExamples

        sounds = sounds or find_sounds(data, options.class_names, notify)
        if sounds.num_classes != options.num_classes:
            raise UsageError(f"the model has {options.num_classes} classes, {data.data_dir} has {sounds.num_classes}")
        return ImageExamples(sounds, options, train_dir / "images", notify)
    if not data.pattern:
        raise UsageError(f"{options.model} needs embeddings: give a data pattern (TFRecords or packed features)")

    def skip(damage: Damage) -> None:
        notify(f"skipped: {damage}")

    features = read_features(
        data.pattern,
        options.num_classes,
        options.max_frames,
        mmap=data.mmap,
        on_bad=skip if data.skip_bad else raise_damage,
    )
    return EmbeddingExamples(features, options)


def class_names_of(data: DataOptions, options: ModelOptions) -> list[ClassName]:
    """Names of the model's classes by index, numbers where nothing names them.

    Raises:
        InputRefused: The file of the names is of other classes.
    """
    if options.class_names:
        return [ClassName("", name) for name in options.class_names]
    path = data.class_labels_csv
    if path is None and options.model == VGG16:
        path = DataDir(_data_dir(data)).class_labels_csv
    return numbered_names(options.num_classes) if path is None else read_class_names(path, options.num_classes)


def _data_dir(data: DataOptions) -> Path:
    if data.data_dir is None:
        raise UsageError(f"{VGG16} needs sounds: give --data_dir")
    return data.data_dir

"""Images of clips, made once and kept on disk, a thousand per file, so that an interrupted job goes on there."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from audioset_batch.errors import InputRefused
from audioset_batch.learn.training.audio_clips import LabelledSounds
from audioset_batch.learn.training.examples import Inputs, Notify, Rows
from audioset_batch.learn.training.images import clip_image
from audioset_batch.learn.training.options import ModelOptions
from audioset_batch.learn.vggish.audio import clip_threads, decode
from audioset_batch.learn.vggish.inputs import Sound, audio_source
from audioset_batch.sharedfs.publish import make_user_folder, replacing

_PER_FILE: Final = 1000


class ImageExamples:
    """The images of all clips that can be read.

    Args:
        labelled: The clips.
        options: The model's.
        cache: Folder of the images; one folder below it for each list of clips and image settings.
        notify: Told about progress, and about each sound that cannot be read, which is left out.

    Raises:
        InputRefused: No sound can be read.
    """

    def __init__(self, labelled: LabelledSounds, options: ModelOptions, cache: Path, notify: Notify) -> None:
        self._size = options.image_size
        folder = cache / _digest(labelled.clips, options)
        files = [
            _image_file(folder, number, labelled.clips[first : first + _PER_FILE], options, notify)
            for number, first in enumerate(range(0, len(labelled.clips), _PER_FILE))
        ]
        self._images = [images for images, _ in files]
        self._rows = np.flatnonzero(np.concatenate([readable for _, readable in files]))
        if not self._rows.size:
            raise InputRefused(f"none of the {len(labelled.clips)} sounds can be read, e.g. {labelled.clips[0].name}")
        self.labels = labelled.labels()[self._rows]
        self.video_ids = np.array([clip.video_id for clip in labelled.clips], np.str_)[self._rows]

    def __len__(self) -> int:
        return len(self._rows)

    def inputs(self, rows: Rows) -> Inputs:
        """`image` float32 (n, size, size, 1), 0..255."""
        images = np.empty((len(rows), self._size, self._size, 1), np.float32)
        for place, row in enumerate(self._rows[rows]):
            images[place, ..., 0] = self._images[row // _PER_FILE][row % _PER_FILE]
        return {"image": images}


def _digest(clips: Sequence[Sound], options: ModelOptions) -> str:
    """Of everything that the images depend on, short enough for a folder's name."""
    settings = (options.image_size, options.clip_seconds, options.log_mel_low, options.log_mel_high)
    states = {path: _state(path) for path in {clip.path for clip in clips}}
    sources = [(str(clip.path), clip.offset, states[clip.path]) for clip in clips]
    return hashlib.sha256(repr((settings, sources)).encode()).hexdigest()[:16]


def _state(path: Path) -> tuple[int, int]:
    """Size and time of the last change: another file of the same name makes another image."""
    try:
        found = path.stat()
    except OSError:
        return (-1, 0)
    return found.st_size, found.st_mtime_ns


def _image_file(
    folder: Path, number: int, clips: Sequence[Sound], options: ModelOptions, notify: Notify
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
    """Images (n, size, size) mapped from disk, and which of them are of readable sounds."""
    path, flags = folder / f"{number:05d}.npy", folder / f"{number:05d}.readable.npy"
    if not path.exists():
        make_user_folder(folder)
        # Decoding, resampling and the FFT release the interpreter's lock.
        with clip_threads(os.process_cpu_count() if hasattr(os, "process_cpu_count") else None) as pool:
            made = list(pool.map(lambda clip: _image(clip, options), clips))
        for clip, image in zip(clips, made, strict=True):
            if isinstance(image, str):
                notify(f"left out: {clip.name}: {image}")
        empty = np.zeros((options.image_size, options.image_size), np.uint8)
        # The flags first: where the images are, the flags are too.
        _save(flags, np.array([not isinstance(image, str) for image in made]))
        _save(path, np.stack([empty if isinstance(image, str) else image for image in made]))
        notify(f"images made: {number * _PER_FILE + len(clips)}")
    return np.load(path, mmap_mode="r"), np.load(flags)


def _image(clip: Sound, options: ModelOptions) -> npt.NDArray[np.uint8] | str:
    """The image, or why there is none."""
    try:
        samples, _ = decode(audio_source(clip), clip.name)
    except InputRefused as error:
        return str(error)
    return clip_image(samples, options)


def _save(path: Path, array: npt.NDArray[np.generic]) -> None:
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.save(file, array)

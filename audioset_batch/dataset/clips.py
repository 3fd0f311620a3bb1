"""The clips as a lazy sequence: nothing is read before it is asked for."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, SupportsIndex

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from audioset_batch.dataset.classes import load_classes
from audioset_batch.dataset.table import Words, open_data, read_rows, select
from audioset_batch.dataset.waveform import Waveform, decode, fit, resample, to_mono
from audioset_batch.errors import InputRefused, UsageError
from audioset_batch.paths import expand_home
from audioset_batch.reasons import Status
from audioset_batch.record.clip_files import in_tar, read_clip, row_stem
from audioset_batch.record.schema import MANIFEST_SCHEMA

if TYPE_CHECKING:
    import pandas as pd

_WHERE: Final = ("subset", "ytid", "start_seconds", "end_seconds", "audio_path", "tar", "offset")
_READ: Final = (*_WHERE, "labels", "sample_rate", "status")


class LabelledClip(NamedTuple):
    """One clip. A named tuple, so that torch's default collation makes a `LabelledClip` of batches from several.

    Attributes:
        waveform: float32 (channels, frames), full scale 1.0; or whatever `transform` made of it.
        labels: float32 (n_classes,): 1 for each label, else 0.
        sample_rate: Hz.
        frames: True length of the clip at this rate; what lies behind in `waveform` is padding.
        subset: Such as `eval_segments`.
        ytid: The video.
        start_seconds: Start in the video.
        end_seconds: End in the video.
    """

    waveform: NDArray[Any]
    labels: NDArray[np.float32]
    sample_rate: int
    frames: int
    subset: str
    ytid: str
    start_seconds: float
    end_seconds: float


class AudioSetClips:
    """The clips with status `ok`, in the order of the manifest: `len(clips)`, `clips[17]`, `for clip in clips`.

    A map-style dataset for `torch.utils.data.DataLoader`, with any number of workers, forked or spawned; torch itself
    is not needed. Files and tars (`output.layout`) look the same from here. Which clips there are is settled when it is
    made; clips that are recorded later are in the next one. With `mono` and `seconds`, all waveforms of one sample rate
    have one shape.

    Args:
        data_dir: The data directory.
        subset: As in `load_manifest`.
        labels: As in `load_manifest`: clips with at least one of them. The label vectors keep all classes.
        sample_rate: Hz; other clips are resampled. None: as they are on the disk.
        mono: Take the mean of the channels.
        seconds: Cut longer clips off, fill shorter ones with zeros; None: as long as they are.
        transform: Called with each waveform at last; what it returns replaces it. Must be picklable, so no
            lambda, where workers are spawned.
        rows: Only these rows of `load_manifest`, in this order: for selections that the other arguments cannot express.

    Raises:
        UsageError: there is no such data, or an argument is impossible.
        InputRefused: the manifest or the list of classes cannot be used.
    """

    def __init__(
        self,
        data_dir: str | Path,
        subset: Words | None = None,
        labels: Words | None = None,
        *,
        sample_rate: int | None = None,
        mono: bool = True,
        seconds: float | None = 10.0,
        transform: Callable[[Waveform], NDArray[Any]] | None = None,
        rows: pd.DataFrame | None = None,
    ) -> None:
        if sample_rate is not None and sample_rate <= 0:
            raise UsageError(f"sample_rate={sample_rate}: expected Hz above 0, or None to keep each clip's own")
        if seconds is not None and not seconds > 0:
            raise UsageError(f"seconds={seconds}: expected more than 0, or None to keep each clip's length")
        self.root = expand_home(data_dir)
        self.sample_rate = sample_rate
        self.mono = mono
        self.seconds = seconds
        self.transform = transform
        if rows is None:
            root, table = open_data(self.root)
            found = read_rows(root, table, select(root, subset, Status.OK, labels), _READ)
        else:
            found = _chosen(rows)
            expression = select(self.root, subset, None, labels).expression()
            found = found if expression is None else found.filter(expression)
        self.classes = load_classes(self.root)
        self._rows = found.select(_WHERE).combine_chunks()
        self._label_ends, self._label_indices = _label_indices(found, self.root, self.classes.mids)

    def __len__(self) -> int:
        return int(self._rows.num_rows)

    def __getitem__(self, index: SupportsIndex) -> LabelledClip:
        """Read one clip.

        Raises:
            IndexError: there is no such clip.
            InputRefused: its file is missing or damaged; the text says which.
        """
        place = self._place(index)
        row = {name: self._rows.column(name)[place].as_py() for name in _WHERE}
        name = f"{self.root / row['tar']}: {row_stem(row)}" if in_tar(row) else str(self.root / row["audio_path"])
        waveform, rate = decode(read_clip(self.root, row, "audio"), name)
        if self.mono:
            waveform = to_mono(waveform)
        if self.sample_rate is not None:
            waveform, rate = resample(waveform, rate, self.sample_rate), self.sample_rate
        frames = waveform.shape[1]
        if self.seconds is not None:
            waveform = fit(waveform, round(self.seconds * rate))
            frames = min(frames, waveform.shape[1])
        return LabelledClip(
            waveform if self.transform is None else self.transform(waveform),
            self.labels_of(place),
            rate,
            frames,
            row["subset"],
            row["ytid"],
            row["start_seconds"],
            row["end_seconds"],
        )

    def __iter__(self) -> Iterator[LabelledClip]:
        return map(self.__getitem__, range(len(self)))

    def __repr__(self) -> str:
        return f"<AudioSetClips {self.root}: {len(self)} clips, {len(self.classes)} classes>"

    def _place(self, index: SupportsIndex) -> int:
        place = operator.index(index)
        if not -len(self) <= place < len(self):
            raise IndexError(f"clip {place} of {len(self)}")
        return place % len(self)

    @property
    def label_names(self) -> tuple[str, ...]:
        """Display names of the classes, in the order of the label vectors."""
        return self.classes.names

    def labels_of(self, index: SupportsIndex) -> NDArray[np.float32]:
        """float32 (n_classes,): the labels of one clip, without reading it."""
        place = self._place(index)
        vector = np.zeros(len(self.classes), np.float32)
        vector[self._label_indices[self._label_ends[place] : self._label_ends[place + 1]]] = 1
        return vector

    def label_counts(self) -> NDArray[np.int64]:
        """int64 (n_classes,): how many of these clips have each label."""
        return np.bincount(self._label_indices, minlength=len(self.classes)).astype(np.int64)

    def class_weights(self) -> NDArray[np.float32]:
        """float32 (n_classes,): `clips / (classes that occur * clips of the class)`; 0 where no clip has the class.

        The weighting that scikit-learn calls balanced: every class that occurs has the same weight in total.
        """
        counts = self.label_counts()
        weights = np.zeros(len(counts), np.float32)
        seen = counts > 0
        weights[seen] = len(self) / (np.count_nonzero(seen) * counts[seen])
        return weights


def _chosen(rows: pd.DataFrame) -> pa.Table:
    missing = [name for name in _READ if name not in rows.columns]
    if missing:
        raise UsageError(f"rows: expected rows of load_manifest(DATADIR), columns missing: {', '.join(missing)}")
    others = int((rows["status"] != Status.OK).sum())
    if others:
        raise UsageError(f"rows: {others} of {len(rows)} have no clip; choose those with status ok")
    schema = pa.schema([MANIFEST_SCHEMA.field(name) for name in _READ])
    return pa.Table.from_pandas(rows[list(_READ)], schema=schema, preserve_index=False)


def _label_indices(found: pa.Table, root: Path, mids: tuple[str, ...]) -> tuple[NDArray[np.int64], NDArray[np.int16]]:
    """Where the labels of each row begin (n + 1 places), and all labels one after the other, as indices of `mids`."""
    split = pc.split_pattern(found.column("labels").combine_chunks(), ",")
    parents, flat = pc.list_parent_indices(split), pc.list_flatten(split)
    given = pc.not_equal(flat, "")
    parents, flat = parents.filter(given), flat.filter(given)
    indices = pc.index_in(flat, pa.array(mids, pa.string()))
    if indices.null_count:
        unknown = flat.filter(pc.is_null(indices))[0].as_py()
        raise InputRefused(f"{root / 'class_labels_indices.csv'}: lacks {unknown}, a label of the manifest")
    ends = np.zeros(found.num_rows + 1, np.int64)
    np.cumsum(np.bincount(parents.to_numpy(), minlength=found.num_rows), out=ends[1:])
    return ends, indices.to_numpy().astype(np.int16)

"""The classes of a data set, and labels as multi-hot vectors."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from audioset_batch.errors import UsageError
from audioset_batch.layout import DataDir
from audioset_batch.paths import expand_home
from audioset_batch.plan.labels import load_class_names, resolve_labels


@dataclass(frozen=True)
class Classes:
    """The classes in the order of `class_labels_indices.csv`.

    Attributes:
        mids: Such as `/m/0bt9lr`.
        names: Such as `Dog`, in the same order.
    """

    mids: tuple[str, ...]
    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.mids)

    @cached_property
    def index(self) -> dict[str, int]:
        """MID -> place in `mids`."""
        return {mid: place for place, mid in enumerate(self.mids)}

    def names_of(self, labels: str) -> list[str]:
        """Display names for the `labels` column of the manifest: MIDs, comma-separated. Unknown MIDs stay as they are.

        `table["labels"].map(classes.names_of)` does it for a table.
        """
        return [self.names[self.index[mid]] if mid in self.index else mid for mid in labels.split(",") if mid]

    def multi_hot(self, labels: str) -> NDArray[np.float32]:
        """float32 (n_classes,) with 1 for each MID of a manifest row's `labels`.

        Raises:
            KeyError: a MID is none of these classes.
        """
        vector = np.zeros(len(self), np.float32)
        vector[[self.index[mid] for mid in labels.split(",") if mid]] = 1
        return vector

    def find(self, wanted: str | Iterable[str]) -> tuple[str, ...]:
        """The MIDs of some classes.

        Args:
            wanted: Display names or MIDs: one text, in which commas separate them (`"Dog,Male speech, man speaking"`
                is understood, though names hold commas themselves), or several texts.

        Raises:
            UsageError: some are not known; names the closest ones.
        """
        text = wanted if isinstance(wanted, str) else ",".join(wanted)
        return resolve_labels(text, dict(zip(self.mids, self.names, strict=True)))


def load_classes(data_dir: str | Path) -> Classes:
    """The classes of `DATADIR/class_labels_indices.csv`.

    Raises:
        UsageError: there is no such file.
        InputRefused: it is not the list of classes.
    """
    path = DataDir(expand_home(data_dir)).class_labels_csv
    names = load_class_names(path)
    if not names:
        raise UsageError(f"{path} does not exist: ./download_subset_files.sh fetches it with the segment CSVs")
    return Classes(tuple(names), tuple(names.values()))

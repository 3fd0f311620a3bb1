"""The record of a run: two CSV files, and TensorBoard's event file when asked for.

`train_log.csv`: step, examples, loss, learning_rate, examples_per_second, seconds. `validation_log.csv`: step,
map, auc, d_prime, classes, seconds. A resumed run removes rows of steps that it does again.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, TextIO

from audioset_batch.errors import StorageUnusable, UsageError
from audioset_batch.learn import INSTALL_EXTRA
from audioset_batch.sharedfs.publish import replacing

TRAIN_LOG: Final = "train_log.csv"
VALIDATION_LOG: Final = "validation_log.csv"
TRAIN_COLUMNS: Final = ("step", "examples", "loss", "learning_rate", "examples_per_second", "seconds")
VALIDATION_COLUMNS: Final = ("step", "map", "auc", "d_prime", "classes", "seconds")


class StepLog:
    """One CSV whose first column is the step; every row is flushed.

    Args:
        path: The file; made with a header if it is not there.
        columns: The header.
        after: Rows of later steps are removed first.

    Raises:
        UsageError: The file has other columns.
    """

    def __init__(self, path: Path, columns: tuple[str, ...], after: int) -> None:
        self.columns = columns
        _cut(path, columns, after)
        self._file: TextIO = path.open("a", encoding="utf-8", newline="")
        self._writer = csv.writer(self._file, lineterminator="\n")

    def write(self, values: Mapping[str, float]) -> None:
        """Append one row.

        Raises:
            StorageUnusable: It cannot be written.
        """
        try:
            self._writer.writerow(f"{values[name]:.8g}" for name in self.columns)
            self._file.flush()
        except OSError as error:
            raise StorageUnusable(f"{self._file.name}: cannot be written: {error}") from error

    def close(self) -> None:
        self._file.close()


def _cut(path: Path, columns: tuple[str, ...], after: int) -> None:
    """Keep the header and whole rows up to step `after`."""
    kept = [list(columns)]
    if path.exists():
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.reader(file))
        if rows and tuple(rows[0]) != columns:
            raise UsageError(f"{path}: expected the columns {', '.join(columns)}; move the file away")
        kept += [row for row in rows[1:] if len(row) == len(columns) and float(row[0]) <= after]
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(kept)


class RunLog:
    """Both CSV files and, with `tensorboard`, the event file of a run that continues after step `after`."""

    def __init__(self, train_dir: Path, after: int, tensorboard: bool) -> None:
        self._train = StepLog(train_dir / TRAIN_LOG, TRAIN_COLUMNS, after)
        self._validation = StepLog(train_dir / VALIDATION_LOG, VALIDATION_COLUMNS, after)
        self._events = event_writer()(str(train_dir)) if tensorboard else None

    def train(self, values: Mapping[str, float]) -> None:
        """A row of `TRAIN_COLUMNS`."""
        self._write(self._train, "train", values)

    def validation(self, values: Mapping[str, float]) -> None:
        """A row of `VALIDATION_COLUMNS`."""
        self._write(self._validation, "validation", values)

    def close(self) -> None:
        self._train.close()
        self._validation.close()
        if self._events is not None:
            self._events.close()

    def _write(self, log: StepLog, group: str, values: Mapping[str, float]) -> None:
        log.write(values)
        if self._events is None:
            return
        for name in log.columns[1:]:
            self._events.add_scalar(f"{group}/{name}", values[name], int(values["step"]))
        self._events.flush()


def event_writer() -> Any:
    """The class that writes TensorBoard's event files.

    Raises:
        UsageError: Its package is not installed.
    """
    try:
        from tensorboardX import SummaryWriter
    except ImportError as error:
        raise UsageError(
            f"--tensorboard needs the package tensorboardX, which is not installed: {INSTALL_EXTRA}"
        ) from error
    return SummaryWriter

"""Exchange many files of a data directory as if at once, so that a kill at any instant loses or doubles nothing.

New files are made under `.tmp/split/`. The journal, written last and renamed into place, is the point of no return:
without it a later command throws the staging folder away (roll back); with it a later command does the renames and
removals that are left (roll forward), each of which may be done twice.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from audioset_batch.errors import InputRefused, StorageUnusable
from audioset_batch.layout import DataDir


class Swap:
    """Stages new files; `commit` puts them in place and removes others."""

    def __init__(self, data: DataDir) -> None:
        self._data = data
        self._staged: dict[str, bool] = {}
        finish_or_roll_back(data)
        try:
            data.split_staging.mkdir(parents=True)
        except OSError as error:
            raise _unusable(data.split_staging, error) from error

    def stage(self, final: Path, chunks: Iterable[bytes], *, precious: bool = False) -> None:
        """Write what is to become `final`, after what was staged for it before.

        `precious`: forced to the disk before the exchange, for what cannot be made again.
        """
        relative = self._data.relative(final)
        path = self._data.split_staging / relative
        try:
            if relative not in self._staged:
                path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("ab") as file:
                file.writelines(chunks)
        except OSError as error:
            raise _unusable(path, error) from error
        self._staged[relative] = self._staged.get(relative, False) or precious

    def commit(self, remove: Iterable[Path]) -> None:
        """Make the staged files take effect and remove `remove`; a file that is both is replaced."""
        gone = [name for name in map(self._data.relative, remove) if name not in self._staged]
        journal = self._data.split_journal
        unfinished = journal.with_suffix(".part")
        try:
            for name, precious in self._staged.items():
                if precious:
                    with (self._data.split_staging / name).open("rb") as staged:
                        os.fsync(staged.fileno())
            with unfinished.open("w", encoding="utf-8") as file:
                json.dump({"replace": list(self._staged), "remove": gone}, file)
                file.flush()
                os.fsync(file.fileno())
            unfinished.replace(journal)
        except OSError as error:
            raise _unusable(journal, error) from error
        finish_or_roll_back(self._data)

    def abandon(self) -> None:
        """Throw away what was staged; nothing else was touched."""
        shutil.rmtree(self._data.split_staging, ignore_errors=True)


def unfinished_split(data: DataDir) -> bool:
    """True while the shards and manifests are being exchanged, or were when prep was killed."""
    return data.split_journal.exists()


def finish_or_roll_back(data: DataDir) -> bool:
    """Bring an exchange that was cut short to its end, or undo what was only prepared.

    Returns:
        True if one was finished.

    Raises:
        InputRefused: the journal is damaged.
        StorageUnusable: a file cannot be replaced or removed.
    """
    if not data.split_staging.exists():
        return False
    journal = data.split_journal
    finished = journal.exists()
    if finished:
        try:
            plan = json.loads(journal.read_text(encoding="utf-8"))
            replace, remove = list(plan["replace"]), list(plan["remove"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputRefused(f"{journal}: cannot be read, so an unfinished split cannot be ended: {error}") from error
        try:
            for name in replace:
                source, target = data.split_staging / name, data.root / name
                target.parent.mkdir(parents=True, exist_ok=True)
                if source.exists():
                    source.replace(target)
            for name in remove:
                (data.root / name).unlink(missing_ok=True)
            journal.unlink()
        except OSError as error:
            raise _unusable(data.root, error) from error
    try:
        shutil.rmtree(data.split_staging)
    except OSError as error:
        raise _unusable(data.split_staging, error) from error
    return finished


def _unusable(path: Path, error: OSError) -> StorageUnusable:
    return StorageUnusable(f"cannot write {path}: {error.strerror or error}. Run the same command again afterwards")

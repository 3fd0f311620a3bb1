"""Exchange many files of a data directory as if at once, so that a kill at any instant loses or doubles nothing.

New files are made under `.tmp/split/`. The journal, written last and renamed into place, is the point of no return:
without it a later command throws the staging folder away (roll back); with it a later command does the renames and
removals that are left (roll forward), each of which may be done twice. Who does any of this holds the lease
`state/split.lease`. Whoever takes a shard's lease calls `ensure_settled` next, and prep looks at the shards' leases
after it has its own, so a worker and an exchange never meet.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from audioset_batch.adapters.lease import Holder, Lease, is_held, last_term
from audioset_batch.errors import InputRefused, PlanChanging, ShardHeld, StorageUnusable
from audioset_batch.layout import DataDir

_LEASE_SECONDS: Final = 120.0


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


def splitting(data: DataDir) -> Lease:
    """The lease that allows exchanging shards and manifests; a context manager.

    Raises:
        PlanChanging: another prep is at it.
    """
    try:
        return Lease.acquire(data.split_lease, Holder.current(), _LEASE_SECONDS)
    except ShardHeld as error:
        raise PlanChanging(f"another prep is splitting {data.root}: {error}. Run this again when it is done") from error


def watch_split(data: DataDir) -> Callable[[], None]:
    """Settle, and return a function for readers of many shards: it raises `PlanChanging` if prep has split since.

    Raises:
        PlanChanging, StorageUnusable: as `ensure_settled`.
    """
    before = last_term(data.split_lease)
    if ensure_settled(data):
        before = last_term(data.split_lease)

    def unchanged() -> None:
        if last_term(data.split_lease) != before:
            raise PlanChanging(f"prep has split {data.root} meanwhile: run this again")

    return unchanged


def ensure_settled(data: DataDir) -> bool:
    """Call this with a shard's lease in hand before reading the shard or its manifest; costs a look or two.

    An exchange whose prep was killed is brought to its end here.

    Returns:
        True if an exchange was finished: the shards may differ from what was read before.

    Raises:
        PlanChanging: a prep is splitting just now.
        StorageUnusable: a file cannot be replaced or removed.
    """
    if unfinished_split(data):
        with splitting(data):
            return finish_or_roll_back(data)
    if is_held(data.split_lease):
        raise PlanChanging(f"prep is splitting {data.root} just now. Run this again when it is done")
    return False


def finish_or_roll_back(data: DataDir) -> bool:
    """Bring an exchange that was cut short to its end, or undo what was only prepared; the caller is `splitting`.

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

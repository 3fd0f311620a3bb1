"""Exchange many files of a data directory as if at once, so that a kill at any instant loses or doubles nothing.

New files are made under `.tmp/split/`. The journal, written last and renamed into place, is the point of no return:
without it a later command throws the staging folder away (roll back); with it a later command does the renames and
removals that are left (roll forward), each of which may be done twice. A process that does any of this holds the lease
`state/split.lease`. A worker that takes a shard's lease calls `ensure_settled` next, and prep looks at the shards'
leases after it has its own, so a worker and an exchange never meet.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from audioset_batch import untrusted
from audioset_batch.errors import InputRefused, PlanChanging, ShardHeld, UnsafePath
from audioset_batch.layout import DataDir
from audioset_batch.sharedfs.folders import Folder, read_file
from audioset_batch.sharedfs.lease import Holder, Lease, is_held, last_term
from audioset_batch.sharedfs.publish import atomic_write_text, make_folders, storage

_FORMAT: Final = 1
_MOST_JOURNAL: Final = 64 << 20
_SPLIT_FILES: Final = re.compile(
    r"[a-z0-9][a-z0-9_-]*\.csv\.\d{2,}"
    r"|manifests/[a-z0-9][a-z0-9_-]*\.\d{2,}\.jsonl(\.torn)?"
    r"|state/[a-z0-9][a-z0-9_-]*\.[a-z0-9]+\.json"
)
"""What a split exchanges: a journal that names anything else was written by somebody else."""


class Swap:
    """Stages new files; `commit` puts them in place and removes others."""

    def __init__(self, data: DataDir) -> None:
        self._data = data
        self._staged: dict[str, bool] = {}
        finish_or_roll_back(data)
        make_folders(data.split_staging, data.root)

    def stage(self, final: Path, chunks: Iterable[bytes], *, precious: bool = False) -> None:
        """Write what is to become `final`, after what was staged for it before.

        `precious`: forced to the disk before the exchange, for what cannot be made again.
        """
        relative = self._data.relative(final)
        path = self._data.split_staging / relative
        new = relative not in self._staged
        with storage(path, any_error=True):
            if new:
                make_folders(path.parent, self._data.root)
            with Folder(path.parent) as folder:
                fd = folder.create(path.name) if new else folder.open(path.name, os.O_WRONLY | os.O_APPEND)
            with open(fd, "wb" if new else "ab") as file:  # noqa: PTH123 - of a descriptor
                file.writelines(chunks)
        self._staged[relative] = self._staged.get(relative, False) or precious

    def commit(self, remove: Iterable[Path]) -> None:
        """Make the staged files take effect and remove `remove`; a file that is both is replaced."""
        gone = [name for name in map(self._data.relative, remove) if name not in self._staged]
        journal = self._data.split_journal
        with storage(journal, any_error=True):
            for name, precious in self._staged.items():
                if precious:
                    path = self._data.split_staging / name
                    with Folder(path.parent) as folder:
                        fd = folder.open(path.name, os.O_RDONLY)
                    try:
                        os.fsync(fd)
                    finally:
                        os.close(fd)
            atomic_write_text(journal, json.dumps({"format": _FORMAT, "replace": list(self._staged), "remove": gone}))
        finish_or_roll_back(self._data)

    def abandon(self) -> None:
        """Throw away what was staged; nothing else was touched."""
        with contextlib.suppress(OSError, UnsafePath):
            _clear(self._data)


def unfinished_split(data: DataDir) -> bool:
    """True while the shards and manifests are being exchanged, or were when prep was killed."""
    return data.split_journal.exists()


def splitting(data: DataDir) -> Lease:
    """The lease that allows exchanging shards and manifests; a context manager.

    Raises:
        PlanChanging: another prep is at it.
    """
    try:
        return Lease.acquire(data.split_lease, Holder.current())
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
    if not os.path.lexists(data.split_staging):
        return False
    finished = os.path.lexists(data.split_journal)
    with storage(data.split_staging, any_error=True):
        Folder(data.split_staging).close()  # never behind a link, even one of a trusted owner
        if finished:
            replace, remove = _read_journal(data)
            for name in replace:
                _put_in_place(data, name)
            for name in remove:
                _remove(data.root / name)
            _remove(data.split_journal)
        _clear(data)
    return finished


def _read_journal(data: DataDir) -> tuple[list[str], list[str]]:
    """What to replace and what to remove, by names relative to DATADIR.

    Raises:
        InputRefused: it is damaged, or names what no split touches.
    """
    journal = data.split_journal
    try:
        plan = untrusted.load_object(read_file(journal, _MOST_JOURNAL))
        untrusted.whole(plan.get("format", _FORMAT), 1, _FORMAT)
        lists = [plan["replace"], plan["remove"]]
        for names in lists:
            if not isinstance(names, list):
                raise ValueError("a list of names was expected")
            for name in names:
                if not (isinstance(name, str) and _SPLIT_FILES.fullmatch(name)):
                    raise ValueError(f"{untrusted.visible(str(name), 80)} is not a file of a split")
    except (OSError, ValueError, KeyError) as error:
        raise InputRefused(f"{journal}: cannot be read, so an unfinished split cannot be ended: {error}") from error
    return lists[0], lists[1]


def _put_in_place(data: DataDir, name: str) -> None:
    source, target = data.split_staging / name, data.root / name
    make_folders(target.parent, data.root)
    # Done before a kill, it is no longer there.
    with (
        contextlib.suppress(FileNotFoundError),
        Folder(source.parent) as staged,
        Folder(target.parent, may_be_link=True) as folder,
    ):
        staged.rename(source.name, target.name, folder)


def _remove(path: Path) -> None:
    with contextlib.suppress(FileNotFoundError), Folder(path.parent, may_be_link=True) as folder:
        folder.remove(path.name)


def _clear(data: DataDir) -> None:
    """Remove the staging folder; a link in its place as such."""
    with Folder(data.split_staging.parent, may_be_link=True) as folder:
        folder.remove_tree(data.split_staging.name)

"""Temporary folders of one run of one shard, in which files are made before they are published."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from audioset_batch.errors import UnsafePath, UsageError
from audioset_batch.layout import DataDir, ShardId
from audioset_batch.paths import expand_home
from audioset_batch.sharedfs.folders import Folder
from audioset_batch.sharedfs.publish import make_folders, storage


@dataclass(frozen=True, slots=True)
class TemporaryFolders:
    """TemporaryFolders that only this run uses.

    Attributes:
        work: Folder to make clips in, with many small writes.
        staging: Folder on the data directory's filesystem, from which files are renamed to their final names.
    """

    work: Path
    staging: Path


@contextlib.contextmanager
def temporary_folders(data: DataDir, shard: ShardId, temp_dir: str) -> Iterator[TemporaryFolders]:
    """Create the folders of one run, and remove those of killed runs; everything is removed at the end.

    The names are unique, because an earlier worker on a node that was cut off may still be writing.

    Args:
        data: The data directory.
        shard: The shard, whose lease the caller holds.
        temp_dir: `shared`, `node`, or a path with environment variables.

    Raises:
        StorageUnusable: a folder cannot be made.
        UsageError: `temp_dir` names a variable that is not set.
    """
    shared = data.tmp(shard)
    with storage(data.root):
        make_folders(shared.parent, data.root)
        with Folder(shared.parent, may_be_link=True) as above:
            with contextlib.suppress(OSError):
                above.remove_tree(shared.name)
            above.make_folder(shared.name)
        with Folder(shared) as folder:  # a link that could not be removed is refused
            staging = folder.make_own_folder()
        with Folder(data.states, may_be_link=True) as states:
            for name in states.names():
                if name.startswith(f".{data.state(shard).name}.") and name.endswith(".tmp"):
                    states.remove(name)  # of a worker that was killed as it replaced its state file
    work = staging
    try:
        if temp_dir != "shared":
            base = local_base(temp_dir)
            with storage(base):
                base.mkdir(parents=True, exist_ok=True)
                prefix = f"audioset-batch-{_digest(data)}-{shard}-"
                for left in base.glob(f"{prefix}*"):
                    shutil.rmtree(left, ignore_errors=True)
                work = Path(tempfile.mkdtemp(prefix=prefix, dir=base))
        yield TemporaryFolders(work, staging)
    finally:
        shutil.rmtree(work, ignore_errors=True)
        with contextlib.suppress(OSError, UnsafePath), Folder(shared) as folder:
            folder.remove_tree(staging.name)


def _digest(data: DataDir) -> str:
    """Tells data directories apart on a node that works for several."""
    return hashlib.sha256(os.fsencode(data.root.resolve())).hexdigest()[:12]


def local_base(temp_dir: str) -> Path:
    """The folder that `worker.temp_dir` means on this node.

    Raises:
        UsageError: it names a variable that is not set.
    """
    if temp_dir == "node":
        return Path(os.environ.get("SLURM_TMPDIR") or tempfile.gettempdir())
    path = expand_home(os.path.expandvars(temp_dir))
    if "$" in str(path):
        raise UsageError(f"worker.temp_dir: {temp_dir} names a variable that is not set on this node ({path})")
    return path.absolute()

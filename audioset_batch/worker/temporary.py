"""The folders in which one run of one shard makes its files before they are published."""

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
class Folders:
    """Folders of this run alone.

    Attributes:
        work: Where clips are made: many small writes.
        staging: On the data directory's filesystem, from where a file can be renamed to its final name.
    """

    work: Path
    staging: Path


@contextlib.contextmanager
def temporary_folders(data: DataDir, shard: ShardId, temp_dir: str) -> Iterator[Folders]:
    """Make the folders of one run, and clear what killed ones left; all is cleared again at the end.

    A copy of this worker on a node that was cut off may still write: it must meet no name that we use.

    Args:
        data: The data directory.
        shard: Whose lease the caller holds.
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
        yield Folders(work, staging)
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

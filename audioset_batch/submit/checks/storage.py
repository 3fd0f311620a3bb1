"""The data directory: may it be written, is there room for the plan, who works in it."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from audioset_batch.config import Config
from audioset_batch.errors import AudiosetBatchError
from audioset_batch.humanize import counted
from audioset_batch.layout import DataDir
from audioset_batch.sharedfs.lease import read_lease
from audioset_batch.status.expectation import bytes_per_clip, files_per_clip
from audioset_batch.submit.checks.finding import Finding, error, ok, warning
from audioset_batch.submit.unfinished import wanted_subsets, work_left

_SPARE: Final = 1.2


def check_writing(data: DataDir) -> Iterator[Finding]:
    """Try what publishing needs: a new file, a hard link, a rename."""
    folder = _existing(data.root)
    if folder != data.root:
        yield warning(
            "data directory",
            f"{data.root} does not exist yet",
            "`submit` and ./download_subset_files.sh make it and fetch the lists",
        )
    name = folder / f".audioset-batch-check-{secrets.token_hex(8)}"
    link = name.with_suffix(".link")
    try:
        name.write_bytes(b"check\n")
        try:
            os.link(name, link)
        except OSError as problem:
            yield warning(
                "hard links", f"{folder} has none ({problem.strerror})", "works, but leases are slower to take over"
            )
        name.replace(name.with_suffix(".new"))
        yield ok("writing", f"{folder} can be written")
    except OSError as problem:
        yield error(
            "writing",
            f"{folder} cannot be written: {problem.strerror}",
            "check its permissions, its quota, and that it is mounted here",
        )
    finally:
        for leftover in (name, link, name.with_suffix(".new")):
            with contextlib.suppress(OSError):
                leftover.unlink(missing_ok=True)


def check_room(data: DataDir, config: Config) -> Iterator[Finding]:
    """Free space and inodes against what is left of the plan."""
    try:
        left = work_left(data, wanted_subsets(data, config))
    except AudiosetBatchError as problem:
        yield error("plan", str(problem), "make the shards again: ./download_subset_files.sh DATADIR")
        return
    if not left.shards:
        yield warning("plan", "no shards yet, so no telling how much room is needed", "check again after prep")
        return
    segments = left.segments
    yield ok(
        "plan", f"{counted(segments, 'segment')} left in {len(left.tasks)} of {counted(left.shards, 'array task')}"
    )
    try:
        facts = os.statvfs(data.root)
    except OSError as problem:
        yield error("free space", f"{data.root}: {problem.strerror}", "check that it is mounted here")
        return
    each, source = bytes_per_clip(data, config)
    need, free = segments * each, facts.f_bavail * facts.f_frsize
    text = f"{free / 1e9:,.0f} GB free, {need / 1e9:,.1f} GB needed at most ({each / 1e6:.2f} MB a clip, {source})"
    quota = "A quota may be tighter than that: quota -s, lfs quota"
    if need > free:
        yield error("free space", text, f"make room, plan less (--labels, --limit), or change audio and video. {quota}")
    elif need * _SPARE > free:
        yield warning("free space", text, f"little to spare. {quota}")
    else:
        yield ok("free space", text)
    yield _inodes(facts, segments * files_per_clip(config))


def _inodes(facts: os.statvfs_result, need: int) -> Finding:
    if not facts.f_files:
        return ok("inodes", "this filesystem does not count them")
    text = f"{facts.f_favail:,} free, {need:,} needed at most"
    if need > facts.f_favail:
        return error("inodes", text, "output: {layout: webdataset} in the config, or ask for a higher quota of files")
    return ok("inodes", text)


def check_leases(data: DataDir) -> Iterator[Finding]:
    """Who works on which shard just now."""
    held, expired = [], 0
    try:
        for path in sorted(data.states.glob("*.lease")):
            lease = read_lease(path)
            if lease is not None and lease.alive:
                held.append(f"{path.name.removesuffix('.lease')}: {lease}")
            elif lease is not None:
                expired += 1
    except AudiosetBatchError as problem:
        yield error("leases", str(problem), "check that the filesystem is mounted here")
        return
    if held:
        more = f" and {len(held) - 5} more" if len(held) > 5 else ""
        yield warning(
            "leases",
            f"workers hold {counted(len(held), 'shard')}: {'; '.join(held[:5])}{more}",
            "a second worker of these shards would stop at once: wait, or cancel the first",
        )
    else:
        stale = f"; {expired} of dead workers, which the next ones take over" if expired else ""
        yield ok("leases", f"no shard is held{stale}")


def _existing(path: Path) -> Path:
    """`path`, or the nearest folder above it that exists."""
    return next(folder for folder in (path, *path.parents) if folder.is_dir())

"""Notes of tasks that SLURM did not requeue: the shards that are left, and the command that continues them.

One file for each shard, `state/<shard>.resubmit.json`, which the task that next opens the shard removes. Users run the
command, so it is only shown from a note that nobody but a trusted user can have written.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pwd
import shlex
import stat
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from audioset_batch import untrusted
from audioset_batch.errors import StorageUnusable, UnsafePath
from audioset_batch.layout import DataDir, ShardId
from audioset_batch.sharedfs import folders
from audioset_batch.sharedfs.folders import Folder
from audioset_batch.sharedfs.publish import atomic_write_bytes, storage

FORMAT: Final = 1
"""Format version of the note; later versions are skipped."""
_MAX_BYTES: Final = 1 << 16
_MAX_WORDS: Final = 200
_LONGEST_WORD: Final = 4096
_LATEST: Final = 4102444800.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Resubmission:
    """One shard that no task continues automatically.

    Attributes:
        shard: Name of the shard.
        number: Number of the shard.
        job_id: The task that worked on it.
        why: Why the task was not requeued.
        at: Unix time of the note.
        index: Index of the task in its array; None for a job without one.
        parallel: Number of tasks of the array that may run at a time; 0: no limit.
        folder: Folder to submit from.
        script: Script to submit; "" if unknown.
        options: Options of sbatch.
        arguments: Arguments of the script.
        ours: The script is one of this project's and passes its arguments to `worker`.
        uncertain: SLURM was asked to requeue the task and did not answer: it may have done so.
        stranger: The user who wrote the note, if not a trusted one; then no command is shown. Else "".
    """

    shard: str
    number: int
    job_id: str
    why: str
    at: float
    index: int | None = None
    parallel: int = 0
    folder: str = ""
    script: str = ""
    options: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    ours: bool = False
    uncertain: bool = False
    stranger: str = ""

    @property
    def _alike(self) -> tuple[object, ...]:
        """Equal for notes that the same command continues."""
        offset = None if self.index is None else self.number - self.index
        how = (self.folder, self.script, self.options, self.arguments, self.ours)
        return (offset, self.parallel, how, self.uncertain and self._job, self.stranger)

    @property
    def _job(self) -> str:
        """Id of the whole job, the same for all tasks of an array."""
        return self.job_id.partition("_")[0]


def note_resubmission(data: DataDir, note: Resubmission) -> None:
    """Write the note of a shard. If that fails, the log still has its content.

    Other users may read the file; the group of a shared folder may not write it.
    """
    values = {"format": FORMAT, **dataclasses.asdict(note)}
    del values["stranger"]
    content = json.dumps(values, ensure_ascii=False, indent=2).encode("utf-8", "replace")
    with contextlib.suppress(OSError, StorageUnusable, UnsafePath):
        atomic_write_bytes(data.resubmission(note.shard), content + b"\n", 0o644)


def forget_resubmissions(data: DataDir, shards: Iterable[ShardId]) -> None:
    """Remove the notes of shards that a task has opened."""
    with contextlib.suppress(OSError, UnsafePath), Folder(data.states, may_be_link=True) as folder:
        for name in {data.resubmission(str(shard)).name for shard in shards}.intersection(folder.names()):
            with contextlib.suppress(OSError, UnsafePath):
                folder.remove(name)


def read_resubmissions(data: DataDir) -> list[Resubmission]:
    """Read all notes; invalid files are skipped.

    Raises:
        StorageUnusable: the filesystem fails.
    """
    found = []
    with storage(data.root):
        try:
            folder = Folder(data.states, may_be_link=True)
        except (FileNotFoundError, UnsafePath):
            return []
        with folder:
            for name in sorted(folder.names()):
                if name.endswith(data.resubmission("").name):
                    with contextlib.suppress(FileNotFoundError, PermissionError, UnsafePath, ValueError):
                        content, facts = folder.read(name, _MAX_BYTES)
                        note = _decoded(content, facts)
                        if name == data.resubmission(note.shard).name:
                            found.append(note)
    return found


def _decoded(content: bytes, facts: os.stat_result) -> Resubmission:
    """Decode a note; raises ValueError if it is invalid."""
    values = untrusted.load_object(content)
    if untrusted.whole(values.get("format"), 1, 10**6) > FORMAT:
        raise ValueError("of a later version")
    known = untrusted.fields_of(Resubmission, {k: v for k, v in values.items() if k not in ("folder", "script")})
    known["stranger"] = _stranger(facts)
    known["index"] = None if values.get("index") is None else untrusted.whole(values["index"], 0, 10**9)
    known["at"] = untrusted.number(values.get("at", 0), 0, _LATEST)
    for name in ("folder", "script"):
        known[name] = _word(values.get(name, ""))
    for name in ("options", "arguments"):
        words = values.get(name, [])
        if not isinstance(words, list) or len(words) > _MAX_WORDS:
            raise ValueError(f"{name}: expected a short list")
        known[name] = tuple(map(_word, words))
    try:
        return Resubmission(**known)
    except TypeError as error:
        raise ValueError(str(error)) from None


def _word(value: Any) -> str:
    """Check a part of a command; raises ValueError for one with control characters of a terminal."""
    if not isinstance(value, str) or untrusted.visible(value, _LONGEST_WORD) != value:
        raise ValueError("expected a short text")
    return value


def _stranger(facts: os.stat_result) -> str:
    if folders.is_trusted(facts.st_uid) and not facts.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return ""
    try:
        return pwd.getpwuid(facts.st_uid).pw_name
    except KeyError:
        return str(facts.st_uid)


def commands(notes: Sequence[Resubmission]) -> list[str]:
    """Lines for the user: the smallest number of commands, each with the reason above it."""
    groups: dict[tuple[object, ...], list[Resubmission]] = {}
    for note in notes:
        groups.setdefault(note._alike, []).append(note)
    return [line for group in groups.values() for line in _told(group)]


def _told(group: Sequence[Resubmission]) -> list[str]:
    last = max(group, key=lambda note: note.at)
    names = [note.shard for note in group]
    shards = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
    when = time.strftime("%Y-%m-%d %H:%M", time.gmtime(last.at))
    head = f"no task will continue {shards}: job {last.job_id} was not requeued at {when} UTC ({last.why})"
    if last.uncertain:
        head = (
            f"perhaps no task will continue {shards}: at {when} UTC job {last.job_id} asked to be requeued ({last.why})"
        )
    if last.stranger:
        return [head, f"  it is for user {last.stranger} to submit it again"]
    if last.uncertain:
        return [f"{head}. If `squeue -j {last._job}` does not show it, continue with:", f"  {command(group)}"]
    return [f"{head}. To continue:", f"  {command(group)}"]


def command(group: Sequence[Resubmission]) -> str:
    """The shell command that continues these shards and no others."""
    one = group[0]
    if not one.script:
        single = [] if one.index is not None else ["--single-job"]
        return shlex.join(["audioset-batch", "submit", *single, *one.arguments])
    numbers = sorted({note.number if one.index is None else note.index or 0 for note in group})
    listed = ",".join(map(str, numbers))
    array = [] if one.index is None else [f"--array={listed}{f'%{one.parallel}' if one.parallel else ''}"]
    arguments = list(one.arguments)
    if one.index is None:
        arguments += ["--task", listed] if one.ours else []
    elif one.ours and one.number != one.index:
        arguments = ["--shard-offset", str(one.number - one.index), *arguments]
    line = shlex.join(["sbatch", *array, *one.options, one.script, *arguments])
    return f"cd {shlex.quote(one.folder)} && {line}" if one.folder else line

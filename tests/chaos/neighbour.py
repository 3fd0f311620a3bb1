"""What somebody else who may write into `egress_dir` and `state/` can do: out of malice, or with another version."""

import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from audioset_batch.sharedfs.versioned_file import AtomicVersionedFile, Version

_FAR = 4_000_000_000
_LONG_PAUSE = 30.0
_LATER_FORMAT = 99
_HUGE = 4 << 30


class Victim:
    """Files of the user that no link may lead a task to."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self.file = folder / "precious"
        self.file.write_text("as it was\n")
        os.utime(self.file, (1, 1))

    def check(self) -> None:
        """Nothing was written to, made or removed there."""
        assert [path.name for path in self.folder.iterdir()] == ["precious"], list(self.folder.iterdir())
        assert (self.file.read_text(), self.file.stat().st_mtime) == ("as it was\n", 1), self.file.read_text()


class Neighbour:
    """Acts on the folder of one egress, and on the state files of the shards."""

    def __init__(self, egress: Path, states: Path, victim: Victim) -> None:
        self._egress = egress
        self._states = states
        self._victim = victim
        self._versions = AtomicVersionedFile(egress, "state", keep=4)

    def acts(self) -> dict[str, Callable[[], None]]:
        """What can be done, by its name."""
        return {
            "links": self._links,
            "FIFOs": self._fifos,
            "huge files": self._huge,
            "future times": self._future,
            "damaged json": self._damage,
        }

    def _shard_states(self) -> list[Path]:
        """The state files of all shards, each removed: what takes their names is not what was there."""
        paths = list(self._states.glob("*.json"))
        for path in paths:
            path.unlink(missing_ok=True)
        return paths

    def _next(self, beyond: int = 1) -> Path:
        return self._versions.path((self._versions.numbers() or [0])[-1] + beyond)

    def _links(self) -> None:
        self._next().symlink_to(self._victim.file)
        history = self._egress / "pauses.jsonl"
        with suppress(FileNotFoundError):
            history.rename(f"{history}.{time.time_ns()}")
        history.symlink_to(self._victim.file)
        for path in self._shard_states():
            path.symlink_to(self._victim.file)

    def _fifos(self) -> None:
        os.mkfifo(self._next())
        slots = [path for path in self._egress.glob("slot.*") if path.suffix[1:].isdigit()]
        if slots:
            latest = max(slots, key=lambda path: int(path.suffix[1:]))
            with suppress(FileExistsError):  # somebody has just taken it
                os.mkfifo(latest.with_suffix(f".{int(latest.suffix[1:]) + 3}"))
        for path in self._shard_states():
            os.mkfifo(path)

    def _huge(self) -> None:
        for path in (self._next(), self._next(10**6), self._egress / "notes", *self._shard_states()):
            with path.open("wb") as file:
                file.truncate(_HUGE)

    def _future(self) -> None:
        pause = {
            "paused": True,
            "kind": "mine",
            "detail": "\x1b[2J" * 9,
            "since": _FAR,
            "until": time.time() + _LONG_PAUSE,
        }
        self._change(lambda values: values | pause | {"epoch": values["epoch"] + 1})
        for path in (*self._egress.iterdir(), *self._states.glob("*.json")):
            with suppress(FileNotFoundError):
                os.utime(path, (_FAR, _FAR), follow_symlinks=False)

    def _damage(self) -> None:
        for path in (self._next(), *self._shard_states()):
            path.write_bytes(b'{"epoch": -1, "paused": "perhaps", "grid": [' + b"[" * 10_000 + b"\n")

    def _change(self, change: Callable[[dict[str, Any]], dict[str, Any]]) -> Version | None:
        """Swap the state, by the same rules as the tasks do."""
        for _ in range(20):
            version = self._versions.read()
            if version is None:
                return None
            with suppress(ValueError):
                values = change(json.loads(version.data))
                made = self._versions.swap(version, json.dumps(values).encode() + b"\n")
                if made is not None:
                    return made
            time.sleep(0.05)
        return None

    def work_as_earlier_version(self) -> None:
        """One that knows less: no `format`, no losses, words of its own."""
        known = ("grid_number", "grid", "epoch", "paused", "kind", "detail", "since", "until", "streak", "probes")
        self._change(lambda values: {k: v for k, v in values.items() if k in known} | {"mood": ["good"]})
        for path in self._shard_states():
            path.write_text('{"planned": 3, "counts": {"ok": 1}}')

    def work_as_later_version(self) -> Callable[[], None]:
        """One whose files this version must not touch; returns what takes them away again."""
        made = self._change(lambda values: values | {"format": _LATER_FORMAT})
        for path in self._shard_states():
            path.write_text(json.dumps({"format": _LATER_FORMAT, "planned": {"all": 3}}))

        def leave() -> None:
            if made is not None:
                found = self._versions.read()
                assert found == made, f"a later version's state was changed: {found}"
                self._versions.path(made.number).unlink()

        return leave

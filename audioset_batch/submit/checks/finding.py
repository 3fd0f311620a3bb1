"""One line of `check`."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Literal

from audioset_batch.config.redact import redact
from audioset_batch.untrusted import visible_lines

Level = Literal["ok", "warning", "error"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found. Credentials in URLs are taken out of every text; each is one line.

    Attributes:
        topic: What was looked at, e.g. `yt-dlp`, `egress direct`.
        advice: What to do about it; "" if ok.
        host: Where it was found.
    """

    level: Level
    topic: str
    text: str
    advice: str = ""
    host: str = ""

    def __post_init__(self) -> None:
        for name in ("text", "advice"):
            lines = (line.strip() for line in getattr(self, name).splitlines())
            object.__setattr__(self, name, visible_lines(redact(" ".join(line for line in lines if line))))

    def at(self, host: str) -> Finding:
        """The same with the place where it was found."""
        return dataclasses.replace(self, host=host)

    def to_json(self) -> dict[str, Any]:
        """As `check --json` prints it."""
        return dataclasses.asdict(self)


def ok(topic: str, text: str) -> Finding:
    """Nothing to do."""
    return Finding("ok", topic, text)


def warning(topic: str, text: str, advice: str) -> Finding:
    """Works, but may disappoint."""
    return Finding("warning", topic, text, advice)


def error(topic: str, text: str, advice: str) -> Finding:
    """Will not work."""
    return Finding("error", topic, text, advice)

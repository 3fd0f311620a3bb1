"""Blocked addresses and misbehaving servers, switched on and off while the stand-in runs."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Block(StrEnum):
    """How YouTube turns an address away."""

    BOT_CHECK = "bot_check"
    RATE_LIMIT = "rate_limit"
    PLAYER_429 = "player_429"
    MEDIA_429 = "media_429"
    SOFT_BAN = "soft_ban"
    OTHER_VIDEO = "other_video"
    """The player answer is another video's."""


class Outage(StrEnum):
    """How an egress fails: nothing comes through it."""

    REFUSED = "refused"
    """Connections end before a word is said."""
    DNS = "dns"
    """A proxy that cannot find the host: status 503 to each CONNECT."""
    PORTAL = "portal"
    """A login page in place of the tunnel."""
    TLS = "tls"
    """A box in the middle that speaks TLS with a certificate of its own."""
    SILENT = "silent"
    """Nothing is answered."""


class Trouble(StrEnum):
    """What goes wrong with one answer."""

    SERVER_ERROR = "server_error"
    """Status 503."""
    FORBIDDEN = "forbidden"
    """Status 403. On media with `first=n`: for the URLs of the video's first n resolves, until it is resolved again."""
    NOT_FOUND = "not_found"
    """Status 404."""
    TOO_MANY = "too_many"
    """Status 429."""
    SILENT = "silent"
    """Nothing comes for `seconds`, not even headers; then the connection ends."""
    RESET = "reset"
    """The connection is reset after `after_bytes` of the body (or before the answer's first byte)."""
    STALL = "stall"
    """Nothing comes for `seconds` after `after_bytes` of the body; then the connection ends."""
    SLOW = "slow"
    """The body comes at `bytes_per_second`."""
    HTML = "html"
    """A page of HTML with status 200."""
    GARBAGE = "garbage"
    """The right number of random bytes."""
    EMPTY = "empty"
    """A body of 0 bytes, status 200."""
    WRONG_LENGTH = "wrong_length"
    """Content-Length says twice what comes; then the connection ends."""
    TRUNCATE = "truncate"
    """Only `after_bytes` of what was promised (half of it by default); then the connection ends."""
    IGNORE_RANGE = "ignore_range"
    """Status 200 and the whole file."""
    REDIRECT_LOOP = "redirect_loop"
    """Status 302, again and again."""
    ENDLESS = "endless"
    """Status 200, no length, bytes without end."""
    HUGE_LENGTH = "huge_length"
    """Headers that claim eight gigabytes; then the right bytes and silence."""
    HUGE_HEADER = "huge_header"
    """A container whose first element claims three gigabytes."""
    NO_SOUND = "no_sound"
    """Pictures alone, as another format of the video has them."""
    SHORTER_VIDEO = "shorter_video"
    """The same format of a video that lasts five seconds."""
    NO_ADDRESSES = "no_addresses"
    """Of the player: formats are listed, none with an address (SABR)."""
    NEW_WORDS = "new_words"
    """Of the player: a refusal in words that nobody knows."""
    NEW_SCREEN = "new_screen"
    """Of the player: an error screen of a shape that nobody knows, without a reason."""


class Where(StrEnum):
    """Which answers a fault touches."""

    MEDIA = "media"
    PLAYER = "player"
    PAGE = "page"
    THUMBNAIL = "thumbnail"
    MANIFEST = "manifest"
    """HLS playlists, the master as well as those of its formats."""
    SEGMENT = "segment"
    """HLS media."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong.

    Attributes:
        trouble: What.
        where: With which answers.
        ytid: Only this video; None for all.
        sparing: All videos but this one; None for all.
        egress: Only this egress; None for all.
        itag: Only this format; None for all.
        first: Only the first so many matching requests of each video; None for all.
        probability: Of each matching request, decided by the board's seed.
        seconds: How long a stall lasts.
        after_bytes: Bytes of the body before it happens.
        bytes_per_second: For `SLOW`.
    """

    trouble: Trouble
    where: Where = Where.MEDIA
    ytid: str | None = None
    sparing: str | None = None
    egress: str | None = None
    itag: int | None = None
    first: int | None = None
    probability: float = 1.0
    seconds: float = 3600.0
    after_bytes: int | None = None
    bytes_per_second: int = 4096

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Fault:
        """From JSON; unknown keys raise TypeError, unknown words ValueError."""
        known = dict(values)
        known["trouble"] = Trouble(known["trouble"])
        known["where"] = Where(known.get("where", Where.MEDIA))
        return cls(**known)


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as faults see it. `issue`: the number of the resolve that the URL came from, for media."""

    where: Where
    egress: str
    ytid: str
    itag: int | None = None
    issue: int = 0


@dataclass(slots=True)
class _Blocked:
    mode: Block
    until: float


@dataclass(slots=True)
class Allowance:
    """YouTube's own limit of an address: beyond it the address is blocked by `mode` for `penalty_seconds`.

    Attributes:
        resolves: Most resolves in any window.
        window_seconds: Length of the window.
    """

    resolves: int
    window_seconds: float = 3600.0
    penalty_seconds: float = 3600.0
    mode: Block = Block.RATE_LIMIT
    recent: dict[str, list[float]] = field(default_factory=dict, repr=False)


class FaultBoard:
    """The switches. Thread-safe.

    Args:
        seed: Decides the faults with a probability.
        allowance: YouTube's own limit of each address; None for no limit.
    """

    def __init__(self, seed: int = 0, allowance: Allowance | None = None) -> None:
        self._lock = threading.Lock()
        self._random = random.Random(seed)
        self._faults: dict[int, Fault] = {}
        self._serial = 0
        self._seen: Counter[tuple[int, str]] = Counter()
        self._blocked: dict[str, _Blocked] = {}
        self._outages: dict[str, Outage] = {}
        self._delay: dict[str | None, float] = {}
        self._allowance = allowance

    def add(self, fault: Fault) -> None:
        """Switch a fault on."""
        with self._lock:
            self._serial += 1
            self._faults[self._serial] = fault

    def clear(self, ytid: str | None = None) -> None:
        """Switch off the faults of one video, or all."""
        with self._lock:
            self._faults = {
                serial: fault for serial, fault in self._faults.items() if ytid is not None and fault.ytid != ytid
            }

    def set_delay(self, seconds: float, egress: str | None = None) -> None:
        """Wait this long before each answer, of one egress or of all."""
        with self._lock:
            self._delay[egress] = seconds

    def delay(self, egress: str) -> float:
        """Seconds to wait before an answer."""
        with self._lock:
            return self._delay.get(egress, self._delay.get(None, 0.0))

    def block(self, egress: str, mode: Block, seconds: float | None = None) -> None:
        """Turn an address away; for so long, or until `unblock`."""
        with self._lock:
            self._blocked[egress] = _Blocked(mode, float("inf") if seconds is None else time.time() + seconds)

    def unblock(self, egress: str | None = None) -> None:
        """Let one address in again, or all."""
        with self._lock:
            if egress is None:
                self._blocked.clear()
            else:
                self._blocked.pop(egress, None)

    def cut(self, egress: str, outage: Outage | None) -> None:
        """Let nothing through an egress, or everything again."""
        with self._lock:
            if outage is None:
                self._outages.pop(egress, None)
            else:
                self._outages[egress] = outage

    def outage(self, egress: str) -> Outage | None:
        """How this egress fails at present."""
        with self._lock:
            return self._outages.get(egress)

    def blocked(self, egress: str) -> Block | None:
        """How this address is turned away just now."""
        with self._lock:
            return self._blocked_now(egress)

    def spend(self, egress: str) -> Block | None:
        """Count one resolve against the allowance; how this address is turned away from here on."""
        with self._lock:
            mode = self._blocked_now(egress)
            limit = self._allowance
            if limit is None or mode is not None:
                return mode
            now = time.time()
            recent = [one for one in limit.recent.get(egress, ()) if one > now - limit.window_seconds]
            limit.recent[egress] = [*recent, now]
            if len(recent) < limit.resolves:
                return None
            self._blocked[egress] = _Blocked(limit.mode, now + limit.penalty_seconds)
            return limit.mode

    def strike(self, asked: Asked) -> Fault | None:
        """The fault that this request meets, counted."""
        with self._lock:
            for serial, fault in self._faults.items():
                if _touches(fault, asked) and self._due(serial, fault, asked):
                    return fault
        return None

    def _blocked_now(self, egress: str) -> Block | None:
        blocked = self._blocked.get(egress)
        if blocked is None or blocked.until <= time.time():
            return None
        return blocked.mode

    def _due(self, serial: int, fault: Fault, asked: Asked) -> bool:
        if fault.probability < 1.0 and self._random.random() >= fault.probability:
            return False
        if fault.first is None:
            return True
        if fault.trouble is Trouble.FORBIDDEN and fault.where is Where.MEDIA:
            return asked.issue <= fault.first
        self._seen[serial, asked.ytid] += 1
        return self._seen[serial, asked.ytid] <= fault.first


def _touches(fault: Fault, asked: Asked) -> bool:
    return (
        fault.where is asked.where
        and fault.ytid in (None, asked.ytid)
        and fault.sparing != asked.ytid
        and fault.egress in (None, asked.egress)
        and fault.itag in (None, asked.itag)
    )

"""The URLs that a player answer gives out: signed for one address (egress), until a time."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final
from urllib.parse import quote, unquote, urlencode

from audioset_batch.standin.wire import Request

MEDIA_HOST: Final = "rr1---sn-standin.googlevideo.com"
MANIFEST_HOST: Final = "manifest.googlevideo.com"

_KEYS: Final = {"expire": "expires", "id": "ytid", "itag": "itag", "ip": "egress", "issue": "issue", "signed": "signed"}
"""Name in a URL: field of `Address`."""


class Path(StrEnum):
    """What a URL leads to."""

    FILE = "/videoplayback"
    MASTER = "/api/manifest/hls_variant"
    PLAYLIST = "/api/manifest/hls_playlist"
    SEGMENT = "/videoplayback/"


@dataclass(frozen=True, slots=True)
class Address:
    """One URL, or what all URLs of a player answer have in common.

    Attributes:
        ytid: The video.
        egress: The egress that gets it.
        issue: The number of the resolve that it was given to.
        signed: The time of that, Unix nanoseconds.
        expires: Its end, Unix seconds.
        itag: The format; 0 for the master playlist.
        xtags: Of the audio track.
        segment: Number of the HLS segment.
    """

    ytid: str
    egress: str
    issue: int
    signed: int
    expires: int
    itag: int = 0
    xtags: str = ""
    segment: int = 0

    def of(self, itag: int, xtags: str = "") -> Address:
        """The same for one format."""
        return dataclasses.replace(self, itag=itag, xtags=xtags)

    def file(self, mime_type: str, **more: str) -> str:
        """URL of a whole file, read by ranges."""
        query: dict[str, Any] = self._values() | {"mime": mime_type}
        if self.xtags:
            query["xtags"] = self.xtags
        return f"https://{MEDIA_HOST}{Path.FILE}?{urlencode(query | more)}"

    @property
    def master(self) -> str:
        """URL of the HLS master playlist."""
        return f"https://{MANIFEST_HOST}{Path.MASTER}{self._pairs()}/file/index.m3u8"

    @property
    def playlist(self) -> str:
        """URL of one format's HLS playlist."""
        return f"https://{MANIFEST_HOST}{Path.PLAYLIST}{self._pairs()}/playlist/index.m3u8"

    def piece(self, number: int) -> str:
        """URL of one HLS segment."""
        return f"https://{MEDIA_HOST}{Path.FILE}{self._pairs()}/sq/{number}/file/seg.ts"

    def _values(self) -> dict[str, Any]:
        return {key: getattr(self, name) for key, name in _KEYS.items()}

    def _pairs(self) -> str:
        values = self._values() | ({"xtags": self.xtags} if self.xtags else {})
        return "".join(f"/{key}/{quote(str(value), safe='')}" for key, value in values.items())


def read_address(request: Request) -> tuple[Path, Address] | None:
    """What a request to the media or manifest host asks for; None for anything else."""
    path = request.path
    kind = next((one for one in (Path.MASTER, Path.PLAYLIST, Path.SEGMENT) if path.startswith(one)), Path.FILE)
    if kind is Path.FILE and path != Path.FILE:
        return None
    values = request.query if kind is Path.FILE else _pairs_of(path.removeprefix(kind.rstrip("/")))
    try:
        address = Address(
            values["id"],
            values["ip"],
            int(values["issue"]),
            int(values["signed"]),
            int(values["expire"]),
            int(values["itag"]),
            values.get("xtags", ""),
            int(values.get("sq", 0)),
        )
    except (KeyError, ValueError):
        return None
    return kind, address


def _pairs_of(path: str) -> dict[str, str]:
    parts = [unquote(part) for part in path.strip("/").split("/")]
    return dict(zip(parts[::2], parts[1::2], strict=False))

"""HLS as YouTube sends it: a master playlist, a playlist for each format, and MPEG-TS segments of about five seconds.

233, 234   sound alone (a rendition of each audio track): AAC of 22.05 and of 44.1 kHz
230        640 x 360 pictures alone, which go with either
93         640 x 360 pictures and sound; one of each audio track
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from audioset_batch.standin.addresses import Address
from audioset_batch.standin.catalog import Video
from audioset_batch.standin.formats import FORMATS, HLS_FORMATS
from audioset_batch.standin.tracks import AudioTrack

PLAYLIST_TYPE: Final = "application/vnd.apple.mpegurl"
_SOUND, _PICTURES, _BOTH = (233, 234), 230, 93
_CODECS: Final = {230: "avc1.4D401E", 93: "avc1.4D401E,mp4a.40.2"}
_BANDWIDTH: Final = {230: 700_000, 93: 900_000}


@dataclass(frozen=True, slots=True)
class HlsSegment:
    """One segment of a file: its seconds, and where it lies in bytes."""

    seconds: float
    offset: int
    length: int


def hls_tracks(video: Video, itag: int) -> tuple[AudioTrack | None, ...]:
    """The audio tracks for which a video has this HLS format; empty if it has not."""
    playable = [FORMATS[one] for one in video.playable_itags]
    sound = any(one.sound is not None for one in playable)
    pictures = any(one.sight is not None for one in playable)
    kind = HLS_FORMATS.get(itag)
    if kind is None or (kind.sound is not None and not sound) or (kind.sight is not None and not pictures):
        return ()
    if kind.sound is None or not video.tracks:
        return (None,)
    return tuple(track for track in video.tracks if not track.drc)


def master(video: Video, address: Address) -> str:
    """The master playlist."""
    lines = ["#EXTM3U", "#EXT-X-INDEPENDENT-SEGMENTS"]
    for itag in _SOUND:
        for track in hls_tracks(video, itag):
            lines.append(f"#EXT-X-MEDIA:{_rendition(itag, track, address)}")
    groups = [itag for itag in _SOUND if hls_tracks(video, itag)] or [0]
    for itag, group in [*((_PICTURES, group) for group in groups), (_BOTH, 0)]:
        for track in hls_tracks(video, itag):
            lines += [f"#EXT-X-STREAM-INF:{_variant(itag, group, track)}", _of(address, itag, track).playlist]
    return "\n".join(lines) + "\n"


def playlist(segments: list[HlsSegment], address: Address) -> str:
    """The playlist of one format."""
    longest = max(round(one.seconds) for one in segments)
    lines = ["#EXTM3U", "#EXT-X-VERSION:3", "#EXT-X-PLAYLIST-TYPE:VOD", f"#EXT-X-TARGETDURATION:{max(longest, 1)}"]
    for number, one in enumerate(segments):
        lines += [f"#EXTINF:{one.seconds:.3f},", address.piece(number)]
    return "\n".join([*lines, "#EXT-X-ENDLIST"]) + "\n"


def index_path(media: Path) -> Path:
    """Where the segments of a file are kept."""
    return media.with_suffix(".json")


def read_index(media: Path) -> list[HlsSegment]:
    """The segments of a file."""
    return [HlsSegment(*one) for one in json.loads(index_path(media).read_text(encoding="utf-8"))]


def write_index(media: Path, written: str) -> None:
    """Keep the segments of a file, from the playlist that FFmpeg wrote with it."""
    found = re.findall(r"#EXTINF:([\d.]+),\s*#EXT-X-BYTERANGE:(\d+)@(\d+)", written)
    segments = [(float(seconds), int(offset), int(length)) for seconds, length, offset in found]
    handle, name = tempfile.mkstemp(dir=media.parent)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        json.dump(segments, file)
    Path(name).replace(index_path(media))


def _of(address: Address, itag: int, track: AudioTrack | None) -> Address:
    return address.of(itag, "" if track is None else track.xtags)


def _rendition(itag: int, track: AudioTrack | None, address: Address) -> str:
    url = _of(address, itag, track).playlist
    parts = [f'URI="{url}"', "TYPE=AUDIO", f'GROUP-ID="{itag}"']
    if track is None or not track.language:
        return ",".join([*parts, 'NAME="Default"', "DEFAULT=YES", "AUTOSELECT=YES"])
    chosen = "YES" if track.is_default else "NO"
    parts += [f'LANGUAGE="{track.language}"', f'NAME="{track.name}"', f"DEFAULT={chosen}", f"AUTOSELECT={chosen}"]
    return ",".join([*parts, *_words(track)])


def _variant(itag: int, group: int, track: AudioTrack | None) -> str:
    kind = HLS_FORMATS[itag]
    assert kind.sight is not None
    codecs = _CODECS[itag] + (",mp4a.40.5" if group == 233 else ",mp4a.40.2" if group else "")
    parts = [f"BANDWIDTH={_BANDWIDTH[itag] + group}", f'CODECS="{codecs}"']
    parts += [f"RESOLUTION={kind.sight.width}x{kind.sight.height}", "FRAME-RATE=25", "VIDEO-RANGE=SDR"]
    parts += [f'AUDIO="{group}"'] * bool(group) + ["CLOSED-CAPTIONS=NONE"]
    return ",".join([*parts, *([] if track is None or not track.language else _words(track))])


def _words(track: AudioTrack) -> Iterator[str]:
    yield f'YT-EXT-AUDIO-CONTENT-ID="{track.id}"'
    yield f'YT-EXT-XTAGS="{track.xtags}"'

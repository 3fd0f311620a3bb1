"""HLS: what unmodified yt-dlp lists of it, and segments whose content is where the playlist says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import yt_dlp

from audioset_batch.standin import Catalog, Fault, Outcome, Standin, Trouble, Video, Where, dubbed
from audioset_batch.standin.measure import locate_audio
from tests.support.marks import read_frame_number, read_track
from tests.support.waiting import wait_until

PLAIN, DUBBED, SILENT = "hls_plain__", "hls_dubbed_", "hls_noaudio"
PRIMING = 1024 / 44_100
"""Seconds of the AAC encoder's start: MPEG-TS cannot say that they are none of the sound."""


@pytest.fixture(scope="module")
def youtube(media_cache: Path) -> Iterator[Standin]:
    """Videos that have nothing but HLS."""
    catalog = Catalog.of(
        Video(PLAIN, 17, hls=True, sabr=("*",)),
        Video(DUBBED, 17, hls=True, sabr=("*",), itags=(140,), tracks=dubbed("ja", "en-US")),
        Video(SILENT, 17, hls=True, sabr=("*",), outcome=Outcome.NO_AUDIO),
    )
    with Standin(catalog, media_cache) as standin:
        yield standin


def resolve(youtube: Standin, ytid: str) -> dict[str, dict[str, Any]]:
    """yt-dlp's HLS formats of a video, by id and language."""
    youtube.clear_log()
    params = {"quiet": True, "no_warnings": True, "js_runtimes": {}, "retries": 0, "extractor_retries": 0}
    ydl = yt_dlp.YoutubeDL(params | youtube.access().ytdlp_options | {"socket_timeout": 2})
    url = f"https://www.youtube.com/watch?v={ytid}"
    info = ydl.extract_info(url, download=False, ie_key="Youtube", process=False)
    listed = [one for one in info["formats"] if one.get("protocol") == "m3u8_native"]
    return {":".join(filter(None, (one["format_id"], one.get("language")))): one for one in listed}


def read(youtube: Standin, url: str) -> bytes:
    body: bytes = yt_dlp.YoutubeDL({"quiet": True, **youtube.access().ytdlp_options}).urlopen(url).read()
    return body


def logged(youtube: Standin, kind: str, count: int = 1) -> list[dict[str, Any]]:
    """Events, which are written only when their answer has gone out."""
    wait_until(lambda: len(youtube.events(kind)) >= count, f"{count} events {kind}")
    return youtube.events(kind)


def pieces(youtube: Standin, url: str) -> tuple[list[str], list[float]]:
    """URLs and durations of a playlist's segments."""
    text = read(youtube, url).decode()
    assert text.startswith("#EXTM3U") and text.rstrip().endswith("#EXT-X-ENDLIST")
    return re.findall(r"^https.*$", text, re.MULTILINE), [float(one) for one in re.findall(r"#EXTINF:([\d.]+)", text)]


def decode(data: bytes, path: Path, kind: str) -> list[Any]:
    path.write_bytes(data)
    with av.open(str(path)) as container:
        return list(container.decode(**{kind: 0}))


def test_formats_as_ytdlp_lists_them(youtube: Standin) -> None:
    formats = resolve(youtube, PLAIN)
    assert set(formats) == {"233", "234", "230", "93"}
    assert [formats[name].get("vcodec") for name in ("233", "234")] == ["none", "none"]
    assert (formats["93"]["height"], formats["93"]["acodec"], formats["230"]["acodec"]) == (360, "mp4a.40.2", "none")
    assert [event["itag"] for event in logged(youtube, "manifest")] == [0]
    assert youtube.counters()["all"]["manifests"] == 1
    assert set(resolve(youtube, SILENT)) == {"230"}


@pytest.mark.parametrize("itag", ["234", "93"])
def test_segments_hold_the_sound_of_their_time(youtube: Standin, tmp_path: Path, itag: str) -> None:
    urls, durations = pieces(youtube, resolve(youtube, PLAIN)[itag]["url"])
    assert sum(durations) == pytest.approx(17, abs=0.1) and len(urls) == 4
    middle = b"".join(read(youtube, url) for url in urls[1:3])
    frames = decode(middle, tmp_path / "piece.ts", "audio")
    samples = np.concatenate([frame.to_ndarray()[0] for frame in frames])
    began = locate_audio(samples, 44_100, near=5)
    assert began == pytest.approx(durations[0] - (PRIMING if itag == "234" else 0), abs=0.002 if itag == "234" else 0.1)
    if itag == "93":
        pictures = decode(middle, tmp_path / "piece.ts", "video")
        assert [read_frame_number(one, near=125) for one in pictures[:3]] == [125, 126, 127]
        assert frames[0].time - pictures[0].time == pytest.approx(began - 5, abs=0.002)
    assert [event["number"] for event in logged(youtube, "segment", 2)] == [1, 2]
    counted = youtube.counters()["all"]
    assert (counted["segments"], counted["media_bytes"]) == (2, len(middle))


def test_each_track_has_its_sound(youtube: Standin, tmp_path: Path) -> None:
    formats = resolve(youtube, DUBBED)
    assert set(formats) == {"233:ja", "233:en-US", "234:ja", "234:en-US"}
    found = []
    for name in ("234:ja", "234:en-US"):
        urls, _ = pieces(youtube, formats[name]["url"])
        frames = decode(read(youtube, urls[1]), tmp_path / "piece.ts", "audio")
        found.append(read_track(np.concatenate([frame.to_ndarray()[0] for frame in frames]), 44_100))
    assert found == [0, 1]


def test_addresses_hold_for_their_video_and_end(youtube: Standin) -> None:
    url = resolve(youtube, PLAIN)["234"]["url"]
    urls, _ = pieces(youtube, url)
    for wrong, status in (
        (urls[0].replace("/sq/0/", "/sq/99/"), 404),
        (url.replace("/itag/234/", "/itag/250/"), 403),
        (urls[0].replace("/ip/direct/", "/ip/elsewhere/"), 403),
    ):
        with pytest.raises(yt_dlp.networking.exceptions.HTTPError, match=str(status)):
            read(youtube, wrong)
    youtube.expire_urls()
    for stale in (url, urls[0]):
        with pytest.raises(yt_dlp.networking.exceptions.HTTPError, match="403"):
            read(youtube, stale)


@pytest.mark.parametrize("trouble", [Trouble.NOT_FOUND, Trouble.TOO_MANY, Trouble.SILENT])
def test_a_manifest_that_fails_leaves_no_hls(youtube: Standin, trouble: Trouble) -> None:
    youtube.add_fault(Fault(trouble, Where.MANIFEST, seconds=0.2))
    try:
        assert resolve(youtube, PLAIN) == {}
    finally:
        youtube.clear_faults()
    assert {event["trouble"] for event in logged(youtube, "manifest")} == {trouble}
    assert len(resolve(youtube, PLAIN)) == 4


def test_segments_that_fail(youtube: Standin) -> None:
    urls, _ = pieces(youtube, resolve(youtube, PLAIN)["234"]["url"])
    youtube.add_fault(Fault(Trouble.FORBIDDEN, Where.SEGMENT, itag=234))
    try:
        with pytest.raises(yt_dlp.networking.exceptions.HTTPError, match="403"):
            read(youtube, urls[0])
    finally:
        youtube.clear_faults()
    assert logged(youtube, "segment")[-1]["trouble"] == "forbidden"

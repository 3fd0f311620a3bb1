"""The media host: ranges, signed URLs, and each fault doing what it says."""

from __future__ import annotations

import dataclasses
import http.client
import io
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import yt_dlp
from yt_dlp.networking import Request

from audioset_batch.standin import Block, Fault, Outcome, Standin, Trouble, Video, Where
from audioset_batch.standin.measure import locate_audio
from audioset_batch.standin.synth import SourceSpec, synthesise
from tests.support.waiting import wait_until

ALIVE, OTHER = "aliveVideo1", "otherVideo2"
Browse = Callable[[str], Any]


def logged_media(youtube: Standin, count: int = 1) -> list[dict[str, Any]]:
    """Media events, which are written only when their answer has gone out."""
    wait_until(lambda: len(youtube.events("media")) >= count, f"{count} media events")
    return youtube.events("media")


def ask_player(browser: Any, ytid: str) -> dict[str, Any]:
    question = {"videoId": ytid, "context": {"client": {"clientName": "VISIONOS"}}}
    response, _ = browser.ask("https://www.youtube.com/youtubei/v1/player", method="POST", body=json.dumps(question))
    assert response.status == 200
    return json.loads(response.read())


def media_url(browser: Any, ytid: str = ALIVE, itag: int = 251) -> str:
    formats = ask_player(browser, ytid)["streamingData"]["adaptiveFormats"]
    return next(entry["url"] for entry in formats if entry["itag"] == itag)


@pytest.fixture
def whole(media_cache: Path) -> bytes:
    return synthesise(media_cache, SourceSpec(251, 30)).read_bytes()


def test_ranges(youtube: Standin, browse: Browse, whole: bytes) -> None:
    browser = browse("one")
    url = media_url(browser)
    size = len(whole)
    for given, status, expected, content_range in (
        (None, 200, whole, None),
        ("0-99", 206, whole[:100], f"bytes 0-99/{size}"),
        ("100000-100000", 206, whole[100_000:100_001], f"bytes 100000-100000/{size}"),
        (f"{size - 10}-", 206, whole[-10:], f"bytes {size - 10}-{size - 1}/{size}"),
        (f"5-{size + 500}", 206, whole[5:], f"bytes 5-{size - 1}/{size}"),
        (f"{size}-", 416, b"", f"bytes */{size}"),
    ):
        response, _ = browser.ask(url, given)
        body = response.read()
        assert (response.status, body == expected) == (status, True)
        assert response.getheader("Content-Range") == content_range
        assert response.getheader("Content-Length") == str(len(expected))
    logged = [(event["start"], event["end"], event["status"], event["bytes"]) for event in logged_media(youtube, 6)]
    assert logged[:3] == [(None, None, 200, size), (0, 99, 206, 100), (100_000, 100_000, 206, 1)]
    assert youtube.counters()["videos"][ALIVE]["media_bytes"] == size + 100 + 1 + 10 + (size - 5)


def test_connection_is_kept(youtube: Standin, browse: Browse, whole: bytes) -> None:
    browser = browse("one")
    url = media_url(browser)
    response, connection = browser.ask(url, "0-9")
    response.read()
    first = connection.sock
    connection.request("GET", url.partition(".com")[2], headers={"Range": "bytes=10-19"})
    assert connection.getresponse().read() == whole[10:20]
    assert connection.sock is first


def test_a_clip_by_ranges_of_ytdlp_is_where_it_was_asked(youtube: Standin) -> None:
    ydl = yt_dlp.YoutubeDL({"quiet": True, "js_runtimes": {}, "no_warnings": True, **youtube.access().ytdlp_options})
    info = ydl.extract_info(f"https://www.youtube.com/watch?v={ALIVE}", download=False)
    url = next(entry["url"] for entry in info["formats"] if entry["format_id"] == "251")
    with av.open(io.BytesIO(ydl.urlopen(Request(url, headers={"Range": "bytes=0-"})).read())) as container:
        stream = container.streams.audio[0]
        container.seek(round(19.9 / stream.time_base), stream=stream)
        frames = [frame for frame in container.decode(stream) if frame.time >= 20]
    assert all(frame.format.is_planar for frame in frames)
    samples = np.concatenate([frame.to_ndarray()[0] for frame in frames])
    assert locate_audio(samples, 48_000) == pytest.approx(frames[0].time, abs=0.001)


def test_signed_urls_hold_for_one_egress_until_they_expire(youtube: Standin, browse: Browse) -> None:
    one, two = browse("one"), browse("two")
    url = media_url(one)
    assert one.ask(url, "0-9")[0].status == 206
    assert two.ask(url, "0-9")[0].status == 403
    youtube.expire_urls()
    assert one.ask(url, "0-9")[0].status == 403
    assert one.ask(media_url(one), "0-9")[0].status == 206


def test_forbidden_until_resolved_again(youtube: Standin, browse: Browse) -> None:
    youtube.add_fault(Fault(Trouble.FORBIDDEN, ytid=ALIVE, first=1))
    browser = browse("one")
    stale = media_url(browser)
    assert [browser.ask(stale, "0-9")[0].status for _ in range(3)] == [403, 403, 403]
    assert browser.ask(media_url(browser), "0-9")[0].status == 206
    assert browser.ask(stale, "0-9")[0].status == 403


def test_429_on_the_media_host(youtube: Standin, browse: Browse) -> None:
    browser = browse("one")
    url = media_url(browser)
    youtube.block(Block.MEDIA_429, "one")
    assert browser.ask(url, "0-9")[0].status == 429
    youtube.unblock()
    assert browser.ask(url, "0-9")[0].status == 206


@pytest.mark.parametrize(
    ("trouble", "status", "body"),
    [
        (Trouble.SERVER_ERROR, 503, b""),
        (Trouble.FORBIDDEN, 403, b""),
        (Trouble.TOO_MANY, 429, b""),
        (Trouble.EMPTY, 200, b""),
    ],
)
def test_answers_without_media(youtube: Standin, browse: Browse, trouble: Trouble, status: int, body: bytes) -> None:
    youtube.add_fault(Fault(trouble, ytid=ALIVE))
    browser = browse("one")
    response, _ = browser.ask(media_url(browser), "0-99")
    assert (response.status, response.read()) == (status, body)
    assert logged_media(youtube)[0]["trouble"] == trouble


def test_html_with_status_200(youtube: Standin, browse: Browse) -> None:
    youtube.add_fault(Fault(Trouble.HTML))
    browser = browse("one")
    response, _ = browser.ask(media_url(browser), "0-99")
    assert (response.status, response.getheader("Content-Type")) == (200, "text/html")
    assert response.read().startswith(b"<!DOCTYPE html>")


def test_range_ignored(youtube: Standin, browse: Browse, whole: bytes) -> None:
    youtube.add_fault(Fault(Trouble.IGNORE_RANGE))
    browser = browse("one")
    response, _ = browser.ask(media_url(browser), "1000-1099")
    assert (response.status, response.getheader("Content-Range")) == (200, None)
    assert response.read() == whole


@pytest.mark.parametrize(("after", "expected"), [(None, 500), (30, 30)])
def test_truncated(youtube: Standin, browse: Browse, whole: bytes, after: int | None, expected: int) -> None:
    youtube.add_fault(Fault(Trouble.TRUNCATE, after_bytes=after))
    browser = browse("one")
    response, _ = browser.ask(media_url(browser), "0-999")
    with pytest.raises(http.client.IncompleteRead) as caught:
        response.read()
    assert caught.value.partial == whole[:expected]
    assert logged_media(youtube)[0]["bytes"] == expected


def test_wrong_length(youtube: Standin, browse: Browse, whole: bytes) -> None:
    youtube.add_fault(Fault(Trouble.WRONG_LENGTH))
    browser = browse("one")
    response, _ = browser.ask(media_url(browser), "0-999")
    assert response.getheader("Content-Length") == "2000"
    with pytest.raises(http.client.IncompleteRead) as caught:
        response.read()
    assert caught.value.partial == whole[:1000]


@pytest.mark.parametrize("after", [None, 100])
def test_reset(youtube: Standin, browse: Browse, after: int | None) -> None:
    youtube.add_fault(Fault(Trouble.RESET, after_bytes=after))
    browser = browse("one")
    url = media_url(browser)
    # Python's ssl module tells a reset in the middle of a body as an early end.
    with pytest.raises((ConnectionResetError, http.client.IncompleteRead)):
        browser.ask(url, "0-999")[0].read()


def test_stall_ends_with_the_clients_patience(youtube: Standin, browse: Browse) -> None:
    youtube.add_fault(Fault(Trouble.STALL, after_bytes=10))
    browser = browse("one")
    url = media_url(browser)
    response, connection = browser.ask(url, "0-999")
    assert len(response.read(10)) == 10
    connection.sock.settimeout(0.3)
    with pytest.raises(TimeoutError):
        response.read(1)


def test_slow(youtube: Standin, browse: Browse) -> None:
    youtube.add_fault(Fault(Trouble.SLOW, bytes_per_second=2000))
    browser = browse("one")
    url = media_url(browser)
    began = time.monotonic()
    assert len(browser.ask(url, "0-999")[0].read()) == 1000
    assert time.monotonic() - began > 0.3


def test_redirects_without_end(youtube: Standin, browse: Browse) -> None:
    youtube.add_fault(Fault(Trouble.REDIRECT_LOOP))
    browser = browse("one")
    url = media_url(browser)
    response, _ = browser.ask(url, "0-9")
    assert (response.status, response.getheader("Location")) == (302, url)


def test_endless_until_the_client_leaves(youtube: Standin, browse: Browse, whole: bytes) -> None:
    youtube.add_fault(Fault(Trouble.ENDLESS))
    browser = browse("one")
    response, connection = browser.ask(media_url(browser), "0-9")
    assert (response.status, response.getheader("Content-Length")) == (200, None)
    assert len(response.read(3 * len(whole))) == 3 * len(whole)
    response.close()
    connection.close()
    assert logged_media(youtube)[0]["trouble"] == Trouble.ENDLESS


def test_garbage_has_the_right_length(youtube: Standin, browse: Browse, whole: bytes) -> None:
    youtube.add_fault(Fault(Trouble.GARBAGE))
    browser = browse("one")
    response, _ = browser.ask(media_url(browser), "0-9999")
    body = response.read()
    assert (response.status, len(body)) == (206, 10_000)
    assert body != whole[:10_000]


def test_length_that_claims_gigabytes(youtube: Standin, browse: Browse) -> None:
    youtube.add_fault(Fault(Trouble.HUGE_LENGTH, seconds=0.1))
    browser = browse("one")
    response, _ = browser.ask(media_url(browser), "0-999")
    assert int(response.getheader("Content-Length")) > 4e9
    with pytest.raises(http.client.IncompleteRead):
        response.read()


@pytest.mark.parametrize("itag", [251, 140])
def test_container_that_claims_gigabytes(youtube: Standin, browse: Browse, itag: int) -> None:
    youtube.add_fault(Fault(Trouble.HUGE_HEADER, itag=itag))
    browser = browse("one")
    body = browser.ask(media_url(browser, itag=itag), "0-99")[0].read()
    assert len(body) == 100
    if itag == 140:
        assert body[24:32] == (3 << 30).to_bytes(4, "big") + b"moov"
    else:
        assert body.index(bytes.fromhex("1c53bb6b01") + (3 << 30).to_bytes(7, "big")) < 60


def test_first_tries_fail_then_it_works(youtube: Standin, browse: Browse) -> None:
    youtube.add_fault(Fault(Trouble.SERVER_ERROR, first=2))
    browser = browse("one")
    alive, other = media_url(browser), media_url(browser, OTHER)
    assert [browser.ask(alive, "0-9")[0].status for _ in range(4)] == [503, 503, 206, 206]
    assert [browser.ask(other, "0-9")[0].status for _ in range(3)] == [503, 503, 206]


def test_flaky_by_seed(youtube: Standin, browse: Browse) -> None:
    youtube.add_fault(Fault(Trouble.SERVER_ERROR, probability=0.5))
    browser = browse("one")
    url = media_url(browser)
    statuses = {browser.ask(url, "0-9")[0].status for _ in range(30)}
    assert statuses == {503, 206}


def test_faults_touch_only_what_they_name(youtube: Standin, browse: Browse) -> None:
    fault = Fault(Trouble.SERVER_ERROR, ytid=ALIVE, egress="two", itag=251)
    youtube.add_fault(fault)
    one, two = browse("one"), browse("two")
    assert one.ask(media_url(one), "0-9")[0].status == 206
    assert two.ask(media_url(two, itag=140), "0-9")[0].status == 206
    assert two.ask(media_url(two, OTHER), "0-9")[0].status == 206
    assert two.ask(media_url(two), "0-9")[0].status == 503
    youtube.clear_faults(OTHER)
    assert two.ask(media_url(two), "0-9")[0].status == 503
    youtube.clear_faults(ALIVE)
    assert two.ask(media_url(two), "0-9")[0].status == 206
    youtube.add_fault(dataclasses.replace(fault, egress=None))
    youtube.clear_faults()
    assert one.ask(media_url(one), "0-9")[0].status == 206


def test_thumbnails(youtube: Standin, browse: Browse) -> None:
    browser = browse("one")
    for ytid, status in ((ALIVE, 200), ("age________", 200), ("removed____", 404), ("nobodyKnows", 404)):
        response, _ = browser.ask(f"https://i.ytimg.com/vi/{ytid}/hqdefault.jpg")
        body = response.read()
        assert response.status == status
        assert body.startswith(b"\xff\xd8") and body.endswith(b"\xff\xd9")
        response, _ = browser.ask(f"https://i.ytimg.com/vi/{ytid}/hqdefault.jpg", method="HEAD")
        assert (response.status, response.read()) == (status, b"")
    youtube.put_video(Video("ghost______", outcome=Outcome.REMOVED, placeholder=True))
    sizes = {}
    for ytid in (ALIVE, "removed____", "ghost______"):
        response, _ = browser.ask(f"https://i.ytimg.com/vi/{ytid}/hqdefault.jpg")
        with av.open(io.BytesIO(response.read()), format="jpeg_pipe") as picture:
            [frame] = picture.decode(video=0)
        sizes[ytid] = (response.status, (frame.width, frame.height))
    assert sizes == {ALIVE: (200, (16, 16)), "removed____": (404, (120, 90)), "ghost______": (200, (120, 90))}
    youtube.add_fault(Fault(Trouble.TOO_MANY, Where.THUMBNAIL))
    assert browser.ask(f"https://i.ytimg.com/vi/{ALIVE}/hqdefault.jpg")[0].status == 429


def test_other_hosts_are_refused(youtube: Standin, browse: Browse) -> None:
    with pytest.raises(OSError, match="403"):
        browse("one").ask("https://example.org/")
    assert browse("one").ask("https://www.youtube.com/nothing")[0].status == 404

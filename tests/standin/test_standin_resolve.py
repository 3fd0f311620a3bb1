"""Unmodified yt-dlp resolves through the stand-in, and words each outcome as it does YouTube's."""

from __future__ import annotations

import os
import shutil
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yt_dlp

from audioset_batch.standin import Allowance, Block, Catalog, Fault, Outcome, Standin, Trouble, Video, Where, proxy

ALIVE, OTHER = "aliveVideo1", "otherVideo2"


class Log:
    def __init__(self) -> None:
        self.warnings: list[str] = []

    def debug(self, message: str) -> None: ...

    def warning(self, message: str, **_: object) -> None:
        self.warnings.append(message)

    def error(self, message: str) -> None: ...


def client(youtube: Standin, egress: str = "one", **options: Any) -> tuple[yt_dlp.YoutubeDL, Log]:
    log = Log()
    # A JavaScript runtime that happens to be installed changes the requests: tests that want one say so.
    params = {"quiet": True, "logger": log, "js_runtimes": {}, "socket_timeout": 60}
    return yt_dlp.YoutubeDL({**params, **youtube.access(egress).ytdlp_options, **options}), log


def resolve(ydl: yt_dlp.YoutubeDL, ytid: str) -> dict[str, Any]:
    return ydl.extract_info(f"https://www.youtube.com/watch?v={ytid}", download=False)


def format_ids(info: dict[str, Any]) -> set[str]:
    """Without the storyboards, which come with every answer that can be played, and without HLS."""
    return {entry["format_id"] for entry in info["formats"] if entry["protocol"] == "https"}


def skipping(*parts: str) -> dict[str, Any]:
    return {"extractor_args": {"youtube": {"player_skip": list(parts)}}}


WORDINGS = {
    Outcome.REMOVED: "Video unavailable. This video has been removed by the uploader",
    Outcome.ACCOUNT_TERMINATED: "no longer available because the YouTube account associated with this video has been",
    Outcome.NONEXISTENT: "Video unavailable. This video is unavailable",
    Outcome.DOES_NOT_EXIST: "does not exist",
    Outcome.NOT_AVAILABLE: "This video is not available",
    Outcome.PRIVATE: "Private video. Sign in if you've been granted access to this video",
    Outcome.COPYRIGHT_CLAIM: "no longer available due to a copyright claim by",
    Outcome.COPYRIGHT_BLOCK: "blocked it on copyright grounds",
    Outcome.GEO_BLOCKED: "has not made this video available in your country",
    Outcome.AGE: "Sign in to confirm your age",
    Outcome.MEMBERS: "Join this channel to get access to members-only content",
    Outcome.PURCHASE: "requires payment",
    Outcome.UPCOMING: "This live event will begin in",
    Outcome.DRM: "DRM protected",
    Outcome.NO_FORMATS: "No video formats found!",
}


@pytest.mark.parametrize("skip", [(), ("webpage", "configs")], ids=["all pages", "player alone"])
@pytest.mark.parametrize("outcome", WORDINGS)
def test_wording(youtube: Standin, outcome: Outcome, skip: tuple[str, ...]) -> None:
    ydl, _ = client(youtube, **skipping(*skip))
    with pytest.raises(yt_dlp.utils.DownloadError) as caught:
        resolve(ydl, f"{outcome.value:_<11}"[:11])
    assert WORDINGS[outcome] in str(caught.value)
    assert isinstance(caught.value.exc_info[1], yt_dlp.utils.GeoRestrictedError) == (outcome is Outcome.GEO_BLOCKED)
    assert youtube.counters()["all"]["resolves"] == 1


def test_every_outcome_has_its_wording_or_formats() -> None:
    assert set(Outcome) - set(WORDINGS) == {Outcome.OK, Outcome.LIVE, Outcome.NO_AUDIO, Outcome.NO_VIDEO}


def test_formats_as_youtube_gives_them(youtube: Standin) -> None:
    youtube.put_video(Video(ALIVE, 30))
    assert "18" not in {entry["format_id"] for entry in resolve(client(youtube)[0], ALIVE)["formats"]}
    youtube.put_video(Video(ALIVE, 30, muxed=True))
    ydl, log = client(youtube)
    info = resolve(ydl, ALIVE)
    formats = {entry["format_id"]: entry for entry in info["formats"]}
    assert set(formats) == {"18", "134", "140", "251", "sb0", "sb1", "93", "230", "233", "234"}
    assert (formats["251"]["acodec"], formats["251"]["asr"], formats["251"]["vcodec"]) == ("opus", 48_000, "none")
    assert (formats["140"]["acodec"], formats["140"]["asr"]) == ("mp4a.40.2", 44_100)
    assert (formats["134"]["acodec"], formats["134"]["height"]) == ("none", 360)
    assert formats["18"]["acodec"] != "none" != formats["18"]["vcodec"]
    assert (info["duration"], info["live_status"]) == (30, "not_live")
    assert [warning for warning in log.warnings if "JavaScript" not in warning] == []
    counters = youtube.counters()
    assert [counters["all"][key] for key in ("resolves", "pages", "player", "manifests")] == [2, 2, 2, 2]


def test_missing_streams_and_live(youtube: Standin) -> None:
    ydl, _ = client(youtube)
    silent = resolve(ydl, "no_audio___")
    assert {entry["acodec"] for entry in silent["formats"]} == {"none"}
    blind = resolve(ydl, "no_video___")
    assert {entry["vcodec"] for entry in blind["formats"]} == {"none"}
    assert resolve(ydl, "live_______")["live_status"] == "is_live"


def test_unknown_ids_do_not_exist_unless_there_is_a_default(youtube: Standin, media_cache: Path) -> None:
    ydl, _ = client(youtube)
    with pytest.raises(yt_dlp.utils.DownloadError, match="This video is unavailable"):
        resolve(ydl, "-unknown_id")
    youtube.catalog.default = Video("", 30, itags=(251,))
    assert resolve(ydl, "-unknown_id")["id"] == "-unknown_id"


def deno() -> str | None:
    beside = Path(sys.executable).parent / "deno"
    return str(beside) if beside.exists() else shutil.which("deno")


@pytest.mark.skipif(deno() is None, reason="no deno on the PATH (the PyPI package deno has one)")
@pytest.mark.parametrize("skip", [(), ("webpage", "configs")], ids=["all pages", "player alone"])
def test_with_a_javascript_runtime(youtube: Standin, skip: tuple[str, ...]) -> None:
    ydl, log = client(youtube, js_runtimes={"deno": {"path": deno()}}, **skipping(*skip))
    assert format_ids(resolve(ydl, ALIVE)) == {"140", "251"}
    with pytest.raises(yt_dlp.utils.DownloadError, match="confirm your age"):
        resolve(ydl, "age________")
    # Visitor data is on the pages alone, and yt-dlp would like some for the tokens of one of its clients.
    expected = ["Visitor Data"] if skip else []
    assert [warning for warning in log.warnings if not any(one in warning for one in expected)] == []
    assert {event["status"] for event in youtube.events() if "status" in event} == {200}
    assert youtube.counters()["all"]["resolves"] == 2


BLOCK_WORDINGS = {
    Block.BOT_CHECK: "Sign in to confirm you’re not a bot",
    Block.RATE_LIMIT: "This content isn't available, try again later",
    Block.SOFT_BAN: "This video is not available",
}


@pytest.mark.parametrize("mode", BLOCK_WORDINGS)
def test_blocked_egress(youtube: Standin, mode: Block) -> None:
    youtube.block(mode, "one")
    blocked, _ = client(youtube, "one")
    with pytest.raises(yt_dlp.utils.DownloadError) as caught:
        resolve(blocked, ALIVE)
    assert BLOCK_WORDINGS[mode] in str(caught.value)
    assert ("rate-limited by YouTube" in str(caught.value)) == (mode is Block.RATE_LIMIT)
    free, _ = client(youtube, "two")
    assert resolve(free, ALIVE)["id"] == ALIVE
    youtube.unblock("one")
    assert resolve(blocked, ALIVE)["id"] == ALIVE
    assert [event["blocked"] for event in youtube.events("resolve")] == [mode, None, None]


@pytest.mark.parametrize(
    ("skip", "text"),
    # With the page there are its storyboards.
    [((), "Requested format is not available"), (("webpage", "configs"), "Failed to extract any player response")],
)
def test_429_on_the_player_is_said_in_a_warning_alone(youtube: Standin, skip: tuple[str, ...], text: str) -> None:
    youtube.block(Block.PLAYER_429)
    ydl, log = client(youtube, **skipping(*skip))
    with pytest.raises(yt_dlp.utils.DownloadError) as caught:
        resolve(ydl, ALIVE)
    assert text in str(caught.value)
    assert "429" not in str(caught.value)
    assert any("HTTP Error 429" in warning for warning in log.warnings)


def test_a_block_ends_by_itself(youtube: Standin, monkeypatch: pytest.MonkeyPatch) -> None:
    youtube.block(Block.BOT_CHECK, "one", seconds=100)
    assert youtube.board.blocked("one") is Block.BOT_CHECK
    later = time.time() + 101
    monkeypatch.setattr(time, "time", lambda: later)
    assert youtube.board.blocked("one") is None


def test_allowance_blocks_the_egress_that_exceeds_it(media_cache: Path) -> None:
    catalog = Catalog.of(default=Video("", 30, itags=(251,)))
    limit = Allowance(resolves=2, window_seconds=60, penalty_seconds=60)
    with Standin(catalog, media_cache, egresses=("one", "two"), allowance=limit) as youtube:
        ydl, _ = client(youtube, "one", **skipping("webpage", "configs"))
        for number in range(2):
            resolve(ydl, f"video____{number:02}")
        with pytest.raises(yt_dlp.utils.DownloadError, match="try again later"):
            resolve(ydl, "video____02")
        other, _ = client(youtube, "two", **skipping("webpage", "configs"))
        resolve(other, "video____02")


def test_player_that_fails_at_first(youtube: Standin) -> None:
    youtube.add_fault(Fault(Trouble.SERVER_ERROR, Where.PLAYER, ytid=ALIVE, first=2))
    ydl, _ = client(youtube, **skipping("webpage", "configs"))
    assert resolve(ydl, ALIVE)["id"] == ALIVE
    assert [event["status"] for event in youtube.events("player")] == [503, 503, 200]
    # However often yt-dlp asks again after a server's error, it is one resolve.
    assert youtube.counters()["videos"][ALIVE]["resolves"] == 1


@pytest.mark.parametrize("trouble", [Trouble.RESET, Trouble.GARBAGE, Trouble.EMPTY, Trouble.HTML, Trouble.TRUNCATE])
def test_player_that_is_broken_harms_one_video(youtube: Standin, trouble: Trouble) -> None:
    youtube.add_fault(Fault(trouble, Where.PLAYER, ytid=ALIVE))
    ydl, _ = client(youtube, extractor_retries=0, **skipping("webpage", "configs"))
    with pytest.raises(yt_dlp.utils.DownloadError):
        resolve(ydl, ALIVE)
    assert resolve(ydl, OTHER)["id"] == OTHER


def test_resolving_again_is_another_resolve(youtube: Standin) -> None:
    ydl, _ = client(youtube)
    for _ in range(3):
        resolve(ydl, ALIVE)
    resolve(client(youtube, "two")[0], ALIVE)
    counters = youtube.counters()
    assert [event["issue"] for event in youtube.events("resolve", ALIVE)] == [1, 2, 3, 4]
    assert (counters["egresses"]["one"]["resolves"], counters["egresses"]["two"]["resolves"]) == (3, 1)


def test_by_environment_with_certificates_checked(youtube: Standin, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in youtube.access().env.items():
        monkeypatch.setenv(name, value)
    checking = yt_dlp.YoutubeDL({"quiet": True, "logger": Log(), "js_runtimes": {}, "compat_opts": {"no-certifi"}})
    assert resolve(checking, ALIVE)["id"] == ALIVE
    monkeypatch.setenv("SSL_CERT_FILE", os.devnull)
    distrusting = yt_dlp.YoutubeDL(
        {"quiet": True, "logger": Log(), "js_runtimes": {}, "compat_opts": {"no-certifi"}, "extractor_retries": 0}
    )
    with pytest.raises(yt_dlp.utils.DownloadError, match="CERTIFICATE_VERIFY_FAILED"):
        resolve(distrusting, ALIVE)


def test_no_answer_waits_for_a_delayed_acknowledgement(youtube: Standin, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which would add 40 ms to each."""
    tunnel = proxy._Connection._tunnel
    set_at_once = []

    def look(self: proxy._Connection, connection: socket.socket, *more: Any) -> Any:
        set_at_once.append(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        return tunnel(self, connection, *more)

    monkeypatch.setattr(proxy._Connection, "_tunnel", look)
    ydl, _ = client(youtube, **skipping("webpage", "configs", "initial_data"))
    resolve(ydl, ALIVE)
    assert set_at_once and all(set_at_once)


def test_latency_is_added_to_every_answer(youtube: Standin, browse: Callable[[str], Any]) -> None:
    picture = f"https://i.ytimg.com/vi/{ALIVE}/default.jpg"
    youtube.set_delay(0.2, "one")
    began = time.monotonic()
    browse("one").ask(picture)
    assert time.monotonic() - began >= 0.2
    youtube.set_delay(3600, "one")
    browse("two").ask(picture)

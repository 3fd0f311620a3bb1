"""The real extractor against the stand-in: what every answer of YouTube turns into."""

import time
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import Mock

import pytest

from audioset_batch.errors import EgressBlocked, SegmentTransient, SegmentUnavailable, SlotExpired, UsageError
from audioset_batch.reasons import Reason
from audioset_batch.sharedfs.clock import boot_time
from audioset_batch.standin import Block, Catalog, Fault, Outcome, Standin, Trouble, Video, Where
from audioset_batch.youtube.client import YtDlpClient, parse_args
from audioset_batch.youtube.streams import ClientOptions, RequestContext
from tests.support.loopback import EXPECTED_REASON
from tests.support.waiting import wait_until

ALL = {outcome: f"outcome__{index:02d}" for index, outcome in enumerate(Outcome)}
DEADLINE = 30


@pytest.fixture(scope="module")
def standin(media_cache: Path) -> Iterator[Standin]:
    catalog = Catalog.of(*(Video(ytid, outcome=outcome) for outcome, ytid in ALL.items()))
    with Standin(catalog, media_cache) as youtube:
        yield youtube


@pytest.fixture
def youtube(standin: Standin) -> Iterator[Standin]:
    yield standin
    standin.unblock()
    standin.clear_faults()
    standin.set_delay(0.0)


@pytest.fixture
def client(youtube: Standin, monkeypatch: pytest.MonkeyPatch) -> YtDlpClient:
    monkeypatch.setenv("SSL_CERT_FILE", str(youtube.access().ca_file))
    return make_client(youtube)


def make_client(youtube: Standin, **more: object) -> YtDlpClient:
    skip = ("webpage", "configs", "initial_data")
    options = {"args": ("--no-cache-dir",), "player_skip": skip, "proxy": youtube.access().proxy}
    return YtDlpClient(ClientOptions(**{**options, **more}))  # type: ignore[arg-type]


def test_a_resolve_whose_time_passes_on_the_way_to_its_first_request_is_not_begun(
    client: YtDlpClient, youtube: Standin
) -> None:
    before = len(youtube.events("resolve"))
    with pytest.raises(SlotExpired):
        client.resolve(ALL[Outcome.OK], RequestContext(start_by=boot_time() + 1e-4))
    assert len(youtube.events("resolve")) == before
    assert client.traffic.take().requests == 0
    assert client.resolve(ALL[Outcome.OK]).audio is not None


def test_a_resolve_that_has_begun_in_time_goes_on_after_it(youtube: Standin, client: YtDlpClient) -> None:
    thorough = make_client(youtube, player_skip=(), lean=False)
    with pytest.raises(SlotExpired):
        thorough.resolve(ALL[Outcome.OK], RequestContext(start_by=boot_time()))
    youtube.set_delay(0.8)
    start_by = boot_time() + 1.5
    assert thorough.resolve(ALL[Outcome.OK], RequestContext(start_by=start_by)).audio is not None
    assert boot_time() > start_by


@pytest.mark.parametrize("outcome", EXPECTED_REASON, ids=str)
def test_every_outcome(client: YtDlpClient, outcome: Outcome) -> None:
    with pytest.raises(SegmentUnavailable) as caught:
        client.resolve(ALL[outcome])
    assert caught.value.reason == EXPECTED_REASON[outcome]


@pytest.mark.parametrize("block", [Block.BOT_CHECK, Block.RATE_LIMIT, Block.PLAYER_429], ids=str)
@pytest.mark.parametrize("skip", [(), ("webpage", "configs", "initial_data")], ids=["all pages", "player alone"])
def test_every_block(client: YtDlpClient, youtube: Standin, block: Block, skip: tuple[str, ...]) -> None:
    youtube.block(block)
    with pytest.raises(EgressBlocked):
        make_client(youtube, player_skip=skip).resolve(ALL[Outcome.OK])


def test_media_429_blocks_too(client: YtDlpClient, youtube: Standin) -> None:
    resolved = client.resolve(ALL[Outcome.OK])
    youtube.block(Block.MEDIA_429)
    assert resolved.audio is not None
    with pytest.raises(EgressBlocked):
        client.open(resolved.audio, RequestContext(time.monotonic() + DEADLINE)).read(0, 1000)


def test_one_request_resolves_and_the_best_audio_is_taken(client: YtDlpClient) -> None:
    resolved = client.resolve(ALL[Outcome.OK])
    assert client.traffic.take().requests == 1
    assert resolved.audio is not None and resolved.audio.format_id == "251"
    assert resolved.video is None
    assert resolved.duration_seconds == pytest.approx(60, abs=1)


ASKED_TWICE = (Outcome.NONEXISTENT, Outcome.DOES_NOT_EXIST, Outcome.AGE, Outcome.NO_AUDIO)


@pytest.mark.parametrize("outcome", [one for one in EXPECTED_REASON if one not in ASKED_TWICE], ids=str)
def test_a_fact_about_a_video_costs_one_request(client: YtDlpClient, youtube: Standin, outcome: Outcome) -> None:
    before = len(youtube.events())
    with pytest.raises(SegmentUnavailable):
        client.resolve(ALL[outcome])

    def asked() -> list[str]:
        return [event["kind"] for event in youtube.events()[before:] if event["kind"] != "resolve"]

    wait_until(asked, "the request, which the stand-in writes down just after its answer has gone out")
    assert asked() == ["player"]


def test_refusals_that_settle_nothing_are_transient_and_the_words_are_the_detail(
    youtube: Standin, client: YtDlpClient
) -> None:
    for args in ((), ("--no-js-runtimes",)):
        with pytest.raises(SegmentTransient) as caught:
            make_client(youtube, args=("--no-cache-dir", *args)).resolve(ALL[Outcome.NOT_AVAILABLE])
        assert (caught.value.reason, caught.value.detail) == (Reason.UNRECOGNIZED, "This video is not available")
    known = make_client(youtube, wordings={"NOT available": Reason.REMOVED})
    with pytest.raises(SegmentUnavailable, match=r"removed: .*youtube\.wordings"):
        known.resolve(ALL[Outcome.NOT_AVAILABLE])
    youtube.block(Block.BOT_CHECK)
    with pytest.raises(EgressBlocked):
        make_client(youtube, wordings={"sign in": Reason.REMOVED}).resolve(ALL[Outcome.OK])


@pytest.mark.parametrize("skip", [(), ("webpage", "configs", "initial_data")], ids=["all pages", "player alone"])
def test_videos_made_for_kids(youtube: Standin, client: YtDlpClient, skip: tuple[str, ...]) -> None:
    youtube.put_video(Video("kids_______", 20, kids=True))
    for more in ({}, {"lean": False}, {"args": ("--no-cache-dir", "--no-js-runtimes")}):
        resolved = make_client(youtube, player_skip=skip, **more).resolve("kids_______")
        assert resolved.audio is not None
    youtube.put_video(Video("kids_______", 20, kids=True, itags=(251,)))  # for ANDROID without an address
    with pytest.raises(SegmentTransient) as caught:
        make_client(youtube, args=("--no-cache-dir", "--no-js-runtimes")).resolve("kids_______")
    assert caught.value.reason == Reason.NO_USABLE_FORMAT


def test_results_that_are_no_video(youtube: Standin, client: YtDlpClient) -> None:
    youtube.put_video(Video("film_______", outcome=Outcome.PURCHASE, trailer="trailer____"))
    with pytest.raises(SegmentUnavailable) as caught:
        client.resolve("film_______")
    assert caught.value.reason == Reason.LOGIN_REQUIRED
    youtube.put_video(Video("camera____1", 20, feeds=("camera____2", "camera____1")))
    assert client.resolve("camera____1").ytid == "camera____1"
    assert client.traffic.take().requests == 2


def test_the_language_of_refusals_stays_english(youtube: Standin) -> None:
    with pytest.raises(UsageError, match="youtube:lang"):
        make_client(youtube, args=("--extractor-args", "youtube:lang=de"))


def test_every_client_is_asked_where_lean_is_off_and_where_the_lean_ones_settle_nothing(
    client: YtDlpClient, youtube: Standin
) -> None:
    everyone = make_client(youtube, lean=False)
    everyone.resolve(ALL[Outcome.OK])
    assert everyone.traffic.take().requests > 1, "with deno, of the test extra, yt-dlp asks a second client"
    with pytest.raises(SegmentUnavailable):
        client.resolve(ALL[Outcome.NONEXISTENT])
    assert client.traffic.take().requests > 1
    with pytest.raises(SegmentUnavailable):
        client.resolve(ALL[Outcome.PRIVATE])
    assert client.traffic.take().requests == 1


def test_ranges(client: YtDlpClient) -> None:
    stream = client.resolve(ALL[Outcome.OK]).audio
    assert stream is not None
    client.traffic.take()
    source = client.open(stream, RequestContext(time.monotonic() + DEADLINE))
    whole = source.read(0, 5000)
    assert source.read(1000, 2000) == whole[1000:2000]
    assert source.size == stream.size
    assert len(source.read(source.size - 100, source.size + 100)) == 100
    assert source.read(source.size + 10, source.size + 20) == b""
    traffic = client.traffic.take()
    assert (traffic.media_requests, traffic.media_bytes) == (4, 6100)


@pytest.mark.parametrize(
    ("trouble", "reason"),
    [
        (Trouble.SERVER_ERROR, Reason.HTTP_ERROR),
        (Trouble.FORBIDDEN, Reason.MEDIA_FORBIDDEN),
        (Trouble.RESET, None),
        (Trouble.TRUNCATE, Reason.TRUNCATED),
        (Trouble.HTML, Reason.HTTP_ERROR),
        (Trouble.EMPTY, Reason.TRUNCATED),
        (Trouble.REDIRECT_LOOP, Reason.HTTP_ERROR),
    ],
    ids=str,
)
def test_every_trouble_is_transient(
    client: YtDlpClient, youtube: Standin, trouble: Trouble, reason: Reason | None
) -> None:
    stream = client.resolve(ALL[Outcome.OK]).audio
    assert stream is not None
    youtube.add_fault(Fault(trouble))
    with pytest.raises(SegmentTransient) as caught:
        client.open(stream, RequestContext(time.monotonic() + DEADLINE)).read(1000, 50_000)
    if reason is not None:
        assert caught.value.reason == reason


@pytest.mark.parametrize("trouble", [Trouble.IGNORE_RANGE, Trouble.WRONG_LENGTH], ids=str)
def test_a_lie_about_the_range_or_the_length_does_no_harm(
    client: YtDlpClient, youtube: Standin, trouble: Trouble
) -> None:
    stream = client.resolve(ALL[Outcome.OK]).audio
    assert stream is not None
    expected = client.open(stream, RequestContext(time.monotonic() + DEADLINE)).read(1000, 2000)
    youtube.add_fault(Fault(trouble))
    assert client.open(stream, RequestContext(time.monotonic() + DEADLINE)).read(1000, 2000) == expected


def test_the_cap_on_bytes_holds(client: YtDlpClient, youtube: Standin) -> None:
    stream = client.resolve(ALL[Outcome.OK]).audio
    assert stream is not None
    youtube.add_fault(Fault(Trouble.ENDLESS))
    with pytest.raises(SegmentTransient, match="max_clip_bytes"):
        client.open(stream, RequestContext(max_bytes=1_000_000)).read(0, 2_000_000)
    assert client.traffic.media_bytes <= 1_000_000


def test_the_deadline_ends_a_slow_drip(client: YtDlpClient, youtube: Standin) -> None:
    stream = client.resolve(ALL[Outcome.OK]).audio
    assert stream is not None
    youtube.add_fault(Fault(Trouble.SLOW, bytes_per_second=20_000))
    client.traffic.take()
    with pytest.raises(SegmentTransient) as caught:
        client.open(stream, RequestContext(deadline=time.monotonic() + 1)).read(0, 900_000)
    assert caught.value.reason == Reason.TIMEOUT
    assert client.traffic.media_bytes < 200_000, "ten times what comes in a second"


def test_player_5xx_is_transient(client: YtDlpClient, youtube: Standin) -> None:
    youtube.add_fault(Fault(Trouble.SERVER_ERROR, where=Where.PLAYER))
    with pytest.raises(SegmentTransient):
        client.resolve(ALL[Outcome.OK])


def test_a_dead_proxy_is_a_network_error(client: YtDlpClient, youtube: Standin) -> None:
    with pytest.raises(SegmentTransient) as caught:
        make_client(youtube, proxy="http://127.0.0.1:1").resolve(ALL[Outcome.OK])
    assert caught.value.reason == Reason.NETWORK
    assert "Unable to connect to proxy" in caught.value.detail, "not just that no answer came"


@pytest.mark.parametrize("args", [["--no-such-option"], ["https://example.org/"], ["--retries", "many"]])
def test_what_is_not_an_option_of_yt_dlp_is_refused_with_its_words(args: list[str]) -> None:
    with pytest.raises(UsageError, match=r"youtube\.args"):
        parse_args(args)


def test_cookies_are_copied_and_the_original_is_left_alone(youtube: Standin, tmp_path: Path) -> None:
    cookies = tmp_path / "cookies.txt"
    cookies.write_text("# Netscape HTTP Cookie File\n.youtube.com\tTRUE\t/\tTRUE\t2000000000\tSID\tsecret\n")
    before = cookies.stat().st_mtime_ns
    make_client(youtube, cookies=cookies)
    assert cookies.stat().st_mtime_ns == before
    with pytest.raises(UsageError, match="cookie file"):
        make_client(youtube, cookies=tmp_path / "none.txt")


@pytest.mark.parametrize("args", [{}, {"height": 144}], ids=["any height", "144 at most"])
def test_video_of_limited_height(client: YtDlpClient, youtube: Standin, args: dict[str, int]) -> None:
    limited = make_client(youtube, video_mode="bestvideo", max_height=args.get("height"))
    if args:
        with pytest.raises(SegmentUnavailable) as caught:
            limited.resolve(ALL[Outcome.OK])
        assert caught.value.reason == Reason.NO_VIDEO
    else:
        resolved = limited.resolve(ALL[Outcome.OK])
        assert resolved.video is not None and resolved.video.format_id == "134"


@pytest.mark.parametrize(
    ("args", "problem"),
    [
        (["-f", "bestaudio["], "Invalid filter|Invalid format"),
        (["-f", "ba/(b"], "Invalid format|brace"),
        (["--format=best[height>>3]"], "Invalid"),
        (["--impersonate", "netscape"], "[Ii]mpersonat"),
        (["--extractor-args", "youtube:lang=de"], "English words"),
        (["--extractor-args", "youtube:player_client=web;Lang=de"], "English words"),
        (["--extractor-a=YouTube:lang=en"], "English words"),
        (["--add-headers", "accept-language:de"], "English words"),
        (["--proxy", "http://user:T1/RE@h"], "percent-encoded"),
        (["--geo-verification-proxy", "user:T1/RE@h"], "percent-encoded"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_yt_dlp_would_find_wrong_later_is_found_as_it_is_built(args: list[str], problem: str) -> None:
    with pytest.raises(UsageError, match=rf"youtube\.args: .*({problem})") as caught:
        YtDlpClient(ClientOptions(args=tuple(args)))
    assert "T1" not in str(caught.value)


@pytest.mark.parametrize("error", [OverflowError, RecursionError, KeyError, ZeroDivisionError, UnicodeEncodeError])
def test_what_breaks_the_extractor_is_the_segments_own_trouble(
    error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Numbers without end and nesting without end are JSON too."""
    client = YtDlpClient(ClientOptions())
    problem = error("utf-8", "x", 0, 1, "bad") if error is UnicodeEncodeError else error("bad")
    monkeypatch.setattr(client.parts[0], "extract_info", Mock(side_effect=problem))
    with pytest.raises(SegmentTransient, match=f"yt-dlp: {error.__name__}"):
        client.resolve("abcdefghijk")


def test_a_duration_without_end_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    client = YtDlpClient(ClientOptions())
    sound = {"url": "https://example.org/", "format_id": "251", "ext": "webm", "acodec": "opus", "vcodec": "none"}
    info = {"id": "abcdefghijk", "formats": [sound], "duration": float("inf")}
    monkeypatch.setattr(client.parts[0], "extract_info", Mock(return_value=info))
    assert client.resolve("abcdefghijk").duration_seconds is None

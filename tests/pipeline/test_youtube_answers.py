"""What YouTube has answered since 2025, played to `audioset-batch worker`: what each video comes to, and what it costs.

All situations lie in one shard, which two runs download: one without a JavaScript runtime, one with deno, cookies and
another sample rate.
"""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import soundfile

from audioset_batch.standin import AudioTrack, Catalog, Fault, Lock, Outcome, Standin, TrackKind, Trouble, Video, Where
from audioset_batch.standin.answers import SIGNED, storyboards
from audioset_batch.standin.measure import locate_audio
from audioset_batch.standin.synth import SourceSpec
from tests.support.loopback import Project, Row
from tests.support.marks import read_track
from tests.support.media_data import encode_audio_file

pytestmark = pytest.mark.xdist_group("answers")  # two runs for all

SECONDS = 33.0
START, LENGTH = 10, 4
JAPANESE = AudioTrack("ja", default=False)
DUB = AudioTrack("en-US", TrackKind.DUBBED, default=True)
SOUND = {"itags": (140, 251), "hls": False}
CHAINED = 127_000
"""A bit rate that no other test has: the file of these videos has an index (`sidx`) in front of each fragment."""
RELOAD = {"playabilityStatus": {"status": "UNPLAYABLE", "reason": "The page needs to be reloaded."}}


@dataclass(frozen=True)
class Situation:
    """A video, and what has to come of it.

    Attributes:
        video: Arguments of `Video`.
        lean: `status/reason` without a JavaScript runtime; of what is ok `ok/` and, where it matters, the format.
        full: The same with one; "" for the same as `lean`.
        track: Its audio track in the manifest.
        start: Where the segment begins.
        resolves: How often it is asked for in the first run.
    """

    video: dict[str, Any]
    lean: str = "ok/"
    full: str = ""
    track: str = ""
    start: int = START
    resolves: int = 1


def mono_original(ytid: str) -> dict[str, Any]:
    """An answer whose original has one channel, and whose dub two."""

    def entry(track: AudioTrack, channels: int) -> dict[str, Any]:
        kind = {"itag": 140, "mimeType": 'audio/mp4; codecs="mp4a.40.2"', "bitrate": 128_000, "contentLength": "500000"}
        sound = {"audioChannels": channels, "audioSampleRate": "44100", "audioQuality": "AUDIO_QUALITY_MEDIUM"}
        return {**kind, **sound, **track.entry(), "url": SIGNED, "xtags": track.xtags}

    return {
        "playabilityStatus": {"status": "OK"},
        "streamingData": {"adaptiveFormats": [entry(JAPANESE, 1), entry(DUB, 2)]},
        "storyboards": storyboards(ytid),
        "videoDetails": {"videoId": ytid, "title": "mono", "lengthSeconds": str(round(SECONDS))},
    }


SITUATIONS = {
    "nothing special": Situation({}, "ok/251"),
    "an ad before it": Situation({"ad_seconds": 1.5}),
    "storyboards beside formats without address": Situation(SOUND | {"sabr": ("*",)}, "failed/no_usable_format"),
    "formats without address alone": Situation(
        SOUND | {"sabr": ("*",), "storyboards": False}, "failed/no_usable_format"
    ),
    "ciphered": Situation(SOUND | {"locks": {140: Lock.CIPHER, 251: Lock.CIPHER}}, "failed/no_usable_format"),
    "n challenge": Situation(SOUND | {"locks": {140: Lock.N, 251: Lock.N}}, "failed/no_usable_format"),
    "for kids": Situation({"kids": True}, "ok/18", "ok/"),
    "for kids, no old format": Situation({"kids": True, "itags": (251,)}, "failed/no_usable_format", "ok/251"),
    "the dub is the default": Situation(SOUND | {"tracks": (DUB, JAPANESE)}, "ok/251", track="original"),
    "original in AAC alone": Situation(
        SOUND | {"tracks": (DUB, AudioTrack("ja", default=False, itags=(140,)))}, "ok/140", track="original"
    ),
    "original of low quality": Situation(
        {"itags": (139, 140, 251), "tracks": (DUB, AudioTrack("ja", default=False, itags=(139,)))},
        "ok/139",
        track="original",
    ),
    "original in mono": Situation({"itags": (140,), "tracks": (DUB, JAPANESE), "hls": False}, track="original"),
    "original without address": Situation(
        SOUND | {"tracks": (DUB, AudioTrack("ja", default=False, address=False))}, "failed/no_usable_format"
    ),
    "original with a compressed range alone": Situation(
        SOUND | {"tracks": (DUB, AudioTrack("ja", default=False, drc=True))}, track="original"
    ),
    "no original is listed": Situation(SOUND | {"tracks": (DUB,)}, track="dubbed"),
    "described, and the original": Situation(
        SOUND | {"tracks": (AudioTrack("ja", TrackKind.DESCRIPTIVE), AudioTrack("ja"))}, track="original"
    ),
    "5.1 in AAC": Situation({"itags": (258, 251)}),
    "5.1 in AC-3": Situation({"itags": (380, 251)}),
    "5.1 in E-AC-3 alone": Situation({"itags": (328,)}, "ok/328"),
    "every client is to reload": Situation({"answers": {"*": RELOAD}}, "failed/http_error", resolves=3),
    "the lean client is to reload": Situation({"answers": {"VISIONOS": RELOAD}}, "ok/18", "ok/"),
    "a trailer in place of the film": Situation(
        {"outcome": Outcome.PURCHASE, "trailer": "trailer0001"}, "unavailable/login_required"
    ),
    "several cameras": Situation({"feeds": ("SELF", "otherCamera")}),
    "403 until it is resolved again": Situation({}, resolves=2),
    "an index for each fragment": Situation({"itags": (140,), "bit_rate": CHAINED}, "ok/140"),
    "the last of these fragments": Situation({"itags": (140,), "bit_rate": CHAINED}, "ok/140", start=28),
}
YTIDS = {name: f"case_{number:02d}____" for number, name in enumerate(SITUATIONS)}


def video_of(name: str) -> Video:
    ytid, more = YTIDS[name], dict(SITUATIONS[name].video)
    if "feeds" in more:
        more["feeds"] = tuple(one.replace("SELF", ytid) for one in more["feeds"])
    if name == "original in mono":
        more["answers"] = {"*": mono_original(ytid)}
    return Video(ytid, SECONDS, **more)


@dataclass
class Run:
    """What a run recorded and asked for."""

    project: Project
    rows: dict[str, dict[str, Any]]
    resolves: Counter[str]
    manifests: int

    def clip(self, name: str) -> tuple[Any, int]:
        samples, rate = soundfile.read(str(self.project.data / self.rows[YTIDS[name]]["audio_path"]), always_2d=True)
        return samples, rate


def run(folder: Path, youtube: Standin, args: list[str], **sections: Any) -> Run:
    folder.mkdir()
    starts = {YTIDS[name]: one.start for name, one in SITUATIONS.items()}
    rows = [Row(ytid, start * 1000, (start + LENGTH) * 1000, ("/m/0a0",)) for ytid, start in starts.items()]
    project = Project(folder, {"eval_segments": rows}, youtube, {"youtube": {"args": ["--no-cache-dir", *args]}})
    project.settings["worker"]["retries"] = 2
    project.settings["egress"][0] |= sections.pop("egress", {})
    project.settings |= sections
    project.write_config()
    project.prep(1)
    youtube.clear_log()
    project.worker(1, status=1)
    recorded = (project.data / "manifests" / "eval_segments.01.jsonl").read_text().splitlines()
    asked = Counter(event["ytid"] for event in youtube.events("resolve"))
    found = {row["ytid"]: row for row in map(json.loads, recorded)}
    assert len(found) == len(recorded) == len(SITUATIONS)
    return Run(project, found, asked, youtube.counters()["all"]["manifests"])


@pytest.fixture(scope="module")
def youtube(media_cache: Path) -> Iterator[Standin]:
    chained = media_cache / SourceSpec(140, SECONDS, bit_rate=CHAINED).file_name
    encode_audio_file(chained, "aac", SECONDS, "mp4", movflags="dash", frag_duration="9900000")
    assert chained.read_bytes().count(b"sidx") > 2
    with Standin(Catalog.of(*map(video_of, SITUATIONS)), media_cache) as standin:
        standin.prepare()
        standin.add_fault(Fault(Trouble.FORBIDDEN, ytid=YTIDS["403 until it is resolved again"], first=1))
        standin.add_fault(Fault(Trouble.TOO_MANY, where=Where.MANIFEST))
        yield standin


@pytest.fixture(scope="module")
def lean(youtube: Standin, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run(tmp_path_factory.mktemp("answers") / "lean", youtube, ["--no-js-runtimes"])


@pytest.fixture(scope="module")
def full(youtube: Standin, lean: Run, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """With deno, of the test extra, a cookie file with the line ends of Windows, and one channel of 16 kHz."""
    folder = tmp_path_factory.mktemp("answers")
    cookies = folder / "cookies.txt"
    cookies.write_bytes(b"# Netscape HTTP Cookie File\r\n.youtube.com\tTRUE\t/\tTRUE\t4102444800\tPREF\tx\r\n")
    cookies.chmod(0o600)
    return run(
        folder / "full", youtube, [], egress={"cookies": str(cookies)}, audio={"sample_rate": 16000, "channels": 1}
    )


def check(run: Run, name: str, expected: str) -> None:
    row, situation = run.rows[YTIDS[name]], SITUATIONS[name]
    status, _, detail = expected.partition("/")
    if status != "ok":
        assert (row["status"], row["reason"]) == (status, detail), row
        return
    assert (row["status"], row["reason"], row["audio_track"]) == ("ok", "", situation.track), row
    assert detail in ("", row["format_id"])
    samples, rate = run.clip(name)
    assert len(samples) == LENGTH * rate
    assert locate_audio(samples, rate) == pytest.approx(situation.start, abs=0.06)
    if situation.track:
        assert read_track(samples, rate) == [one.kind for one in video_of(name).tracks].index(
            TrackKind(situation.track)
        )


@pytest.mark.parametrize("name", SITUATIONS)
def test_without_a_javascript_runtime(lean: Run, name: str) -> None:
    check(lean, name, SITUATIONS[name].lean)
    assert lean.resolves[YTIDS[name]] == SITUATIONS[name].resolves


@pytest.mark.parametrize("name", SITUATIONS)
def test_with_deno(full: Run, name: str) -> None:
    check(full, name, SITUATIONS[name].full or SITUATIONS[name].lean)
    if "5.1" in name:
        assert (full.rows[YTIDS[name]]["channels"], full.rows[YTIDS[name]]["sample_rate"]) == (1, 16000)


def test_no_manifest_is_asked_for_where_a_file_has_an_address(lean: Run, full: Run) -> None:
    """Its host answers 429 here, which would look like a ban."""
    assert (lean.manifests, full.manifests) == (0, 0)


def test_no_trailer_is_asked_for(lean: Run, full: Run) -> None:
    assert "trailer0001" not in lean.resolves | full.resolves

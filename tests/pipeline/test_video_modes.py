"""audiosetdl's three video modes, through the real command: what the mp4 shows, and when."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import av
import pytest

from audioset_batch.standin import Catalog, Outcome, Standin, Video
from audioset_batch.standin.measure import locate_audio
from tests.support.loopback import Project, Row
from tests.support.marks import read_frame_number

ROWS = [Row("video_clip0", 20_000, 24_000, ("/m/0a0",)), Row("no_video__1", 10_000, 14_000, ("/m/0b1",))]


@pytest.fixture
def youtube(media_cache: Path) -> Iterator[Standin]:
    catalog = Catalog.of(Video(ROWS[0].ytid, muxed=True), Video(ROWS[1].ytid, outcome=Outcome.NO_VIDEO))
    with Standin(catalog, media_cache) as standin:
        yield standin


def assert_nothing_twice(youtube: Standin, mode: str) -> None:
    ranges = sorted((one["itag"], one["start"], one["end"]) for one in youtube.events("media", ROWS[0].ytid))
    assert len(ranges) <= (3 if mode == "bestvideoaudio" else 4)
    assert all(a[0] != b[0] or a[2] < b[1] for a, b in pairwise(ranges))


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["bestvideo", "bestvideoaudio", "bestvideowithaudio"])
def test_copies_fetch_no_byte_twice(mode: str, youtube: Standin, tmp_path: Path) -> None:
    row = Row(ROWS[0].ytid, 23_000, 27_000, ROWS[0].labels)
    project = Project(tmp_path, {"eval_segments": [row]}, youtube, {"video": {"mode": mode, "cut": "copy"}})
    project.prep(1)
    project.worker(1)
    assert project.merge().iloc[0].video_start_seconds == 20.0
    assert_nothing_twice(youtube, mode)


@pytest.mark.parametrize(
    "mode",
    [
        pytest.param("bestvideo", marks=pytest.mark.slow),
        pytest.param("bestvideoaudio", marks=pytest.mark.slow),
        "bestvideowithaudio",
    ],
)
def test_mode(mode: str, youtube: Standin, tmp_path: Path) -> None:
    settings = {"video": {"mode": mode, "preset": "ultrafast"}}
    project = Project(tmp_path, {"eval_segments": ROWS}, youtube, settings)
    project.prep(1)
    project.worker(1)
    table = project.merge().set_index("ytid")
    clip = table.loc[ROWS[0].ytid]
    assert clip.status == "ok"
    assert clip.video_path == f"data/eval_segments/video/{ROWS[0].stem}.mp4"
    assert clip.video_start_seconds == 20.0
    assert (table.loc[ROWS[1].ytid].status, table.loc[ROWS[1].ytid].reason) == ("unavailable", "no_video")
    assert_nothing_twice(youtube, mode)
    path = project.data / clip.video_path
    assert clip.video_bytes == path.stat().st_size
    expected_formats = {"bestvideo": "251+134", "bestvideoaudio": "18", "bestvideowithaudio": "251+134"}
    assert clip.format_id == expected_formats[mode]
    with av.open(path) as container:
        assert len(container.streams.audio) == (0 if mode == "bestvideo" else 1)
        frame = next(container.decode(video=0))
        rate = 25  # of the stand-in's videos
        assert abs(read_frame_number(frame) / rate - 20.0) <= 1 / 30
    if mode != "bestvideo":
        with av.open(path) as container:
            sound = [frame.to_ndarray() for frame in container.decode(audio=0)]
            stream_rate = container.streams.audio[0].sample_rate
        import numpy as np

        samples = np.concatenate(sound, axis=1)[0]
        assert abs(locate_audio(samples, stream_rate) - 20.0) < 0.03

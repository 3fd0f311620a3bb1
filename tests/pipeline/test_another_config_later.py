"""Another format, rate or video mode than what is recorded already: told, and made anew when `retry` asks for it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import soundfile

from audioset_batch.standin import Catalog, Outcome, Standin, Video
from tests.support.loopback import Project, Row

SUBSET = "eval_segments"
CLIP, GONE = Row("clip_______", 10_000, 14_000, ("/m/0a0",)), Row("gone_______", 0, 4_000, ("/m/0a0",))


@pytest.fixture
def project(tmp_path: Path, media_cache: Path) -> Iterator[Project]:
    catalog = Catalog.of(Video(CLIP.ytid), Video(GONE.ytid, outcome=Outcome.REMOVED))
    with Standin(catalog, media_cache) as youtube:
        made = Project(tmp_path, {SUBSET: [CLIP, GONE]}, youtube)
        made.prep(1)
        yield made


def files(project: Project) -> list[str]:
    return sorted(
        path.relative_to(project.data / "data" / SUBSET).as_posix() for path in project.data.rglob(CLIP.stem + ".*")
    )


@pytest.mark.slow
def test_it_is_told_and_made_anew_on_request(project: Project) -> None:
    assert "not as this config asks" not in project.worker(1).stderr
    assert "not as this config asks" not in project.worker(1).stderr, "nothing has changed"
    project.settings["audio"] = {"format": "wav", "sample_rate": 16000}
    project.write_config()
    asked = len(project.youtube.journal.events())
    told = project.worker(1).stderr
    assert "1 recorded clip not as this config asks (1 not wav, 1 not 16000 Hz)" in told
    assert len(project.youtube.journal.events()) == asked, "what is recorded is not fetched again"
    assert "1 without video" in project.worker(1, "--set", "video.mode=bestvideo").stderr

    project.run("retry", str(project.data), "--status", "ok", "--reset")
    assert files(project) == [f"audio/{CLIP.stem}.flac"], "kept until the new one is there"
    assert "not as this config asks" not in project.worker(1).stderr
    assert files(project) == [f"audio/{CLIP.stem}.wav"], "no file without a row"
    table = project.merge().set_index("ytid")
    assert (table.loc[CLIP.ytid].status, table.loc[CLIP.ytid].sample_rate) == ("ok", 16000)
    assert soundfile.info(project.data / table.loc[CLIP.ytid].audio_path).frames == 64000
    assert project.worker(1).stderr.count("not as") == 0


@pytest.mark.slow
def test_a_clip_that_has_gone_meanwhile_keeps_its_file(project: Project) -> None:
    project.worker(1)
    project.run("retry", str(project.data), "--status", "ok", "--reset")
    project.youtube.put_video(Video(CLIP.ytid, outcome=Outcome.PRIVATE))
    project.worker(1)
    assert project.merge().set_index("ytid").loc[CLIP.ytid].status == "unavailable"
    assert files(project) == [f"audio/{CLIP.stem}.flac"]

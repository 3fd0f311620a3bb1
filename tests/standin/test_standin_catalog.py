from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from audioset_batch.standin import Catalog, Outcome, Video
from audioset_batch.standin.catalog import USUAL_LOSSES

IDS = [f"video_{number:05}" for number in range(200)]


def test_made_up_catalogue_has_the_shares_asked_for() -> None:
    catalog = Catalog.from_ids(IDS, seed=3, unavailable_share=0.3, outcomes=USUAL_LOSSES[:9])
    counts = Counter(video.outcome for video in catalog.videos.values())
    assert counts[Outcome.OK] == 140
    assert {counts[outcome] for outcome in USUAL_LOSSES[:9]} <= {6, 7}
    assert list(catalog.videos) == IDS
    assert {video.seconds for video in catalog.videos.values()} == {60, 180, 600}


def test_made_up_catalogue_depends_on_the_seed_alone() -> None:
    first = Catalog.from_ids(IDS, seed=3, unavailable_share=0.3)
    assert Catalog.from_ids(reversed(IDS), seed=3, unavailable_share=0.3).videos == first.videos
    assert Catalog.from_ids(IDS, seed=4, unavailable_share=0.3).videos != first.videos


def test_videos_last_as_long_as_their_segments_need() -> None:
    needs = {ytid: 40.0 + 10 * index for index, ytid in enumerate(IDS)}
    catalog = Catalog.from_ids(needs, short_share=0.1, short_by=4)
    short = [ytid for ytid, video in catalog.videos.items() if video.seconds < needs[ytid]]
    assert len(short) == 20
    assert all(catalog.videos[ytid].seconds == needs[ytid] - 4 for ytid in short)


def test_saved_and_loaded(tmp_path: Path) -> None:
    catalog = Catalog.from_ids(IDS, unavailable_share=0.5, default=Video("", 12.5, itags=(140,)))
    catalog.put(Video("-dash_first", 7, channels=1, silent=True, edit_list=False, announced_seconds=70))
    catalog.save(tmp_path / "catalog.json")
    assert Catalog.load(tmp_path / "catalog.json") == catalog


def test_unknown_keys_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="secnods"):
        Video.from_dict({"ytid": "aaaaaaaaaaa", "secnods": 3})


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"itags": [140, 999]}, "999"),
        ({"locks": {"251": "lock"}}, "lock"),
        ({"tracks": [{"kind": "odd"}]}, "odd"),
        ({"tracks": [{"language": "en"}, {"language": "en", "itags": [140]}]}, "two audio tracks"),
    ],
)
def test_unknown_words_are_refused(values: dict[str, object], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        Video.from_dict({"ytid": "aaaaaaaaaaa", **values})


@pytest.mark.parametrize(
    ("outcome", "itags"),
    [
        (Outcome.OK, (18, 134, 140, 251)),
        (Outcome.LIVE, (18, 134, 140, 251)),
        (Outcome.NO_AUDIO, (134,)),
        (Outcome.NO_VIDEO, (140, 251)),
        (Outcome.REMOVED, ()),
        (Outcome.DRM, ()),
    ],
)
def test_formats_that_are_offered(outcome: Outcome, itags: tuple[int, ...]) -> None:
    assert Video("aaaaaaaaaaa", outcome=outcome).playable_itags == itags


def test_audio_catalogue_can_have_a_video_without_audio() -> None:
    assert Video("aaaaaaaaaaa", outcome=Outcome.NO_AUDIO, itags=(251,)).playable_itags == (134,)
    assert Video("aaaaaaaaaaa", outcome=Outcome.NO_VIDEO, itags=(134,)).playable_itags == (251,)

"""What a list like AudioSet's costs, by the server's journal: resolves per segment, requests per resolve."""

from collections import Counter
from pathlib import Path

import pytest

from audioset_batch.standin import Catalog, Fault, Outcome, Standin, Trouble, Video, Where
from tests.support.loopback import Project, make_rows
from tests.support.loopback.dataset import EXPECTED_REASON

DEAD, FLAKY, KIDS = 35, 5, 3
UNSETTLED = (Outcome.NOT_AVAILABLE, Outcome.NO_FORMATS)
LOSSES = [one for one in EXPECTED_REASON if one not in (Outcome.LIVE, Outcome.NO_AUDIO)]


@pytest.mark.slow
def test_a_hundred_segments_take_at_most_110_resolves(tmp_path: Path, media_cache: Path) -> None:
    rows = make_rows(102, seed=3)
    videos = []
    for index, row in enumerate(rows):
        outcome = LOSSES[index % len(LOSSES)] if index < DEAD else Outcome.OK
        kids = DEAD <= index < DEAD + KIDS
        videos.append(Video(row.ytid, 60, outcome, itags=(18, 140, 251), kids=kids))
    settled = rows[:100]
    videos[100:] = [Video(row.ytid, outcome=one) for row, one in zip(rows[100:], UNSETTLED, strict=True)]
    with Standin(Catalog.of(*videos), media_cache) as youtube:
        for row in settled[-FLAKY:]:
            youtube.add_fault(Fault(Trouble.SERVER_ERROR, where=Where.PLAYER, ytid=row.ytid, first=4))
        project = Project(tmp_path, {"eval_segments": rows}, youtube)
        project.settings["worker"].update(backoff_seconds=0.1)
        project.write_config()
        project.prep(1)
        project.worker(1, status=1)
        table = project.merge(status=1)
        project.check(table, youtube.catalog)
        assert project.summary()["unrecognized"] == {"This video is not available": 1}
        known = {row.ytid for row in settled}
        resolves = int(table[table.ytid.isin(known)].attempts.sum())  # each takes a slot of the egress
        requests = Counter(event["ytid"] for kind in ("watch", "player", "embed") for event in youtube.events(kind))
    print(f"{resolves} resolves, {sum(requests[ytid] for ytid in known)} requests for 100 settled segments")
    assert resolves <= 110
    playable = [row.ytid for row in settled[DEAD + KIDS : -FLAKY]]
    assert {requests[ytid] for ytid in playable} == {1}

"""Budgets, blocks and soft bans through the real worker, judged by the server's own log."""

import time
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest

from audioset_batch.egress import read_pauses
from audioset_batch.standin import Block, Catalog, Outcome, Standin, Video
from audioset_batch.standin.outcomes import BLOCK_SAYINGS, SAYINGS
from tests.support.loopback import Project, make_rows
from tests.support.waiting import wait_until

WINDOW = 10.0
"""A quarter of its slack, an eighth of a second, is what a request has from a busy client to the busy server."""
BUDGET = 12


@pytest.fixture
def project(tmp_path: Path, media_cache: Path) -> Iterator[Project]:
    rows = make_rows(24, seed=5)
    needs = {row.ytid: row.end_ms / 1000 for row in rows}
    catalog = Catalog.from_ids(needs, seed=1, unavailable_share=0.25, outcomes=[Outcome.NONEXISTENT], seconds=(60.0,))
    with Standin(catalog, media_cache, egresses=("loopback", "second")) as youtube:
        youtube.prepare()
        yield Project(tmp_path, {"eval_segments": rows}, youtube)


def resolve_times(youtube: Standin) -> list[float]:
    return sorted(event["time"] for event in youtube.events("resolve"))


def most_in_a_window(times: list[float], window: float) -> int:
    return max(sum(1 for t in times if start <= t < start + window) for start in times)


@pytest.mark.slow
def test_no_window_of_the_server_sees_more_than_the_budget(project: Project) -> None:
    project.settings["egress"][0].update(videos_per_hour=BUDGET, window_seconds=WINDOW)
    project.write_config()
    project.prep(2)
    tasks = [Thread(target=project.worker, args=(task,)) for task in (1, 2)]
    for task in tasks:
        task.start()
    for task in tasks:
        task.join()
    table = project.merge()
    project.check(table, project.youtube.catalog)
    assert most_in_a_window(resolve_times(project.youtube), WINDOW) <= BUDGET


@pytest.mark.parametrize(
    "block",
    [Block.BOT_CHECK, *(pytest.param(one, marks=pytest.mark.slow) for one in (Block.PLAYER_429, Block.SOFT_BAN))],
    ids=str,
)
def test_a_block_pauses_and_is_recorded_for_no_segment(project: Project, block: Block) -> None:
    project.settings["egress"][0].update(pause_seconds=1.0, pause_factor=1.5, pause_max_seconds=3.0, max_wait=60)
    project.settings["probe"].update(recent=6, nonexistent_share=0.5)
    project.write_config()
    project.prep(1)
    project.youtube.block(block)

    def unblock_when_noticed() -> None:
        history = project.data / ".egress" / "loopback" / "pauses.jsonl"
        wait_until(
            lambda: history.exists() and '"extended"' in history.read_text(), "a probe that finds it blocked", 120
        )
        project.youtube.unblock()

    unblock = Thread(target=unblock_when_noticed)
    unblock.start()
    project.worker(1)
    unblock.join()
    project.check(project.merge(), project.youtube.catalog)
    assert read_pauses(project.data / ".egress" / "loopback")


def test_another_egress_takes_over(project: Project) -> None:
    second = {"name": "second", "proxy": project.youtube.access("second").proxy, "videos_per_hour": None}
    project.settings["egress"][0].update(pause_seconds=600)
    project.settings["egress"].append(second)
    project.write_config()
    project.prep(1)
    project.youtube.block(Block.RATE_LIMIT, "loopback")
    project.worker(1)
    table = project.merge()
    project.check(table, project.youtube.catalog)
    assert set(table.egress) == {"second"}


@pytest.mark.slow
def test_all_paused_for_too_long_stops_early_and_continues_later(project: Project) -> None:
    project.settings["egress"][0].update(pause_seconds=4, max_wait=1)
    project.write_config()
    project.prep(1)
    project.youtube.block(Block.BOT_CHECK)
    done = project.worker(1, status=75)
    assert "every egress is paused" in done.stderr
    table = project.merge(status=1)
    assert set(table.status) == {"pending"}
    project.youtube.unblock()
    (pause,) = read_pauses(project.data / ".egress" / "loopback")
    wait_until(lambda: time.time() > pause.until, "the end of the pause")
    project.worker(1)
    project.check(project.merge(), project.youtube.catalog)


@pytest.mark.slow
def test_a_video_that_is_always_answered_with_a_bot_check_holds_up_no_other(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SAYINGS, Outcome.PURCHASE, BLOCK_SAYINGS[Block.BOT_CHECK])
    first = project.subsets["eval_segments"][0].ytid
    project.youtube.put_video(Video(first, outcome=Outcome.PURCHASE))
    project.settings["worker"].update(threads=1)
    project.settings["egress"][0].update(
        pause_seconds=0.5, pause_factor=4, pause_max_seconds=60, max_wait=5, concurrent=1
    )
    project.write_config()
    project.prep(1)
    project.worker(1, status=75)
    table = project.merge(status=1).set_index("ytid")
    assert table.status[first] == "pending"
    assert set(table.drop(first).status) == {"ok", "unavailable"}

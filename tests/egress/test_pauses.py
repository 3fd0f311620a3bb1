"""Bans: seen by one, kept by all, counted once, reopened by one probe; and a soft ban is recorded for no video."""

import itertools
import time
from pathlib import Path
from typing import Any

import pytest

from audioset_batch.egress import EgressPool, Grant, Verdict, Wait, prober_role, read_egress_status, read_pauses
from audioset_batch.errors import EgressExhausted, StorageUnusable
from audioset_batch.sharedfs.lease import Holder
from tests.support.egress import FORK, GOOD, egress, most_in_a_window, probe, take
from tests.support.waiting import wait_until


def test_a_task_that_comes_into_a_pause_says_so_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = egress(pause_seconds=60.0)
    first, second = pool_of(tmp_path, config), pool_of(tmp_path, config)
    take(first).blocked("HTTP 429: too many requests")
    for pool in (first, second, second):
        assert isinstance(pool.try_acquire(), Wait)
    told = [record.getMessage() for record in caplog.records if "is paused for another" in record.getMessage()]
    assert len(told) == 1, "the one that has paused it has told already"
    assert "egress one" in told[0] and "HTTP 429" in told[0] and "segments stay pending" in told[0]


def pool_of(folder: Path, *egresses: Any, **probing: Any) -> EgressPool:
    return EgressPool(egresses or [egress()], probe(**probing), folder)


def on_another_node(folder: Path) -> EgressPool:
    """A pool of whose process nothing can be found out from here."""
    elsewhere = Holder(host="n9", pid=1, boot="another boot", pid_start="1")
    return EgressPool([egress()], probe(), folder, elsewhere)


@pytest.mark.parametrize("budget", [None, 40])
def test_a_ban_pauses_everybody_and_one_probe_reopens(tmp_path: Path, budget: float | None) -> None:
    config = egress(videos_per_hour=budget, window_seconds=2.0)
    a, b = pool_of(tmp_path, config), pool_of(tmp_path, config)
    grants = [take(a), take(b), take(a)]
    for grant in grants:
        grant.blocked("HTTP 429: too many requests")
    time.sleep(0.05)
    assert isinstance(a.try_acquire(), Wait)
    assert isinstance(b.try_acquire(), Wait)
    assert a.probe_due() is None, "not before the pause is over"
    (pause,) = read_pauses(tmp_path / "one")
    assert pause.kind == "HTTP 429"
    assert pause.until - pause.started == pytest.approx(0.4)
    assert read_egress_status(tmp_path, [config])[0].state == "paused"
    due = wait_until(lambda: a.probe_due() or b.probe_due(), "a probe")
    other = b if due._pool is a else a
    assert due.probe_ytid in GOOD
    for _ in range(20):
        assert a.probe_due() is None and b.probe_due() is None, "two probes at once"
        assert isinstance(other.try_acquire(), Wait), "the crowd waits for the probe"
    assert read_egress_status(tmp_path, [config])[0].state == "probing"
    due.answered("")
    take(a).answered("")
    take(b).answered("")
    (pause,) = read_pauses(tmp_path / "one")
    assert pause.reopened is not None and pause.reopened >= pause.until
    a.close()
    b.close()


def test_the_pause_doubles_up_to_the_maximum_and_resets(tmp_path: Path) -> None:
    config = egress(pause_seconds=0.2, pause_max_seconds=0.6)
    pool = pool_of(tmp_path, config)
    take(pool).blocked("bot check: sign in")
    asked = []
    for _ in range(3):
        due = wait_until(pool.probe_due, "a probe")
        asked.append(due.probe_ytid)
        due.blocked("bot check: sign in")
    lengths = [0.4, 0.6, 0.6]
    status = read_egress_status(tmp_path, [config])[0]
    assert status.until is not None and status.until - time.time() <= 0.6
    rows = (tmp_path / "one" / "pauses.jsonl").read_text().splitlines()
    assert len(rows) == 4
    import json

    for row, length in zip(rows[1:], lengths, strict=True):
        values = json.loads(row)
        assert values["event"] == "extended"
        assert values["until"] - values["at"] == pytest.approx(length)
    assert len(read_pauses(tmp_path / "one")) == 1
    assert set(asked) == set(GOOD), "each probe asks for another video"
    wait_until(pool.probe_due, "a probe").answered("")
    # Banned again at once: the next pause is not a first one.
    take(pool).blocked("bot check")
    assert read_pauses(tmp_path / "one")[-1].until - read_pauses(tmp_path / "one")[-1].started == pytest.approx(0.6)
    wait_until(pool.probe_due, "a probe").answered("")
    time.sleep(0.3)
    take(pool).answered("")  # fine for longer than a first pause: forgiven
    take(pool).blocked("bot check")
    last = read_pauses(tmp_path / "one")[-1]
    assert last.until - last.started == pytest.approx(0.2)


def test_a_late_report_of_a_ban_that_is_over_counts_not(tmp_path: Path) -> None:
    pool = pool_of(tmp_path)
    late, first = take(pool), take(pool)
    first.blocked("rate limit")
    wait_until(pool.probe_due, "a probe").answered("")
    late.blocked("rate limit")
    assert isinstance(pool.try_acquire(), Grant)
    assert len(read_pauses(tmp_path / "one")) == 1


def test_another_egress_takes_over(tmp_path: Path) -> None:
    pool = pool_of(tmp_path, egress(name="a", pause_seconds=60.0, pause_max_seconds=60.0), egress(name="b"))
    first = take(pool)
    assert first.name == "a"
    first.blocked("bot check")
    assert [take(pool).name for _ in range(4)] == ["b"] * 4


def test_exhausted_when_all_pauses_are_longer_than_max_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    configs = [
        egress(name="a", max_wait=5.0, pause_seconds=50.0, pause_max_seconds=50.0),
        egress(name="b", max_wait=5.0, pause_seconds=20.0, pause_max_seconds=20.0),
    ]
    pool = pool_of(tmp_path, *configs)
    take(pool).blocked("bot check: x")
    take(pool).blocked("HTTP 429: http://user:secret@proxy.example:3128/ said so")
    with pytest.raises(EgressExhausted, match="b, not before 20") as caught:
        pool.try_acquire()
    assert caught.value.reopens_at == pytest.approx(time.time() + 20, abs=2)
    ahead = time.time() + 120
    monkeypatch.setattr("audioset_batch.egress.pool.time.time", lambda: ahead)
    with pytest.raises(EgressExhausted) as caught:
        pool.try_acquire()
    assert caught.value.reopens_at == pytest.approx(ahead + 20, abs=2), "by the clock of this node"
    monkeypatch.undo()
    assert "secret" not in str(caught.value)
    fresh = pool_of(tmp_path, *configs)
    with pytest.raises(EgressExhausted):
        fresh.try_acquire()
    written = [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert written and not [content for content in written if b"secret" in content]


def test_waits_for_a_pause_shorter_than_max_wait(tmp_path: Path) -> None:
    pool = pool_of(tmp_path, egress(max_wait=0.5))
    take(pool).blocked("bot check")
    assert isinstance(pool.try_acquire(), Wait)


@pytest.mark.parametrize("stays", [False, True])
@pytest.mark.parametrize(("hold", "said"), [(10.0, r"worker\.hold_seconds"), (3600.0, "its max_wait")])
def test_no_pause_is_waited_for_longer_than_a_node_may_be_held(
    tmp_path: Path, hold: float, said: str, stays: bool
) -> None:
    config = egress(max_wait=15.0, pause_seconds=20.0, pause_max_seconds=20.0)
    pool = EgressPool([config], probe(), tmp_path, hold_seconds=lambda: hold, stays=lambda: stays)
    take(pool).blocked("bot check")
    with pytest.raises(EgressExhausted, match=f"paused for longer than {said}"):
        pool.try_acquire()


def test_a_slot_that_is_far_away_is_not_waited_for_where_a_node_is_held(tmp_path: Path) -> None:
    configs = [egress(name=name, videos_per_hour=0.001, window_seconds=1.0) for name in ("a", "b")]
    hold = [600.0]
    with EgressPool(configs, probe(), tmp_path, hold_seconds=lambda: hold[0]) as pool:
        with pytest.raises(EgressExhausted, match="has no slot to use before") as caught:
            for _ in range(500):
                if isinstance(grant := pool.try_acquire(1), Grant):
                    grant.release()
                time.sleep(0.01)
        assert 1000 < caught.value.reopens_at - time.time() < 1100
        hold[0] = float("inf")  # outside of SLURM
        assert isinstance(pool.try_acquire(1), Wait)
    with EgressPool(configs, probe(), tmp_path, hold_seconds=lambda: 600.0, stays=lambda: True) as pool:
        assert isinstance(pool.try_acquire(1), Wait), "an outcome depends on it"
    assert len(list(tmp_path.glob("*/slot.*"))) <= 2, "what it had claimed beyond is for others"


def probe_and_die(folder: Path) -> None:
    pool = pool_of(folder)
    wait_until(pool.probe_due, "a probe")
    time.sleep(60)


def test_a_killed_prober_is_replaced_at_once(tmp_path: Path) -> None:
    pool = pool_of(tmp_path)
    take(pool).blocked("bot check")
    process = FORK.Process(target=probe_and_die, args=(tmp_path,))
    process.start()
    wait_until(lambda: read_egress_status(tmp_path, [egress()])[0].prober, "a prober")
    assert pool.probe_due() is None
    process.kill()
    process.join()
    wait_until(pool.probe_due, "a probe", 3).answered("")
    assert isinstance(take(pool), Grant)


def test_a_prober_of_whom_nothing_is_heard_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prober_role, "PROBER_SECONDS", 0.6)
    lost, pool = on_another_node(tmp_path), pool_of(tmp_path)
    take(lost).blocked("bot check")
    abandoned = wait_until(lost.probe_due, "a probe")
    time.sleep(0.2)
    assert pool.probe_due() is None
    new = wait_until(pool.probe_due, "a probe")
    abandoned.answered("")
    assert isinstance(pool.try_acquire(), Wait), "who lost the probe cannot reopen"
    new.answered("")
    assert isinstance(take(pool), Grant)


def test_a_long_probe_is_kept_by_asking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prober_role, "PROBER_SECONDS", 0.6)
    slow, pool = on_another_node(tmp_path), pool_of(tmp_path)
    take(slow).blocked("bot check")
    grant = wait_until(slow.probe_due, "a probe")
    end = time.monotonic() + 1.5
    while time.monotonic() < end:
        assert slow.probe_due() is None
        assert pool.probe_due() is None
        time.sleep(0.05)
    grant.answered("")
    assert isinstance(take(pool), Grant)


def test_a_probe_that_shows_nothing_is_repeated(tmp_path: Path) -> None:
    pool = pool_of(tmp_path)
    take(pool).blocked("bot check")
    wait_until(pool.probe_due, "a probe").answered("timeout")
    assert isinstance(pool.try_acquire(), Wait)
    wait_until(pool.probe_due, "a probe").answered("")
    assert isinstance(take(pool), Grant)
    assert len(read_pauses(tmp_path / "one")) == 1


def crowd(folder: Path, log: Path, banned: Path, ended: Path) -> None:
    """Resolve through an egress that is banned while the file `banned` exists; log what was done."""
    pool = EgressPool([egress(pause_seconds=0.3, pause_factor=1.0)], probe(), folder)
    while not ended.exists():
        due = pool.probe_due()
        answer = due or pool.try_acquire()
        if isinstance(answer, Wait):
            time.sleep(min(0.02, answer.seconds))
            continue
        begun = time.time()
        time.sleep(0.02)
        word = "probe" if due else "segment"
        with log.open("a") as file:
            file.write(f"{begun} {time.time()} {word} {int(banned.exists())}\n")
        if banned.exists():
            answer.blocked("bot check")
        else:
            answer.answered("")
    pool.close()


def test_a_crowd_of_processes_behind_a_ban(tmp_path: Path) -> None:
    banned, log, ended = tmp_path / "banned", tmp_path / "log", tmp_path / "ended"
    log.touch()
    processes = [FORK.Process(target=crowd, args=(tmp_path / "e", log, banned, ended)) for _ in range(4)]

    def seen(word: str) -> int:
        return log.read_text().count(word)

    for process in processes:
        process.start()
    try:
        wait_until(lambda: seen("segment") > 40, "segments of all")
        banned.touch()
        wait_until(lambda: seen("probe") >= 3, "probes that find it banned")
        banned.unlink()
        wait_until(lambda: seen("probe 0"), "a probe that passes")
        before = seen("segment")
        wait_until(lambda: seen("segment") > before + 40, "segments again")
    finally:
        ended.touch()
    for process in processes:
        process.join(20)
        assert process.exitcode == 0
    rows = [line.split() for line in log.read_text().splitlines()]
    probes = sorted((float(a), float(b)) for a, b, word, _ in rows if word == "probe")
    assert len(probes) >= 3
    assert all(later[0] >= earlier[1] for earlier, later in itertools.pairwise(probes))
    refused = [row for row in rows if row[2] == "segment" and row[3] == "1"]
    assert 1 <= len(refused) <= 4 * 8, "only what was in flight when the ban came"
    assert len(read_pauses(tmp_path / "e" / "one")) == 1
    assert any(row[2] == "segment" and float(row[0]) > probes[-1][1] for row in rows), "never reopened"


# Soft bans


@pytest.mark.parametrize("reason", ["nonexistent", "unrecognized"])
def test_what_a_soft_ban_may_have_said_waits_for_a_later_success(tmp_path: Path, reason: str) -> None:
    pool = pool_of(tmp_path)
    take(pool).answered("")
    before = take(pool)
    dead = take(pool)
    assert dead.answered(reason) is Verdict.HOLD
    before.answered("")
    assert dead.verdict() is Verdict.HOLD, "that one was asked before: it proves nothing"
    assert take(pool).answered("timeout") is Verdict.HOLD
    assert dead.verdict() is Verdict.HOLD
    take(pool).answered("private")
    assert dead.verdict() is Verdict.RECORD


def test_nonexistent_before_any_success_is_asked_again(tmp_path: Path) -> None:
    """A task that starts during a soft ban, which ends unnoticed: the later success does not make the lie true."""
    pool = pool_of(tmp_path)
    lies = [take(pool) for _ in range(2)]
    assert {lie.answered("nonexistent") for lie in lies} == {Verdict.HOLD}
    together = take(pool)
    take(pool).answered("")
    assert {lie.verdict() for lie in lies} == {Verdict.DISCARD}
    assert together.answered("nonexistent") is Verdict.HOLD, "it was asked before there was an answer"
    again = take(pool)
    assert again.answered("nonexistent") is Verdict.HOLD
    take(pool).answered("")
    assert (together.verdict(), again.verdict()) == (Verdict.DISCARD, Verdict.RECORD)


def test_a_run_of_nonexistent_asks_for_a_good_video_first(tmp_path: Path) -> None:
    pool = pool_of(tmp_path)
    take(pool).answered("")

    def dead(count: int) -> list[Grant]:
        grants = [take(pool) for _ in range(count)]
        for grant in grants:
            grant.answered("nonexistent")
        return grants

    held = dead(4)
    assert isinstance(pool.try_acquire(), Wait)
    wait_until(pool.probe_due, "a probe").answered("")
    assert {grant.verdict() for grant in held} == {Verdict.RECORD}
    dead(6)
    assert isinstance(pool.try_acquire(), Grant), "where many are dead, fewer probes will do"
    take(pool).answered("")
    dead(4)
    assert isinstance(pool.try_acquire(), Wait)


def test_too_many_nonexistent_ask_for_a_good_video_first(tmp_path: Path) -> None:
    pool = pool_of(tmp_path, recent=6, nonexistent_share=0.5)
    take(pool).answered("")
    held = []
    for _ in range(4):
        grant = take(pool)
        assert grant.answered("nonexistent") is Verdict.HOLD
        held.append(grant)
    assert isinstance(pool.try_acquire(), Wait)
    due = pool.probe_due()
    assert due is not None and due.probe_ytid in GOOD
    due.answered("")
    assert {grant.verdict() for grant in held} == {Verdict.RECORD}
    assert isinstance(pool.try_acquire(), Grant)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("how", ["nonexistent", "unrecognized", "blocked"])
def test_a_soft_ban_pauses_and_what_it_said_is_forgotten(tmp_path: Path, how: str) -> None:
    pool = pool_of(tmp_path, recent=6, nonexistent_share=0.5)
    held = []
    for _ in range(4):
        grant = take(pool)
        grant.answered("nonexistent")
        held.append(grant)
    due = pool.probe_due()
    assert due is not None
    if how == "blocked":
        due.blocked("bot check")
    else:
        due.answered(how)
        assert read_pauses(tmp_path / "one")[0].kind == "soft ban"
    assert {grant.verdict() for grant in held} == {Verdict.DISCARD}
    wait_until(pool.probe_due, "a probe").answered("")
    take(pool).answered("")
    assert {grant.verdict() for grant in held} == {Verdict.DISCARD}


def test_settle_probes_for_what_is_held_back_at_the_end(tmp_path: Path) -> None:
    pool = pool_of(tmp_path)
    take(pool).answered("")
    dead = take(pool)
    dead.answered("nonexistent")
    assert pool.probe_due() is None
    pool.decide(dead.index)
    due = pool.probe_due()
    assert due is not None
    due.answered("")
    assert dead.verdict() is Verdict.RECORD
    assert pool.probe_due() is None


def test_a_probe_has_a_slot_of_the_budget_like_any_other(tmp_path: Path) -> None:
    pool = pool_of(tmp_path, egress(videos_per_hour=6, window_seconds=3.0))
    grants: list[tuple[float, bool]] = []
    while len(grants) < 7:
        grant = pool.probe_due() or pool.try_acquire()
        if isinstance(grant, Wait):
            time.sleep(pool.poll_interval(0.1))
            continue
        grants.append((time.time(), bool(grant.probe_ytid)))
        if len(grants) % 3 == 1:
            grant.blocked("bot check")
        else:
            grant.answered("")
    assert most_in_a_window([at for at, _ in grants], 3.0) <= 6
    assert sum(is_probe for _, is_probe in grants) >= 2


def test_a_probe_under_way_is_kept_and_no_other_begun_where_there_is_no_room(tmp_path: Path) -> None:
    pool = pool_of(tmp_path, egress(name="a"), egress(name="b"))
    first = take(pool)
    first.blocked("bot check")
    take(pool).blocked("bot check")
    probing = wait_until(pool.probe_due, "a probe")
    time.sleep(0.6)
    assert pool.probe_due(may_begin=False) is None, "b's pause is over too"
    other = wait_until(pool.probe_due, "a probe")
    assert {probing.name, other.name} == {"a", "b"}


def test_a_folder_above_that_was_moved_away_is_not_made_anew(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    pool = pool_of(data / ".egress")
    grant = take(pool)
    data.rename(tmp_path / "elsewhere")
    with pytest.raises(StorageUnusable, match="No such file"):
        grant.blocked("HTTP 429: too many requests")
    assert not data.exists()

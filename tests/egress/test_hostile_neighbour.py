"""A member of the group that shares `egress_dir` plants things in it: none leads elsewhere, no ban is forgotten."""

import json
import os
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from audioset_batch.egress import EgressPool, Grant, Wait, read_egress_status, read_pauses
from audioset_batch.errors import InputRefused, UnsafePath
from tests.support.egress import GOOD, egress, probe, take

SHELL = "$(touch /tmp/pwned)"


def write_state(folder: Path, number: int, **values: Any) -> Path:
    """A state file as any member of the group can write it."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"state.{number}"
    path.write_text(f"0123456789abcdef {json.dumps(values)}\n")
    return path


def over_pause(**values: Any) -> dict[str, Any]:
    pause = {"epoch": 3, "paused": True, "since": 1.0, "until": 2.0, "kind": "bot check", "detail": SHELL, "streak": 1}
    return pause | values


def reopen(folder: Path, **config: Any) -> EgressPool:
    """Answer the probe that ends a pause."""
    pool = EgressPool([egress(**config)], probe(), folder)
    grant = pool.probe_due()
    assert grant is not None and grant.probe_ytid in GOOD
    grant.answered("")
    return pool


def plant_link(path: Path, outside: Path) -> None:
    path.symlink_to(outside)


def plant_dangling_link(path: Path, outside: Path) -> None:
    path.symlink_to(outside.with_name("not there yet"))


def plant_hard_link(path: Path, outside: Path) -> None:
    os.link(outside, path)


def plant_fifo(path: Path, _outside: Path) -> None:
    os.mkfifo(path)


def plant_folder(path: Path, _outside: Path) -> None:
    path.mkdir()
    (path / "in it").touch()


PLANTED = (plant_link, plant_dangling_link, plant_hard_link, plant_fifo, plant_folder)


@pytest.mark.parametrize("plant", PLANTED)
def test_the_history_never_leads_out_of_the_folder(tmp_path: Path, plant: Callable[[Path, Path], None]) -> None:
    """Thus a group member could append a text of choice to another one's ~/.bashrc."""
    outside = tmp_path / "bashrc"
    outside.write_text("# first\n")
    folder = tmp_path / "egress"
    write_state(folder / "one", 7, **over_pause())
    plant(folder / "one" / "pauses.jsonl", outside)
    with reopen(folder) as pool:
        assert isinstance(pool.try_acquire(), Grant)
    assert outside.read_text() == "# first\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bashrc", "egress"]
    assert [json.loads(line)["event"] for line in (folder / "one" / "pauses.jsonl").read_text().splitlines()] == [
        "reopened"
    ]
    assert len(list((folder / "one").glob("damaged.*.pauses.jsonl"))) == 1
    assert [pause.kind for pause in read_pauses(folder / "one")] == ["bot check"]


@pytest.mark.parametrize("plant", PLANTED)
def test_a_state_that_is_no_file_is_set_aside(tmp_path: Path, plant: Callable[[Path, Path], None]) -> None:
    outside = tmp_path / "private"
    outside.write_text("0123456789abcdef {}\n")
    folder = tmp_path / "egress"
    write_state(folder / "one", 7, **over_pause(until=time.time() + 60))
    plant(folder / "one" / "state.8", outside)
    with EgressPool([egress()], probe(), folder) as pool:
        answer = pool.try_acquire()
    # A hard link cannot be told from a file; it is another one's state then, to be read and never written.
    assert isinstance(answer, Grant if plant is plant_hard_link else Wait)
    assert outside.read_text() == "0123456789abcdef {}\n"


@pytest.mark.parametrize("what", ["link", "link with a budget", "file"])
def test_the_folder_of_an_egress_is_no_link(tmp_path: Path, what: str) -> None:
    outside = tmp_path / "home"
    outside.mkdir()
    folder = tmp_path / "egress"
    folder.mkdir()
    if what == "file":
        (folder / "one").touch()
    else:
        (folder / "one").symlink_to(outside)
    config = egress(videos_per_hour=20 if what == "link with a budget" else None)
    with EgressPool([config], probe(), folder) as pool:
        with pytest.raises(UnsafePath if what != "file" else OSError):
            grant = pool.try_acquire()
            assert isinstance(grant, Grant)
            grant.blocked("bot check")
        (folder / "one").unlink()
        (folder / "one").mkdir()
    assert not list(outside.iterdir())


def test_a_link_to_egress_dir_counts_by_its_owner(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with EgressPool([egress(videos_per_hour=20)], probe(), tmp_path / "link") as pool:
        pool.try_acquire()
    assert list((tmp_path / "real" / "one").iterdir())
    if os.geteuid():
        pytest.skip("NOT TESTED WITHOUT ROOT: a link that belongs to another user")
    os.chown(tmp_path / "link", 12345, 12345, follow_symlinks=False)
    with (
        EgressPool([egress(videos_per_hour=20)], probe(), tmp_path / "link") as pool,
        pytest.raises(UnsafePath, match=r"symbolic link of user 12345.*trusted_owners"),
    ):
        pool.try_acquire()


@pytest.mark.parametrize(
    "content",
    [
        b"garbage",
        b"[" * 5000,
        b"\0" * 300,
        b'{"epoch": "3"}',
        b'{"epoch": -1}',
        b'{"until": NaN}',
        b'{"until": 1e999}',
        b'{"detail": ["a"]}',
        b'{"paused": "no"}',
        b'{"prober": {"pid": 1e6}}',
        b'{"grid": 5}',
        b'{"format": "x"}',
        b" " * 100_000,
    ],
)
def test_a_damaged_state_forgets_no_ban(tmp_path: Path, content: bytes) -> None:
    folder = tmp_path / "egress"
    until = time.time() + 1000
    write_state(folder / "one", 7, **over_pause(until=until))
    damaged = write_state(folder / "one", 8)
    damaged.write_bytes(b"0123456789abcdef " + content + b"\n")
    with EgressPool([egress()], probe(), folder) as pool:
        assert isinstance(pool.try_acquire(), Wait)
        assert pool.probe_due() is None
    (status,) = read_egress_status(folder, [egress()])
    assert (status.state, status.kind, status.until) == ("paused", "bot check", until)


def test_a_damaged_state_without_an_earlier_one_goes_by_the_history(tmp_path: Path) -> None:
    folder = tmp_path / "egress"
    write_state(folder / "one", 1).write_bytes(b"0123456789abcdef ?\n")
    now = time.time()
    row = {"event": "paused", "epoch": 1, "at": now, "until": now + 500, "kind": "rate limit", "detail": ""}
    (folder / "one" / "pauses.jsonl").write_text(json.dumps(row) + "\n")
    (status,) = read_egress_status(folder, [egress()])
    assert (status.state, status.kind, status.until) == ("paused", "rate limit", now + 500)


def test_after_damage_a_probe_decides_and_the_damaged_file_is_set_aside(tmp_path: Path) -> None:
    folder = tmp_path / "egress"
    write_state(folder / "one", 1).write_bytes(b"0123456789abcdef ?\n")
    with reopen(folder) as pool:
        assert isinstance(pool.try_acquire(), Grant)
    assert [path.name.rpartition(".")[2] for path in (folder / "one").glob("damaged.*")] == ["1"]
    assert read_egress_status(folder, [egress()])[0].state == "open"


def test_a_pause_of_ten_years_is_cut(tmp_path: Path) -> None:
    folder = tmp_path / "egress"
    path = write_state(folder / "one", 7, **over_pause(until=time.time() + 10 * 365 * 86400))
    os.utime(path, (4e9, 4e9))
    (status,) = read_egress_status(folder, [egress()])
    assert status.until is not None and status.until <= time.time() + 86400
    two_days_ago = time.time() - 2 * 86400
    os.utime(path, (two_days_ago, two_days_ago))
    reopen(folder).close()


@pytest.mark.parametrize("damaged", [False, True])
def test_a_pause_in_a_file_of_the_future_is_cut_once(tmp_path: Path, damaged: bool) -> None:
    """Cut from the present at each look, it would never end."""
    folder, far = tmp_path / "egress", time.time() + 315_360_000
    paths = [write_state(folder / "one", 7, **over_pause(since=far, until=far))]
    if damaged:
        paths.append(folder / "one" / "state.8")
        paths[-1].write_bytes(b"[[[\n")
    for path in paths:
        os.utime(path, (far, far))
    ends = set()
    for _ in range(3):
        ends.add(read_egress_status(folder, [egress()])[0].until)
        time.sleep(0.02)
    assert len(ends) == 1


@pytest.mark.parametrize(
    "grid",
    [
        {"start": 4e9, "budget": 20.0, "window": 2.0},
        {"start": 0.0, "budget": 0.0, "window": 2.0},
        {"start": 0.0, "budget": 1e-300, "window": 2.0},
        {"start": 0.0, "budget": 1e11, "window": 2.0},
        {"start": 0.0, "budget": 20.0, "window": 1e11},
        {"start": -1e11, "budget": 20.0, "window": 2.0},
    ],
)
def test_slots_beyond_reason_are_laid_anew(tmp_path: Path, grid: dict[str, float]) -> None:
    folder = tmp_path / "egress"
    write_state(folder / "one", 7, grid=grid, grid_number=4)
    with EgressPool([egress(videos_per_hour=20, window_seconds=2.0)], probe(), folder) as pool:
        answer = pool.try_acquire()
        assert isinstance(answer, Wait) and answer.seconds < 5
    values = json.loads(max((folder / "one").glob("state.*"), key=lambda path: int(path.suffix[1:])).read_bytes()[17:])
    assert values["grid_number"] == 5 and time.time() - 60 < values["grid"]["start"] < time.time() + 5


def test_names_that_are_no_slots_or_versions_are_passed_over(tmp_path: Path) -> None:
    folder = tmp_path / "egress" / "one"
    write_state(folder, 1)
    for name in ("state.007", "state.99999999999999999999", "state.²", "slot.1.²", "slot.x", "slot.1.", "state."):
        (folder / name).write_bytes(b"x\n")
    with EgressPool([egress(videos_per_hour=20, window_seconds=2.0)], probe(), tmp_path / "egress") as pool:
        assert pool.try_acquire() is not None


def test_a_later_version_is_not_overruled(tmp_path: Path) -> None:
    folder = tmp_path / "egress"
    path = write_state(folder / "one", 3, format=3, paused={"new": "meaning"})
    before = path.read_bytes()
    with (
        EgressPool([egress(videos_per_hour=20)], probe(), folder) as pool,
        pytest.raises(InputRefused, match=r"later version.*format 3.*Update"),
    ):
        pool.try_acquire()
    assert [p.name for p in (folder / "one").iterdir()] == ["state.3"] and path.read_bytes() == before


def test_an_earlier_version_agrees(tmp_path: Path) -> None:
    """Versions before 2 write no format, and leave out what they do not know."""
    folder = tmp_path / "egress"
    write_state(folder / "one", 3, **over_pause(until=time.time() + 60))
    assert read_egress_status(folder, [egress()])[0].state == "paused"


def test_texts_of_others_cannot_steer_a_terminal(tmp_path: Path) -> None:
    folder = tmp_path / "egress"
    nasty = "\x1b]0;x\x07\x1b[2J\r\nok: open\u202e\ud800" + "x" * 5000
    write_state(folder / "one", 3, **over_pause(until=time.time() + 60, kind=nasty, detail=nasty))
    row = {"event": "paused", "epoch": 1, "at": 1.0, "until": 1e18, "kind": "x", "detail": "too late"}
    good = row | {"until": 2.0, "kind": nasty, "detail": nasty, "epoch": 2}
    (folder / "one" / "pauses.jsonl").write_text(f"{json.dumps(row)}\n{json.dumps(good)}\n{'[' * 9000}\n")
    (status,) = read_egress_status(folder, [egress()])
    (pause,) = status.pauses
    for text in (status.kind, status.detail, pause.kind, pause.detail):
        assert text.isprintable() and len(text) <= 300


def test_a_huge_history_is_read_from_its_end(tmp_path: Path) -> None:
    folder = tmp_path / "egress" / "one"
    folder.mkdir(parents=True)
    history = folder / "pauses.jsonl"
    with history.open("wb") as file:
        file.truncate(1 << 40)
    row = {"event": "paused", "epoch": 1, "at": 1.0, "until": 2.0, "kind": "x", "detail": ""}
    with history.open("ab") as file:
        file.write(b"\n" + json.dumps(row).encode() + b"\n")
    assert [pause.kind for pause in read_pauses(folder)] == ["x"]


@pytest.mark.parametrize("mask", [0o022, 0o002, 0o077, 0o000])
def test_what_is_made_is_writable_for_the_group_where_the_folder_is_shared(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        for name, mode, wanted in (("shared", 0o2770, 0o020), ("own", 0o755, 0)):
            folder = tmp_path / name
            folder.mkdir()
            folder.chmod(mode)
            with EgressPool([egress(videos_per_hour=20, window_seconds=2.0)], probe(), folder) as pool:
                take(pool).blocked("bot check")
            modes = {path: path.stat().st_mode for path in folder.rglob("*")}
            assert len(modes) >= 2 and {mode & 0o020 for mode in modes.values()} == {wanted}
            assert bool(modes[folder / "one"] & stat.S_ISGID) == (name == "shared")
            assert not [path for path, mode in modes.items() if mode & 0o002]
    finally:
        os.umask(before)

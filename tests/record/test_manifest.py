"""The manifest survives kills at any byte, and replay follows the contract."""

from __future__ import annotations

import dataclasses
import errno
import json
import math
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from audioset_batch.errors import StorageUnusable
from audioset_batch.model import ManifestRow, SegmentKey
from audioset_batch.reasons import Reason, Status
from audioset_batch.record.manifest import (
    LineProblem,
    ManifestWriter,
    encode_row,
    read_rows,
    replay,
    row_key,
)
from audioset_batch.sharedfs.folders import Folder
from tests.support import CHECKOUT

SUBSET = "eval_segments"


def row(number: int, status: Status = Status.OK, reason: str = "", **more: object) -> ManifestRow:
    base = ManifestRow(
        subset=SUBSET,
        shard=1,
        ytid=f"-_{number:09d}",
        start_seconds=10.01,
        end_seconds=20.01,
        labels="/m/09x0r",
        status=status,
        reason=reason,
    )
    return dataclasses.replace(base, **more)  # type: ignore[arg-type]


def key(number: int) -> SegmentKey:
    return SegmentKey(SUBSET, f"-_{number:09d}", 10010, 20010)


def write(path: Path, *rows: ManifestRow) -> None:
    with ManifestWriter(path) as writer:
        for each in rows:
            writer.append(each)


def test_rows_come_back_as_written(tmp_path: Path) -> None:
    path = tmp_path / "manifests" / "a.jsonl"
    rows = [row(1, detail='quo"te\n\u2028 ünï'), row(2, Status.FAILED, Reason.NETWORK, elapsed_seconds=1.5)]
    write(path, *rows)
    assert [ManifestRow(**values) for values in read_rows(path)] == rows
    assert path.read_bytes().count(b"\n") == 2


def test_values_json_lacks_do_not_stop_a_run(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    write(path, row(1, peak_dbfs=-math.inf, rms_dbfs=math.nan, detail="lone \ud800"))
    values = json.loads(path.read_bytes())
    assert values["peak_dbfs"] is None and values["rms_dbfs"] is None and values["detail"] == "lone ?"


def test_missing_manifest_is_empty(tmp_path: Path) -> None:
    assert list(read_rows(tmp_path / "none.jsonl")) == [] and replay(tmp_path / "none.jsonl") == {}


@pytest.mark.parametrize(
    ("history", "status", "reason"),
    [
        ([("failed", "network")], "failed", "network"),
        ([("failed", "network"), ("unavailable", "removed")], "unavailable", "removed"),
        ([("ok", ""), ("failed", "network")], "ok", ""),
        ([("ok", ""), ("pending", "retry")], "pending", "retry"),
        ([("ok", ""), ("pending", "retry"), ("failed", "timeout")], "failed", "timeout"),
        ([("ok", ""), ("pending", "retry"), ("ok", ""), ("failed", "timeout")], "ok", ""),
        ([("unavailable", "removed"), ("pending", "retry")], "pending", "retry"),
    ],
)
def test_replay_contract(tmp_path: Path, history: list[tuple[str, str]], status: str, reason: str) -> None:
    path = tmp_path / "a.jsonl"
    write(path, *(row(1, Status(s), r) for s, r in history))
    outcome = replay(path)[key(1)]
    assert (outcome.status, outcome.reason) == (status, reason)
    assert outcome.reset == (reason == "retry") and outcome.ok == (status == "ok")


def test_replay_keeps_the_last_ok(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    write(path, row(1, audio_path="first"), row(1, audio_path="second"), row(1, Status.FAILED, "network"))
    assert replay(path)[key(1)].audio_path == "second"


def test_damage_in_the_middle_is_reported_and_skipped(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    bad = [
        b"\0\0\0\n",
        b"{broken\n",
        b"[1]\n",
        b'{"ytid":"x"}\n',
        encode_row(row(9)).replace(b'"ok"', b'"fine"'),
    ]
    path.write_bytes(encode_row(row(1)) + b"".join(bad) + encode_row(row(2)))
    problems: list[LineProblem] = []
    assert [row_key(values) for values in read_rows(path, problems.append)] == [key(1), key(2)]
    assert [problem.line for problem in problems] == [2, 3, 4, 5, 6]
    assert not any(problem.torn for problem in problems) and "a.jsonl: line 3: not JSON" in str(problems[1])
    before = path.read_bytes()
    write(path, row(3))
    assert path.read_bytes() == before + encode_row(row(3)), "damaged lines stay where they are"


statuses = st.sampled_from([("ok", ""), ("failed", "network"), ("unavailable", "removed"), ("pending", "retry")])


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_tail_torn_at_any_byte_is_repaired(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    path = tmp_path_factory.mktemp("torn") / "a.jsonl"
    history = data.draw(st.lists(st.tuples(st.integers(0, 3), statuses), min_size=1, max_size=6))
    lines = [encode_row(row(n, Status(s), r, detail="é☃\n" * 3)) for n, (s, r) in history]
    cut = data.draw(st.integers(0, len(lines[-1])))
    kept = lines if cut >= len(lines[-1]) - 1 else lines[:-1]
    whole = b"".join(lines[:-1])
    path.write_bytes(whole + lines[-1][:cut])

    problems: list[LineProblem] = []
    read_before = list(read_rows(path, problems.append))
    assert len(read_before) == len(kept)
    assert [problem.torn for problem in problems] == [True] * (0 < cut < len(lines[-1]) - 1)

    new = row(7)
    with ManifestWriter(path) as writer:
        writer.append(new)
        assert writer.repaired_bytes == (cut if len(kept) < len(lines) else 0)
    assert path.read_bytes() == b"".join(kept) + encode_row(new)
    side = path.with_name("a.jsonl.torn")
    assert (side.read_bytes() if side.exists() else b"") == (
        lines[-1][:cut] + b"\n" if 0 < cut < len(lines[-1]) - 1 else b""
    )


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), statuses), max_size=12))
def test_replay_equals_the_definition(
    tmp_path_factory: pytest.TempPathFactory, history: list[tuple[int, tuple[str, str]]]
) -> None:
    path = tmp_path_factory.mktemp("replay") / "a.jsonl"
    write(path, *(row(n, Status(s), r, offset=i) for i, (n, (s, r)) in enumerate(history)))
    expected = {}
    for number in {n for n, _ in history}:
        rows = [(i, s, r) for i, (n, (s, r)) in enumerate(history) if n == number]
        resets = [i for i, _, r in rows if r == "retry"]
        since = [each for each in rows if not resets or each[0] >= resets[-1]]
        oks = [each for each in since if each[1] == "ok"]
        expected[key(number)] = (oks or since)[-1]
    assert {k: (o.offset, o.status, o.reason) for k, o in replay(path).items()} == expected


def test_threads_do_not_mix_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    with ManifestWriter(path, fsync_seconds=0.05) as writer:
        threads = [
            threading.Thread(target=lambda base: [writer.append(row(base + i)) for i in range(50)], args=(base,))
            for base in range(0, 400, 100)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(replay(path)) == 200


def test_kill_while_appending_loses_no_row_that_was_acknowledged(tmp_path: Path) -> None:
    code = (
        "import sys,pathlib\n"
        "from tests.record.test_manifest import row; from audioset_batch.record.manifest import ManifestWriter\n"
        "w=ManifestWriter(pathlib.Path(sys.argv[1]))\n"
        "for n in range(10**6):\n    w.append(row(n, detail='x'*5000)); print(n, flush=True)\n"
    )
    path = tmp_path / "a.jsonl"
    command, env = [sys.executable, "-c", code, str(path)], os.environ | {"PYTHONPATH": str(CHECKOUT)}
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        seen = [int(process.stdout.readline()) for _ in range(200)]
        process.kill()
        seen += [int(line) for line in process.stdout if line.endswith("\n")]
    with ManifestWriter(path) as writer:
        writer.append(row(10**7))
    found = replay(path)
    assert {key(n) for n in seen} <= found.keys() and key(10**7) in found


def test_full_disk_is_a_stop_and_leaves_whole_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.jsonl"
    writer = ManifestWriter(path)
    writer.append(row(1))
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, data[:40]))
    with pytest.raises(StorageUnusable, match=r"a\.jsonl.*only 40 of"):
        writer.append(row(2))
    monkeypatch.undo()
    assert path.read_bytes() == encode_row(row(1))
    writer.append(row(3))
    writer.close()
    writer.close()
    assert list(replay(path)) == [key(1), key(3)]


def test_a_filesystem_that_fails_while_reading_is_a_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not an empty manifest: everything would be fetched again."""
    path = tmp_path / "eval_segments.01.jsonl"
    path.touch()

    def stale(*_: object, **__: object) -> None:
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), str(path))

    monkeypatch.setattr(Folder, "open", stale)
    with pytest.raises(StorageUnusable, match="mount it again"):
        replay(path)


def test_a_disk_that_tells_only_on_closing_is_a_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = ManifestWriter(tmp_path / "eval_segments.01.jsonl")
    real = os.close

    def full(fd: int) -> None:
        real(fd)
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    monkeypatch.setattr(os, "close", full)
    with pytest.raises(StorageUnusable, match="quota"):
        writer.close()
    monkeypatch.undo()
    writer.close()


def test_a_folder_in_the_way_is_a_stop(tmp_path: Path) -> None:
    (tmp_path / "manifests").write_text("a file")
    with pytest.raises(StorageUnusable, match="manifests"):
        ManifestWriter(tmp_path / "manifests" / "a.jsonl")


@pytest.mark.slow
def test_replaying_a_manifest_costs_little_more_than_parsing_its_json(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"".join(encode_row(row(n, detail="x" * 300)) for n in range(20_000)))

    def seconds(work: Callable[[], Any]) -> float:
        took = []
        for _ in range(3):
            began = time.process_time()
            assert len(work()) == 20_000
            took.append(time.process_time() - began)
        return min(took)

    plain = seconds(lambda: [json.loads(line) for line in path.read_bytes().splitlines()])
    assert seconds(lambda: replay(path)) < 5 * plain

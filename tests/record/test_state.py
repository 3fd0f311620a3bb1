"""The state file: whole, seldom, and readable whatever it holds."""

import json
from pathlib import Path

import pytest

from audioset_batch.errors import StorageUnusable
from audioset_batch.model import ManifestRow, Segment
from audioset_batch.reasons import Reason, Status
from audioset_batch.record import state as states
from audioset_batch.record.shard_counts import ShardCounts
from audioset_batch.record.state import StateWriter, read_state
from audioset_batch.sharedfs import publish
from audioset_batch.sharedfs.lease import Holder


def test_written_at_most_every_so_often(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "eval_segments.01.json"
    now = [1000.0]
    monkeypatch.setattr(states.time, "monotonic", lambda: now[0])
    writes = []
    real = publish.atomic_write_bytes
    monkeypatch.setattr(publish, "atomic_write_bytes", lambda p, d: (writes.append(now[0]), real(p, d)))
    segments = [Segment("eval_segments", f"video___{n:04}", 0, 10_000, ()) for n in range(100)]
    counts = ShardCounts([segment.key for segment in segments], {})
    with StateWriter(path, counts, every=30, holder=Holder.current("5_1", 2)) as writer:
        for second, segment in enumerate(segments):
            now[0] = 1000.25 + second
            outcome = (Status.FAILED, Reason.NETWORK) if second == 7 else (Status.OK, "")
            counts.record(ManifestRow.of(segment, 1, outcome[0], reason=outcome[1]))
            if writer.due:
                writer.write()
        shown = read_state(path)
        assert shown is not None
        assert (shown.counts, shown.planned, shown.finished) == ({"ok": 90, "failed": 1}, 100, False)
        assert (shown.job_id, shown.restart_count, shown.finished_lately, shown.lately_seconds) == (
            *("5_1", 2),
            *(91, 90.2),
        )
        assert shown.reasons == {"network": 1}
        assert "job 5_1 (restart 2)" in shown.holder
        assert shown.done == 91
    assert writes == [1000.0, 1030.25, 1060.25, 1090.25, 1099.25]
    last = read_state(path)
    assert last is not None and last.finished and last.counts["ok"] == 99


def test_says_why_it_stopped(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    with (
        pytest.raises(StorageUnusable),
        StateWriter(path, ShardCounts([], {}), every=30, holder=Holder.current()),
    ):
        raise StorageUnusable("full")
    last = read_state(path)
    assert last is not None and last.note == "full"


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '{"planned": 1', '{"counts": {}}'])
def test_what_is_no_state_is_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.json"
    assert read_state(path) is None
    path.write_text(text)
    assert read_state(path) is None


def test_keys_of_a_later_version_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text(json.dumps({"planned": 3, "colour": "blue"}))
    shown = read_state(path)
    assert shown is not None and shown.planned == 3

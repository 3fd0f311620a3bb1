"""The history of pauses, as kills and full disks leave it."""

import json
from pathlib import Path

from audioset_batch.egress import read_pauses


def line(event: str, epoch: int, at: float, since: float | None = None, until: float = 160.0) -> str:
    row = {"event": event, "epoch": epoch, "at": at, "until": until, "kind": "bot check", "detail": "made up"}
    return json.dumps(row if since is None else {**row, "since": since}) + "\n"


def test_a_pause_whose_begin_was_lost_is_known_from_its_end(tmp_path: Path) -> None:
    """The process was killed between the pause and its line."""
    text = line("extended", 1, 165.0, since=100.0, until=190.0) + line("reopened", 1, 191.0, since=100.0, until=190.0)
    (tmp_path / "pauses.jsonl").write_text(text)
    (pause,) = read_pauses(tmp_path)
    assert (pause.started, pause.until, pause.reopened, pause.kind) == (100.0, 190.0, 191.0, "bot check")


def test_torn_lines_are_left_out(tmp_path: Path) -> None:
    text = line("paused", 1, 100.0) + line("reopened", 1, 161.0) + line("paused", 2, 300.0)[:40] + "\n"
    (tmp_path / "pauses.jsonl").write_text(text + line("paused", 3, 500.0, until=560.0) + '{"event": "reop')
    assert [(p.started, p.reopened) for p in read_pauses(tmp_path)] == [(100.0, 161.0), (500.0, None)]


def test_lines_of_the_first_version_lack_the_begin(tmp_path: Path) -> None:
    text = line("paused", 1, 100.0) + line("extended", 1, 161.0, until=220.0) + line("reopened", 1, 221.0, until=220.0)
    (tmp_path / "pauses.jsonl").write_text(text)
    (pause,) = read_pauses(tmp_path)
    assert (pause.started, pause.until, pause.reopened) == (100.0, 220.0, 221.0)

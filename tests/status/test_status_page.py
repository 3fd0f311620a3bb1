"""The overview made from files alone: sums, words, JSON, SLURM's notation."""

import dataclasses
import json
import os
import re
import time
from pathlib import Path

import pytest

from audioset_batch.cli import main
from audioset_batch.config import Config
from audioset_batch.layout import DataDir, ShardId
from audioset_batch.model import Segment
from audioset_batch.record.state import ShardState
from audioset_batch.status.as_json import to_json
from audioset_batch.status.collect import collect
from audioset_batch.status.queue import expand
from audioset_batch.status.text import render

SUBSET = "eval_segments"


@pytest.fixture(autouse=True)
def no_slurm(monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine may have one, and it knows nothing of made-up jobs."""
    monkeypatch.setenv("PATH", "")


@pytest.fixture
def data(tmp_path: Path) -> DataDir:
    """Three shards of ten: one finished, one stopped, one never begun."""
    data = DataDir(tmp_path)
    data.states.mkdir()
    for number in (1, 2, 3):
        rows = [f'video{number:03d}{n:03d}, 0.000, 10.000, "/m/09x0r"\n' for n in range(10)]
        data.shard_csv(ShardId(SUBSET, number)).write_text(f"# a\n# num_segs={len(rows)}\n# b\n" + "".join(rows))
    write(data, 1, counts={"ok": 7, "unavailable": 3}, reasons={"private": 2, "removed": 1}, finished=True)
    stopped = {
        "counts": {"ok": 2, "failed": 1},
        "reasons": {"timeout": 1},
        "words": {"It is away": 1},
        "note": "stopped by signal SIGUSR1",
    }
    write(data, 2, finished=True, job_id="77_2", restart_count=3, host="node07", **stopped)
    return data


def write(data: DataDir, number: int, **values: object) -> None:
    state = {"planned": 10, "updated_at": "2026-01-01T00:00:00+00:00", **values}
    known = ShardState(**state)  # type: ignore[arg-type]
    assert known.planned == 10
    data.state(ShardId(SUBSET, number)).write_text(json.dumps(state))


def test_sums_and_words(data: DataDir) -> None:
    overview = collect(data, Config(data_dir=data.root))
    assert dict(overview.total.counts) == {"ok": 9, "unavailable": 3, "failed": 1, "pending": 17}
    assert [line.activity for line in overview.shards] == ["done", "stopped", "open"]
    assert (overview.left, overview.budget, overview.seconds_at_budget) == (18, 300.0, 216.0)
    text = render(overview)
    for words in (
        "unavailable: private 2, removed 1",
        "failed: timeout 1",
        "gives them a reason):\n  1 x It is away",
        "nobody works on it now; 18 left\ntime left at the budget of 300 an hour: 4 min",
        "3 shards: 1 stopped, 1 open, 1 done",
        "         stopped by signal SIGUSR1",
        "[#################======!!...............................] 40.0% settled",
        "77_2",
    ):
        assert words in text, text
    lines = [line for line in text.splitlines()[1:] if not line.startswith("SLURM does not answer")]
    assert max(map(len, lines)) <= 80, "fits a terminal of 80 columns"


def test_what_remains_to_be_done(data: DataDir) -> None:
    for number in (1, 2, 3):
        write(data, number, counts={"ok": 10}, finished=True)

    def said(**changed: int) -> tuple[list[str], str]:
        for name, seconds in changed.items():
            path = getattr(data, name)
            path.touch()
            os.utime(path, (seconds, seconds))
        overview = collect(data, Config(data_dir=data.root))
        return to_json(overview)["next_steps"], render(overview)

    now = int(time.time())
    steps, text = said()
    assert steps == ["merge", "report"] and "Next: audioset-batch merge, then report" in text
    steps, text = said(merged_parquet=now + 10, summary_json=now + 10)
    assert steps == ["report"] and "Next: audioset-batch report\n" in text
    steps, text = said(report_html=now + 20)
    assert steps == [] and "The table and the report are up to date" in text
    assert said(merged_parquet=now + 30, summary_json=now + 30)[0] == ["report"], "merged again"
    shard = data.shard_csv(ShardId(SUBSET, 3))
    os.utime(shard, (now + 40, now + 40))
    assert said()[0] == ["merge", "report"], "split again"
    write(data, 3, counts={"ok": 9})
    assert said()[0] == [], "first there is work to do"


def test_what_is_wrong_is_said(data: DataDir, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", str(tmp_path / "nowhere")]) == 2
    assert main(["status", str(data.states)]) == 1
    assert main(["status", str(data.root), "--json", "--watch"]) == 2
    assert main(["clip", str(data.root), "--", "-short"]) == 2
    assert main(["clip", str(data.root), "--", "-_unknown__"]) == 1
    words = capsys.readouterr().err
    for expected in ("does not exist", "no shards", "exclude each other", "expected 11 characters", "no shard"):
        assert expected in words, words


@pytest.mark.parametrize("both", [False, True])
def test_no_time_is_promised_while_every_egress_is_paused(data: DataDir, both: bool) -> None:
    overview = collect(data, Config(data_dir=data.root))
    (one,) = overview.egresses
    paused = dataclasses.replace(one, state="paused", until=4e9, kind="HTTP 429")
    text = render(dataclasses.replace(overview, egresses=[paused, paused if both else one]))
    assert ("; every egress is paused until 2096-10-02 07:06 or later; 18 left" in text) is both
    assert ("time left once one is open, at the budget" in text) is both


def test_one_shard_is_no_shards(data: DataDir) -> None:
    for number in (2, 3):
        data.shard_csv(ShardId(SUBSET, number)).unlink()
    assert "\n1 shard: 1 done" in render(collect(data, Config(data_dir=data.root)))


def test_a_damaged_state_file_is_no_state(data: DataDir) -> None:
    data.state(ShardId(SUBSET, 1)).write_text('{"planned": ')
    overview = collect(data, Config(data_dir=data.root))
    assert overview.total.planned == 30 and overview.shards[0].activity == "open"


def test_rows_newer_than_the_state_file_are_counted_or_told(data: DataDir) -> None:
    from audioset_batch.model import ManifestRow
    from audioset_batch.reasons import Status
    from audioset_batch.record.manifest import ManifestWriter

    data.manifests.mkdir()
    segment = Segment(SUBSET, "video003000", 0, 10_000, ("/m/09x0r",))
    with ManifestWriter(data.manifest(ShardId(SUBSET, 3))) as manifest:
        manifest.append(ManifestRow.of(segment, 3, Status.OK))
    line = collect(data, Config(data_dir=data.root)).shards[2]
    assert line.seen.exact and line.seen.counts["ok"] == 1 and line.seen.counts["pending"] == 9


@pytest.mark.parametrize(
    ("name", "tasks"),
    [
        ("12", ["12"]),
        ("12_3", ["12_3"]),
        ("12_[4-6,9%2]", ["12_4", "12_5", "12_6", "12_9"]),
        ("12_[7]", ["12_7"]),
    ],
)
def test_squeues_notation(name: str, tasks: list[str]) -> None:
    assert expand(name) == tasks


def test_the_keys_of_json_are_those_of_the_page(data: DataDir, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", str(data.root), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    page = (Path(__file__).parents[2] / "docs" / "status.md").read_text().partition("## status --json")[2]
    rows = dict(line.strip("| ").split(" | ", 1) for line in page.splitlines() if line.startswith("| `"))
    assert set(found) == {key for names in rows for key in words(names)}
    assert set(found["totals"]) == set(found["subsets"][SUBSET]) == set(words(rows["`totals`"]))
    assert set(found["shards"][0]) == set(words(rows["`shards`"]))
    assert set(found["egresses"][0]) == set(words(rows["`egresses`"]))


def words(text: str) -> list[str]:
    return re.findall(r"`(\w+)`", text)

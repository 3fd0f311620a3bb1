"""How much is left and how long it takes."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from audioset_batch.cli import main
from audioset_batch.config import Config
from audioset_batch.config.schema import Egress
from audioset_batch.layout import DataDir, ShardId
from audioset_batch.model import ManifestRow, Segment
from audioset_batch.reasons import Reason, Status
from audioset_batch.record.manifest import ManifestWriter
from audioset_batch.status.collect import collect
from audioset_batch.status.expectation import Expectation, expect
from audioset_batch.status.forecast import Forecast, forecast, render


@pytest.fixture
def data(tmp_path: Path) -> DataDir:
    """Only headers are read where no worker has been."""
    data = DataDir(tmp_path)
    data.shard_csv(ShardId("unbalanced_train_segments", 1)).write_text("# a\n# num_segs=2041789\n# b\n")
    return data


def planned(data: DataDir, *egresses: Egress) -> Forecast:
    config = Config(data_dir=data.root, egress=egresses or (Egress(name="direct"),))
    return forecast(data, config, collect(data, config, ask_slurm=False))


def test_the_whole_set_behind_one_address(data: DataDir) -> None:
    plan = planned(data)
    text = render(plan)
    assert "2,041,789 segments behind 1 address at 300 an hour: 284 days; with 10 proxies: 28 days" in text
    for free, enough in ((plan.disk_bytes, True), (plan.disk_bytes - 1, False)):
        assert ("NOT ENOUGH" in render(dataclasses.replace(plan, free_bytes=free))) is not enough
    assert "estimates" in text


def test_budgets_add_up_and_none_is_told(data: DataDir) -> None:
    two = planned(data, Egress(name="a"), Egress(name="b", videos_per_hour=600))
    assert two.budget == 900 and two.seconds == pytest.approx(3600 * 2_041_789 / 900)
    assert "behind 2 addresses at 900 an hour together: 95 days" in render(two)
    assert "no telling how long" in render(planned(data, Egress(name="a", videos_per_hour=None)))


def test_own_means_count_once_there_are_enough(data: DataDir) -> None:
    def spent(segments: int, requests: int, fetched: int) -> dict[str, int]:
        return {"segments": segments, "requests": requests, "fetched_bytes": fetched}

    summary = {
        "totals": {"ok": 900},
        "audio_bytes": 900 * 2_000_000,
        "video_bytes": 0,
        "cost": {
            "by_status": {
                "ok": spent(900, 2700, 900 * 200_000),
                "unavailable": spent(300, 300, 0),
                "failed": spent(0, 0, 0),
            }
        },
    }
    data.summary_json.write_text(json.dumps(summary))
    each = planned(data).expectation
    assert (each.available, each.requests, each.fetched_bytes, each.clip_bytes) == (0.75, 2.5, 150_000, 2_000_000)
    data.summary_json.write_text('{"totals": {"ok"')
    assert planned(data).expectation.counted == 0


def test_the_command(data: DataDir, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", str(data.root), "--json", "--set", "egress=[{name: a, videos_per_hour: 600}]"]) == 0
    assert json.loads(capsys.readouterr().out)["seconds"] == pytest.approx(3600 * 2_041_789 / 600)
    assert main(["plan", str(data.root / "none")]) == 2
    assert main(["plan", str(data.root), "--set", "egress=[]"]) == 2


def test_newest_rows_count_before_the_first_merge(data: DataDir) -> None:
    def row(number: int, status: Status, attempts: int = 1, **values: Any) -> ManifestRow:
        segment = Segment("unbalanced_train_segments", f"{number:011}", 0, 10_000, ("/m/09x0r",))
        reason = "" if status is Status.OK else Reason.REMOVED
        return ManifestRow.of(segment, 1, status, reason=reason, attempts=attempts, **values)

    path = data.manifest(ShardId("unbalanced_train_segments", 1))
    with ManifestWriter(path) as manifest:
        for number in range(400):
            manifest.append(row(number, Status.UNAVAILABLE, 0, detail="known from gone.jsonl"))
    config = Config(data_dir=data.root)
    assert expect(data, config).counted == 0, "what nobody tried says nothing about the next ones"
    with ManifestWriter(path) as manifest:
        for number in range(60):
            ok = row(1000 + number, Status.OK, requests=3, fetched_bytes=300_000, audio_bytes=1_000_000)
            manifest.append(ok)
            manifest.append(row(2000 + number, Status.UNAVAILABLE, requests=1))
    with path.open("ab") as file:
        file.write(b'{"subset": "torn')
    assert expect(data, config) == Expectation(2, 150_000, 0.5, 1_000_000, 120)
    with ManifestWriter(path) as manifest:
        for number in range(9000):
            manifest.append(row(10_000 + number, Status.OK, requests=3))
    newest = expect(data, config)
    assert (newest.requests, newest.available) == (3, 1) and 2000 < newest.counted < 9000, "not all are read"


def test_rows_that_it_did_not_count_are_told(data: DataDir) -> None:
    assert "NOT COUNTED" not in render(planned(data))
    manifest = data.manifest(ShardId("unbalanced_train_segments", 1))
    manifest.parent.mkdir()
    with manifest.open("wb") as file:
        file.truncate(9 << 20)  # more than one look reads
    plan = planned(data)
    assert plan.uncounted_shards == 1
    assert "1 shard has rows that are NOT COUNTED here: less is left; --exact counts them" in render(plan)

"""`clip` and `logs` from files alone: ids that look like options, files without rows and rows without files."""

import json
import os
from pathlib import Path

import pytest

from audioset_batch.cli import main
from audioset_batch.cli.common import shield_ids
from audioset_batch.layout import DataDir, ShardId
from audioset_batch.model import ManifestRow, Segment
from audioset_batch.reasons import Reason, Status
from audioset_batch.record.manifest import ManifestWriter

SHARD = ShardId("eval_segments", 1)
IDS = ("-h123456789", "--json-abcd", "-----------", "plain_id_00")
Captured = pytest.CaptureFixture[str]


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DataDir:
    """One shard; the first video twice."""
    monkeypatch.setenv("PATH", "")
    data = DataDir(tmp_path)
    rows = [f'{ytid}, 30.000, 40.000, "/m/09x0r,/t/dd00004"\n' for ytid in IDS]
    rows.append(f'{IDS[0]}, 50.000, 60.000, "/m/09x0r"\n')
    data.shard_csv(SHARD).write_text(f"# a\n# num_segs={len(rows)}\n# b\n" + "".join(rows))
    data.class_labels_csv.write_text('index,mid,display_name\n0,/m/09x0r,"Speech"\n')
    return data


def segment(ytid: str) -> Segment:
    return Segment(SHARD.subset, ytid, 30_000, 40_000, ("/m/09x0r",))


def clip(data: DataDir, *argv: str) -> int:
    return main(["clip", str(data.root), *argv])


@pytest.mark.parametrize("ytid", IDS)
@pytest.mark.parametrize("dashes", [(), ("--",)])
def test_ids_that_look_like_options(data: DataDir, ytid: str, dashes: tuple[str, ...], capsys: Captured) -> None:
    assert clip(data, *dashes, ytid) == 0
    assert capsys.readouterr().out.startswith(f"{ytid}  30 to 40 s")


def test_options_stay_options(data: DataDir, capsys: Captured) -> None:
    assert clip(data, "--json", IDS[0]) == 0
    assert [one["key"]["start_ms"] for one in json.loads(capsys.readouterr().out)] == [30_000, 50_000]
    assert shield_ids(["status", "-h123456789"]) == ["status", "-h123456789"]
    with pytest.raises(SystemExit):
        clip(data, "--no-such-option", IDS[0])


def test_one_segment_of_a_video(data: DataDir, capsys: Captured) -> None:
    for name in (f"{IDS[0]}_50000", f"{IDS[0]}_50000_60000.flac", f"some/folder/{IDS[0]}_50000_60000.mp4"):
        assert clip(data, name) == 0
        out = capsys.readouterr().out
        assert out.startswith(f"{IDS[0]}  50 to 60 s") and "30 to 40" not in out
        assert "labels   Speech (/m/09x0r)" in out and "rows     none yet" in out and "status   pending" in out
    assert clip(data, f"{IDS[0]}_7") == 1
    assert f"there is {IDS[0]}_30000, {IDS[0]}_50000" in capsys.readouterr().err
    assert clip(data, f"{IDS[3]}x50000") == 2


def test_every_value_of_a_row_is_shown(data: DataDir, capsys: Captured) -> None:
    with ManifestWriter(data.manifest(SHARD)) as manifest:
        manifest.append(ManifestRow.of(segment(IDS[3]), 1, Status.FAILED, reason=Reason.TIMEOUT, detail="60 s"))
        row = {"tar": "data/eval_segments/tar/01-00001.tar", "offset": 0, "peak_dbfs": 0.0, "silent": False}
        manifest.append(ManifestRow.of(segment(IDS[3]), 1, Status.OK, **row))
    still_open = data.root / "data/eval_segments/tar/01-00001.tar.open"
    still_open.parent.mkdir(parents=True)
    still_open.write_bytes(b"x" * 1024)
    assert clip(data, IDS[3]) == 0
    out = capsys.readouterr().out
    for words in ("offset: 0", "peak_dbfs: 0.0", "silent: false", "01-00001.tar.open  1,024 bytes", "detail: 60 s"):
        assert words in out, out
    assert out.index("failed timeout") < out.index("offset: 0"), "rows in their order"
    assert "status   ok" in out and "MISSING" not in out


def test_files_that_do_not_fit_the_rows(data: DataDir, capsys: Captured) -> None:
    path = data.audio(segment(IDS[3]), "flac")
    path.parent.mkdir(parents=True)
    path.write_bytes(b"1234567")
    assert clip(data, IDS[3]) == 0
    assert "7 bytes, but no row says so" in capsys.readouterr().out
    with ManifestWriter(data.manifest(SHARD)) as manifest:
        row = {"audio_path": data.relative(path), "audio_bytes": 9}
        manifest.append(ManifestRow.of(segment(IDS[3]), 1, Status.OK, **row))
    assert clip(data, IDS[3]) == 0
    assert "7 bytes, but the row says 9" in capsys.readouterr().out
    path.unlink()
    assert clip(data, IDS[3]) == 0
    assert "MISSING" in capsys.readouterr().out


def test_a_row_outside_the_plan(data: DataDir, capsys: Captured) -> None:
    with ManifestWriter(data.manifest(SHARD)) as manifest:
        manifest.append(ManifestRow.of(segment("former_vid0"), 1, Status.UNAVAILABLE, reason=Reason.PRIVATE))
    assert clip(data, "former_vid0") == 0
    out = capsys.readouterr().out
    assert "not in the plan any more" in out and "unavailable: private" in out


def stopped(data: DataDir, number: int, day: int, **values: object) -> None:
    """One more shard that stopped at this day of January."""
    shard = ShardId("eval_segments", number)
    data.states.mkdir(exist_ok=True)
    data.shard_csv(shard).write_text("# a\n# num_segs=9\n# b\n")
    state = {"planned": 9, "updated_at": f"2026-01-{day:02d}T00:00:00+00:00", "finished": True, "host": "node07"}
    data.state(shard).write_text(json.dumps(state | values))


def test_logs_of_the_tasks_that_were_active_last(data: DataDir, capsys: Captured) -> None:
    for number in range(2, 7):
        note = "stopped by signal SIGUSR1"
        stopped(data, number, 20 - number, note=note, job_id=f"77_{number}", restart_count=number)
    submitted_from = data.root / "jobs"
    submitted_from.mkdir()
    (submitted_from / "audiosetdl-77_2.log").write_text("one\ntwo\nthree\n")
    (submitted_from / "audiosetdl-177_2.log").write_text("of another job\n")
    assert main(["logs", str(data.root), "--folder", str(submitted_from), "--tasks", "2", "--lines", "2"]) == 0
    out = capsys.readouterr().out
    last = out.index("== job 77_2, host node07, restarts 2\n   eval_segments.02 stopped; stopped by signal SIGUSR1")
    assert out.index("== job 77_3") < last, "the latest at the end"
    assert "| two\n   | three\n" in out and "one" not in out.replace("none", "") and "another" not in out
    assert "3 tasks that were active earlier" in out and "77_4" not in out
    assert f"no log found in {data.logs}, {submitted_from}" in out


def test_why_segments_failed(data: DataDir, capsys: Captured) -> None:
    reasons = {"timeout": 2, "private": 3, "network": 1}
    stopped(data, 2, 1, counts={"ok": 3, "unavailable": 3, "failed": 3}, reasons=reasons)
    data.logs.mkdir()
    (data.logs / "audiosetdl-local.log").write_bytes(b"\xff" * 300_000 + b"\nthe end\n")
    os.utime(data.logs / "audiosetdl-local.log")
    assert main(["logs", str(data.root), "--lines", "1"]) == 0
    out = capsys.readouterr().out
    assert "without SLURM, host node07\n   eval_segments.02 open; 3 failed: timeout 2, network 1" in out
    assert out.rstrip().endswith("| the end")

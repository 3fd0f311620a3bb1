"""Both ways of export, Parquet, and the list of what is gone."""

import hashlib
import io
import json
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest
import soundfile

from audioset_batch.record.clip_files import read_clip, row_stem
from tests.support.loopback import Project
from tests.support.tar_checks import all_rows, check_row, ok_rows, samples_in, tars_of

MOVED = ("audio_path", "video_path", "tar", "offset")


def export(project: Project, *argv: str, source: Path | None = None, status: int = 0) -> str:
    done = project.run("export", str(source or project.data), *argv, status=status)
    return done.stdout + done.stderr


def facts(data: Path) -> dict[str, dict[str, Any]]:
    """Rows by segment, without what a layout changes."""
    return {row_stem(row): {k: v for k, v in row.items() if k not in MOVED} for row in all_rows(data)}


def test_to_files_and_back(finished: Project, tmp_path: Path) -> None:
    files, back = tmp_path / "files", tmp_path / "back"
    assert "left out 0" in export(finished, "--layout", "files", "--to", str(files))
    assert facts(files) == facts(finished.data)
    rows = ok_rows(all_rows(files))
    assert len(rows) > 10
    for row in rows:
        assert (row["tar"], row["offset"]) == ("", None)
        assert hashlib.sha256((files / row["audio_path"]).read_bytes()).hexdigest() == row["audio_sha256"]
        assert (files / row["video_path"]).stat().st_size == row["video_bytes"]
    found = {path.relative_to(files).as_posix() for path in (files / "data").rglob("*") if path.is_file()}
    assert found == {row[name] for row in rows for name in ("audio_path", "video_path")}

    export(finished, "--layout", "webdataset", "--to", str(back), "--tar-bytes", "700000", source=files)
    assert facts(back) == facts(finished.data)
    for row in ok_rows(all_rows(back)):
        check_row(back, row)
        assert len(read_clip(back, row, "video")) == row["video_bytes"]
    assert samples_in(tars_of(back)) == samples_in(tars_of(finished.data))
    finished.run("merge", str(back))
    finished.run("merge", str(files))


def test_a_folder_that_is_no_export_is_refused(finished: Project, tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("mine")
    assert "found notes" in export(finished, "--layout", "files", "--to", str(tmp_path), status=1)
    assert [path.name for path in tmp_path.iterdir()] == ["notes"]
    worked = tmp_path / "worked"
    shutil.copytree(finished.data, worked)
    assert "workers write to" in export(finished, "--layout", "files", "--to", str(worked), status=1)


@pytest.mark.slow
def test_again_does_nothing_and_another_plan_is_refused(finished: Project, tmp_path: Path) -> None:
    target = tmp_path / "files"
    export(finished, "--layout", "files", "--to", str(target), "--task", "1")
    export(finished, "--layout", "files", "--to", str(target))
    before = {path: path.stat().st_mtime_ns for path in (target / "data").rglob("*")}
    assert "clips written 0" in export(finished, "--layout", "files", "--to", str(target))
    assert {path: path.stat().st_mtime_ns for path in (target / "data").rglob("*")} == before
    assert "the other layout" in export(finished, "--layout", "webdataset", "--to", str(target), status=1)
    (target / "eval_segments.csv.01").write_text("another plan\n")
    assert "differs from" in export(finished, "--layout", "files", "--to", str(target), status=1)
    for inside in (finished.data, finished.data / "x"):
        assert "or in it" in export(finished, "--layout", "files", "--to", str(inside), status=2)
    assert "--to DIR" in export(finished, "--parquet", status=2)


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["files", "webdataset"])
def test_kills_of_an_export(finished: Project, tmp_path: Path, layout: str) -> None:
    target = tmp_path / "target"
    command = [sys.executable, "-m", "audioset_batch", "export", str(finished.data), "--layout", layout]
    command += ["--to", str(target), "--tar-bytes", "700000"]
    for step in range(6):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        before = len(all_rows(target)) if target.exists() else 0
        while process.poll() is None and (not target.exists() or len(all_rows(target)) <= before):
            time.sleep(0.002)
        time.sleep(0.004 * step)
        process.send_signal(signal.SIGKILL)
        process.wait()
    export(finished, "--layout", layout, "--to", str(target), "--tar-bytes", "700000")
    assert facts(target) == facts(finished.data)
    assert len(all_rows(target)) == len(all_rows(finished.data)), "no row twice"
    for row in ok_rows(all_rows(target)):
        assert hashlib.sha256(read_clip(target, row)).hexdigest() == row["audio_sha256"]
    if layout == "webdataset":
        assert samples_in(tars_of(target)) == Counter(row_stem(row) for row in ok_rows(all_rows(target)))
    assert not [path for path in target.rglob("*") if path.is_file() and ".tmp" in path.parts[-3:]]


def test_damaged_clips_are_named_and_left_out(finished: Project, tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(finished.data, source)
    row = ok_rows(all_rows(source))[0]
    with (source / row["tar"]).open("rb+") as file:
        file.seek(row["offset"] + 600)
        file.write(b"rot")
    for form in (("--layout", "files"), ("--layout", "files"), ("--parquet",), ("--parquet",)):
        said = export(finished, *form, "--to", str(tmp_path / form[-1].strip("-")), source=source, status=1)
        assert f"{row['ytid']}" in said and "SHA-256" in said and "left out 1" in said
    assert len(ok_rows(all_rows(tmp_path / "files"))) == len(ok_rows(all_rows(source))) - 1


def test_parquet_with_the_audio_in_it(finished: Project, tmp_path: Path) -> None:
    target = tmp_path / "parquet"
    export(finished, "--parquet", "--to", str(target), "--file-bytes", "1500000")
    parts = sorted(target.glob("eval_segments/part-*.parquet"))
    assert len(parts) > 1
    table = pd.concat([pd.read_parquet(part) for part in parts], ignore_index=True)
    rows = {row_stem(row): row for row in ok_rows(all_rows(finished.data))}
    assert [audio["path"] for audio in table.audio] == [
        f"{row.stem}.flac" for row in finished.subsets["eval_segments"] if row.stem in rows
    ], "in the order of the plan"
    for record in table.to_dict("records"):
        row = rows[record["audio"]["path"].removesuffix(".flac")]
        assert hashlib.sha256(record["audio"]["bytes"]).hexdigest() == row["audio_sha256"] == record["audio_sha256"]
        samples, rate = soundfile.read(io.BytesIO(record["audio"]["bytes"]))
        assert (len(samples), rate) == (record["frames"], record["sample_rate"])
        assert list(record["labels"]) == row["labels"].split(",")
        assert all(name.startswith("Sound ") for name in record["label_names"])
    assert json.loads(pq.read_schema(parts[0]).metadata[b"huggingface"])["info"]["features"]["audio"] == {
        "_type": "Audio"
    }
    before = {part: part.stat().st_mtime_ns for part in parts}
    parts[1].unlink()
    (target / "eval_segments/part-00099.parquet").write_bytes(b"of an earlier plan")
    export(finished, "--parquet", "--to", str(target), "--file-bytes", "1500000")
    after = {part: part.stat().st_mtime_ns for part in sorted(target.glob("eval_segments/part-*.parquet"))}
    assert set(after) == set(parts)
    assert {part for part in parts if after[part] != before[part]} == {parts[1]}, "only what was missing is written"


def test_datasets_reads_the_parquet(finished: Project, tmp_path: Path) -> None:
    import datasets

    export(finished, "--parquet", "--to", str(tmp_path / "parquet"), "--file-bytes", "1500000")
    loaded = datasets.load_dataset(str(tmp_path / "parquet"), cache_dir=str(tmp_path / "cache"))
    assert list(loaded) == ["eval"]
    assert isinstance(loaded["eval"].features["audio"], datasets.Audio)
    rows = {row["ytid"]: row for row in ok_rows(all_rows(finished.data))}
    table = loaded["eval"].cast_column("audio", datasets.Audio(decode=False))
    assert set(table["ytid"]) == set(rows)
    for record in table:
        assert hashlib.sha256(record["audio"]["bytes"]).hexdigest() == rows[record["ytid"]]["audio_sha256"]


def test_files_of_others_beside_the_parquet_stay(finished: Project, tmp_path: Path) -> None:
    folder = tmp_path / "parquet" / next(iter(finished.subsets))
    folder.mkdir(parents=True)
    for name in ("part-mine.parquet", "part-99999.parquet"):
        (folder / name).touch()
    finished.run("export", str(finished.data), "--parquet", "--to", str(tmp_path / "parquet"))
    assert (folder / "part-mine.parquet").exists() and not (folder / "part-99999.parquet").exists()


def test_the_list_of_what_is_gone(finished: Project, tmp_path: Path) -> None:
    export(finished, "--unavailable", str(tmp_path / "gone.jsonl"))
    rows = [json.loads(line) for line in (tmp_path / "gone.jsonl").read_text().splitlines()]
    wanted = {row["ytid"]: row for row in all_rows(finished.data) if row["status"] == "unavailable"}
    assert wanted and {row["ytid"] for row in rows} == set(wanted)
    for row in rows:
        assert (row["status"], row["reason"]) == ("unavailable", wanted[row["ytid"]]["reason"])
        assert (row["host"], row["egress"], row["job_id"]) == ("", "", "")

"""The numbers of the report: counted once by merge, compared here with what pandas says of the merged table."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from audioset_batch.merge import merge
from audioset_batch.merge.distributions import Histogram
from audioset_batch.report import find, load_summary
from tests.support.report_data import BEGIN, CLASSES, PAUSES, plan, write_dataset


@pytest.fixture(scope="module")
def summary(merged: Path) -> dict[str, Any]:
    return load_summary(merged)


@pytest.fixture(scope="module")
def table(merged: Path) -> pd.DataFrame:
    return pd.read_parquet(merged / "manifest.parquet")


def report(*argv: str, status: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "audioset_batch", "report", *argv], capture_output=True, text=True, check=False
    )
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    return done


def test_labels_by_subset(summary: dict[str, Any], table: pd.DataFrame) -> None:
    flat = table.assign(mid=table.labels.str.split(",")).explode("mid")
    assert {label["mid"] for label in summary["labels"]} == set(CLASSES), "also the one that nothing is planned of"
    for label in summary["labels"]:
        own = flat[flat.mid == label["mid"]]
        assert (label["planned"], label["ok"]) == (len(own), (own.status == "ok").sum())
        for subset, counts in label["subsets"].items():
            part = own[own.subset == subset]
            assert (counts["planned"], counts["ok"]) == (len(part), (part.status == "ok").sum())


def test_amounts_of_subsets_add_up(summary: dict[str, Any], table: pd.DataFrame) -> None:
    ok = table[table.status == "ok"]
    for key in ("silent", "audio_bytes", "fetched_bytes", "requests"):
        assert summary[key] == sum(one[key] for one in summary["subsets"].values())
    assert summary["audio_bytes"] == ok.audio_bytes.sum()
    assert summary["silent"] == ok.silent.sum()
    assert summary["hours"] == pytest.approx(ok.duration_seconds.sum() / 3600, abs=1e-3)


def test_histograms(summary: dict[str, Any], table: pd.DataFrame) -> None:
    ok = table[table.status == "ok"]
    durations = summary["durations"]
    assert sum(durations["counts"]) == len(ok)
    assert durations["counts"][-1] == (ok.duration_seconds >= 10).sum()
    assert durations["cut_short"] == (ok.duration_seconds < 9.9).sum()
    for key in ("rms_dbfs", "peak_dbfs"):
        levels = summary["levels"][key]
        expected, _ = np.histogram(ok[key].dropna().clip(-90, -0.001), levels["edges"])
        assert levels["counts"] == expected.tolist()
    assert summary["levels"]["full_scale"] == (ok.peak_dbfs >= -0.01).sum()
    assert summary["media"]["channels"] == {str(int(k)): n for k, n in ok.channels.value_counts().items()}


def test_values_beyond_the_bins_are_counted_at_their_ends() -> None:
    histogram = Histogram((0.0, 1.0, 2.0))
    histogram.add(np.array([-5, 0.5, 0.9999, 1, 2, 99, np.nan, np.inf]))
    assert histogram.counts.tolist() == [2, 4]


def test_cost(summary: dict[str, Any], table: pd.DataFrame) -> None:
    cost = summary["cost"]
    ok = table[table.status == "ok"]
    for key in ("requests", "fetched_bytes", "elapsed_seconds"):
        assert cost["per_clip"][key] == pytest.approx(table[key].sum() / len(ok), abs=1e-3), "lost segments included"
        assert cost["by_status"]["ok"][key] == pytest.approx(ok[key].sum())
        assert cost["quantiles"][key]["p90"] == pytest.approx(ok[key].quantile(0.9), abs=1e-3)


def test_timeline(summary: dict[str, Any], table: pd.DataFrame) -> None:
    timeline = summary["timeline"]
    moments = pd.to_datetime(table.finished_at, utc=True).dropna()
    for status, counts in timeline["counts"].items():
        assert sum(counts) == (table.status == status).sum()
    for name, counts in timeline["egress"].items():
        assert sum(counts) == (table.egress == name).sum()
    start, width = pd.Timestamp(timeline["start"]), pd.Timedelta(seconds=timeline["bin_seconds"])
    assert start <= moments.min() < start + width
    per_bin = ((moments[table.status == "ok"] - start) // width).value_counts()
    assert {n: count for n, count in enumerate(timeline["counts"]["ok"]) if count} == per_bin.to_dict()


def test_a_clock_that_is_far_off_does_not_stretch_the_timeline(tmp_path: Path) -> None:
    data = write_dataset(tmp_path / "data", {"eval_segments": plan(50, 1, list(CLASSES))})
    (manifest,) = data.manifests.iterdir()
    lines = [json.loads(line) for line in manifest.read_text().splitlines()]
    stamps = ("1970-01-01T00:00:01.000+00:00", "2121-01-01T00:00:00+00:00", "yesterday", None, "2026-03-04T00:00:00Z")
    for line, stamp in zip(lines, stamps, strict=False):
        line["finished_at"] = stamp
    manifest.write_text("".join(json.dumps(line) + "\n" for line in lines))
    timeline = merge(data.root, write_csv=False).summary["timeline"]
    assert sum(sum(counts) for counts in timeline["counts"].values()) == 46
    assert timeline["start"].startswith("2026-03-0")
    assert timeline["bin_seconds"] <= 3600


def test_pauses_versions_and_settings(summary: dict[str, Any]) -> None:
    assert {name: len(pauses) for name, pauses in summary["pauses"].items()} == {k: len(v) for k, v in PAUSES.items()}
    first = summary["pauses"]["campus"][0]
    assert pd.Timestamp(first["started"]).timestamp() == pytest.approx(BEGIN + 5.2 * 3600, abs=1)
    assert pd.Timestamp(first["reopened"]) - pd.Timestamp(first["started"]) == pd.Timedelta(minutes=15)
    assert summary["versions"]["yt-dlp of rows"] == {"2026.8.20": 2700}
    assert set(summary["versions"]["python"]) == {"3.12.4"}
    assert [way["name"] for way in summary["settings"][0]["config"]["egress"]] == list(PAUSES)


def test_labels_under_the_threshold(merged: Path, summary: dict[str, Any]) -> None:
    done = report(str(merged), "--json", "--threshold", "40", "--out", str(merged / "other.html"))
    printed = json.loads(done.stdout)
    expected = {one["mid"] for one in summary["labels"] if one["planned"] and one["ok"] < 40}
    assert set(printed["report"]["labels_under_threshold"]) == expected
    assert 0 < len(expected) < 39
    assert printed["totals"] == summary["totals"]
    heads = [one["head"] for one in printed["report"]["findings"]]
    assert f"{len(expected)} of 39 labels have fewer than 40 clips" in heads
    assert any(head.endswith("segments still to do") for head in heads)


def test_a_label_that_eval_lost_altogether(summary: dict[str, Any]) -> None:
    damaged = json.loads(json.dumps(summary))
    damaged["labels"][3]["subsets"]["eval_segments"]["ok"] = 0
    name = damaged["labels"][3]["name"]
    (finding,) = (f for f in find(damaged, 0).remarks if f.head == "1 label without a clip in eval")
    assert finding.body.startswith(f"{name}.")
    assert "average precision" in finding.body


def test_labels_that_lost_more_than_chance(summary: dict[str, Any]) -> None:
    even = json.loads(json.dumps(summary))
    for label in even["labels"]:
        label.update(planned=100, ok=60, unavailable=40, failed=0, pending=0)
    even["totals"].update(planned=4000, ok=2400, unavailable=1600, failed=0, pending=0)
    assert not [f for f in find(even, 0).remarks if "lost far more" in f.head]
    even["labels"][5].update(ok=20, unavailable=80)
    (finding,) = (f for f in find(even, 0).remarks if "lost far more" in f.head)
    assert f"{even['labels'][5]['name']} (20 %)" in finding.body


@pytest.mark.parametrize("count", [0, 5])
def test_nothing_done_yet(tmp_path: Path, count: int) -> None:
    write_dataset(tmp_path / "data", {"eval_segments": plan(count, 1, list(CLASSES))}, done=0.0)
    merge(tmp_path / "data")
    report(str(tmp_path / "data"))
    page = (tmp_path / "data" / "report.html").read_text()
    assert "No worker has finished a segment yet" in page
    assert ("5 segments still to do" if count else "Nothing is planned") in page


@pytest.mark.slow
def test_two_million_segments_are_one_small_page(merged: Path, tmp_path: Path) -> None:
    """The page depends on classes, bins and egresses alone; here are as many of each as there can be."""
    summary = json.loads((merged / "summary.json").read_text())
    summary["labels"] = [
        {**summary["labels"][n % 40], "mid": f"/m/{n:06d}", "name": f"A rather long name of a sound, number {n}"}
        for n in range(527)
    ]
    bins = len(summary["timeline"]["counts"]["ok"])
    summary["timeline"]["egress"] = {f"proxy-{n}": [1000 + n] * bins for n in range(60)}
    pause = summary["pauses"]["campus"][0]
    pauses = []
    for n in range(3000):
        begin = pd.Timestamp(BEGIN + n * 70, unit="s", tz="UTC")
        stamps = {"started": begin, "reopened": begin + pd.Timedelta(seconds=40)}
        pauses.append({**pause, **{key: stamp.isoformat() for key, stamp in stamps.items()}})
    summary["pauses"] = {f"proxy-{n}": pauses for n in range(60)}
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    nodes = [{"id": "/x", "name": "all", "child_ids": [one["mid"] for one in summary["labels"]]}]
    nodes += [{"id": one["mid"], "name": one["name"], "child_ids": []} for one in summary["labels"]]
    (tmp_path / "ontology.json").write_text(json.dumps(nodes))
    report(str(tmp_path))
    assert (tmp_path / "report.html").stat().st_size < 3_000_000
    assert "36 egresses with fewer segments are not drawn" in (tmp_path / "report.html").read_text()


def test_not_merged_yet_or_by_an_earlier_version(tmp_path: Path) -> None:
    assert f"audioset-batch merge {tmp_path}" in report(str(tmp_path), status=1).stderr
    (tmp_path / "summary.json").write_text('{"totals": {}}')
    assert "earlier version" in report(str(tmp_path), status=1).stderr
    (tmp_path / "summary.json").write_text("[")
    assert "cannot be read" in report(str(tmp_path), status=1).stderr
    report(str(tmp_path / "none"), status=2)
    report(str(tmp_path), "--threshold", "-3", status=2)


def test_says_when_manifests_have_grown(tmp_path: Path) -> None:
    data = write_dataset(tmp_path / "data", {"eval_segments": plan(3, 1, list(CLASSES))})
    merge(data.root)
    assert report(str(data.root)).stderr == ""
    (manifest,) = data.manifests.iterdir()
    later = data.summary_json.stat().st_mtime + 5
    os.utime(manifest, (later, later))
    assert "merge" in report(str(data.root)).stderr

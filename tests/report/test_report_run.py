"""From a real run on the loopback stand-in to the report, by the commands and job scripts that people use."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from audioset_batch.standin import Catalog, Outcome, Standin
from tests.support.loopback import Project, make_rows

pytestmark = pytest.mark.xdist_group("report")  # one run for all

CHECKOUT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, media_cache: Path) -> Iterator[Project]:
    """Twelve segments in two shards, a third of them lost, merged."""
    folder = tmp_path_factory.mktemp("run")
    rows = make_rows(12, seed=12)
    needs = {row.ytid: row.end_ms / 1000 for row in rows}
    lost = [Outcome.REMOVED, Outcome.PRIVATE]
    catalog = Catalog.from_ids(needs, seed=1, unavailable_share=0.34, outcomes=lost, seconds=(60.0,))
    with Standin(catalog, media_cache) as youtube:
        project = Project(folder, {"eval_segments": rows}, youtube)
        project.settings["youtube"]["args"] += ["--video-password", "hunter2"]
        project.write_config()
        project.prep(2)
        project.worker(1)
        project.worker(2)
        project.merge()
        yield project


def test_numbers_of_a_real_run(done: Project) -> None:
    table = done.merge()
    summary = done.summary()
    assert summary["totals"] == {"planned": 12, "ok": 8, "unavailable": 4, "failed": 0, "pending": 0}
    assert sum(summary["timeline"]["counts"]["ok"]) == 8
    assert list(summary["timeline"]["egress"]) == ["loopback"]
    assert summary["cost"]["by_status"]["unavailable"]["segments"] == 4
    assert summary["cost"]["per_clip"]["fetched_bytes"] == pytest.approx(table.fetched_bytes.sum() / 8, abs=1e-3)
    assert sum(summary["durations"]["counts"]) == 8
    flat = table.assign(mid=table.labels.str.split(",")).explode("mid")
    for label in summary["labels"]:
        own = flat[flat.mid == label["mid"]]
        assert (label["planned"], label["ok"]) == (len(own), (own.status == "ok").sum())


def test_the_config_is_known_without_its_secrets(done: Project) -> None:
    (settings,) = done.summary()["settings"]
    assert settings["config"]["worker"]["backoff_seconds"] == 0.1
    assert settings["versions"]["yt-dlp"] == next(iter(done.summary()["versions"]["yt-dlp of rows"]))
    done.run("report", str(done.data))
    for path in (done.data / "summary.json", done.data / "report.html"):
        assert "hunter2" not in path.read_text()
        assert "--video-password" in path.read_text()


def test_the_job_script_makes_it(done: Project) -> None:
    path = done.data / "report.html"
    path.unlink(missing_ok=True)
    # jobs/environment.sh looks for the checkout's .venv, else on the PATH
    env = {**done.env, "DATADIR": str(done.data), "SRCDIR": str(CHECKOUT)}
    env["PATH"] = f"{Path(sys.executable).parent}:{env['PATH']}"
    script = CHECKOUT / "jobs" / "report.s"
    said = subprocess.run(
        ["bash", str(script), "--threshold", "3", "--json"], env=env, capture_output=True, text=True, check=False
    )
    assert said.returncode == 0, said.stderr
    assert json.loads(said.stdout)["report"]["threshold"] == 3
    assert "fewer than 3 clips" in path.read_text()


@pytest.mark.slow
def test_the_chain_of_submit_ends_with_it(done: Project) -> None:
    path = done.data / "report.html"
    path.unlink(missing_ok=True)
    ytid = next(iter(done.rows()))[1]
    done.run("retry", str(done.data), "--reset", f"--ytid={ytid}")
    said = done.run("submit", "--cluster", "local", "--config", str(done.config), "--data-dir", str(done.data))
    assert path.exists(), said.stdout + said.stderr
    assert f"written: {path}" in next((done.data / "logs").glob("audioset-report-*.log")).read_text()

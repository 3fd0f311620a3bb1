"""The main job on a real SLURM: prep, sbatch --array, merge; and the same on one machine without it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from audioset_batch.standin import Catalog, Standin
from tests.support import CHECKOUT
from tests.support.loopback import Project, make_rows
from tests.support.loopback.project import NINE_LOSSES
from tests.support.slurm_cluster import PrivateSlurm


def catalog_of(rows: list, seed: int = 3) -> Catalog:  # type: ignore[type-arg]
    """30% of the videos unavailable for nine different reasons, a tenth of the others too short."""
    needs = {row.ytid: row.end_ms / 1000 for row in rows}
    return Catalog.from_ids(
        needs, seed=seed, unavailable_share=0.3, outcomes=NINE_LOSSES, short_share=0.1, seconds=(60.0, 180.0)
    )


@pytest.fixture(params=[pytest.param(40, id="40"), pytest.param(200, id="200", marks=pytest.mark.slow)])
def project(request: pytest.FixtureRequest, tmp_path: Path, media_cache: Path) -> Iterator[Project]:
    rows = make_rows(request.param, seed=request.param)
    with Standin(catalog_of(rows), media_cache) as youtube:
        yield Project(tmp_path, {"eval_segments": rows}, youtube)


def test_array_then_merge_then_the_same_array_again(slurm: PrivateSlurm, project: Project) -> None:
    project.prep(4)
    env = project.env | {
        "AUDIOSET_CONFIG": str(project.config),
        "DATADIR": str(project.data),
        "SRCDIR": str(CHECKOUT),
    }

    def run_array() -> dict[int, str]:
        script = str(CHECKOUT / "audiosetdl-job-array.s")
        job = slurm.sbatch("--array=1-4", "--cpus-per-task=2", "--mem=500M", script, cwd=project.folder, env=env)
        return {index: task.state for index, task in slurm.wait(job, timeout=250).items()}

    assert run_array() == dict.fromkeys((1, 2, 3, 4), "COMPLETED")
    table = project.merge()
    project.check(table, project.youtube.catalog)
    summary = project.summary()
    assert summary["totals"] == {
        "planned": len(table),
        "ok": (table.status == "ok").sum(),
        "unavailable": (table.status == "unavailable").sum(),
        "failed": 0,
        "pending": 0,
    }
    assert len(summary["reasons"]) == 9
    assert set(table.job_id.str.partition("_")[2]) == {"1", "2", "3", "4"}

    asked = len(project.youtube.journal.events())
    assert run_array() == dict.fromkeys((1, 2, 3, 4), "COMPLETED")
    assert len(project.youtube.journal.events()) == asked, "a recorded segment was asked for again"
    assert project.merge().equals(table)


def test_task_beyond_the_shards(slurm: PrivateSlurm, tmp_path: Path, media_cache: Path) -> None:
    rows = make_rows(2)
    with Standin(catalog_of(rows), media_cache) as youtube:
        project = Project(tmp_path, {"eval_segments": rows}, youtube)
        project.prep(1)
        env = project.env | {"DATADIR": str(project.data), "SRCDIR": str(CHECKOUT)}
        job = slurm.sbatch("--array=2", str(CHECKOUT / "audiosetdl-job-array.s"), cwd=tmp_path, env=env)
        assert slurm.wait(job)[2].state == "FAILED"
        assert slurm.detail(f"{job}_2")["ExitCode"] == "2:0"
        log = (tmp_path / f"audiosetdl-{job}_2.log").read_text()
        assert "there is no shard 2" in log
        assert "--array=1-1" in log


def test_download_on_one_machine_and_again(project: Project) -> None:
    argv = (
        "download",
        str(project.data),
        "--config",
        str(project.config),
        "-e",
        str(project.source / "eval_segments.csv"),
    )
    project.run(*argv, "--base-url", str(project.source), "-n", "4")
    table = project.merge()
    project.check(table, project.youtube.catalog)
    asked = len(project.youtube.journal.events())
    project.run(*argv)
    assert len(project.youtube.journal.events()) == asked

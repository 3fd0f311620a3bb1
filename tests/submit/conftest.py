"""A small made-up data set whose commands talk to the private SLURM."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from audioset_batch.standin import Catalog, Standin
from tests.support.loopback import Project, make_rows
from tests.support.slurm_cluster import PrivateSlurm


@pytest.fixture
def project(tmp_path: Path, media_cache: Path) -> Iterator[Project]:
    """Eight segments; a quarter of the videos is unavailable."""
    rows = make_rows(8, seed=8)
    catalog = Catalog.from_ids(
        {row.ytid: row.end_ms / 1000 for row in rows}, seed=1, unavailable_share=0.25, seconds=(60.0, 90.0)
    )
    slurm = {"cpus_per_task": 1, "mem": "500M", "time": "10", "array_parallelism": 4}
    with Standin(catalog, media_cache) as youtube:
        settings = {
            "slurm": slurm,
            "data_dir": str(tmp_path / "data"),
            "source": {"base_url": str(tmp_path / "source")},
        }
        yield Project(tmp_path, {"eval_segments": rows}, youtube, settings)


@pytest.fixture
def on_slurm(slurm: PrivateSlurm, project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """The project, with its commands on the private SLURM `slurm`."""
    monkeypatch.setenv("SLURM_CONF", slurm.env["SLURM_CONF"])
    monkeypatch.setenv("PATH", slurm.env["PATH"])
    return project

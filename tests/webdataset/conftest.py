"""A made-up data set behind the stand-in, recorded in small tars."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from audioset_batch.standin import Catalog, Outcome, Standin
from tests.support.loopback import Project, make_rows


@pytest.fixture
def make_project(tmp_path: Path, media_cache: Path) -> Iterator[Callable[..., Project]]:
    """`make_project(segments, layout=..., shards=..., sections of the config)`: split already."""
    with _maker(tmp_path, media_cache) as make:
        yield make


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, media_cache: Path) -> Iterator[Project]:
    """Two shards of 16 segments with video, done, in tars, merged. Tests leave it as it is."""
    with _maker(tmp_path_factory.mktemp("finished"), media_cache) as make:
        project = make(16, shards=2, video={"mode": "bestvideo", "preset": "ultrafast"})
        for task in (1, 2):
            project.worker(task)
        project.merge()
        yield project


@contextmanager
def _maker(folder: Path, media_cache: Path) -> Iterator[Callable[..., Project]]:
    with ExitStack() as running:

        def make(
            segments: int, *, layout: str = "webdataset", shards: int = 1, delay: float = 0.02, **sections: Any
        ) -> Project:
            rows = make_rows(segments, seed=segments)
            catalog = Catalog.from_ids(
                {row.ytid: row.end_ms / 1000 for row in rows},
                unavailable_share=0.1,
                outcomes=(Outcome.REMOVED, Outcome.PRIVATE),
                seconds=(60.0,),
                itags=(140, 251, *((134,) if "video" in sections else ())),
            )
            youtube = running.enter_context(Standin(catalog, media_cache))
            youtube.prepare()
            youtube.set_delay(delay)
            worker = {"processes": 2, "threads": 4, "retries": 2, "backoff_seconds": 0.1, "grace_seconds": 8}
            settings = {
                "worker": worker | sections.pop("worker", {}),
                "audio": {"sample_rate": "keep", "channels": 1},
                "output": {"layout": layout, "tar_bytes": 1_000_000},
                **sections,
            }
            project = Project(folder, {"eval_segments": rows}, youtube, settings)
            project.prep(shards)
            return project

        yield make

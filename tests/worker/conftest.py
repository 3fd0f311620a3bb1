"""A small made-up data set behind a slow stand-in, so that workers can be caught at work."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from audioset_batch.standin import Catalog, Outcome, Standin
from tests.support.loopback import Project, make_rows

SETTINGS: dict[str, Any] = {
    "processes": 2,
    "threads": 4,
    "retries": 2,
    "backoff_seconds": 0.1,
    "segment_timeout": 30,
    "grace_seconds": 8,
    "state_seconds": 0.5,
}


@pytest.fixture
def make_project(tmp_path: Path, media_cache: Path) -> Iterator[Callable[..., Project]]:
    """`make_project(segments, delay=..., **worker settings)`: one shard, split already."""
    with ExitStack() as running:

        def make(segments: int, delay: float = 0.15, **worker: Any) -> Project:
            rows = make_rows(segments, seed=segments)
            catalog = Catalog.from_ids(
                {row.ytid: row.end_ms / 1000 for row in rows},
                unavailable_share=0.2,
                outcomes=(Outcome.REMOVED, Outcome.PRIVATE, Outcome.NONEXISTENT),
                seconds=(60.0,),
                itags=(140, 251),
            )
            youtube = running.enter_context(Standin(catalog, media_cache))
            youtube.prepare()
            youtube.set_delay(delay)
            project = Project(tmp_path, {"eval_segments": rows}, youtube, {"worker": SETTINGS | worker})
            project.prep(1)
            return project

        yield make

"""A manifest is removed under its worker: it stops, and the next run finds what was published."""

from collections.abc import Callable

from audioset_batch.errors import StopEarly
from audioset_batch.layout import DataDir, ShardId
from audioset_batch.record.manifest import read_rows
from tests.support.loopback import Project
from tests.support.running import Worker

SHARD = ShardId("eval_segments", 1)


def test_a_removed_manifest_ends_the_worker_and_costs_no_clip(make_project: Callable[..., Project]) -> None:
    project = make_project(12)
    manifest = DataDir(project.data).manifest(SHARD)
    with Worker(project) as worker:
        worker.wait_rows(3)
        manifest.unlink()
        assert worker.end(60) == StopEarly.exit_code, worker.log
    assert f"{manifest} was removed" in worker.log
    recorded = {row["ytid"] for row in read_rows(manifest, lambda _: None)}
    assert len(recorded) == 1, "the row with which it was noticed"
    published = sorted(DataDir(project.data).audio_dir("eval_segments").iterdir())
    files = {path.stem[:11] for path in published} - recorded
    broken = next(path for path in published if path.stem[:11] in files)
    broken.write_bytes(broken.read_bytes()[:-1000])
    before = len(project.youtube.events("resolve"))
    project.worker(1)
    table = project.merge()
    project.check(table, project.youtube.catalog)
    asked = {event["ytid"] for event in project.youtube.events("resolve")[before:]}
    assert asked & (files | recorded) == {broken.name[:11]}, (
        "what was published is recorded; what is not whole is made anew"
    )
    found = table[table.detail == "published before, without a row"]
    assert set(found.ytid) == files - {broken.name[:11]}

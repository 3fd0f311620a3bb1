"""In which order a worker asks for its segments, as the server sees it."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from audioset_batch.layout import DataDir, ShardId
from audioset_batch.model import ManifestRow, Segment
from audioset_batch.plan.label_counts import label_counts
from audioset_batch.plan.segments_csv import read_shard
from audioset_batch.reasons import Reason, Status
from audioset_batch.record.hints import HintWriter
from audioset_batch.record.manifest import ManifestWriter
from audioset_batch.standin import Catalog, Outcome, Standin
from audioset_batch.worker.segment_queue import QueueOrder
from tests.support.loopback import Project
from tests.support.loopback.dataset import Row

SUBSET = "eval_segments"
COMMON, RARE, ALONE = "/m/0a0", "/m/0b1", "/m/0c2"
# COMMON is rarer than RARE in the first shard, and much less so in the whole plan.
LABELS = [(RARE,), (COMMON,), (RARE,), (RARE, ALONE), (RARE,), (COMMON,)] + [(COMMON,)] * 6
IDS = [f"-video____{letter}" for letter in "ABCDEFGHIJKL"]


@pytest.fixture
def project(tmp_path: Path, media_cache: Path) -> Iterator[Project]:
    rows = [Row(ytid, 0, 10_000, labels) for ytid, labels in zip(IDS, LABELS, strict=True)]
    catalog = Catalog.from_ids(IDS, unavailable_share=1.0, outcomes=[Outcome.REMOVED])
    with ExitStack() as stack:
        youtube = stack.enter_context(Standin(catalog, media_cache))
        youtube.prepare()
        made = Project(tmp_path, {SUBSET: rows}, youtube)
        made.settings["worker"].update(threads=1)
        made.write_config()
        made.prep(2)
        yield made


def asked(project: Project, order: str) -> str:
    """The last letters of the ids in the order in which the server was asked."""
    project.worker(1, "--set", f"worker.order={order}", "--set", "worker.threads=1")
    return "".join(event["ytid"][-1] for event in project.youtube.events("resolve"))


def test_rare_first_counts_the_whole_plan(project: Project) -> None:
    assert asked(project, "rare-first") == "DACEBF"
    noted = DataDir(project.data).label_counts(SUBSET)
    assert json.loads(noted.read_text())["labels"] == {COMMON: 8, RARE: 4, ALONE: 1}


def test_failed_before_come_after_the_untried_and_the_likely_dead_last(project: Project) -> None:
    data, shard = DataDir(project.data), ShardId(SUBSET, 1)
    segments = read_shard(data.shard_csv(shard), SUBSET)
    data.manifests.mkdir()
    with ManifestWriter(data.manifest(shard)) as manifest:
        for segment in (segments[0], segments[3]):
            manifest.append(ManifestRow.of(segment, 1, Status.FAILED, reason=Reason.NETWORK))
    with HintWriter(data.hints(shard)) as hints:
        hints.append(IDS[0], picture=False)
        hints.append(IDS[1], picture=False)
        hints.append(IDS[2], picture=True)
    assert asked(project, "csv") == "CEFDBA"


def segment(ytid: str, *labels: str) -> Segment:
    return Segment(SUBSET, ytid, 0, 10_000, labels)


def test_random_is_the_same_after_a_restart_and_differs_by_shard() -> None:
    segments = [segment(f"{number:011}") for number in range(50)]
    first = QueueOrder("random", seed="a.01").apply(segments)
    assert first == QueueOrder("random", seed="a.01").apply(segments) != segments
    assert first != QueueOrder("random", seed="a.02").apply(segments)
    assert sorted(first, key=segments.index) == segments


def test_each_order_keeps_every_segment_and_its_groups() -> None:
    segments = [segment(f"{number:011}", COMMON if number % 3 else RARE) for number in range(30)]
    dead = {one.ytid: False for one in segments[::4]}
    failed = {one.key for one in segments[::5]}
    for order in ("csv", "rare-first", "random"):
        found = QueueOrder(order, "s", {COMMON: 20, RARE: 10}, failed, dead).apply(segments)
        groups = [(one.ytid in dead, one.key in failed) for one in found]
        assert groups == sorted(groups) and len(set(groups)) == 4
        assert sorted(found, key=segments.index) == segments


def test_counts_are_read_again_until_the_shards_change(tmp_path: Path) -> None:
    data = DataDir(tmp_path)
    text = f'# shard 1 of 1 (labels {ALONE})\n# num_segs=1\n# h\nROW_ID, 0.000, 10.000, "{COMMON},{RARE}"\n'
    data.shard_csv(ShardId(SUBSET, 1)).write_text(text.replace("ROW_ID", "-video____A"))
    assert label_counts(data, SUBSET) == {COMMON: 1, RARE: 1}
    noted = data.label_counts(SUBSET)
    noted.write_text(noted.read_text().replace(": 1\n", ": 7\n"))
    assert 7 in label_counts(data, SUBSET).values()
    for damage in ("", "[1]", '{"shards": 1}'):
        noted.write_text(damage)
        assert label_counts(data, SUBSET) == {COMMON: 1, RARE: 1}
    data.shard_csv(ShardId(SUBSET, 2)).write_text(text.replace("ROW_ID", "-video____B"))
    assert label_counts(data, SUBSET) == {COMMON: 2, RARE: 2}

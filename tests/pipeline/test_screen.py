"""Asking for thumbnails first: few and gentle requests, a better order, and no outcome recorded."""

import itertools
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from audioset_batch.layout import DataDir, ShardId
from audioset_batch.record.hints import HintWriter, read_hints
from audioset_batch.standin import Catalog, Fault, Outcome, Standin, Trouble, Video, Where
from tests.support import CHECKOUT
from tests.support.loopback import Project, make_rows
from tests.support.slurm_cluster import PrivateSlurm

SHARD = ShardId("eval_segments", 1)


@pytest.fixture
def project(tmp_path: Path, media_cache: Path) -> Iterator[Project]:
    rows = make_rows(20, seed=9)
    catalog = Catalog.from_ids(
        {row.ytid: row.end_ms / 1000 for row in rows},
        seed=2,
        unavailable_share=0.4,
        outcomes=[Outcome.REMOVED, Outcome.AGE],
        seconds=(60.0,),
    )
    with Standin(catalog, media_cache) as youtube:
        youtube.prepare()
        made = Project(tmp_path, {"eval_segments": rows}, youtube)
        made.settings["worker"].update(threads=1)
        made.write_config()
        made.prep(1)
        yield made


def screen(project: Project, *more: str, status: int = 0) -> str:
    argv = ("screen", str(project.data), "--config", str(project.config), "--per-second", "50", *more)
    done = project.run(*argv, status=status)
    return done.stdout + done.stderr


def asked(project: Project) -> list[str]:
    return [event["ytid"] for event in project.youtube.events("thumbnail")]


def test_the_likely_dead_come_last_and_are_asked_all_the_same(project: Project) -> None:
    ids = [row.ytid for row in project.subsets["eval_segments"]]
    gone = {ytid for ytid in ids if not project.youtube.catalog.get(ytid).has_thumbnail}
    assert 0 < len(gone) < len(ids)
    assert f"asked 20, known before 0, probably gone {len(gone)}" in screen(project)
    assert sorted(asked(project)) == sorted(ids), "one request each, and nothing else"
    assert not project.youtube.events("resolve") and not project.youtube.events("media")
    assert not (project.data / "manifests").exists(), "a hint records nothing"
    assert f"asked 0, known before 20, probably gone {len(gone)}" in screen(project)
    project.worker(1)
    order = [event["ytid"] for event in project.youtube.events("resolve")]
    assert len(order) == len(ids), "one resolve each"
    assert set(order[-len(gone) :]) == gone, "the budget goes to the others first"
    assert order[: -len(gone)] == [ytid for ytid in ids if ytid not in gone], "the order of the CSV among these"
    project.check(project.merge(), project.youtube.catalog)


def test_placeholders_with_status_200_are_known_once_there_was_a_404(project: Project) -> None:
    ids = [row.ytid for row in project.subsets["eval_segments"]]
    gone = [ytid for ytid in ids if not project.youtube.catalog.get(ytid).has_thumbnail]
    early = ids[0]
    assert early not in gone and len(gone) > 1
    for ytid in (early, gone[-1]):
        project.youtube.put_video(Video(ytid, outcome=Outcome.REMOVED, placeholder=True))
    told = screen(project)
    hints = read_hints(DataDir(project.data).hints(SHARD))
    assert hints[early] and not hints[gone[-1]]
    assert f"probably gone {sum(not one for one in hints.values())}" in told
    project.worker(1)
    row = project.merge().set_index("ytid").loc[early]
    assert (row.status, row.reason) == ("unavailable", "removed"), "a wrong hint costs a slot, and decides nothing"


def test_it_goes_on_where_it_was_also_after_splitting_again(project: Project) -> None:
    eighth = project.subsets["eval_segments"][7].ytid
    project.youtube.add_fault(Fault(Trouble.TOO_MANY, where=Where.THUMBNAIL, ytid=eighth))
    told = screen(project, status=75)
    assert "HTTP 429" in told and "7 answers are kept" in told
    project.youtube.clear_faults()
    hints = read_hints(DataDir(project.data).hints(SHARD))
    assert len(hints) == 7
    project.prep(2)
    assert "known before 7" in screen(project)
    assert len(asked(project)) == 7 + 1 + 13
    assert "no shard 3" in screen(project, "--task", "3", status=2)


@pytest.mark.slurm
def test_as_an_array_job(project: Project, slurm: PrivateSlurm) -> None:
    env = project.env | {"AUDIOSET_CONFIG": str(project.config), "DATADIR": str(project.data), "SRCDIR": str(CHECKOUT)}
    script = str(CHECKOUT / "jobs" / "screen.s")
    job = slurm.sbatch("--array=1", "--mem=400M", script, "--per-second", "20", cwd=project.folder, env=env)
    slurm.wait(job)
    log = (project.folder / f"audioset-screen-{job}_1.log").read_text()
    assert "asked 20, known before 0" in log, log


@pytest.mark.slurm
@pytest.mark.slow
def test_an_array_task_that_gets_no_answer_is_not_requeued_for_ever(project: Project, slurm: PrivateSlurm) -> None:
    project.youtube.add_fault(Fault(Trouble.TOO_MANY, where=Where.THUMBNAIL))
    project.settings["worker"].update(max_requeues=0)
    project.write_config()
    env = project.env | {"AUDIOSET_CONFIG": str(project.config), "DATADIR": str(project.data), "SRCDIR": str(CHECKOUT)}
    job = slurm.sbatch("--array=1", "--mem=400M", str(CHECKOUT / "jobs" / "screen.s"), cwd=project.folder, env=env)
    slurm.wait(job)
    log = (project.folder / f"audioset-screen-{job}_1.log").read_text()
    assert "HTTP 429" in log and "not requeued: restart 0 of this task ended without an answer" in log, log
    assert len(asked(project)) == 1


def test_a_host_that_does_not_answer_is_let_be(project: Project) -> None:
    project.youtube.add_fault(Fault(Trouble.SERVER_ERROR, where=Where.THUMBNAIL))
    assert "20 questions in a row without an answer" in screen(project, status=75)
    assert len(asked(project)) == 20


def test_no_answer_at_all_is_no_success(tmp_path: Path, media_cache: Path) -> None:
    rows = make_rows(3, seed=9)
    with Standin(Catalog.of(*(Video(row.ytid) for row in rows)), media_cache) as youtube:
        project = Project(tmp_path, {"eval_segments": rows}, youtube)
        project.prep(1)
        youtube.add_fault(Fault(Trouble.SERVER_ERROR, where=Where.THUMBNAIL))
        assert "without an answer 3; run it again for these. The last one: " in screen(project, status=1)


def test_the_rate_holds(project: Project) -> None:
    screen(project, "--per-second", "10")
    times = sorted(event["time"] for event in project.youtube.events("thumbnail"))
    assert len(times) >= 20
    ten_later = itertools.islice(times, 10, None)
    assert all(later - sooner > 0.6 for sooner, later in zip(times, ten_later, strict=False)), (
        "of which 0.8 by the pace"
    )


def test_a_torn_line_harms_no_other(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(json.dumps({"ytid": "a", "picture": False}) + '\n{"ytid": "b", "pic')
    with HintWriter(path) as writer:
        writer.append("c", picture=True)
    assert read_hints(path) == {"a": False, "c": True}
    assert read_hints(tmp_path / "none") == {}

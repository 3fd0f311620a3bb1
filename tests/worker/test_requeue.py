"""A job that asks SLURM to run it again: a busy controller, requests that got no answer, and what is left behind."""

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from audioset_batch.cli import main
from audioset_batch.config import Config
from audioset_batch.errors import EgressExhausted, Interrupted
from audioset_batch.layout import DataDir, ShardId
from audioset_batch.record.resubmission import Resubmission, note_resubmission, read_resubmissions
from audioset_batch.slurm import job as slurm
from audioset_batch.slurm import queue as slurm_queue
from audioset_batch.slurm.job import BatchJob, JobIdentity, RequeueFailed, requeue
from audioset_batch.slurm.queue import QueuedJob
from audioset_batch.standin import Block
from audioset_batch.worker import requeue as worker_requeue
from audioset_batch.worker.stop import StopRequest
from tests.support import CHECKOUT
from tests.support.loopback import Project

SILENT = "slurm_load_jobs error: Unable to contact slurm controller (connect failure)"


class Controller:
    """Answers scontrol as slurmctld does for job 7_2, except while it is silent; time passes only in pauses."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        self.silent_until = 0.0
        self.state = "RUNNING"
        self.restarts = 0
        self.requeues = 0
        self.begins = ""
        self.refuses = ""
        self.reason = "None"
        self.loses_requests = False
        self.loses_answers = 0
        self.facts = "Requeue=1"
        self.asked: list[str] = []
        monkeypatch.setattr(slurm, "_run", self.run)
        monkeypatch.setattr(slurm.shutil, "which", lambda _: "/usr/bin/scontrol")
        monkeypatch.setattr(slurm.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(slurm.time, "sleep", self.sleep)

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def run(self, *argv: str, seconds: float) -> tuple[str, str]:
        self.asked.append(argv[1])
        if self.now < self.silent_until:
            self.now += min(seconds, 2.0)
            return "", SILENT
        if argv[1] == "show":
            job = f"JobState={self.state} Reason={self.reason}\n   {self.facts} Restarts={self.restarts} BatchFlag=1\n"
            return f"JobId=9 ArrayJobId=7 JobName=a\n   {job}   Command=/a b/c.s\n   WorkDir=/a b\n", ""
        if argv[1] == "update":
            if not self.requeues:
                return "", "Job is no longer pending execution for job 7_2"
            self.begins = argv[3]
            return "", ""
        if self.refuses:
            return "", self.refuses
        if self.state != "RUNNING":
            return "", "Job is pending execution for job 7_2"
        if not self.loses_requests:
            self.requeues, self.restarts = self.requeues + 1, self.restarts + 1
        self.state = "COMPLETING"  # requeued, or at its time limit
        if self.loses_answers:
            self.silent_until = self.now + self.loses_answers
            return "", "slurm_requeue error: Socket timed out on send/recv operation"
        return "", ""


@pytest.fixture
def controller(monkeypatch: pytest.MonkeyPatch) -> Controller:
    return Controller(monkeypatch)


JOB = JobIdentity("7_2", 0)


def ask(delay: float = 600.0, patience: float = 170.0, trouble: Callable[[str], None] = lambda _: None) -> bool:
    return requeue(BatchJob(JOB, {}), delay, patience, trouble)


@pytest.mark.parametrize("silence", [0.0, 15.0, 60.0, 150.0])
def test_a_silent_controller_is_asked_until_it_answers(controller: Controller, silence: float) -> None:
    controller.silent_until = controller.now + silence
    told: list[str] = []
    assert ask(trouble=told.append)
    assert (controller.requeues, len(told)) == (1, silence > 0)
    assert controller.begins == "StartTime=now+600"
    assert len(controller.asked) < 25, "with growing pauses"


def test_it_gives_up_when_the_time_is_over(controller: Controller) -> None:
    controller.silent_until = float("inf")
    with pytest.raises(RequeueFailed, match=r"within 170 s .*Unable to contact"):
        ask()
    assert 1000 + 150 < controller.now <= 1000 + 170
    assert "requeue" not in controller.asked


@pytest.mark.parametrize("silence", [1, 12])
def test_a_request_that_was_granted_without_an_answer_is_not_repeated(controller: Controller, silence: int) -> None:
    controller.loses_answers = silence
    assert ask()
    assert (controller.requeues, controller.asked.count("requeue")) == (1, 1)
    assert controller.begins == "StartTime=now+600"


def test_without_a_begin_time_the_job_is_requeued_all_the_same(
    controller: Controller, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(*argv: str, seconds: float) -> tuple[str, str]:
        answer = controller.run(*argv, seconds=seconds)
        if argv[1] == "requeue":
            controller.silent_until = float("inf")
        return answer

    monkeypatch.setattr(slurm, "_run", run)
    assert ask()
    assert controller.requeues == 1
    assert controller.now < 1000 + 30, "SLURM ends the job after KillWait"
    assert "its begin time is not set" in caplog.text


@pytest.mark.parametrize(
    ("facts", "state", "refuses", "why"),
    [
        ("Requeue=0", "RUNNING", "", "--no-requeue"),
        ("Requeue=1", "RUNNING", "Requested operation is presently disabled for job 7_2", "presently disabled"),
        ("Requeue=1", "RUNNING", "Access/permission denied for job 7_2", "permission denied"),
    ],
)
def test_what_no_later_try_would_change_is_not_tried_again(
    controller: Controller, facts: str, state: str, refuses: str, why: str
) -> None:
    controller.facts, controller.state, controller.refuses = facts, state, refuses
    with pytest.raises(RequeueFailed, match=why):
        ask()
    assert controller.now == 1000.0


@pytest.mark.parametrize(("state", "reason"), [("TIMEOUT", "TimeLimit"), ("COMPLETING", "TimeLimit"), ("FAILED", "x")])
def test_a_job_that_has_ended_does_not_come_back_by_itself(controller: Controller, state: str, reason: str) -> None:
    controller.state, controller.reason = state, reason
    with pytest.raises(RequeueFailed, match=f"has ended: {reason}") as failure:
        ask()
    assert not failure.value.uncertain


@pytest.mark.parametrize("lost", [False, True])
def test_a_note_is_kept_until_it_is_known_that_the_job_comes_back(
    tmp_path: Path,
    controller: Controller,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    lost: bool,
) -> None:
    """SLURM timed out over the request: it was granted, or lost and the job then reached its time limit."""
    monkeypatch.setattr(worker_requeue, "ignore_term", lambda: None)  # of this very process
    data, shards = DataDir(tmp_path), [ShardId("eval_segments", 1), ShardId("eval_segments", 2)]
    data.states.mkdir()
    controller.loses_answers, controller.loses_requests = 3, lost
    error = EgressExhausted("paused", None)
    worker_requeue.requeue_task(Config(), data, shards, BatchJob(JOB, {}), error, StopRequest(), idle=True)
    assert controller.asked.count("requeue") == 1
    notes = read_resubmissions(data)
    assert [(note.shard, note.uncertain) for note in notes] == ([(str(one), True) for one in shards] if lost else [])
    assert ("perhaps not requeued" in caplog.text) is lost
    assert ("If `squeue -j 7` does not show it, continue with:" in caplog.text) is lost


@pytest.mark.parametrize("state", ["PENDING", "RUNNING", ""])
def test_a_job_that_the_queue_shows_is_not_said_to_stay_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], state: str
) -> None:
    """A single job whose shard no state file knows yet; `status` and `merge` say the same."""
    data = DataDir(tmp_path)
    data.states.mkdir()
    shard = ShardId("eval_segments", 1)
    data.shard_csv(shard).write_text('# a\n# num_segs=1\n# b\nabcdefghijk, 0.000, 10.000, "/m/09x0r"\n')
    note = Resubmission(shard=str(shard), number=1, job_id="12", why="it timed out", at=time.time(), uncertain=True)
    note_resubmission(data, note)
    monkeypatch.setattr(slurm_queue, "has_slurm", lambda: True)
    lines = [QueuedJob("12", "12", state)] if state else []
    monkeypatch.setattr(slurm_queue, "queued", lambda jobs, _: lines if "12" in jobs else [])
    monkeypatch.setattr(slurm_queue, "ended", lambda *_: {})
    for command in ("status", "merge"):
        main([command, str(tmp_path)])
        said = capsys.readouterr().out
        assert ("perhaps no task will continue eval_segments.01" in said) is (not state), command
        assert ("audioset-batch submit --single-job" in said) is (not state)


@pytest.mark.parametrize(("state", "restarts"), [("CANCELLED", 0), ("COMPLETING", 0), ("PREEMPTED", 0), ("RUNNING", 1)])
def test_a_job_that_is_not_its_own_to_requeue(controller: Controller, state: str, restarts: int) -> None:
    controller.state, controller.restarts = state, restarts
    assert not ask()
    assert "requeue" not in controller.asked


@pytest.mark.parametrize("shown", ["50%", "50%%"], ids=["of the submit folder", "given to sbatch"])
def test_facts_keep_their_spaces_and_make_options(tmp_path: Path, controller: Controller, shown: str) -> None:
    (logs := tmp_path / "my 50%").mkdir()
    (logs / "a job.s").touch()
    job = BatchJob(JOB, {"SLURM_CPUS_PER_TASK": "1", "SLURM_MEM_PER_NODE": "600", "SLURM_JOB_END_TIME": "2000000000"})
    assert job.seconds_left == pytest.approx(2000000000 - time.time(), abs=5)
    assert job.submitted == (None, [])
    assert job.look() == ""
    assert (job.fact("WorkDir"), job.fact("Restarts"), job.submitted) == ("/a b", "0", (None, []))
    job._facts |= slurm._facts(
        f"   TimeLimit=00:30:00 Account=(null) QOS=N/A\n   StdOut={tmp_path}/my {shown}/7_2.log\n"
    )
    assert job.options == [
        "--job-name=a", "--time=00:30:00", "--cpus-per-task=1", "--mem=600",
        f"--output={tmp_path}/my 50%%/%x-%A_%a.log",
    ]  # fmt: skip
    for command in (f"{logs}/a job.s", f"{logs}/a job.s --config x y", "a job.s --config x"):
        job._facts |= slurm._facts(f"   Command={command}\n   WorkDir={logs}\n")
        script, arguments = job.submitted
        assert script == logs / "a job.s"
        assert arguments in ([], ["--config", "x", "y"], ["--config", "x"])


def test_the_time_left_is_told_by_the_clock_of_slurm(controller: Controller) -> None:
    """One of this node that is minutes ahead would have it give up at once."""
    job = BatchJob(JOB, {"SLURM_JOB_START_TIME": "1000", "SLURM_JOB_END_TIME": "1180"})
    assert job.seconds_left == pytest.approx(180, abs=2)
    controller.facts += " StartTime=2001-01-01T00:00:00 RunTime=1-00:00:50 EndTime=2001-01-02T00:01:00"
    assert job.look() == "" and job.seconds_left == pytest.approx(10, abs=2)
    assert BatchJob(JOB, {}).seconds_left is None


SCONTROL = """\
#!/bin/sh
echo "scontrol: error: $1: Unable to contact slurm controller (connect failure)" >&2
exit 1
"""


@pytest.mark.slow
def test_what_is_left_is_told_until_a_task_takes_it(
    make_project: Callable[..., Project], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the log, `status` and `merge`; with the options of the job, for the shards that are not finished."""
    project = make_project(3, delay=0)
    project.settings["egress"][0] |= {"pause_seconds": 300, "max_wait": 0.5}
    project.write_config()
    project.youtube.block(Block.BOT_CHECK)
    (programs := tmp_path / "programs").mkdir()
    (programs / "scontrol").write_text(SCONTROL)
    (programs / "scontrol").chmod(0o755)
    job = {"SLURM_JOB_ID": "7", "SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "1", "SLURM_JOB_PARTITION": "main"}
    job |= {"PATH": f"{programs}:{os.environ['PATH']}", "SLURM_JOB_END_TIME": str(int(time.time()))}  # time for one try
    options = ("--config", str(project.config), "--data-dir", str(project.data))
    log = project.run("worker", *options, env=project.env | job, status=75).stderr
    script = CHECKOUT / "audiosetdl-job-array.s"
    line = f"cd {CHECKOUT} && sbatch --array=1 --partition=main {script} {' '.join(options)}"
    assert "not requeued: SLURM did not do it" in log
    assert line in log
    for command in ("status", "merge"):
        main([command, str(project.data)])
        said = capsys.readouterr().out
        assert "no task will continue eval_segments.01: job 7_1 was not requeued" in said
        assert line in said
    project.youtube.unblock()
    shutil.rmtree(project.data / ".egress")
    project.worker(1)
    assert not list(project.data.glob("state/*resubmit*"))
    main(["status", str(project.data)])
    assert "sbatch" not in capsys.readouterr().out


def test_a_script_that_cannot_be_looked_at_keeps_no_job_from_coming_back() -> None:
    batch = BatchJob(JOB, {})
    batch._facts = {"Command": f"/gone.s --task {' '.join('123,' * 9 for _ in range(40))}", "WorkDir": "/x" * 3000}
    batch._facts["StdOut"] = f"/{'y' * 300}/a.log"
    assert batch.submitted == (None, [])
    assert not [option for option in batch.options if option.startswith("--output")]


def test_two_jobs_for_the_same_shards_count_their_idle_restarts_apart(
    tmp_path: Path, controller: Controller, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker_requeue, "ignore_term", lambda: None)  # of this very process
    config = Config.model_validate({"worker": {"max_requeues": 2}})
    data, shards = DataDir(tmp_path), [ShardId("eval_segments", 1)]
    data.states.mkdir()
    for restart in range(3):
        for job_id in ("7_2", "8"):
            batch = BatchJob(JobIdentity(job_id, restart), {})
            controller.state, controller.restarts = "RUNNING", restart
            worker_requeue.requeue_task(config, data, shards, batch, Interrupted("x"), StopRequest(), idle=True)
    assert controller.requeues == 4, "two restarts each"
    assert caplog.text.count("restarted 2 times without finishing a segment") == 2

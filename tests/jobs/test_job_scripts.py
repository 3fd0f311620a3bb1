"""The sbatch scripts on a real SLURM: what they start, with which arguments, and who gets which signal."""

import json
import os
import shutil
import stat
import sys
from pathlib import Path

import pytest

from tests.support.slurm_cluster import PrivateSlurm
from tests.support.waiting import wait_until

CHECKOUT = Path(__file__).resolve().parents[2]

# Stands in for the console command: tells how it was started and which signals arrive; has a helper, as sox is.
RECORDER = """\
import json, os, pathlib, signal, subprocess, sys, time
seen = []
for name in ("USR1", "TERM"):
    signal.signal(getattr(signal, "SIG" + name), lambda number, _: seen.append(signal.Signals(number).name))
helper = subprocess.Popen(["sleep", "30"])
task = os.environ.get("SLURM_ARRAY_TASK_ID", "none")
def tell():
    note = dict(argv=sys.argv[1:], pid=os.getpid(), seen=seen, helper=helper.poll(), path=os.environ["PATH"])
    pathlib.Path("seen." + task + ".new").write_text(json.dumps(note))
    os.replace("seen." + task + ".new", "seen." + task + ".json")
tell()
if "wait" in os.environ.get("RECORDER", ""):
    deadline = time.monotonic() + 30
    while not seen and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.2)
    tell()
helper.kill()
sys.exit(int(os.environ.get("STATUS", "0")))
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with its environment, whose `audioset-batch` records."""
    root = tmp_path / "the 50% checkout"
    (root / ".venv/bin").mkdir(parents=True)
    shutil.copytree(CHECKOUT / "jobs", root / "jobs")
    shutil.copy(CHECKOUT / "audiosetdl-job-array.s", root)
    (root / ".venv/bin/python").symlink_to(sys.executable)
    command = root / ".venv/bin/audioset-batch"
    (root / "recorder.py").write_text(RECORDER)
    # no "#!" with the path of Python, which may hold spaces
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{root}/recorder.py" "$@"\n')
    command.chmod(0o755)
    return root


def seen(folder: Path, task: int | str) -> dict[str, object]:
    note: dict[str, object] = json.loads((folder / f"seen.{task}.json").read_text())
    return note


def test_plain_array_from_the_checkout(slurm: PrivateSlurm, checkout: Path) -> None:
    job = slurm.sbatch("--array=1-2", "audiosetdl-job-array.s", cwd=checkout)
    assert {index: task.state for index, task in slurm.wait(job).items()} == {1: "COMPLETED", 2: "COMPLETED"}
    assert seen(checkout, 2)["argv"] == ["worker", "--config", f"{checkout}/configs/default.yaml", "--task", "2"]
    assert str(seen(checkout, 1)["path"]).startswith(f"{checkout}/.venv/bin:")
    assert sorted(path.name for path in checkout.glob("*.log")) == [f"audiosetdl-{job}_{k}.log" for k in (1, 2)]


def test_environment_and_arguments_reach_the_worker(slurm: PrivateSlurm, checkout: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    environment = {
        "SRCDIR": str(checkout),
        "AUDIOSET_CONFIG": "my site.yaml",
        "DATADIR": "/data dir",
        "SHARD_OFFSET": "0800",
        "STATUS": "75",
    }
    script = checkout / "audiosetdl-job-array.s"
    job = slurm.sbatch("--array=9", script, "--subsets", "eval_segments", cwd=elsewhere, env=environment)
    assert slurm.wait(job)[9].exit_code == 75
    expected = ["worker", "--config", "my site.yaml", "--data-dir", "/data dir", "--task", "809"]
    assert seen(elsewhere, 9)["argv"] == [*expected, "--subsets", "eval_segments"]
    assert (elsewhere / f"audiosetdl-{job}_9.log").exists()


@pytest.mark.parametrize(("option", "variable"), [("--export=NONE", {}), ("--requeue", {"SBATCH_EXPORT": "NONE"})])
def test_without_exported_variables_all_is_said_by_arguments(
    slurm: PrivateSlurm, checkout: Path, tmp_path: Path, option: str, variable: dict[str, str]
) -> None:
    """From a folder of the user's own: the checkout may be read-only, and the log lies in that folder."""
    (elsewhere := tmp_path / "my 7% folder").mkdir()
    for folder in (checkout, *(path for path in checkout.rglob("*") if path.is_dir())):
        folder.chmod(0o555)
    script = checkout / "audiosetdl-job-array.s"
    lost = {"DATADIR": "/lost", "AUDIOSET_CONFIG": "/lost.yaml", "SHARD_OFFSET": "3", "SRCDIR": "/lost"}
    options = ("--config", "my site.yaml", "--shard-offset", "1000", "--data-dir", "/data/50% full")
    job = slurm.sbatch(option, "--array=2", script, *options, cwd=elsewhere, env=lost | variable)
    plain = slurm.sbatch(option, "--array=3", script, cwd=elsewhere, env=lost | variable)
    assert slurm.wait(job)[2].state == "COMPLETED", (elsewhere / f"audiosetdl-{job}_2.log").read_text()
    config = f"{checkout}/configs/default.yaml"
    given = ["--config", "my site.yaml", "--data-dir", "/data/50% full"]
    assert seen(elsewhere, 2)["argv"] == ["worker", "--config", config, "--task", "1002", *given]
    assert (elsewhere / f"audiosetdl-{job}_2.log").read_text() == ""
    slurm.wait(plain)
    first = (elsewhere / f"audiosetdl-{plain}_3.log").read_text().splitlines()[0]
    assert "no exported variable reaches this job" in first
    assert "--config FILE --data-dir DIR" in first


def test_warning_reaches_python_and_spares_its_helpers(slurm: PrivateSlurm, checkout: Path) -> None:
    job = slurm.sbatch("--array=1", "audiosetdl-job-array.s", cwd=checkout, env={"RECORDER": "wait"})
    wait_until((checkout / "seen.1.json").exists, "the program that the job runs")
    slurm.cancel(f"{job}_1", "--batch", "--signal=USR1")  # as --signal=B:USR1@120 does
    assert slurm.wait(job)[1].exit_code == 0
    note = seen(checkout, 1)
    assert (note["seen"], note["helper"]) == (["SIGUSR1"], None)


def test_preempted_task_gets_term_and_is_requeued(slurm: PrivateSlurm, checkout: Path) -> None:
    job = slurm.sbatch("--array=1", "audiosetdl-job-array.s", cwd=checkout, env={"RECORDER": "wait"})
    wait_until((checkout / "seen.1.json").exists, "the program that the job runs")
    high = slurm.preempt()
    slurm.wait(high)
    task = slurm.wait_state(f"{job}_1", "PENDING")
    assert task.restarts == 1
    assert seen(checkout, 1)["seen"] == ["SIGTERM"]


@pytest.mark.parametrize(
    ("options", "environment", "said"),
    [
        ([], {}, "submit it so: sbatch --array=1-10"),
        (["--array=1"], {"SHARD_OFFSET": "1; id"}, "SHARD_OFFSET is no whole number: 1; id"),
        (["--array=1"], {"SRCDIR": "/nowhere"}, "/nowhere is not the checkout"),
    ],
)
def test_wrong_use_is_named(
    slurm: PrivateSlurm, checkout: Path, options: list[str], environment: dict[str, str], said: str
) -> None:
    job = slurm.sbatch(*options, "--output=said.txt", "audiosetdl-job-array.s", cwd=checkout, env=environment)
    assert {task.exit_code for task in slurm.wait(job).values()} == {2}
    assert said in (checkout / "said.txt").read_text()


def test_one_job_for_all_shards(slurm: PrivateSlurm, checkout: Path, tmp_path: Path) -> None:
    job = slurm.sbatch(
        "jobs/download.s", "--task", "1-4", cwd=checkout, env={"DATADIR": "/data dir", "RECORDER": "wait"}
    )
    wait_until((checkout / "seen.none.json").exists, "the program that the job runs")
    slurm.cancel(job, "--batch", "--signal=USR1")
    assert slurm.wait(job)[0].state == "COMPLETED"
    note = seen(checkout, "none")
    config = f"{checkout}/configs/default.yaml"
    expected = ["worker", "--config", config, "--data-dir", "/data dir", "--task", "all", "--task", "1-4"]
    assert (note["argv"], note["seen"], note["helper"]) == (expected, ["SIGUSR1"], None)
    assert (checkout / f"audiosetdl-{job}.log").exists()
    array = slurm.sbatch("--array=1", "--output=said.txt", "jobs/download.s", cwd=checkout)
    assert slurm.wait(array)[1].exit_code == 2
    assert "submit it without --array" in (checkout / "said.txt").read_text()


def test_missing_environment_names_setup(slurm: PrivateSlurm, checkout: Path) -> None:
    shutil.rmtree(checkout / ".venv")
    path = ":".join(
        folder for folder in os.environ["PATH"].split(":") if not os.access(f"{folder}/audioset-batch", os.X_OK)
    )
    job = slurm.sbatch("--array=1", "--output=said.txt", "audiosetdl-job-array.s", cwd=checkout, env={"PATH": path})
    assert slurm.wait(job)[1].exit_code == 2
    assert "run ./setup.sh" in (checkout / "said.txt").read_text()


def test_environment_whose_python_this_node_lacks_is_named(slurm: PrivateSlurm, checkout: Path) -> None:
    python = checkout / ".venv/bin/python"
    python.unlink()
    python.symlink_to("/nowhere/python3")
    job = slurm.sbatch("--array=1", "--output=said.txt", "audiosetdl-job-array.s", cwd=checkout)
    assert slurm.wait(job)[1].exit_code == 2
    assert "the Python it was made from is not installed there" in (checkout / "said.txt").read_text()


def test_command_on_the_path_serves_without_an_environment(slurm: PrivateSlurm, checkout: Path) -> None:
    (checkout / ".venv").rename(checkout / "own")
    path = f"{checkout}/own/bin:{os.environ['PATH']}"
    job = slurm.sbatch("--array=1", "audiosetdl-job-array.s", cwd=checkout, env={"PATH": path})
    assert slurm.wait(job)[1].state == "COMPLETED"


def test_merge_follows_a_failed_array(slurm: PrivateSlurm, checkout: Path) -> None:
    array = slurm.sbatch("--array=1-2", "audiosetdl-job-array.s", cwd=checkout, env={"STATUS": "1"})
    after = f"--dependency=afterany:{array}"
    merge = slurm.sbatch(after, "jobs/merge.s", "--allow-pending", cwd=checkout, env={"DATADIR": "/data dir"})
    assert slurm.wait(merge)[0].state == "COMPLETED"
    assert seen(checkout, "none")["argv"] == ["merge", "/data dir", "--allow-pending"]


def test_screen_is_an_array_that_hears_the_warning(slurm: PrivateSlurm, checkout: Path) -> None:
    environment = {"DATADIR": "/data dir", "SHARD_OFFSET": "1000", "RECORDER": "wait"}
    job = slurm.sbatch("--array=2", "jobs/screen.s", "--per-second", "2", cwd=checkout, env=environment)
    wait_until((checkout / "seen.2.json").exists, "the program that the job runs")
    slurm.cancel(f"{job}_2", "--batch", "--signal=USR1")
    assert slurm.wait(job)[2].state == "COMPLETED"
    note = seen(checkout, 2)
    config = f"{checkout}/configs/default.yaml"
    assert note["argv"] == ["screen", "/data dir", "--config", config, "--task", "1002", "--per-second", "2"]
    assert (note["seen"], note["helper"]) == (["SIGUSR1"], None)


def test_screen_without_an_array_is_named(slurm: PrivateSlurm, checkout: Path) -> None:
    job = slurm.sbatch("--output=said.txt", "jobs/screen.s", cwd=checkout)
    assert slurm.wait(job)[0].exit_code == 2
    assert "submit it so: sbatch --array=1-10%2" in (checkout / "said.txt").read_text()


def test_merge_takes_the_data_directory_as_an_argument(slurm: PrivateSlurm, checkout: Path, tmp_path: Path) -> None:
    (elsewhere := tmp_path / "else where").mkdir()
    job = slurm.sbatch(
        "--export=NONE", checkout / "jobs" / "merge.s", "/data/50% full", "--allow-pending", cwd=elsewhere
    )
    assert slurm.wait(job)[0].state == "COMPLETED"
    assert seen(elsewhere, "none")["argv"] == ["merge", "/data/50% full", "--allow-pending"]


def test_merge_without_data_directory_is_named(slurm: PrivateSlurm, checkout: Path) -> None:
    job = slurm.sbatch("--output=said.txt", "jobs/merge.s", cwd=checkout)
    assert slurm.wait(job)[0].exit_code == 2
    assert "DATADIR is not set" in (checkout / "said.txt").read_text()


@pytest.mark.parametrize("script", ["setup.sh", ".ci/run"])
def test_scripts_may_be_executed(script: str) -> None:
    assert (CHECKOUT / script).stat().st_mode & stat.S_IXUSR


def test_all_scripts_look_for_their_checkout_in_the_same_way() -> None:
    scripts = [*sorted((CHECKOUT / "jobs").glob("*.s")), CHECKOUT / "audiosetdl-job-array.s"]
    blocks = {path.name: path.read_text().partition("# SLURM runs a copy")[2].partition("\n\n")[0] for path in scripts}
    assert len(set(blocks.values())) == 2, blocks
    assert blocks.pop("audiosetdl-job-array.s") == next(iter(blocks.values())).replace("/jobs/$job", "/$job")

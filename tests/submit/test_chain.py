"""The chain and its scripts as text."""

import os
import subprocess
from pathlib import Path

import pytest

from audioset_batch.cli.submit_cmd import reservation
from audioset_batch.config import Config, load_config
from audioset_batch.errors import UsageError
from audioset_batch.layout import DataDir
from audioset_batch.slurm.times import parse_limit
from audioset_batch.submit.chain import Plan, index_ranges, make_chain, pieces
from audioset_batch.submit.slurm import dry_run, submit_chain


def config_with(tmp_path: Path, slurm: str) -> Config:
    path = tmp_path / "site.yaml"
    path.write_text(f"slurm: {slurm}\n")
    return load_config(path)


def scripts(tmp_path: Path, slurm: str, tasks: tuple[int, ...], largest: int = 1001) -> list[str]:
    config = config_with(tmp_path, slurm)
    plan = Plan(root=tmp_path / "a 'data' dir", prep=(), shards=9, tasks=tasks, worker_options=("--set", "a.b=$(id)"))
    text = dry_run(make_chain(plan, config, largest), config.slurm, DataDir(plan.root))
    return text.split("# ----- ")[1:]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 5400), ("90:30", 5430), ("2:00:00", 7200), ("1-0", 86400), ("1-0:30", 88200), ("1-02:03:04", 93784),
        ("UNLIMITED", None),
    ],
)  # fmt: skip
def test_time_limits(text: str, seconds: float | None) -> None:
    assert parse_limit(text) == seconds


def test_index_ranges() -> None:
    assert index_ranges((3, 1, 2, 9, 7, 8, 5)) == "1-3,5,7-9"


def test_pieces_stay_below_the_clusters_highest_index() -> None:
    assert pieces(range(1, 8), 4) == [(0, (1, 2, 3)), (3, (4, 5, 6)), (6, (7,))]
    assert pieces((2, 2001), 1001) == [(0, (2,)), (2000, (2001,))]
    for offset, tasks in pieces(range(1, 30), 7):
        assert all(1 <= task - offset <= 6 for task in tasks)


def test_what_sbatch_reads_lies_where_nobody_else_can_exchange_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sbatch = tmp_path / "bin/sbatch"
    sbatch.parent.mkdir()
    sbatch.write_text(f'#!/bin/sh\nstat -c "%a %u" "${{2%/*}}" >>{tmp_path}/seen\necho 7\n')
    sbatch.chmod(0o755)
    monkeypatch.setenv("PATH", f"{sbatch.parent}:{os.environ['PATH']}")
    data = DataDir(tmp_path / "data")
    data.submissions.mkdir(parents=True)
    data.submissions.chmod(0o2777)
    config = Config()
    plan = Plan(root=data.root, prep=(), shards=1, tasks=(1,), worker_options=())
    submit_chain(make_chain(plan, config, 1001), config.slurm, data, "")
    assert (tmp_path / "seen").read_text().splitlines() == [f"700 {os.getuid()}"] * 3
    assert "exec " in (data.submissions / "7_submission.sh").read_text(), "a copy to look at"


def test_merge_waits_for_the_end_of_all_pieces_not_for_success(tmp_path: Path) -> None:
    plan = Plan(root=tmp_path, prep=("eval_segments",), shards=4, tasks=(1, 2, 3, 4), worker_options=())
    chain = make_chain(plan, Config(), 3)
    assert [step.role for step in chain] == ["prep", "array", "array", "merge", "report"]
    assert [step.after for step in chain] == [(), (0,), (1,), (0, 1, 2), (3,)]
    assert [step.only_if_ok for step in chain] == [False, True, False, False, False]


def test_one_job_for_all_shards_in_place_of_the_array(tmp_path: Path) -> None:
    plan = Plan(root=tmp_path, prep=("eval_segments",), shards=4, tasks=(1, 2, 4), worker_options=(), single_job=True)
    config = Config()
    chain = make_chain(plan, config, 3)
    assert [(step.role, step.after) for step in chain] == [
        ("prep", ()), ("download", (0,)), ("merge", (0, 1)), ("report", (2,))
    ]  # fmt: skip
    script = dry_run(chain, config.slurm, DataDir(tmp_path)).split("# ----- ")[2]
    assert script.startswith("DOWNLOAD_JOB_ID\n")
    assert "#SBATCH --dependency=afterok:PREP_JOB_ID\n" in script
    assert "#SBATCH --job-name=audiosetdl\n" in script and "#SBATCH --signal=B:USR1@180\n" in script
    assert "--array" not in script and "/logs/%x-%j.log\n" in script
    assert script.rstrip().endswith(" --task 1-2,4")
    done = Plan(root=tmp_path, prep=(), shards=4, tasks=(), worker_options=(), single_job=True)
    assert [step.role for step in make_chain(done, config, 3)] == ["merge", "report"]


@pytest.mark.parametrize(("egress", "slow"), [("[{name: a}]", False), ("[{name: a, videos_per_hour: null}]", True)])
def test_a_single_job_asks_for_one_task_and_says_where_that_is_too_few(tmp_path: Path, egress: str, slow: bool) -> None:
    path = tmp_path / "site.yaml"
    path.write_text(f"egress: {egress}\n")
    plan = Plan(root=tmp_path, prep=(), shards=4, tasks=(1, 2), worker_options=(), segments=1000, single_job=True)
    said = "\n".join(reservation(load_config(path), plan))
    assert said.startswith("asks for 1 x ")
    assert ("is slower than the egresses allow: 10 x 4 CPUs" in said) is slow


def test_scripts_say_what_the_config_says(tmp_path: Path) -> None:
    array, merge, _ = scripts(
        tmp_path,
        "{partition: long, account: lab, qos: low, mail_user: me@example.org, time: '2-0', cpus_per_task: 3, mem: 5G, "
        "array_parallelism: 4, signal_seconds: 240, modules: [sox/14], setup: ['ulimit -c 0'], "
        "extra: {constraint: ib, exclusive: true, nice: 100, overcommit: false}}",
        (1, 2, 5),
    )
    for line in (
        "--array=1-2,5%4", "--partition=long", "--account=lab", "--qos=low", "--mail-user=me@example.org",
        "--mail-type=END,FAIL", "--time=2-0", "--cpus-per-task=3", "--mem=5G", "--signal=B:USR1@240", "--requeue",
        "--constraint=ib", "--exclusive", "--nice=100",
    ):  # fmt: skip
        assert f"#SBATCH {line}\n" in array, line
    assert "overcommit" not in array
    assert "srun" not in array
    assert "USR2" not in array
    assert array.index("module load sox/14") < array.index("ulimit -c 0") < array.index("exec ")
    assert "#SBATCH --dependency=afterany:ARRAY_JOB_ID\n" in merge
    assert "#SBATCH --time=01:00:00\n" in merge
    assert "--array" not in merge


def test_scripts_are_bash_and_quote_what_they_are_given(tmp_path: Path) -> None:
    for text in scripts(tmp_path, "{modules: ['a b'], extra: {comment: \"it's\"}}", (1, 2, 3, 4), largest=3):
        script = text.partition("\n")[2]
        subprocess.run(["bash", "-n"], input=script, text=True, check=True)
        last = next(line for line in script.splitlines() if line.startswith("exec "))
        # bash itself says which words it sees; $(id) must come through as it is
        words = subprocess.run(
            ["bash", "-c", last.replace("exec ", "printf '%s\\n' ", 1)],
            env={"SLURM_ARRAY_TASK_ID": "2"}, capture_output=True, text=True, check=True,
        ).stdout.splitlines()  # fmt: skip
        assert f"{tmp_path}/a 'data' dir" in words
        if "worker" in words:
            assert "a.b=$(id)" in words
            assert words[-2:] == ["--task", "4" if "ARRAY_2" in text.partition("\n")[0] else "2"]


def test_extra_may_not_break_the_chain(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"slurm\.extra: array, open-mode"):
        scripts(tmp_path, "{extra: {array: 1-3, open_mode: truncate}}", (1,))

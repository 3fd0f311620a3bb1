"""What control groups say of memory, in both versions."""

from pathlib import Path

import pytest

from audioset_batch.config import Config
from audioset_batch.config.reservation import needed_mb
from audioset_batch.worker import memory
from audioset_batch.worker.oom import memory_limit_mb, oom_kills

V1 = "30 25 0:26 / {mount} rw,relatime - cgroup cgroup rw,memory\n29 25 0:25 / /elsewhere rw - cgroup cgroup rw,cpu\n"
V2 = "30 25 0:26 / {mount} rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"


def proc_with(tmp_path: Path, cgroup: str, mountinfo: str, files: dict[str, str]) -> Path:
    for name, content in files.items():
        path = tmp_path / "mount" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    (tmp_path / "cgroup").write_text(cgroup)
    (tmp_path / "mountinfo").write_text(mountinfo.format(mount=tmp_path / "mount"))
    return tmp_path


def test_version_1(tmp_path: Path) -> None:
    proc = proc_with(
        tmp_path,
        "5:cpu:/\n4:memory:/slurm/job_7/step_batch\n0::/\n",
        V1,
        {
            "memory.limit_in_bytes": "9223372036854771712",
            "slurm/job_7/memory.limit_in_bytes": f"{600 << 20}",
            "slurm/job_7/step_batch/memory.limit_in_bytes": f"{700 << 20}",
            "slurm/job_7/step_batch/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n",
        },
    )
    assert memory_limit_mb(proc) == 600, "the tightest around it"
    assert oom_kills(proc) == 3


def test_version_2(tmp_path: Path) -> None:
    events = "low 0\nhigh 0\nmax 12\noom 1\noom_kill 2\noom_group_kill 0\n"
    proc = proc_with(
        tmp_path,
        "0::/system.slice/job_7\n",
        V2,
        {
            "system.slice/memory.max": f"{500 << 20}\n",
            "system.slice/job_7/memory.max": "max\n",
            "system.slice/job_7/memory.events": events,
        },
    )
    assert (memory_limit_mb(proc), oom_kills(proc)) == (500, 2)


@pytest.mark.parametrize(
    ("limits", "least"),
    [
        ({"job_7/memory.max": 600 << 20, "job_7/step_batch/memory.max": 600 << 20}, 600),
        ({"job_7/memory.max": 600 << 20, "job_7/memory.high": 550 << 20}, 550),
        ({"job_7/step_batch/user/memory.max": 300 << 20, "job_7/memory.max": 600 << 20}, 300),
        ({"job_7/memory.max": "max", "job_7/memory.high": "max"}, None),
    ],
)
def test_a_made_up_tree_of_slurms_groups_of_version_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limits: dict[str, object], least: int | None
) -> None:
    """As slurmstepd of SLURM 23 lays it out; here no kernel keeps these limits."""
    scope = "system.slice/slurmstepd.scope"
    leaf = f"{scope}/job_7/step_batch/user/task_0"
    files = {f"{scope}/{name}": f"{limit}\n" for name, limit in limits.items()}
    files[f"{leaf}/memory.events"] = "oom 1\noom_kill 1\n"
    proc = proc_with(tmp_path, f"0::/{leaf}\n", V2, files)
    assert (memory_limit_mb(proc), oom_kills(proc)) == (least, 1)
    monkeypatch.delenv("SLURM_MEM_PER_NODE", raising=False)
    monkeypatch.setattr(memory, "memory_limit_mb", lambda: memory_limit_mb(proc))
    said = memory.memory_shortage(600)
    assert said.startswith(f"this task may use {least} MB of memory") if least and least < 600 else said == ""


@pytest.mark.parametrize(
    ("cgroup", "mountinfo"),
    [("", ""), ("4:cpu:/\n", V1), ("0::/gone\n", V2), ("garbage", "garbage"), ("0::/\n", "1 2 3 - cgroup2 x y\n")],
)
def test_without_an_answer_there_is_none(tmp_path: Path, cgroup: str, mountinfo: str) -> None:
    proc = proc_with(tmp_path, cgroup, mountinfo, {})
    assert memory_limit_mb(proc) is None
    assert oom_kills(proc) is None
    assert memory_limit_mb(tmp_path / "nowhere") is None


def test_a_shortage_is_told_with_what_to_ask_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "memory_limit_mb", lambda: None)
    monkeypatch.delenv("SLURM_MEM_PER_NODE", raising=False)
    assert memory.memory_shortage(600) == ""
    monkeypatch.setenv("SLURM_MEM_PER_NODE", "600")
    assert memory.memory_shortage(needed_mb(Config(), 1)) == ""
    monkeypatch.setattr(memory, "memory_limit_mb", lambda: 250)
    assert memory.memory_shortage(600) == (
        "this task may use 250 MB of memory and needs about 600 MB. Where it runs out, the kernel kills worker "
        "processes; give it more (--mem=600M, slurm.mem: auto)"
    )
